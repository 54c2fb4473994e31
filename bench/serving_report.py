"""The tables of the serving benchmark: figures, ratios, and the design's targets, met or missed.

Not here: any measuring (`bench.serving`).
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from homeostat.records import Json

N_ROWS = 1_000
# What others may take of the machine before and after a run that counts.
QUIET_SHARE = 0.05
DURABLE, RELAXED = "ours, power-safe", "ours, relaxed"
CONTEST_HEAD = (
    *("", "1 connection: p50 ms", "p99 ms", "req/s", "32: p50 ms", "p99 ms", "req/s"),
    *(
        "1,000 rows: rows/s, 1 connection",
        "4 connections",
        "MB idle",
        "MB after load",
        "first answer s",
        "longest backlog s",
    ),
    "failures",
)
RATIO_HEAD = (
    *("", "to bare: p50", "req/s, 1", "req/s, 32", "rows/s, 1", "rows/s, 4"),
    *("to mlflow: p50 lower by", "req/s, 1", "req/s, 32", "rows/s, 1", "rows/s, 4"),
)
SWAP_HEAD = (
    *("workers", "swaps", "requests", "failures", "p99 ms steady", "p99 ms around swaps", "longest ms"),
    *("last old answer s, median", "max", "MB before", "MB after", "processes that answered"),
)
LOADS = ("row_1", "row_32", "rows_1", "rows_4")


@dataclass(frozen=True, slots=True)
class Target:
    """A figure that the design promises a bound for; None was not measured."""

    words: str
    value: float | None
    sign: Literal["<=", ">="]
    bound: float
    unit: str

    @property
    def verdict(self) -> str:
        """Whether the promise is kept."""
        if self.value is None:
            return "not measured"
        kept = self.value <= self.bound if self.sign == "<=" else self.value >= self.bound
        return "met" if kept else "MISSED"


def print_report(content: Json) -> None:
    """Print everything as Markdown."""
    for section in (describe, contest_table, ratios_table, swaps_table, targets_table):
        print(*section(content), "", sep="\n")


def describe(content: Json) -> Iterator[str]:
    """Yield where, when and how it was measured."""
    machine, extent = content["machine"], content["extent"]
    yield f"{machine['date']}, {machine['processor']}, {machine['cores']} cores; {content['seconds']:.0f} s in all."
    others = max(content["others_before"], content["others_after"])
    if others > QUIET_SHARE:
        yield f"\n**Others used {others:.0%} of the machine meanwhile: these figures are not to be quoted.**\n"
    yield ", ".join(f"{name} {version}" for name, version in machine["versions"].items()) + "."
    yield ""
    yield (
        f"One worker each, the server on one core, wrk on another; medians of {extent['rounds']} rounds of "
        f"{extent['seconds']} s. Memory is that of all processes of a contestant; "
        "backlog, how long after a load answered rows were still being written."
    )
    yield f"A synced write of 4 KiB takes {content['sync_ms']:.2f} ms on this disk."
    yield "mlflow serves the same ONNX graph, on one thread, without a signature: it checks nothing of a request."
    for name, reason in content["contest"]["refused"].items():
        yield f"\nRefused, {name}: {reason}"


def contest_table(content: Json) -> Iterator[str]:
    """Yield the table of what was measured under steady load."""
    yield from head(CONTEST_HEAD)
    for name, found in content["contest"]["figures"].items():
        cells = [name]
        for load in ("row_1", "row_32"):
            one = found[load]
            cells += [f"{one['p50_ms']:.3f}", f"{one['p99_ms']:.2f}", f"{one['per_s']:,.0f}"]
        cells += [f"{found[load]['per_s'] * N_ROWS:,.0f}" for load in ("rows_1", "rows_4")]
        cells += [f"{found[key]:.0f}" for key in ("rss_idle_mb", "rss_loaded_mb")]
        yield line([*cells, f"{found['cold_s']:.2f}", f"{found['backlog_s']:.2f}", str(found["failures"])])


def ratios_table(content: Json) -> Iterator[str]:
    """Yield each contestant's ratios to the bare program and to MLflow."""
    yield from head(RATIO_HEAD)
    for name in content["contest"]["figures"]:
        slower = ratio(latency(content, name), latency(content, "bare"))
        faster = ratio(latency(content, "mlflow"), latency(content, name))
        to_bare = [ratio(rate(content, name, load), rate(content, "bare", load)) for load in LOADS]
        to_mlflow = [ratio(rate(content, name, load), rate(content, "mlflow", load)) for load in LOADS]
        yield line([name, *(show(value, "x") for value in (slower, *to_bare, faster, *to_mlflow))])


def swaps_table(content: Json) -> Iterator[str]:
    """Yield the table of the swap runs."""
    yield from head(SWAP_HEAD)
    for workers, run in content["swaps"].items():
        if "refused" in run:
            yield line([workers, f"refused: {run['refused']}", *[""] * (len(SWAP_HEAD) - 2)])
            continue
        cells = [workers, str(run["swaps"]), f"{run['requests']:,}", str(run["failures"])]
        cells += [f"{run[key]:.2f}" for key in ("steady_p99_ms", "swaps_p99_ms", "swaps_max_ms")]
        cells += [f"{run[key]:.2f}" for key in ("adopted_median_s", "adopted_max_s")]
        cells += [f"{run[key]:.0f}" for key in ("rss_before_mb", "rss_after_mb")]
        yield line([*cells, str(run["busy_processes"])])
        for failure in run["first_failures"]:
            yield line([f"failed: {failure}", *[""] * (len(SWAP_HEAD) - 1)])


def targets_table(content: Json) -> Iterator[str]:
    """Yield the design's targets beside what was measured."""
    yield from head(("target", "measured", ""))
    for target in (*speed_targets(content), *process_targets(content), *swap_targets(content)):
        promised = f"{target.words} {target.sign} {target.bound:g}{target.unit}"
        yield line([promised, show(target.value, target.unit), target.verdict])


def speed_targets(content: Json) -> Iterator[Target]:
    """Yield the targets of latency and throughput."""

    def to(peer: str, name: str, load: str) -> float | None:
        return ratio(rate(content, name, load), rate(content, peer, load))

    p50 = latency(content, RELAXED)
    yield Target("relaxed to bare: p50", ratio(p50, latency(content, "bare")), "<=", 1.25, "x")
    yield Target("relaxed to bare: req/s at 1 connection", to("bare", RELAXED, "row_1"), ">=", 0.8, "x")
    yield Target("relaxed to bare: req/s at 32 connections", to("bare", RELAXED, "row_32"), ">=", 0.8, "x")
    yield Target("relaxed to mlflow: p50 lower by", ratio(latency(content, "mlflow"), p50), ">=", 20, "x")
    yield Target("relaxed to mlflow: req/s at 1 connection", to("mlflow", RELAXED, "row_1"), ">=", 50, "x")
    yield Target("relaxed to mlflow: req/s at 32 connections", to("mlflow", RELAXED, "row_32"), ">=", 50, "x")
    yield Target("relaxed to mlflow: rows/s at 1 connection", to("mlflow", RELAXED, "rows_1"), ">=", 2.5, "x")
    yield Target("relaxed to mlflow: rows/s at 4 connections", to("mlflow", RELAXED, "rows_4"), ">=", 2.5, "x")
    yield Target("power-safe to mlflow: req/s at 32 connections", to("mlflow", DURABLE, "row_32"), ">=", 10, "x")


def process_targets(content: Json) -> Iterator[Target]:
    """Yield the targets of start, memory and correctness."""
    figures = content["contest"]["figures"]
    for name in (DURABLE, RELAXED):
        ours = figures.get(name, {})
        words = name.removeprefix("ours, ")
        yield Target(f"{words}: first answer after", ours.get("cold_s"), "<=", 1.0, " s")
        yield Target(f"{words}: memory after load", ours.get("rss_loaded_mb"), "<=", 130, " MB")
    failures = [found["failures"] for name, found in figures.items() if name.startswith("ours")]
    yield Target("ours, all levels: failed requests", sum(failures) if failures else None, "<=", 0, "")


def swap_targets(content: Json) -> Iterator[Target]:
    """Yield the targets of the swap runs."""
    for workers, run in content["swaps"].items():
        words = f"swaps, workers = {workers}:"
        # A run in which some worker answered nothing says nothing about that many workers.
        found = "refused" not in run and run["busy_processes"] >= int(workers)
        yield Target(f"{words} failed requests", run["failures"] if found else None, "<=", 0, "")
        p99 = run["swaps_p99_ms"] / run["steady_p99_ms"] if found else None
        yield Target(f"{words} p99 around swaps to steady", p99, "<=", 2.0, "x")
        # A run that ends on an older release never adopted the last one, however early its other answers were.
        adopted = run["adopted_max_s"] if found and run["ended_on_last"] else None
        yield Target(f"{words} last answer by an old release after", adopted, "<=", 5.0, " s")


def latency(content: Json, name: str) -> float | None:
    """Return a contestant's median milliseconds for one row over one connection, None without it."""
    found = content["contest"]["figures"].get(name)
    return found["row_1"]["p50_ms"] if found else None


def rate(content: Json, name: str, load: str) -> float | None:
    """Return a contestant's answered requests per second under a load, None without it."""
    found = content["contest"]["figures"].get(name)
    return found[load]["per_s"] if found else None


def ratio(value: float | None, reference: float | None) -> float | None:
    """Return one figure over another, None without both."""
    return value / reference if value is not None and reference else None


def show(value: float | None, unit: str) -> str:
    """Return a figure with three digits, nothing for none."""
    return "" if value is None else f"{value:,.0f}{unit}" if value >= 100 else f"{value:.3g}{unit}"  # noqa: PLR2004


def head(cells: tuple[str, ...]) -> Iterator[str]:
    """Yield a table's first two lines."""
    yield line(list(cells))
    yield "|" + "---|" * len(cells)


def line(cells: list[str]) -> str:
    """Return one line of a table."""
    return f"| {' | '.join(cells)} |"
