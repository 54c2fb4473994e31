"""Senders that never stop by themselves, and what the log holds of what they were told is kept."""

import sqlite3
import threading
import time
from pathlib import Path
from typing import Any

import httpx

N_SENDERS = 8
PATIENCE_S = 60


def kept_ids(folder: Path) -> list[str]:
    """Return every id of the log, as a reader that is none of our code finds them."""
    with sqlite3.connect(folder / ".homeostat" / "homeostat.db") as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        return [line[0] for line in connection.execute("SELECT id FROM predictions ORDER BY seq")]


class Senders:
    """Threads that send one row after the other until told to stop, and note every answer.

    Each keeps its connection open for as long as the service lets it, and sends nothing twice.
    """

    def __init__(self, address: str, row: dict[str, Any]) -> None:
        self.acknowledged: list[str] = []
        self.releases: set[str] = set()
        self.failures: list[str] = []
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._send, args=(address, row)) for _ in range(N_SENDERS)]
        for thread in self._threads:
            thread.start()

    def wait_for(self, n_answers: int) -> None:
        """Return once so many more rows were answered."""
        goal, deadline = len(self.acknowledged) + n_answers, time.monotonic() + PATIENCE_S
        while len(self.acknowledged) < goal:
            assert time.monotonic() < deadline, self.failures
            time.sleep(0.01)

    def stop(self) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _send(self, address: str, row: dict[str, Any]) -> None:
        with httpx.Client(base_url=address, timeout=30) as client:
            while not self._stop.is_set():
                try:
                    answer = client.post("/v1/predict", json=row)
                except httpx.HTTPError as error:
                    self.failures.append(repr(error))
                    return
                if answer.status_code == 200:
                    self.acknowledged.append(answer.json()["id"])
                    self.releases.add(answer.json()["release"])
                else:
                    self.failures.append(answer.text)
