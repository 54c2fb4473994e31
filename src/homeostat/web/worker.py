"""What one serving process holds open, and whether it is ready to answer.

Not here: routes, or the server around them (`web.server`).
"""

import asyncio
from collections.abc import Callable
from types import TracebackType
from typing import Self, TypeVar

from prometheus_client import Counter
from sqlalchemy.exc import SQLAlchemyError

from homeostat.deployment.serving import Follower, LiveRelease, Refusal
from homeostat.errors import ReleaseMissing
from homeostat.monitoring.metrics import Metrics, resident_memory_bytes
from homeostat.monitoring.predictions import PredictionLog, afresh, busy
from homeostat.project import Project
from homeostat.records import Label
from homeostat.web.answers import Judged
from homeostat.web.explainer import Explainer
from homeostat.web.keyring import Keyring
from homeostat.web.reporting import Reporter
from homeostat.web.sessions import Sessions

Written = TypeVar("Written")


class Worker:
    """The log, the release that answers, the valid keys, what explains, the metrics and the reports of one process.

    Enter it in the event loop that answers requests; leaving it writes what still waits and stops following.
    """

    def __init__(self, project: Project) -> None:
        self.project = project
        self.metrics = Metrics()
        self.follower = Follower(
            project.database, project.blobs, on_swap=self._count_swap, on_refusal=self._count_refusal
        )
        self.keyring = Keyring(project.database, project.settings.serving)
        self.sessions = Sessions(self.keyring)
        self.explainer = Explainer(project.blobs.root)
        self._log: PredictionLog | None = None
        self._reporter: Reporter | None = None
        self._draining = False
        # Finding the series of a label takes longer than adding to it.
        self._answered: dict[Label, Counter] = {}

    @property
    def log(self) -> PredictionLog:
        """The open prediction log."""
        if self._log is None:
            raise RuntimeError("the worker is used before it is entered")
        return self._log

    @property
    def reporter(self) -> Reporter:
        """What counts requests, and reports them."""
        if self._reporter is None:
            raise RuntimeError("the worker is used before it is entered")
        return self._reporter

    def require_live(self) -> LiveRelease:
        """Return the release that answers; ReleaseMissing while there is none."""
        if self.follower.live is None:
            refusal = self.follower.refusal
            raise ReleaseMissing(
                problem=refusal.error.problem if refusal else "no release is in production yet",
                expected="a promoted release that passes its checks",
                action=refusal.error.action if refusal else "run `homeostat train`, then send the request again",
            )
        return self.follower.live

    @property
    def draining(self) -> bool:
        """Whether the process is shutting down."""
        return self._draining

    async def write(self, work: Callable[[], Written]) -> Written:
        """Return what some work leaves that writes to the database beside the log, done in a thread.

        Raises
        ------
        LogBusy
            Nothing was written.
        LogFailed
            An I/O error, now or before: whether it was written is unknown, and nobody may write any more.
        """
        self.log.require_whole()
        try:
            return await asyncio.to_thread(work)
        except SQLAlchemyError as error:
            raise busy(error) or afresh(self.log.fail(error)) from error

    def drain(self) -> None:
        """Call the process not ready from now on; requests are still answered."""
        self._draining = True

    def count(self, judged: Judged) -> None:
        """Count the rows of a request that are kept."""
        for label, n_rows in judged.count_labels().items():
            counter = self._answered.get(label)
            if counter is None:
                counter = self._answered[label] = self.metrics.predictions.labels(str(label))
            counter.inc(n_rows)
        if judged.rejected:
            self.metrics.rejected.inc(len(judged.rejected))
            columns = {feature.name for feature in self.project.schema.features}
            self.metrics.count_violations(judged.count_violations(), columns)

    def find_obstacles(self) -> list[str]:
        """Return why the process is not ready, an empty list if it is."""
        obstacles = {
            "the process is shutting down": self._draining,
            "the log is not open": self._log is None,
            "the log met an I/O error": self._log is not None and self._log.failure is not None,
            "the promotion log is not followed": not self.follower.following,
            "the keys are not followed": not self.keyring.following,
            "no release has passed its checks": self.follower.live is None,
        }
        return [obstacle for obstacle, holds in obstacles.items() if holds]

    def observe(self) -> None:
        """Measure what is a state rather than an event; the server calls this ten times a second, in its event loop."""
        self.metrics.workers.set(1)
        self.metrics.memory.set(resident_memory_bytes())
        self.metrics.durability.labels(self.project.settings.serving.durability).set(1)
        self.metrics.pending.set(self.log.pending_rows)
        if (live := self.follower.live) is not None:
            self.metrics.show_release(live.digest, live.promotion.epoch)

    def _count_swap(self, _: LiveRelease) -> None:
        self.metrics.swaps.inc()
        self.reporter.hurry()

    def _count_refusal(self, refusal: Refusal) -> None:
        self.metrics.refusals.labels(refusal.error.code).inc()

    async def __aenter__(self) -> Self:
        deadline_s = self.project.settings.serving.deadline_s
        self._log = PredictionLog(self.project.database, on_commit=self.metrics.commits.observe, deadline_s=deadline_s)
        self._reporter = Reporter(self.project, self._log, find_live=lambda: self.follower.live)
        # Not in a thread: nothing else runs in this loop yet, and the first poll should fail loudly.
        self.keyring.start()
        self.follower.start()
        self.reporter.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.drain()
        self.follower.stop()
        self.keyring.stop()
        await self.explainer.stop()
        await asyncio.to_thread(self.reporter.stop)
        await self.log.close()
