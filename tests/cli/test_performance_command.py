"""`homeostat performance` through the real command."""

import json
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from sqlalchemy import insert

from homeostat.cli.performance import in_units
from homeostat.monitoring.concept import advance_concept, begin_concept, describe_concept
from homeostat.monitoring.drift_checks import append_check
from homeostat.monitoring.outcome_checks import append_outcome_check
from homeostat.monitoring.performance import describe_labels, estimate_performance, measure_performance
from homeostat.project import open_project
from homeostat.records import Json
from homeostat.store.tables import promotions
from tests.cli.commands import homeostat

NOW = datetime(2026, 3, 1, tzinfo=UTC)


def window(*, turned: bool) -> tuple[Json, Json]:
    """Return the reports of a drift check and of an outcome check on the same 200 rows."""
    rng = np.random.default_rng(0)
    probabilities = rng.beta(1, 2, size=200)
    labels = ((rng.random(200) < probabilities) ^ turned).astype(np.int8)
    held_out = rng.beta(1, 2, size=614)
    begun = begin_concept(held_out, (rng.random(614) < held_out).astype(np.int8))
    concept = advance_concept(begun, probabilities, labels)
    drift = {"score": 0.0, "boundary": 0.3, "estimated": estimate_performance(probabilities, seed=0)}
    outcomes = {
        "n_rows": 200,
        "n_outcomes": 200,
        "n_labelled": 200,
        "realised": measure_performance(labels, probabilities, seed=0),
        **describe_concept(concept, alpha=0.05),
        "delay": describe_labels(np.zeros(200), np.full(200, 7_200.0), now_s=0.0),
    }
    return drift, outcomes


def store(folder: Path, *, turned: bool = False, with_outcomes: bool = True) -> None:
    drift, outcomes = window(turned=turned)
    line = {"epoch": 1, "release": "r", "decided_at": NOW, "actor": "a", "reason": "r", "gate": "{}"}
    with open_project(folder) as project, project.database.write() as connection:
        connection.execute(insert(promotions).values(line))
        append_check(connection, drift, epoch=1, window=(1, 200), release="r", now=NOW)
        if with_outcomes:
            append_outcome_check(connection, outcomes, epoch=1, window=(1, 200), release="r", now=NOW)


def test_before_the_first_window_the_command_says_so(project: Path) -> None:
    done = homeostat("performance", "--project", project)

    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("Nothing is expected of a window yet, and no outcomes have been judged.")


def test_what_was_expected_stands_above_what_was_measured_with_intervals(project: Path) -> None:
    store(project)
    drift, outcomes = window(turned=False)

    lines = homeostat("performance", "--project", project).stdout.splitlines()

    expected, measured = (next(line for line in lines if word in line) for word in ("expected", "measured"))
    assert expected.strip().startswith("1 to 200")
    for line, figures in ((expected, drift["estimated"]), (measured, outcomes["realised"])):
        auc = figures["auc"]
        assert f"{auc['value']:.3f} [{auc['low']:.3f}, {auc['high']:.3f}]" in line
    assert "200 of 200" in measured
    assert "2.0 h" in measured


@pytest.mark.parametrize(("turned", "verdict"), [(False, "quiet"), (True, "alarm")])
def test_both_tests_are_told_with_their_threshold(project: Path, *, turned: bool, verdict: str) -> None:
    store(project, turned=turned)

    found = homeostat("performance", "--project", project).stdout

    risk = next(line for line in found.splitlines() if line.startswith("Risk"))
    assert f"after 200 outcomes, highest {window(turned=turned)[1]['risk']['peak']:.3g}, alarm at 40: {verdict}" in risk


def test_a_window_whose_outcomes_are_awaited_shows_what_is_expected(project: Path) -> None:
    store(project, with_outcomes=False)

    found = homeostat("performance", "--project", project).stdout

    assert "expected" in found
    assert "measured" not in found


def test_programs_get_all_of_it(project: Path) -> None:
    store(project)
    drift, outcomes = window(turned=False)

    found = json.loads(homeostat("performance", "--project", project, "--json").stdout)

    assert found["checks"][0]["report"] == outcomes
    assert found["checks"][0]["estimated"] == drift["estimated"]


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(None, "-"), (90.0, "90 s"), (600.0, "10.0 min"), (129_600.0, "36.0 h"), (180_000.0, "2.1 days")],
)
def test_a_time_is_told_in_a_unit_that_fits(seconds: float | None, words: str) -> None:
    assert in_units(seconds) == words
