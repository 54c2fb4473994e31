"""The clinic's side of the wire: rows and outcomes sent over real HTTP, every answer counted.

Not here: which rows (`simulation.cohort`) or what is claimed about the answers (`simulation.demo`).
"""

import itertools
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

import httpx

from homeostat.records import Json, Label, Row

TIMEOUT_S = 30.0
LABELS_AT_ONCE = 200


@dataclass(slots=True)
class Sent:
    """What became of the rows that were sent, in order: each answered row's id, release and latency in seconds."""

    ids: list[str] = field(default_factory=list)
    releases: list[str] = field(default_factory=list)
    latencies_s: list[float] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)


class Clinic:
    """A client of the service. Close it, or use it as a context manager."""

    def __init__(self, address: str) -> None:
        self._http = httpx.Client(base_url=address, timeout=TIMEOUT_S)

    def predict(self, row: Row) -> httpx.Response:
        """Send one row."""
        return self._http.post("/v1/predict", json=row)

    def send(self, row: Row, sent: Sent) -> None:
        """Send one row and note what became of it."""
        started = time.perf_counter()
        try:
            response = self.predict(row)
        except httpx.HTTPError as error:
            sent.failures.append(repr(error))
            return
        if response.status_code != httpx.codes.OK:
            sent.failures.append(f"{response.status_code}: {response.text}")
            return
        answer = response.json()
        sent.latencies_s.append(time.perf_counter() - started)
        sent.ids.append(answer["id"])
        sent.releases.append(answer["release"])

    def label(self, ids: Sequence[str], labels: Sequence[Label]) -> None:
        """Send outcomes by prediction id, in batches."""
        pairs = [{"id": row_id, "label": label} for row_id, label in zip(ids, labels, strict=True)]
        for start in range(0, len(pairs), LABELS_AT_ONCE):
            self._http.post("/v1/labels", json={"labels": pairs[start : start + LABELS_AT_ONCE]}).raise_for_status()

    def get(self, route: str) -> Json:
        """Return what a read route answers."""
        answer: Json = self._http.get(route).raise_for_status().json()
        return answer

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._http.close()


class Stream:
    """Rows sent one by one at a steady rate from a thread, until stopped: the traffic during a swap."""

    def __init__(self, address: str, rows: Sequence[Row], *, per_second: float) -> None:
        self.sent = Sent()
        self._rows = rows
        self._pause_s = 1 / per_second
        self._stopping = threading.Event()
        self._address = address
        self._thread = threading.Thread(target=self._run)

    def _run(self) -> None:
        due = time.monotonic()
        with Clinic(self._address) as clinic:
            for row in itertools.takewhile(lambda _: not self._stopping.is_set(), self._rows):
                clinic.send(row, self.sent)
                due = max(due + self._pause_s, time.monotonic())
                self._stopping.wait(due - time.monotonic())

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stopping.set()
        self._thread.join()
