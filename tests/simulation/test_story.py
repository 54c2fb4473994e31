"""The demonstration's promises: over five clinics without the wire, and once as the whole command."""

import json
import subprocess
import sys
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

from homeostat.data.columns import unstack_rows
from homeostat.deployment.artifacts import find_release, open_release
from homeostat.deployment.registry import current_promotion, list_promotions
from homeostat.loop import tick
from homeostat.monitoring.drift_checks import list_drift_checks
from homeostat.monitoring.entries import PREDICTION_COLUMNS, to_microseconds
from homeostat.monitoring.labels import LabelItem, record_labels
from homeostat.project import Project, open_project
from homeostat.records import Columns
from homeostat.simulation.cohort import AGED, Labels, draw_aged, draw_ordinary
from homeostat.simulation.demo import meet_clinic
from homeostat.store.database import insert_lines
from homeostat.store.tables import predictions
from homeostat.training.evaluation import auc
from homeostat.training.scoring import Graph

WINDOW = 200
SEEDS = (1, 2, 3, 4, 5)


@dataclass(frozen=True)
class Life:
    """What one clinic's life left: its checks by watch, who was in production, and both AUCs on fresh rows."""

    before: list[bool]
    aged: list[bool]
    named: set[str]
    after: list[bool]
    releases: list[str]
    auc: list[float]


def answer(project: Project, columns: Columns, outcomes: Labels | None, *, ids: np.random.Generator) -> None:
    """Put rows into the log as the service would, with their outcomes if they have arrived.

    The ids decide which rows train and which ones judge: a story that is told again has the same.
    """
    now = datetime.now(UTC)
    with project.database.write() as connection:
        promotion = current_promotion(connection)
        assert promotion is not None
        release = open_release(find_release(promotion.release, project.blobs))
        scores = Graph(release.graph, release.schema).score(columns)
        rows = zip((ids.bytes(16).hex() for _ in scores), unstack_rows(columns), scores.tolist(), strict=True)
        lines = [
            (id_, to_microseconds(now), release.digest, json.dumps(row).encode(), score, json.dumps(int(score >= 0.5)))
            for id_, row, score in rows
        ]
        insert_lines(connection, predictions, PREDICTION_COLUMNS, lines)
    if outcomes is not None:
        items = [LabelItem(line[0], int(label)) for line, label in zip(lines, outcomes, strict=True)]
        record_labels(project.database, items, target=project.schema.target, source="clinic", now=now)


def live(project: Project, seed: int) -> Life:
    """Live through an ordinary month, the ageing of the population, one retraining and what follows."""
    rng, ids = np.random.default_rng(seed), np.random.default_rng([seed, 1])
    clinic = meet_clinic(project)
    answer(project, draw_ordinary(clinic, 4 * WINDOW, rng)[0], None, ids=ids)
    list(tick(project))
    columns, outcomes = draw_aged(clinic, 8 * WINDOW, rng)
    answer(project, {name: v[: 4 * WINDOW] for name, v in columns.items()}, outcomes[: 4 * WINDOW], ids=ids)
    list(tick(project))
    answer(project, {name: v[4 * WINDOW :] for name, v in columns.items()}, None, ids=ids)
    list(tick(project))
    fresh, truth = draw_aged(clinic, 20_000, rng)
    with project.database.read() as connection:
        first, second = list_drift_checks(connection, epoch=1), list_drift_checks(connection, epoch=2)
        digests = [promotion.release for promotion in list_promotions(connection)]
    releases = [open_release(find_release(digest, project.blobs)) for digest in digests]
    return Life(
        before=[check["fired"] for check in first[:4]],
        aged=[check["fired"] for check in first[4:]],
        named={f["name"] for f in first[4]["report"]["features"] if f["drifted"]},
        after=[check["fired"] for check in second],
        releases=digests,
        auc=[auc(truth, Graph(one.graph, one.schema).score(fresh).astype(np.float64)) for one in releases],
    )


@pytest.mark.parametrize("seed", SEEDS)
def test_one_shift_brings_exactly_one_retraining_and_a_better_model(trained_project: Path, seed: int) -> None:
    with open_project(trained_project) as project:
        life = live(project, seed)

    assert life.before == [False] * 4
    assert life.aged == [True] * 4
    assert life.named >= set(AGED)
    assert len(life.releases) == 2
    assert life.after == [False] * 4
    assert life.auc[1] > life.auc[0]


def test_the_demonstration_holds_its_own_claims(pima_path: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "homeostat", "demo", "--seed", "11", "--folder", str(tmp_path / "demo")]
    done = subprocess.run([*command, "--data", str(pima_path)], capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stdout + done.stderr
    assert "✗" not in done.stdout
    assert (tmp_path / "demo" / "report.html").read_text().startswith("<!doctype html>")
