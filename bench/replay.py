"""How long a replay takes that retrains nothing, and where the time goes.

Not here: what a replay finds (`tests/simulation/test_replay.py`, docs/replay.md). 50,000 rows of eight features with
their outcomes, one a minute, from the clinic that the project was trained on. Run: python -m bench.replay [ROWS]
"""

import cProfile
import pstats
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import polars as pl

from homeostat.cli.init import propose_project
from homeostat.cli.proposal import render_settings, write_project
from homeostat.project import read_settings, schema_of
from homeostat.simulation.backtest import OWN, run_backtest
from homeostat.simulation.cohort import PUBLISHED, draw_ordinary, fit_cohort, synthetic_table
from homeostat.simulation.history import Names, read_history
from homeostat.simulation.table import TARGET
from homeostat.validation.checks import check_table

ROWS = 50_000
TARGET_S = 60.0
SHOWN = 25


def make_project(folder: Path) -> Path:
    columns, labels = synthetic_table(768, seed=0)
    data = folder / "patients.csv"
    pl.DataFrame({**columns, TARGET: labels}).write_csv(data)
    proposal = propose_project(data, TARGET)
    settings = render_settings("bench", data.name, proposal)
    # No retraining: the subject is everything else.
    write_project(folder / "homeostat.toml", settings + "\n[training]\ntrials = 3\n[retraining]\nmax_per_day = 0\n")
    return folder


def write_stream(project: Path, n_rows: int) -> Path:
    schema = schema_of(read_settings(project))
    columns, labels = synthetic_table(768, seed=0)
    cohort = fit_cohort(check_table(columns, schema).columns, labels, schema)
    rows, outcomes = draw_ordinary(cohort, n_rows, np.random.default_rng(1))
    path = project / "stream.csv"
    pl.DataFrame({"row_id": np.arange(n_rows), **{name: rows[name] for name in PUBLISHED}, TARGET: outcomes}).write_csv(
        path
    )
    return path


def main(n_rows: int) -> int:
    with tempfile.TemporaryDirectory() as name:
        project = make_project(Path(name))
        path = write_stream(project, n_rows)
        began = time.perf_counter()
        history = read_history(path, None, schema_of(read_settings(project)), Names())
        read_s = time.perf_counter() - began
        moments: list[float] = []
        busy: list[float] = []
        profile = cProfile.Profile()

        def tell(_: str, line: dict[str, object]) -> None:
            if line["event"] in {"begun", "summary"}:
                moments.append(time.perf_counter())
                busy.append(time.process_time())
            if line["event"] == "begun" and "--profile" in sys.argv:
                profile.enable()

        found = run_backtest(
            project, history, {}, Path(name) / "scratch", approvals="grant", tell=tell, progress=lambda _: None
        )
        profile.disable()
    took = read_s + moments[1] - moments[0]
    summary = found[OWN].summary
    print(
        f"{n_rows} rows, {summary['checks']} drift checks, {summary['retrainings']} retrainings: {took:.1f} s, "
        f"{busy[1] - busy[0]:.1f} s of them computing"
    )
    if "--profile" in sys.argv:
        pstats.Stats(profile).sort_stats("cumulative").print_stats(SHOWN)
    return 0 if took < TARGET_S else 1


if __name__ == "__main__":
    numbers = [argument for argument in sys.argv[1:] if argument.isdigit()]
    sys.exit(main(int(numbers[0]) if numbers else ROWS))
