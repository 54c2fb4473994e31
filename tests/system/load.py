"""Senders that never rest: single rows, small batches and outcomes over HTTP, and an account of every answer.

Not here: the process they send to (`serving_process`).
"""

import http.client
import json
import threading
import time
from contextlib import closing
from random import Random
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlsplit

from tests.system.ledger import Ledger

N_SENDERS = 6
MAX_BATCH = 12
TIMEOUT_S = 30
ROW = {
    "Pregnancies": 6,
    "Glucose": 148,
    "BloodPressure": 72,
    "SkinThickness": 35,
    "Insulin": 0,
    "BMI": 33.6,
    "DiabetesPedigreeFunction": 0.627,
    "Age": 50,
}


class Load:
    """Threads that send from the entry of the context to its end; one that loses its connection opens another.

    `acknowledged` holds what was answered with 200, `failures` every other answer and every lost connection.
    """

    def __init__(self, address: str, *, seed: int) -> None:
        self.acknowledged = Ledger()
        self.failures: list[str] = []
        self._address = urlsplit(address).netloc
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._run, args=(f"{seed} {n}",)) for n in range(N_SENDERS)]

    def wait_for_more(self) -> None:
        """Return once something more is acknowledged."""
        before, deadline = self.acknowledged.n_entries, time.monotonic() + TIMEOUT_S
        while self.acknowledged.n_entries == before:
            assert time.monotonic() < deadline, f"nothing more is acknowledged: {self.failures[-3:]}"
            time.sleep(0.002)

    def _run(self, seed: str) -> None:
        random = Random(seed)  # noqa: S311  the same senders again, not a secret
        while not self._stop.is_set():
            with closing(http.client.HTTPConnection(self._address, timeout=TIMEOUT_S)) as connection:
                try:
                    self._send_until_lost(connection, random)
                except (OSError, http.client.HTTPException) as error:
                    self.failures.append(repr(error))
                    time.sleep(0.01)

    def _send_until_lost(self, connection: http.client.HTTPConnection, random: Random) -> None:
        while not self._stop.is_set():
            path, body = self._choose(random)
            connection.request("POST", path, json.dumps(body), {"Content-Type": "application/json"})
            response = connection.getresponse()
            content = response.read()
            if response.status == http.HTTPStatus.OK:
                self._note(json.loads(content))
            else:
                self.failures.append(f"{response.status} {content.decode()}")

    def _choose(self, random: Random) -> tuple[str, dict[str, Any]]:
        """Return a request: half of them single rows, the others batches and outcomes."""
        recent = self.acknowledged.ids[-50:]
        kind = random.random()
        if kind < 0.3 and recent:
            return "/v1/labels", outcome_of(random.choice(recent))
        if kind < 0.4 and recent:
            return "/v1/labels", {"labels": [outcome_of(name) for name in random.sample(recent, min(5, len(recent)))]}
        if kind < 0.5:
            return "/v1/predict", {"rows": [row_of(random) for _ in range(random.randint(1, MAX_BATCH))]}
        return "/v1/predict", row_of(random)

    def _note(self, answer: dict[str, Any]) -> None:
        for one in answer.get("predictions", answer.get("outcomes", [answer])):
            if "status" not in one:
                self.acknowledged.ids.append(one["id"])
            elif one["status"] in {"recorded", "repeated"}:
                self.acknowledged.labels[one["id"]] = one["label"]
            else:
                self.failures.append(json.dumps(one))

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


def row_of(random: Random) -> dict[str, float]:
    """Return a possible row."""
    return ROW | {"Age": random.randint(21, 80), "Glucose": random.randint(60, 200)}


def outcome_of(name: str) -> dict[str, object]:
    """Return the outcome of a prediction: always the same one, so that a repetition is no conflict."""
    return {"id": name, "label": int(name[-1], 16) % 2}
