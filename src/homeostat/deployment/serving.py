"""Which release answers in this process: the promoted one once it has passed every check here, until then the old one.

Not here: who is promoted (`deployment.registry`), or what a release's bytes must be (`deployment.artifacts`).
"""

import gc
import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from sqlalchemy.exc import SQLAlchemyError

from homeostat.deployment.artifacts import check_golden, find_release, open_release
from homeostat.deployment.registry import current_promotion
from homeostat.errors import ArtifactCorrupt, ArtifactError, HomeostatError
from homeostat.records import Columns, Promotion, Schema
from homeostat.store.blobs import BlobStore
from homeostat.store.database import Database
from homeostat.store.events import append_event
from homeostat.training.scoring import GRAPH_ERRORS, Graph
from homeostat.validation.decoding import RowDecoder

POLL_S = 0.25
WARM_UP_ROUNDS = 3


@dataclass(frozen=True, slots=True)
class LiveRelease:
    """A release that answers. A request takes one of these once, and keeps it alive until it has answered."""

    promotion: Promotion
    schema: Schema
    graph: Graph
    decoder: RowDecoder

    @property
    def digest(self) -> str:
        """The release's digest."""
        return self.promotion.release


@dataclass(frozen=True, slots=True)
class Refusal:
    """A promoted release that failed a check here."""

    promotion: Promotion
    error: HomeostatError
    at: datetime


class Follower:
    """Follows the promotion log in a thread of its own, and holds the one reference to the release that answers.

    Parameters
    ----------
    database, blobs
        The promotion log, and where releases lie.
    on_swap, on_refusal
        Told after the fact, in the thread that polled.
    """

    def __init__(
        self,
        database: Database,
        blobs: BlobStore,
        *,
        on_swap: Callable[[LiveRelease], None],
        on_refusal: Callable[[Refusal], None],
    ) -> None:
        self.live: LiveRelease | None = None
        self.refusal: Refusal | None = None
        self.trouble: str | None = None
        self._database = database
        self._blobs = blobs
        self._on_swap = on_swap
        self._on_refusal = on_refusal
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._follow, name="release-follower", daemon=True)

    @property
    def following(self) -> bool:
        """Whether the log is being followed."""
        return self._thread.is_alive()

    def start(self) -> None:
        """Load what is in production now, then follow the log; a refused release leaves `live` as None."""
        self.poll()
        self._thread.start()

    def stop(self) -> None:
        """Stop following; the live release goes on answering."""
        self._stopped.set()
        if self._thread.is_alive():
            self._thread.join()

    def poll(self) -> None:
        """Look at the promotion log once, and swap if it names a release that does not answer yet.

        A release that fails a check is refused once for each promotion, not once for each look.
        """
        with self._database.read() as connection:
            promotion = current_promotion(connection)
        seen = [held.promotion.epoch for held in (self.live, self.refusal) if held is not None]
        if promotion is None or promotion.epoch in seen:
            return
        if self.live is not None and self.live.digest == promotion.release:
            self.live = replace(self.live, promotion=promotion)
            return
        try:
            live = load_release(self._blobs, promotion)
        except HomeostatError as error:
            self._refuse(promotion, error)
        else:
            self._swap(live)

    def _swap(self, live: LiveRelease) -> None:
        self.live = live
        self.refusal = None
        # What has survived until now stays: without this, full collections walk over every module and graph again
        # (130 ms at the 99th percentile of a peer). A replaced release is freed by its reference count all the same.
        gc.collect()
        gc.freeze()
        self._on_swap(live)

    def _refuse(self, promotion: Promotion, error: HomeostatError) -> None:
        now = datetime.now(UTC)
        self.refusal = Refusal(promotion, error, now)
        payload = {"release": promotion.release, "epoch": promotion.epoch, "code": error.code, "problem": error.problem}
        with self._database.write("refuse_release") as connection:
            append_event(connection, "release_refused", payload, now=now)
        self._on_refusal(self.refusal)

    def follow_once(self) -> None:
        """Poll; if the database is busy or away, note it as `trouble` and leave the live release answering."""
        try:
            self.poll()
        except SQLAlchemyError as error:
            self.trouble = f"the promotion log cannot be followed: {error}"
        else:
            self.trouble = None

    def _follow(self) -> None:
        while not self._stopped.wait(POLL_S):
            self.follow_once()


def load_release(blobs: BlobStore, promotion: Promotion) -> LiveRelease:
    """Return the promoted release, verified, checked against its golden rows and warm.

    Raises
    ------
    ReleaseMissing
        Its folder is not here.
    ArtifactCorrupt
        Its bytes are not those that its digest names, or cannot be read.
    GoldenMismatch
        Its graph gives other answers than it was packed with.
    ArtifactError
        Its graph does not run.
    """
    try:
        release = open_release(find_release(promotion.release, blobs))
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:  # unreadable, or of another form
        raise ArtifactCorrupt(
            problem=f"release {promotion.release[:12]} cannot be read: {error!r}",
            expected="the files of a release, readable",
            action="restore the folder from a backup, or promote another release",
        ) from error
    try:
        graph = Graph(release.graph, release.schema)
        check_golden(release, graph)
        warm_up(graph, release.golden.columns)
    except GRAPH_ERRORS as error:
        raise ArtifactError(
            problem=f"the graph of release {promotion.release[:12]} does not run: {error}",
            expected="a graph that answers its golden rows",
            action="train and promote another release",
        ) from error
    return LiveRelease(promotion, release.schema, graph, RowDecoder(release.schema))


def warm_up(graph: Graph, columns: Columns) -> None:
    """Answer single rows, the shape of most requests, before the first sender waits for one."""
    first = {name: values[:1] for name, values in columns.items()}
    for _ in range(WARM_UP_ROUNDS):
        graph.score(first)
