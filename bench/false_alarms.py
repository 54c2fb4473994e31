"""How often the book's rule fires without any drift, on the demonstration's clinic.

Usage: bench/false_alarms.py [CSV], by default the file that HOMEOSTAT_PIMA names. Prints Markdown.
"""

import os
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from homeostat.cli.init import propose_project
from homeostat.cli.proposal import render_settings, write_project
from homeostat.monitoring.drift import detect_drift
from homeostat.project import open_project
from homeostat.records import Columns, Floats, Schema
from homeostat.simulation.cohort import draw_aged, draw_ordinary
from homeostat.simulation.demo import meet_clinic
from homeostat.validation.profiles import build_profile, count_rows

ALPHA, BOUNDARY = 0.05, 0.3
WINDOW = 200
BASELINE_ROWS = 1_000
STREAMS, WINDOWS = 60, 40


def count_alarms(baseline: Columns, stream: Columns, schema: Schema) -> int:
    """Return how many of a stream's windows fire."""
    reference = build_profile(baseline, schema)
    fired = 0
    for start in range(0, WINDOWS * WINDOW, WINDOW):
        window = {name: values[start : start + WINDOW] for name, values in stream.items()}
        report = detect_drift(reference, count_rows(window, schema, reference), alpha=ALPHA, boundary=BOUNDARY)
        fired += report.fired
    return fired


def split(columns: Mapping[str, Floats], order: np.ndarray[tuple[int], np.dtype[np.int64]]) -> tuple[Columns, Columns]:
    """Return a baseline and the stream that follows it, the rows in the given order."""
    head, tail = order[:BASELINE_ROWS], order[BASELINE_ROWS:]
    return {n: v[head] for n, v in columns.items()}, {n: v[tail] for n, v in columns.items()}


def main() -> None:
    """Measure and print."""
    data = Path(sys.argv[1] if len(sys.argv) > 1 else os.environ["HOMEOSTAT_PIMA"]).resolve()
    with tempfile.TemporaryDirectory() as folder:
        proposal = propose_project(data, "Outcome")
        write_project(Path(folder) / "homeostat.toml", render_settings("bench", str(data), proposal))
        with open_project(Path(folder)) as project:
            clinic, schema = meet_clinic(project), project.schema
    n_rows = BASELINE_ROWS + WINDOWS * WINDOW
    fired = dict.fromkeys(("ordinary rows against the table", "aged rows, one clinic", "aged rows, strangers"), 0)
    for seed in range(STREAMS):
        rng = np.random.default_rng(seed)
        ordinary, _ = draw_ordinary(clinic, WINDOWS * WINDOW, rng)
        aged, _ = draw_aged(clinic, 4 * n_rows, rng)
        fired["ordinary rows against the table"] += count_alarms(clinic.register, ordinary, schema)
        fired["aged rows, one clinic"] += count_alarms(*split(aged, np.arange(n_rows)), schema)
        # Rows picked at random from a long stream have lost the clinic's rounds: nobody is due to come again.
        fired["aged rows, strangers"] += count_alarms(*split(aged, rng.permutation(4 * n_rows)[:n_rows]), schema)
    print(f"Windows of {WINDOW} rows without drift in which more than {BOUNDARY:g} of 8 features have p < {ALPHA:g}\n")
    print("| windows | fired | share |\n|---|---|---|")
    total = STREAMS * WINDOWS
    for name, count in fired.items():
        print(f"| {name} | {count} of {total:,} | {count / total:.2%} |")


if __name__ == "__main__":
    main()
