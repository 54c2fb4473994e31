"""Bodies that are small to send and large to read: refused or answered briefly, and the process stays as it is."""

import json
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeAlias

import httpx
import pytest

Row: TypeAlias = dict[str, Any]
Start: TypeAlias = Callable[..., tuple[Any, str]]
N_SENDERS = 6
MAX_BYTES = 1_048_576


def fill(one: str, opening: str = '{"rows":[', closing: str = "]}") -> str:
    """Return a body of as many equal parts as the service takes."""
    n_parts = min(10_000, (MAX_BYTES - 100) // (len(one) + 1))
    return opening + ",".join([one] * n_parts) + closing


def unknown_fields(n_fields: int) -> str:
    return json.dumps({f"Agf{place}": 1 for place in range(n_fields)})


BODIES = {
    "brackets": "[" * (MAX_BYTES - 100),
    "braces": '{"a":' * (MAX_BYTES // 5 - 100),
    "deep arrays": fill("[" * 400 + "]" * 400, "[", "]"),
    "deep cells": fill('{"Age":' + "[" * 40 + "]" * 40 + "}"),
    "digits": "9" * (MAX_BYTES - 100),
    "one long text": '"' + "x" * (MAX_BYTES - 100) + '"',
    "one long name": '{"' + "x" * (MAX_BYTES - 100) + '":1}',
    "many names": json.dumps({f"k{place}": place for place in range(60_000)}),
    "empty rows": fill("{}"),
    "unknown fields": fill(unknown_fields(10)),
    "long texts": fill(json.dumps({"Age": "\0" * 30})),
}


def memory_mb(process_id: int) -> float:
    pages = Path(f"/proc/{process_id}/statm").read_text().split()[1]
    return int(pages) * os.sysconf("SC_PAGE_SIZE") / 1e6


@pytest.mark.parametrize("kind", BODIES)
def test_a_hostile_body_has_a_short_answer(client: httpx.Client, kind: str) -> None:
    answer = client.post("/v1/predict", content=BODIES[kind])

    assert answer.status_code in {200, 400, 422}
    assert len(answer.content) < 2_000_000
    assert all("rejected" in one for one in answer.json().get("predictions", []))


def test_hostile_bodies_from_many_sides_leave_the_process_as_it_is(start_process: Start, row: Row) -> None:
    process, address = start_process()
    with httpx.Client(base_url=address, timeout=120) as client, ThreadPoolExecutor(N_SENDERS) as pool:
        client.post("/v1/predict", json=row)
        before_mb = memory_mb(process.pid)

        bodies = [body for body in BODIES.values() for _ in range(N_SENDERS)]
        answers = list(pool.map(lambda body: client.post("/v1/predict", content=body).status_code, bodies))

        assert set(answers) <= {200, 400, 422, 503}
        assert memory_mb(process.pid) < before_mb + 100
        assert client.post("/v1/predict", json=row).status_code == 200


def test_of_very_many_impossible_rows_the_first_are_told_in_full(client: httpx.Client, row: Row) -> None:
    rows = [{"Age": 250}] * 500

    answers = client.post("/v1/predict", json={"rows": [*rows, row]}).json()["predictions"]

    n_told = [len(answer["rejected"]) for answer in answers[:-1]]
    assert n_told == [8] * 125 + [1] * 375
    assert "id" in answers[-1]
