"""What explanations cost the predictions beside them: the same load with and without somebody who always explains.

Run: python -m bench.explaining PROJECT, a trained project. Blocks with and without take turns, so that whatever else
the machine does falls on both alike; explanations are asked for one after the other, by a process of its own.
"""

import http.client
import json
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import numpy as np

from bench.load import TIMEOUT_S, Answered, send_steadily
from bench.processes import free_port, start
from homeostat.project import open_project
from homeostat.records import Floats, Json
from homeostat.web.openapi import example_row

PER_SECOND, BLOCK_S, N_BLOCKS = 100.0, 1.0, 25
ROWS_EXPLAINED = 1


def explain_until(port: int, body: bytes, ends_at_s: float) -> list[float]:
    """Ask for explanations until a moment of the monotonic clock; return how long each took, in milliseconds."""
    took = []
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=TIMEOUT_S)
    while (started := time.monotonic()) < ends_at_s:
        connection.request("POST", "/v1/explain", body, {"Content-Type": "application/json"})
        response = connection.getresponse()
        content = response.read()
        if response.status != http.client.OK:
            raise SystemExit(f"{response.status}: {content!r}")
        took.append((time.monotonic() - started) * 1e3)
    connection.close()
    return took


def measure(port: int, row: Json) -> tuple[list[Answered], list[Answered], list[float]]:
    """Return the predictions without and with explanations beside them, and the times of the explanations."""
    alone, beside, explained = [], [], []
    question = json.dumps({"rows": [row] * ROWS_EXPLAINED}).encode()
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as other:
        other.submit(explain_until, port, question, time.monotonic() + 2).result()
        for _ in range(N_BLOCKS):
            alone += send_block(port, row)
            asked = other.submit(explain_until, port, question, time.monotonic() + BLOCK_S)
            beside += send_block(port, row)
            explained += asked.result()
    return alone, beside, explained


def send_block(port: int, row: Json) -> list[Answered]:
    return send_steadily(port, "/v1/predict", json.dumps(row).encode(), per_second=PER_SECOND, seconds=BLOCK_S)


def quantiles(milliseconds: list[float] | Floats) -> str:
    p50, p99 = np.quantile(milliseconds, [0.5, 0.99])
    return f"p50 {p50:.2f} ms, p99 {p99:.2f} ms"


def main(folder: Path) -> None:
    with open_project(folder) as project:
        row = example_row(project.schema)
    port, log = free_port(), folder / "explaining.log"
    command = [sys.executable, "-m", "homeostat", "serve", "--project", str(folder), "--port", str(port)]
    # The child is on the server's core too: the hardest case.
    with start(command, port, environment={}, probe=("/v1/predict", json.dumps(row).encode()), log=log):
        alone, beside, explained = measure(port, row)
    failures = sum(bool(one.failure) for one in (*alone, *beside))
    latencies = [np.array([one.latency_ms for one in block]) for block in (alone, beside)]
    print(f"predictions alone, {len(alone)}: {quantiles(latencies[0])}")
    print(f"predictions beside explanations, {len(beside)}: {quantiles(latencies[1])}")
    p99s = [float(np.quantile(block, 0.99)) for block in latencies]
    print(f"failures: {failures}")
    print(f"p99 with / without: {p99s[1] / p99s[0]:.2f}")
    print(f"explanations of {ROWS_EXPLAINED} row, one after the other, {len(explained)}: {quantiles(explained)}")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
