"""What a model card says: figures as they were measured, and every limitation that they show."""

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

from homeostat.deployment.artifacts import find_release, open_release
from homeostat.deployment.model_card import Known, describe_model, list_limitations, rank_importance
from homeostat.records import Json, NumericProfile, Profile, Release
from homeostat.store.blobs import FolderBlobs
from tests.deployment.small_release import pack

MADE = datetime(2026, 3, 1, 12, tzinfo=UTC)
KNOWN = Known("clinic", 3, MADE, in_production=True, training_set={"rows": {"training": 10}, "positives": 4})


def measured(**changes: object) -> Json:
    """Return the figures of one side that speak against nothing."""
    exact = {"value": 0.8, "low": 0.78, "high": 0.82}
    figures = {"auc": exact, "accuracy": exact, "brier": exact, "log_loss": exact}
    sound = {"n_rows": 1000, "n_positive": 400, **figures, "calibration_error": 0.01, "reliability": [], "roc": {}}
    return {**sound, **changes}


@pytest.fixture(scope="module")
def release(tmp_path_factory: pytest.TempPathFactory) -> Release:
    """A small release with figures that speak against nothing."""
    blobs = FolderBlobs(Path(tmp_path_factory.mktemp("blobs")))
    opened = open_release(find_release(pack(blobs), blobs))
    return replace(opened, metrics={side: measured() for side in ("cross_validation", "anchor", "recent")})


def limits(release: Release, known: Known = KNOWN, **sides: Json | None) -> list[str]:
    return list(list_limitations(replace(release, metrics={**release.metrics, **sides}), known))


def test_figures_that_speak_against_nothing_are_no_limitation(release: Release) -> None:
    assert limits(release) == []


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"n_positive": 59, "n_rows": 156}, "has only 59 rows of the rarer class among 156"),
        ({"n_positive": 960}, "has only 40 rows of the rarer class"),
        ({"auc": {"value": 0.8, "low": 0.7, "high": 0.9}}, "AUC on the anchor side is known no better than 0.700"),
        ({"calibration_error": 0.12}, "probabilities are off by 0.120 on average"),
    ],
)
def test_a_weak_measurement_is_told(release: Release, changes: Json, words: str) -> None:
    assert any(words in sentence for sentence in limits(release, anchor=measured(**changes)))


def test_a_side_that_was_not_measured_is_told(release: Release) -> None:
    assert ["It is not measured on the recent side" in one for one in limits(release, recent=None)] == [True]


def test_outcomes_of_one_sender_giveaways_and_what_was_left_out_are_told(release: Release) -> None:
    found = {"single_source": True, "senders": {"lab": 70}, "giveaways": {"code": 0.999}, "left_out": {"refused": 3}}

    said = limits(release, replace(KNOWN, training_set=found))

    assert said == [
        "All 70 outcomes of production came from one sender, and nobody else has confirmed them.",
        "code alone tells the outcome (AUC 0.999): is it known when a prediction is asked for?",
        "3 rows were left out: refused.",
    ]


def test_a_training_set_that_is_gone_is_told(release: Release) -> None:
    assert limits(release, replace(KNOWN, training_set=None)) == [
        "Its training set is not in the store any more: what it was made of cannot be looked up."
    ]


@pytest.mark.parametrize(("kind", "words"), [("data", "older population"), ("concept", "a world that is gone")])
def test_a_change_before_the_training_is_told(release: Release, kind: str, words: str) -> None:
    moved = replace(release, lineage={**release.lineage, "change": {"kind": kind, "since": 801}})

    assert [words in one for one in limits(moved)] == [True]


def test_a_world_that_has_moved_since_is_told(release: Release) -> None:
    drift = {"id": 7, "fired": True, "headline": "The world has moved"}

    assert limits(release, replace(KNOWN, drift=drift)) == [
        "The world has moved since its training: The world has moved (check 7)."
    ]


def test_a_feature_that_is_often_missing_or_never_varies_is_told(release: Release) -> None:
    often = NumericProfile(np.array([1.0]), np.array([40, 0, 59, 1]))
    never = NumericProfile(np.array([1.0]), np.array([0, 0, 100, 0]))
    profile = Profile(100, {"x0": often, "x1": never})

    said = limits(replace(release, profile=profile))

    assert said == [
        "x0 is missing in 40% of the baseline rows, where a value was filled in.",
        "x1 had one value only in the baseline: what it does with others was never seen.",
    ]


def test_importance_is_that_of_the_effects_if_the_release_has_any(release: Release) -> None:
    carried = replace(release, effects={"importance": {"x1": 0.5, "x0": 0.1}, "effects": {}})

    assert rank_importance(carried) == {"unit": "mean |contribution| in log-odds", "features": {"x1": 0.5, "x0": 0.1}}


def test_what_was_derived_from_a_feature_counts_for_it_in_a_release_of_before(release: Release) -> None:
    before = replace(release, metrics={"importance": {"x0": 0.1, "x1": 0.3, "x0 is missing": 0.5, "x1 = a": 0.1}})

    assert rank_importance(before)["features"] == pytest.approx({"x0": 0.6, "x1": 0.4})


def test_the_card_has_its_stable_parts(release: Release) -> None:
    card = describe_model(release, KNOWN)

    assert card["format"] == 1
    assert list(card) == [
        "format", "model", "intended_use", "data", "training", "metrics", "calibration", "importance", "slices", "gate",
        "drift", "limitations", "owner_note",
    ]  # fmt: skip
    assert card["metrics"]["anchor"]["auc"] == {"value": 0.8, "low": 0.78, "high": 0.82}
    assert "roc" not in card["metrics"]["anchor"]
    assert [feature["name"] for feature in card["model"]["features"]] == ["x0", "x1"]


def test_the_groups_that_the_gate_looked_at_are_in_the_card(release: Release) -> None:
    figures = {"n_slices": 9, "worst": {"slice": "age > 50"}, "lost": [], "collapse": 0.1}
    gate = {
        "passed": True,
        "criteria": [{"name": "slices", "passed": True, "sentence": "9 groups", "figures": figures}],
    }

    card = describe_model(release, replace(KNOWN, gate=gate))

    assert card["slices"] == {"n_slices": 9, "worst": {"slice": "age > 50"}, "lost": []}
    assert card["gate"]["criteria"] == [{"name": "slices", "passed": True, "sentence": "9 groups"}]
