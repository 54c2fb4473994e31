"""Patients who are sent to a clinic's service all the time, each another row, and an account of what came back.

Not here: the service (`serving_process`), or what is wrong with its release (`tests/faulty_graphs.py`).
"""

import itertools
import json
import threading
import time
from collections import Counter
from types import TracebackType
from typing import Self

import httpx

from homeostat.records import Row
from tests.faulty_graphs import FATAL
from tests.retraining.clinic import draw_patients

TIMEOUT_S = 30
# Each is a traceback of the service, and nobody reads those before the end: a full pipe would stop it.
MOST_FATAL = 8


class Traffic:
    """Senders that send from the entry of the context to its end; `statuses` counts what they got.

    Parameters
    ----------
    address
        Of the service.
    n_senders
        How many send at a time.
    fatal_every
        Every so many rows one is sent that a `raising` graph fails on; 0: none.
    labelled
        Whether each prediction's outcome is sent too.
    pause_s
        How long a sender rests after each row.
    """

    def __init__(
        self, address: str, *, n_senders: int = 4, fatal_every: int = 0, labelled: bool = False, pause_s: float = 0
    ) -> None:
        self.statuses: Counter[int] = Counter()
        self.lost: list[str] = []
        self.last_release = ""
        self._address = address
        self._fatal_every = fatal_every
        self._labelled = labelled
        self._pause_s = pause_s
        self._numbers = itertools.count()
        self._patients = draw_patients(20_000, seed=7)
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._send_until_told) for _ in range(n_senders)]

    @property
    def failed(self) -> dict[int, int]:
        """How often each status came that is no success."""
        return {status: number for status, number in self.statuses.items() if status != httpx.codes.OK}

    def wait_for(self, release: str, *, within_s: float) -> None:
        """Return once a release answers."""
        deadline = time.monotonic() + within_s
        while self.last_release != release:
            assert time.monotonic() < deadline, f"{self.last_release[:12]} still answers: {self.statuses}, {self.lost}"
            time.sleep(0.01)

    def _send_until_told(self) -> None:
        with httpx.Client(base_url=self._address, timeout=TIMEOUT_S) as client:
            while not self._stop.is_set():
                try:
                    self._send(client, next(self._numbers))
                except httpx.HTTPError as error:
                    self.lost.append(repr(error))
                self._stop.wait(self._pause_s)

    def _send(self, client: httpx.Client, number: int) -> None:
        rows, outcomes = self._patients
        row: Row = {**rows[number % len(rows)]}
        if self._fatal_every and number % self._fatal_every == 0 and self.statuses[500] < MOST_FATAL:
            row = {**row, "age": FATAL}
        answer = client.post("/v1/predict", json=row)
        self.statuses[answer.status_code] += 1
        if answer.status_code == httpx.codes.OK:
            self.last_release = answer.json()["release"]
            if self._labelled:
                label = {"id": answer.json()["id"], "label": outcomes[number % len(rows)]}
                self.statuses[client.post("/v1/labels", content=json.dumps(label)).status_code] += 1

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()
