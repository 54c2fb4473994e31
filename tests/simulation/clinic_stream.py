"""A clinic like Pima's with a release in production, and streams of its patients with and without a change.

Not here: what a replay of them must come to (`tests/simulation/test_replay.py`).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from homeostat.cli.init import propose_project
from homeostat.cli.proposal import render_settings, write_project
from homeostat.project import read_settings, schema_of
from homeostat.records import Floats, Json
from homeostat.simulation.backtest import OWN, Backtest, run_backtest
from homeostat.simulation.cohort import (
    PUBLISHED,
    Cohort,
    Labels,
    draw_aged,
    draw_ordinary,
    fit_cohort,
    outcome_probability,
    synthetic_table,
)
from homeostat.simulation.history import Names, read_history
from homeostat.validation.checks import check_table
from tests.conftest import train_project

REGISTER_ROWS = 768
TARGET = "Outcome"
# A search that is short but real, and no experiment manager: the tests look at what the loop does of itself.
SHORT = '\n[training]\ntrials = 1\nfolds = 3\nrepeats = 1\n[store]\ntracking = "none"\n'
BEGIN = datetime(1996, 5, 7)  # noqa: DTZ001  files hold naive moments
Table = dict[str, Any]
Rises = Mapping[str, Floats]


@dataclass(frozen=True)
class Clinic:
    """A project folder, and the clinic whose register is its table."""

    folder: Path
    cohort: Cohort


def write_clinic(folder: Path, *, extra: str = "", n_years: int = 1, rises: Rises | None = None) -> Path:
    """Write the project that `homeostat init` would write for a table like Pima's, with a short training."""
    columns, labels = synthetic_table(n_years * REGISTER_ROWS, seed=0)
    folder.mkdir(parents=True, exist_ok=True)
    pl.DataFrame({**raise_features(dict(columns), rises or {}), TARGET: labels}).write_csv(folder / "patients.csv")
    proposal = propose_project(folder / "patients.csv", TARGET)
    settings = render_settings("clinic", "patients.csv", proposal)
    write_project(folder / "homeostat.toml", settings + SHORT + extra)
    return folder


def open_clinic(folder: Path) -> Clinic:
    """Train the clinic's first release, and meet its patients."""
    columns, labels = synthetic_table(REGISTER_ROWS, seed=0)
    schema = schema_of(read_settings(train_project(folder)))
    return Clinic(folder, fit_cohort(check_table(columns, schema).columns, labels, schema))


def ordinary(clinic: Clinic, n_rows: int, *, seed: int = 1) -> tuple[Table, Labels]:
    """Return patients of the population that the table came from, and their outcomes."""
    columns, outcomes = draw_ordinary(clinic.cohort, n_rows, np.random.default_rng(seed))
    return {name: columns[name] for name in PUBLISHED}, outcomes


def aged(clinic: Clinic, n_rows: int, *, seed: int = 2) -> tuple[Table, Labels]:
    """Return patients of whom three of eight features have moved, and their outcomes."""
    columns, outcomes = draw_aged(clinic.cohort, n_rows, np.random.default_rng(seed))
    return {name: columns[name] for name in PUBLISHED}, outcomes


def follow(before: tuple[Table, Labels], after: tuple[Table, Labels]) -> tuple[Table, Labels]:
    """Return one stream behind the other."""
    columns = {name: np.concatenate([values, after[0][name]]) for name, values in before[0].items()}
    return columns, np.concatenate([before[1], after[1]])


def raise_features(columns: Table, rises: Rises) -> Table:
    """Return the stream with some features higher, by standard deviations in each row; what is missing stays so."""
    raised = dict(columns)
    for name, sd in rises.items():
        values = columns[name]
        raised[name] = np.where(values > 0, values + sd * values[values > 0].std(), values)
    return raised


def follow_features(clinic: Clinic, columns: Table, *, seed: int = 11) -> Labels:
    """Return outcomes that follow these features as those of the table did."""
    probability = outcome_probability(clinic.cohort, columns)
    return np.asarray(np.random.default_rng(seed).random(len(probability)) < probability, dtype=np.int8)


def since(row: int, n_rows: int, by_sd: float) -> Floats:
    """Return a rise that begins at a row and stays."""
    return np.where(np.arange(n_rows) >= row, by_sd, 0.0)


def yearly(n_rows: int, height_sd: float) -> Floats:
    """Return the rise and fall of a season whose year has `REGISTER_ROWS` rows."""
    rise: Floats = height_sd * np.sin(2 * np.pi * np.arange(n_rows) / REGISTER_ROWS)
    return rise


def live(
    clinic: Clinic,
    scratch: Path,
    columns: Table,
    outcomes: Labels,
    *,
    every_min: float = 1,
    senders: Sequence[str] = ("laboratory", "ward"),
) -> Backtest:
    """Replay patients that come at even intervals; each outcome is known at once, from one of some senders."""
    n_rows = len(columns["Age"])
    moments = [BEGIN + row * timedelta(minutes=every_min) for row in range(n_rows)]
    by = np.random.default_rng(0).choice(list(senders), n_rows)
    scratch.mkdir(parents=True, exist_ok=True)
    path = scratch / "stream.parquet"
    pl.DataFrame(
        {"row_id": np.arange(n_rows), "event_time": moments, **columns, TARGET: outcomes, "by": by}
    ).write_parquet(path)
    history = read_history(path, None, schema_of(read_settings(clinic.folder)), Names(source="by"))
    found = run_backtest(
        clinic.folder,
        history,
        {},
        scratch / "projects",
        approvals="grant",
        tell=lambda *_: None,
        progress=lambda _: None,
    )
    return found[OWN]


def told(backtest: Backtest, *events: str) -> list[Json]:
    """Return the lines of some kinds."""
    return [line for line in backtest.replayed.lines if line["event"] in events]
