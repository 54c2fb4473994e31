"""Serving on the Pima table: ours beside a bare program, FastAPI and `mlflow models serve`; and a hundred swaps.

Usage: python -m bench.serving [--quick] [--swaps N] [--rounds N] [--json PATH] [CSV], by default the file that
HOMEOSTAT_PIMA names. Prints Markdown, writes bench/out/serving.json. Needs wrk, and two cores: one for the server, one
for the load. The first run installs the peers into .venv-peers.
"""

import argparse
import json
import os
import platform
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from http import HTTPStatus
from importlib.metadata import version
from pathlib import Path

import numpy as np

from bench.contestants import (
    LEVELS,
    REQUIREMENTS,
    Contestant,
    enter_by_hand,
    enter_mlflow,
    enter_ours,
    find_production,
    train_project,
    write_bodies,
)
from bench.load import drive
from bench.processes import LOAD_CORE, SERVER_CORE, NotServingError, Running, await_backlog, measure_memory, post
from bench.serving_report import print_report
from bench.swaps import copy_with_releases, measure_swaps
from homeostat.data.columns import stack_rows
from homeostat.deployment.artifacts import open_release
from homeostat.records import Floats, Json
from homeostat.training.scoring import Graph

OUT = Path(__file__).resolve().parent / "out"
# What is driven against each contestant: whether one row or 1,000, and over how many connections.
LOADS = {"row_1": ("one", 1), "row_32": ("one", 32), "rows_1": ("many", 1), "rows_4": ("many", 4)}
WARM_UP_S = 1
ALIKE = 1e-5
SWAP_WORKERS = (1, 2)
OTHERS_S = 2.0
LIBRARIES = ("homeostat", "fastapi", "msgspec", "numpy", "onnxruntime", "pydantic", "sqlalchemy", "uvicorn")


@dataclass(frozen=True, slots=True)
class Extent:
    """How long everything is measured."""

    rounds: int
    seconds: int
    cold_starts: int
    swaps: int
    steady_s: float


WHOLE = Extent(rounds=3, seconds=4, cold_starts=5, swaps=100, steady_s=15.0)
QUICK = Extent(rounds=1, seconds=1, cold_starts=1, swaps=10, steady_s=3.0)


# --- steady load --------------------------------------------------------------------------------------------------


def measure_contest(contestants: Sequence[Contestant], extent: Extent, truth: Floats, scratch: Path) -> Json:
    """Return each contestant's visits, in rounds so that a slow minute of the machine meets all of them."""
    visits: dict[str, list[Json]] = {contestant.name: [] for contestant in contestants}
    refused: dict[str, str] = {}
    cold: dict[str, list[float]] = {contestant.name: [] for contestant in contestants}
    for place in range(max(extent.rounds, extent.cold_starts)):
        for contestant in contestants:
            if contestant.name in refused:
                continue
            print(f"start {place + 1}: {contestant.name}", file=sys.stderr)
            os.sync()  # what others have written is not this contestant's to wait for
            try:
                with contestant.run(scratch) as running:
                    cold[contestant.name].append(running.cold_s)
                    if place < extent.rounds:
                        check_answers(contestant, running, truth)
                        visits[contestant.name].append(visit(contestant, running, seconds=extent.seconds))
            except NotServingError as error:
                refused[contestant.name] = str(error)
    figures = {name: summarise(found, cold[name]) for name, found in visits.items() if name not in refused}
    return {"figures": figures, "refused": refused, "visits": visits, "cold_s": cold}


def check_answers(contestant: Contestant, running: Running, truth: Floats) -> None:
    """Raise NotServingError unless a contestant's answers to one row and to 1,000 are those of the graph."""
    for path, body, n_rows in (
        (contestant.one, contestant.body_one, 1),
        (contestant.many, contestant.body_many, len(truth)),
    ):
        status, content = post(running.port, path, body.read_bytes())
        answer = json.loads(content) if status == HTTPStatus.OK else {"predictions": []}
        given = np.array([one.get("probability", np.nan) for one in answer.get("predictions", [answer])])
        if len(given) != n_rows or not np.allclose(given, truth[:n_rows], rtol=0, atol=ALIKE):
            raise NotServingError(f"answers wrongly: {status} {content[:100]!r}")


def visit(contestant: Contestant, running: Running, *, seconds: int) -> Json:
    """Return what one running contestant does under each load."""
    found: Json = {"rss_idle_mb": measure_memory(running)}
    drive(running.port, contestant.one, contestant.body_one, connections=4, seconds=WARM_UP_S)
    for load, (kind, connections) in LOADS.items():
        path, body = (contestant.one, contestant.body_one) if kind == "one" else (contestant.many, contestant.body_many)
        found[load] = drive(running.port, path, body, connections=connections, seconds=seconds)
        # What `relaxed` has answered and not written yet would burden the next load, and is no free gift either.
        found[load]["backlog_s"] = await_backlog(running.port) if contestant.template else 0.0
    found["rss_loaded_mb"] = measure_memory(running)
    return found


def summarise(visits: Sequence[Json], cold: Sequence[float]) -> Json:
    """Return the medians over all visits; a refused request is no answered one, and failures are added up."""
    figures: Json = {"cold_s": statistics.median(cold), "failures": 0}
    figures["backlog_s"] = max(one[load]["backlog_s"] for one in visits for load in LOADS)
    for key in ("rss_idle_mb", "rss_loaded_mb"):
        figures[key] = statistics.median(one[key] for one in visits)
    for load in LOADS:
        runs = [one[load] for one in visits]
        figures[load] = {key: statistics.median(run[key] for run in runs) for key in ("p50_ms", "p99_ms")}
        figures[load]["per_s"] = statistics.median((run["requests"] - run["refused"]) / run["seconds"] for run in runs)
        figures["failures"] += sum(run["refused"] + run["broken"] for run in runs)
    return figures


# --- the whole run ------------------------------------------------------------------------------------------------


def measure(data: Path, extent: Extent, scratch: Path) -> Json:
    """Return all figures."""
    template = scratch / "project"
    print("Training a scratch project ...", file=sys.stderr)
    train_project(template, data)
    write_bodies(template, data, scratch)
    release = find_production(template)
    contestants = [
        enter_by_hand("bare", "bare", release, scratch),
        enter_by_hand("fastapi", "with_fastapi", release, scratch),
        enter_mlflow(release, scratch),
        *(enter_ours(template, scratch, level) for level in LEVELS),
    ]
    # What follows waits or drives the load, and so stays off the server's core.
    os.sched_setaffinity(0, {LOAD_CORE})
    return {
        "others_before": measure_others(),
        "sync_ms": measure_sync(scratch),
        "contest": measure_contest(contestants, extent, score_rows(release, scratch), scratch),
        "swaps": dict(measure_swap_runs(template, extent, scratch)),
        "others_after": measure_others(),
    }


def score_rows(release: Path, scratch: Path) -> Floats:
    """Return what the graph itself says to the 1,000 rows; the first of them is the one that is sent alone."""
    opened = open_release(release)
    rows = json.loads((scratch / "rows.json").read_text())["rows"]
    numbers = [{name: float(value) for name, value in row.items()} for row in rows]
    return Graph(opened.graph, opened.schema).score(stack_rows(numbers, opened.schema)).astype(np.float64)


def measure_swap_runs(template: Path, extent: Extent, scratch: Path) -> Iterator[tuple[str, Json]]:
    """Yield the swap run of each number of workers, or why there is none."""
    if not extent.swaps:
        return
    digests = copy_with_releases(template, scratch / "swappable", extent.swaps)
    for workers in SWAP_WORKERS:
        print(f"{extent.swaps} swaps, workers: {workers}", file=sys.stderr)
        contestant = enter_ours(scratch / "swappable", scratch, LEVELS[0], workers=workers)
        try:
            yield str(workers), measure_swaps(contestant, scratch, digests, steady_s=extent.steady_s)
        except NotServingError as error:
            yield str(workers), {"refused": str(error)}


def measure_others() -> float:
    """Return the share of the machine's processor time that others take while this program waits."""
    before = read_processor_times()
    time.sleep(OTHERS_S)
    used = [now - earlier for now, earlier in zip(read_processor_times(), before, strict=True)]
    idle, waiting = used[3:5]
    return 1 - (idle + waiting) / sum(used)


def read_processor_times() -> list[int]:
    """Return user, nice, system, idle, waiting, interrupts, soft interrupts and stolen time, of all cores together."""
    return [int(ticks) for ticks in Path("/proc/stat").read_text().split()[1:9]]


def measure_sync(scratch: Path) -> float:
    """Return the median milliseconds in which this disk takes 4 KiB for good: the floor of every durable answer."""
    taken = []
    with (scratch / "sync").open("wb") as file:
        for _ in range(100):
            file.write(bytes(4096))
            file.flush()
            started = time.perf_counter()
            os.fsync(file.fileno())
            taken.append((time.perf_counter() - started) * 1e3)
    return statistics.median(taken)


def describe_machine() -> Json:
    """Return where and with what this was measured."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    processor = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "unknown")
    pins = dict(line.split("==") for line in REQUIREMENTS.read_text().splitlines() if "==" in line)
    versions = {name: version(name) for name in LIBRARIES} | {"python": platform.python_version()}
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "processor": processor,
        "cores": os.cpu_count(),
        "versions": versions | {"mlflow": pins["mlflow"]},
    }


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Measure serving, ours beside its peers.")
    parser.add_argument("data", nargs="?", default=os.environ.get("HOMEOSTAT_PIMA", ""), metavar="CSV")
    parser.add_argument("--quick", action="store_true", help="a short form, for trying")
    parser.add_argument("--rounds", type=int, help="visits to each contestant")
    parser.add_argument("--swaps", type=int, help="promotions under load; 0 for none")
    parser.add_argument("--json", type=Path, default=OUT / "serving.json", metavar="PATH")
    return parser.parse_args()


def require_tools(data: Path) -> None:
    """Exit with what is missing, if anything is."""
    for tool in ("wrk", "taskset"):
        if shutil.which(tool) is None:
            sys.exit(f"{tool} is missing: install it (Debian: apt install wrk util-linux).")
    if not {SERVER_CORE, LOAD_CORE} <= os.sched_getaffinity(0):
        sys.exit(f"Cores {SERVER_CORE} and {LOAD_CORE} are needed: one for the server, one for the load.")
    if not data.is_file():
        sys.exit("Pass the Pima table as the first argument or in HOMEOSTAT_PIMA.")


def main() -> None:
    arguments = parse_arguments()
    data = Path(arguments.data).resolve()
    require_tools(data)
    extent = QUICK if arguments.quick else WHOLE
    given = {name: getattr(arguments, name) for name in ("rounds", "swaps") if getattr(arguments, name) is not None}
    extent = replace(extent, **given)
    machine, started = describe_machine(), time.monotonic()
    OUT.mkdir(exist_ok=True)
    # Not in /tmp, which may lie in memory: the durable levels are measured on a disk.
    with tempfile.TemporaryDirectory(dir=OUT) as scratch:
        measured = measure(data, extent, Path(scratch))
    seconds = time.monotonic() - started
    content = {"machine": machine, "extent": asdict(extent), "seconds": seconds, **measured}
    arguments.json.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    print_report(content)


if __name__ == "__main__":
    main()
