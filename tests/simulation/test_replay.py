"""The loop over recorded histories: what it must do of itself in each kind of world, and what it must leave alone.

Default settings but for a short search. The real stream, and long ones, are in docs/replay.md and bench/replay.py.
"""

from pathlib import Path

import numpy as np
import pytest

from homeostat.simulation.backtest import Backtest
from tests.simulation.clinic_stream import (
    Clinic,
    aged,
    follow,
    follow_features,
    live,
    open_clinic,
    ordinary,
    raise_features,
    since,
    told,
    write_clinic,
    yearly,
)

ACTED = ("retrain_decided", "promoted", "rolled_back")
SINCE = 600
MOVED = ("Glucose", "BMI", "Age")


@pytest.fixture(scope="module")
def clinic(tmp_path_factory: pytest.TempPathFactory) -> Clinic:
    """A clinic with one release in production."""
    return open_clinic(write_clinic(tmp_path_factory.mktemp("clinic") / "project"))


@pytest.fixture(scope="module")
def abrupt(clinic: Clinic, tmp_path_factory: pytest.TempPathFactory) -> Backtest:
    """Three of eight features move at once."""
    stream = follow(ordinary(clinic, SINCE), aged(clinic, 1_600))
    return live(clinic, tmp_path_factory.mktemp("abrupt"), *stream)


# --- worlds that ask for nothing -----------------------------------------------------------------------------------


def test_a_world_without_a_change_is_left_alone(clinic: Clinic, tmp_path: Path) -> None:
    found = live(clinic, tmp_path, *ordinary(clinic, 3_000))

    assert len(told(found, "drift_checked")) == 15
    assert told(found, *ACTED, "drift_alert", "concept_alert", "alert") == []
    assert found.summary["metrics"]["with_updating"] == found.summary["metrics"]["without_updating"]


def test_two_of_eight_moved_features_are_reported_and_retrain_nothing(clinic: Clinic, tmp_path: Path) -> None:
    columns, _ = ordinary(clinic, 1_600)
    moved = raise_features(columns, dict.fromkeys(("Glucose", "Age"), since(SINCE, 1_600, 0.8)))

    # Outcomes that follow the features as ever: if they did not, that would be a reason.
    found = live(clinic, tmp_path, moved, follow_features(clinic, moved))

    assert {line["subject"] for line in told(found, "drift_alert")} >= {"Glucose", "Age"}
    assert set(told(found, "drift_checked")[-1]["drifted"]) >= {"Glucose", "Age"}
    assert told(found, *ACTED) == []


def test_outliers_alone_retrain_nothing_and_impossible_ones_are_rejected(clinic: Clinic, tmp_path: Path) -> None:
    columns, outcomes = ordinary(clinic, 1_600)
    rng = np.random.default_rng(3)
    extreme, impossible = rng.choice(1_600, size=(2, 16), replace=False)
    glucose = columns["Glucose"].copy()
    glucose[extreme], glucose[impossible] = 240.0, 9_000.0

    found = live(clinic, tmp_path, {**columns, "Glucose": glucose}, outcomes)

    assert [line["row"] for line in told(found, "rejected")] == sorted(impossible.tolist())
    assert told(found, *ACTED) == []


def test_a_tiny_shift_retrains_nothing_however_many_rows_there_are(clinic: Clinic, tmp_path: Path) -> None:
    columns, outcomes = ordinary(clinic, 5_000)
    moved = raise_features(columns, dict.fromkeys((*MOVED, "BloodPressure"), since(0, 5_000, 0.03)))

    assert told(live(clinic, tmp_path, moved, outcomes), *ACTED) == []


def test_a_change_of_unit_is_named_and_retrains_nothing(clinic: Clinic, tmp_path: Path) -> None:
    columns, outcomes = ordinary(clinic, 1_000)
    kilopascals = np.where(
        np.arange(1_000) < SINCE, columns["BloodPressure"], np.round(columns["BloodPressure"] / 7.5, 1)
    )

    found = live(clinic, tmp_path, {**columns, "BloodPressure": kilopascals}, outcomes)

    named = [line for line in told(found, "alert") if "mmHg and kPa" in line["sentence"]]
    assert [line["subject"] for line in named] == ["BloodPressure range"]
    assert SINCE < named[0]["row"] <= SINCE + 100
    assert told(found, *ACTED) == []


def test_a_season_that_the_table_has_seen_for_years_retrains_nothing(tmp_path: Path) -> None:
    settings = '\n[monitoring]\nseasons = "baseline"\n'
    table = dict.fromkeys(MOVED, yearly(4 * 768, 0.8))
    clinic = open_clinic(write_clinic(tmp_path / "project", extra=settings, n_years=4, rises=table))
    columns, outcomes = ordinary(clinic, 1_536)
    moved = raise_features(columns, dict.fromkeys(MOVED, yearly(1_536, 0.8)))

    found = live(clinic, tmp_path / "run", moved, outcomes)

    assert max(line["score"] for line in told(found, "drift_checked")) > 0.3
    assert told(found, *ACTED) == []


# --- worlds that ask for a retraining ------------------------------------------------------------------------------


def test_an_abrupt_change_of_three_of_eight_features_retrains_once_and_is_worth_it(abrupt: Backtest) -> None:
    assert {f["name"] for f in told(abrupt, "drift_checked")[4]["features"] if f["drifted"]} >= {
        "Glucose",
        "BMI",
        "Age",
    }
    assert [line["event"] for line in told(abrupt, *ACTED)] == ["retrain_decided", "promoted"]
    assert abrupt.summary["retrainings"] == {"drift": 1}
    after = abrupt.summary["metrics"]["releases"][1]
    assert after["with_updating"]["log_loss"] < after["without_updating"]["log_loss"]


def test_a_drift_without_enough_outcomes_is_followed_by_the_decision_to_wait(abrupt: Backtest) -> None:
    wait = told(abrupt, "decision")[0]
    decided = told(abrupt, "retrain_decided")[0]

    assert wait["action"] == "wait"
    assert "but only" in wait["sentence"]
    assert wait["row"] < decided["row"]


def test_the_same_history_gives_the_same_lines(clinic: Clinic, abrupt: Backtest, tmp_path: Path) -> None:
    stream = follow(ordinary(clinic, SINCE), aged(clinic, 1_600))

    again = live(clinic, tmp_path, *stream)

    assert again.replayed.lines == abrupt.replayed.lines
    assert again.summary == abrupt.summary


def test_a_gradual_change_retrains(clinic: Clinic, tmp_path: Path) -> None:
    n_rows = 2_400
    before, after = ordinary(clinic, n_rows), aged(clinic, n_rows)
    moved = np.random.default_rng(4).random(n_rows) < np.linspace(-0.3, 1.2, n_rows)
    columns = {name: np.where(moved, after[0][name], values) for name, values in before[0].items()}

    found = live(clinic, tmp_path, columns, np.where(moved, after[1], before[1]).astype(np.int8))

    assert 1 <= found.summary["promotions"] <= 2
    assert found.summary["retrainings"].keys() <= {"drift"}


def test_outcomes_that_turn_round_end_with_a_release_that_fits_the_new_world(clinic: Clinic, tmp_path: Path) -> None:
    columns, outcomes = ordinary(clinic, 2_000)
    turned = np.where(np.arange(2_000) < SINCE, outcomes, 1 - outcomes).astype(np.int8)

    found = live(clinic, tmp_path, columns, turned, every_min=30)

    assert told(found, "concept_alert")[0]["row"] > SINCE
    assert told(found, "drift_alert") == []
    assert found.summary["retrainings"].keys() == {"concept"}
    last = found.summary["metrics"]["releases"][-1]
    assert last["with_updating"]["auc"] > 0.7
    assert last["without_updating"]["auc"] < 0.3


def test_outcomes_of_one_sender_alone_need_a_person_s_approval(clinic: Clinic, tmp_path: Path) -> None:
    columns, outcomes = ordinary(clinic, 1_600)
    turned = np.where(np.arange(1_600) < SINCE, outcomes, 1 - outcomes).astype(np.int8)

    found = live(clinic, tmp_path, columns, turned, every_min=30, senders=["laboratory"])

    assert [line["event"] for line in told(found, "held", "approved", "promoted")] == ["held", "approved", "promoted"]
