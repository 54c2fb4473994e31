"""A small clinic with numbers, a category and text outcomes: a project that has a release in production in a moment.

Not here: the search, which takes seconds and changes nothing for these tests (`tests/training/test_train.py`).
"""

import csv
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from homeostat.deployment.registry import current_promotion, promote, register_release
from homeostat.project import Project
from homeostat.records import Criterion, GateResult, Json, Label, Promotion, Row
from homeostat.retraining.packing import pack
from homeostat.retraining.training_data import take_snapshot

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
SETTINGS = """
[project]
name = "clinic"
data = ["clinic.csv"]
target = "outcome"
target_values = ["no", "yes"]
[features.age]
range = [0, 120]
missing = [-1]
[features.dose]
range = [0, 50]
[features.city]
kind = "categorical"
[training]
folds = 2
repeats = 1
trials = 1
[monitoring]
window = 50
[retraining]
min_new_labels = 20
min_recent = 10
min_recent_per_class = 2
quarantine_s = 0
"""
AUC: Json = {"value": 0.75, "low": 0.5, "high": 1.0}
FOUND: Json = {
    "family": "logistic",
    "parameters": {"C": 1.0},
    "sentence": "logistic was chosen by a test.",
    "candidates": {"logistic": {"auc": AUC}},
}


def draw_patients(n_rows: int, *, seed: int, older: float = 0.0) -> tuple[list[Row], list[Label]]:
    """Return patients, some of unknown age, with their outcomes; `older` adds years and dose."""
    rng = np.random.default_rng(seed)
    age, dose = rng.normal(50 + older, 10, n_rows).clip(0, 120), rng.normal(20 + older / 4, 5, n_rows).clip(0, 50)
    city = rng.integers(3, size=n_rows)
    sick = rng.random(n_rows) < 1 / (1 + np.exp(-(0.08 * (age - 50) + 0.2 * (dose - 20) + city - 1)))
    age[rng.random(n_rows) < 0.1] = -1
    rows: list[Row] = [
        {"age": float(a), "dose": float(d), "city": "ABC"[c]} for a, d, c in zip(age, dose, city, strict=True)
    ]
    return rows, ["yes" if one else "no" for one in sick]


def write_table(path: Path, rows: list[Row], outcomes: list[Label]) -> None:
    """Write patients and outcomes as a CSV file."""
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, [*rows[0], "outcome"])
        writer.writeheader()
        writer.writerows({**row, "outcome": outcome} for row, outcome in zip(rows, outcomes, strict=True))


def write_project(folder: Path, *, n_rows: int = 200, settings: str = SETTINGS) -> Path:
    """Write the clinic's settings and its table of patients."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "homeostat.toml").write_text(settings)
    write_table(folder / "clinic.csv", *draw_patients(n_rows, seed=0))
    return folder


def register_another(project: Project, *, penalty: float = 1.0) -> str:
    """Train on the clinic's table without a search, register what comes out, and return its digest."""
    snapshot = take_snapshot(project, champion=None, reload_files=True, change_point=None)
    packed = pack(project, snapshot, FOUND | {"parameters": {"C": penalty}}, code={}, provenance={})
    with project.database.write() as connection:
        register_release(
            connection,
            packed["release"],
            snapshot=snapshot.digest,
            family=packed["family"],
            metrics=packed["metrics"] | {"labels_seen": 0},
            run_id=None,
            now=NOW,
        )
    return str(packed["release"])


def put_in_production(project: Project, *, penalty: float = 1.0) -> Promotion:
    """Train on the clinic's table without a search, and promote what comes out."""
    release = register_another(project, penalty=penalty)
    with project.database.read() as connection:
        current = current_promotion(connection)
    verdict = GateResult((Criterion("test", passed=True, sentence="let in by a test", figures={}),))
    epoch = current.epoch if current else 0
    return promote(project.database, release, gate=verdict, expected_epoch=epoch, actor="t", reason="t", now=NOW)
