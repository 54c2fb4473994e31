"""What watching costs: a drift check beside scipy's and Evidently's, a row, a turn of the loop after a long history.

Usage: python -m bench.monitoring [--rounds N] [--history ROWS ...] [--without-evidently] [--only PART]. Prints
Markdown, writes bench/out/monitoring.json. The first run installs Evidently into .venv-evidently. 10 million rows of
history take 3 GB of disk and some minutes: pass --history 10000 10000000 for them.
"""

import argparse
import json
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from bench.drift_check import N_CATEGORICAL, N_NUMERIC, N_REFERENCE, OURS, measure_checks
from bench.history import measure_history
from bench.row_cost import PARTS, WINDOW, measure_row_costs
from bench.serving import OUT, describe_machine
from homeostat.records import Json

SECTIONS = ("check", "row", "history")
ROUNDS, WINDOWS = 5, 50
HISTORY = (10_000, 1_000_000)


def check_lines(measured: Json) -> Iterator[str]:
    """Yield the table of one drift check."""
    columns = f"{N_NUMERIC} numeric and {N_CATEGORICAL} categorical columns"
    yield f"One drift check, reference {N_REFERENCE:,} rows, {columns}"
    yield "(seconds of processor time; in brackets how many times ours)\n"
    yield f"| | {' | '.join(f'{int(size):,} current rows' for size in measured)} |"
    yield "|---|" + "---|" * len(measured)
    for name in next(iter(measured.values()))["seconds"]:
        cells = [as_ratio(size["seconds"][name], size["seconds"][OURS]) for size in measured.values()]
        yield f"| {name} | {' | '.join(cells)} |"
    apart = {key: max(size["differences"][key] for size in measured.values()) for key in ("statistic", "p_value")}
    said = f"statistics within {apart['statistic']:.0e}, p-values within {apart['p_value']:.0e} of themselves"
    yield f"\nAll say the same: {said}. (Evidently's chi-square is a test of fit: it is held to scipy's `chisquare`.)"


def as_ratio(seconds: float, ours: float) -> str:
    """Return a time and how many times ours it is."""
    return f"{seconds:.3f} ({seconds / ours:.1f})"


def row_lines(measured: Sequence[Json]) -> Iterator[str]:
    """Yield the table of what a row costs."""
    yield f"A row on a watch, windows of {WINDOW} (microseconds of processor time)\n"
    yield f"| features | reference rows | {' | '.join(PARTS.values())} | all |"
    yield "|---|---|" + "---|" * (len(PARTS) + 1)
    for line in measured:
        cells = [*line["us"].values(), sum(line["us"].values())]
        yield f"| {line['features']} | {line['reference']:,} | {' | '.join(f'{us:.1f}' for us in cells)} |"


def history_lines(measured: Json) -> Iterator[str]:
    """Yield the table of a turn of the loop after a history."""
    yield "A turn of the loop on a watch of 4 features, every row numbered and every window checked (milliseconds)\n"
    yield "| rows seen | database | with a new window | with nothing new |\n|---|---|---|---|"
    for n_rows, line in measured.items():
        yield f"| {int(n_rows):,} | {line['bytes'] / 1e6:,.0f} MB | {line['window']:.1f} | {line['idle']:.1f} |"


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Measure what watching costs.")
    parser.add_argument("--rounds", type=int, default=ROUNDS, help="checks by each contestant")
    parser.add_argument("--windows", type=int, default=WINDOWS, help="windows for the cost of a row")
    parser.add_argument("--history", type=int, nargs="+", default=HISTORY, metavar="ROWS")
    parser.add_argument("--without-evidently", action="store_true")
    parser.add_argument("--only", choices=SECTIONS, action="append", help="one of the tables; may be repeated")
    parser.add_argument("--json", type=Path, default=OUT / "monitoring.json", metavar="PATH")
    return parser.parse_args()


def measure(section: str, arguments: argparse.Namespace, scratch: Path) -> tuple[Json | list[Json], Iterator[str]]:
    """Return the figures of one section and its lines."""
    if section == "check":
        checks = measure_checks(scratch, rounds=arguments.rounds, with_evidently=not arguments.without_evidently)
        return checks, check_lines(checks)
    if section == "row":
        rows = measure_row_costs(n_windows=arguments.windows)
        return rows, row_lines(rows)
    turns = measure_history(scratch, arguments.history)
    return turns, history_lines(turns)


def main() -> None:
    arguments = parse_arguments()
    OUT.mkdir(exist_ok=True)
    content: Json = {"machine": describe_machine()}
    for section in arguments.only or SECTIONS:
        # Not in /tmp, which may lie in memory: the history is measured on a disk.
        with tempfile.TemporaryDirectory(dir=OUT) as scratch:
            content[section], lines = measure(section, arguments, Path(scratch))
        print("\n".join(lines), "\n", sep="\n", flush=True)
    arguments.json.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
