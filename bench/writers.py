"""How long a commit waits when several processes write one SQLite file: with the lock beside it, and without.

Usage: bench/writers.py [SECONDS], by default 3 for each line. Prints Markdown; times in milliseconds.
"""

import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import cast

from homeostat.store.database import Database, Durability, insert_lines
from homeostat.store.tables import rejections

WRITERS = 4
COLUMNS = ("received_at", "row", "violations")
LINE = (0, b"x" * 300, b"[]")


def commit_with_lock(database: Database) -> None:
    with database.write() as connection:
        insert_lines(connection, rejections, COLUMNS, [LINE])


def commit_without_lock(database: Database) -> None:
    with database.engine.execution_options(homeostat_write=True).connect() as connection, connection.begin():
        insert_lines(connection, rejections, COLUMNS, [LINE])


def write_for(seconds: float, url: str, durability: Durability, way: str) -> None:
    """Commit single rows for some seconds, and print the milliseconds of each as JSON."""
    commit = {"lock": commit_with_lock, "no lock": commit_without_lock}[way]
    took_ms: list[float] = []
    with Database(url, durability=durability) as database:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            started = time.perf_counter()
            commit(database)
            took_ms.append(1000 * (time.perf_counter() - started))
    print(json.dumps(took_ms))


def measure(durability: Durability, way: str, seconds: float) -> list[list[float]]:
    """Return the milliseconds of every commit of each writer."""
    with tempfile.TemporaryDirectory() as folder:
        url = f"sqlite:///{Path(folder) / 'homeostat.db'}"
        Database(url).close()
        command = [sys.executable, __file__, str(seconds), url, durability, way]
        writers = [subprocess.Popen(command, stdout=subprocess.PIPE) for _ in range(WRITERS)]
        return [json.loads(writer.communicate()[0]) for writer in writers]


def main(seconds: float) -> None:
    """Measure and print."""
    print(f"{WRITERS} processes, one row in each commit, {seconds:g} s:\n")
    print(
        "| durability | way | commits/s | fewest of one writer/s | p50 | p99 | longest |\n|---|---|---|---|---|---|---|"
    )
    durabilities: tuple[Durability, ...] = ("power-safe", "process-safe")
    for durability in durabilities:
        for way in ("no lock", "lock"):
            each = measure(durability, way, seconds)
            every = [took_ms for one in each for took_ms in one]
            p50, p99 = statistics.median(every), statistics.quantiles(every, n=100)[98]
            fewest = min(len(one) for one in each)
            rates = f"{len(every) / seconds:.0f} | {fewest / seconds:.0f}"
            print(f"| {durability} | {way} | {rates} | {p50:.2f} | {p99:.1f} | {max(every):.0f} |", flush=True)


if __name__ == "__main__":
    if len(sys.argv) > 2:  # noqa: PLR2004  this script as one of its writers
        write_for(float(sys.argv[1]), sys.argv[2], cast("Durability", sys.argv[3]), sys.argv[4])
    else:
        main(float(sys.argv[1]) if len(sys.argv) > 1 else 3.0)
