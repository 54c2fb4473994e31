"""Why a stored release answers as it does, and why another one answers otherwise: figures, reasons and words."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from homeostat.data.columns import stack_rows
from homeostat.deployment.artifacts import find_release, pack_release
from homeostat.deployment.explaining import (
    MAX_TOLD,
    Opened,
    compare_rows,
    explain_rows,
    list_differences,
    open_explained,
)
from homeostat.deployment.explaining_words import describe_answer, describe_change
from homeostat.errors import ReleaseUnexplained
from homeostat.project import Project, open_project
from homeostat.records import Json
from homeostat.retraining.packing import pack
from homeostat.retraining.training_data import take_snapshot
from tests.retraining.clinic import FOUND, draw_patients, write_project

BOOSTER = FOUND | {
    "family": "lightgbm",
    "parameters": {"num_iterations": 20, "min_data_in_leaf": 5},
    "candidates": {**FOUND["candidates"], "lightgbm": FOUND["candidates"]["logistic"]},
}
ROW: dict[str, Any] = {"age": 70, "dose": 25.0, "city": "C"}


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    with open_project(write_project(tmp_path_factory.mktemp("clinic") / "project")) as opened:
        yield opened


@pytest.fixture(scope="module")
def linear(project: Project) -> Opened:
    return train(project, FOUND)


@pytest.fixture(scope="module")
def booster(project: Project) -> Opened:
    return train(project, BOOSTER)


def train(project: Project, found: Json) -> Opened:
    snapshot = take_snapshot(project, champion=None, reload_files=True, change_point=None)
    packed = pack(project, snapshot, found, code={}, provenance={})
    return open_explained(find_release(packed["release"], project.blobs))


def between(linear: Opened, booster: Opened, row: dict[str, Any] = ROW) -> Json:
    """Return what the booster says of a row, and why it is not what the linear model said."""
    change = (linear.release.digest, booster.release.digest)
    return compare_rows([row], booster, linear, change=change)[0]


# --- one release --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("family", ["linear", "booster"])
def test_an_explanation_sums_to_the_answer_of_the_packed_graph(request: pytest.FixtureRequest, family: str) -> None:
    opened: Opened = request.getfixturevalue(family)
    rows = draw_patients(50, seed=9)[0]
    answers = opened.graph.score(stack_rows(rows, opened.release.schema)).astype(np.float64)

    told = explain_rows(rows, opened)

    summed = [one["base"] + sum(part["contribution"] for part in one["contributions"]) for one in told]
    assert [one["probability"] for one in told] == answers.tolist()
    assert np.abs(np.log(answers / (1 - answers)) - summed).max() < 1e-5
    assert [one["log_odds"] for one in told] == pytest.approx(summed)


def test_contributions_come_largest_first_each_with_the_value_of_the_row(linear: Opened) -> None:
    parts = explain_rows([ROW], linear)[0]["contributions"]

    sizes = [abs(part["contribution"]) for part in parts]
    assert sizes == sorted(sizes, reverse=True)
    assert {part["feature"]: part["value"] for part in parts} == ROW


@pytest.mark.parametrize(("age", "missing"), [(-1, True), (None, True), (70, False)])
def test_a_value_that_was_not_measured_is_told_as_such(linear: Opened, age: float | None, *, missing: bool) -> None:
    told = explain_rows([{**ROW, "age": age}], linear)[0]

    part = next(part for part in told["contributions"] if part["feature"] == "age")
    assert (part["value"], part["missing"]) == (age, missing)


def test_a_category_that_training_has_not_seen_is_explained(booster: Opened) -> None:
    told = explain_rows([{**ROW, "city": "elsewhere"}], booster)[0]

    assert told["base"] + sum(part["contribution"] for part in told["contributions"]) == told["log_odds"]


def test_an_impossible_row_has_its_reasons_in_its_place_and_no_value(linear: Opened) -> None:
    told = explain_rows([ROW, {**ROW, "age": 999, "color": "red"}, ROW], linear)

    assert [list(one) for one in told[1:2]] == [["rejected"]]
    assert [(b["column"], b["rule"]) for b in told[1]["rejected"]] == [("age", "range"), ("color", "unknown")]
    assert told[0] == told[2]
    assert "999" not in str(told[1])


def test_of_very_many_broken_rules_the_first_of_each_row_is_told(linear: Opened) -> None:
    bad = {f"x{place}": 0 for place in range(500)}

    told = explain_rows([bad] * 100, linear)

    counts = [len(one["rejected"]) for one in told]
    assert counts[0] == len(linear.release.schema.features) + 20
    assert sum(counts) < MAX_TOLD + 150
    assert counts[-1] == 1


def test_a_release_without_a_native_model_is_refused(project: Project, linear: Opened) -> None:
    release = linear.release
    digest = pack_release(
        graph=release.graph,
        schema=release.schema,
        profile=release.profile,
        golden_inputs=release.golden.columns,
        metrics=release.metrics,
        lineage=release.lineage,
        extra={},
        provenance={},
        blobs=project.blobs,
    )

    with pytest.raises(ReleaseUnexplained, match="holds no native model"):
        open_explained(find_release(digest, project.blobs))


# --- two releases -------------------------------------------------------------------------------------------------


def test_differences_and_base_sum_to_the_change_of_the_log_odds(linear: Opened, booster: Opened) -> None:
    told = between(linear, booster)
    change = told["change"]

    assert change["log_odds"] == pytest.approx(told["log_odds"] - told["compare"]["log_odds"])
    assert change["log_odds"] == pytest.approx(change["base"] + sum(one["difference"] for one in change["differences"]))
    assert all(one["difference"] == one["after"] - one["before"] for one in change["differences"])


def test_the_change_goes_from_the_one_digest_to_the_other_whichever_is_explained(
    linear: Opened, booster: Opened
) -> None:
    change = (linear.release.digest, booster.release.digest)

    one = compare_rows([ROW], booster, linear, change=change)[0]
    other = compare_rows([ROW], linear, booster, change=change)[0]

    assert one["change"] == other["change"]
    assert one["release"] == other["compare"]["release"]


def test_a_feature_that_one_release_lacks_adds_nothing_there() -> None:
    before = {"contributions": [part("a", 1, 0.5), part("b", 2, -0.7)]}
    after = {"contributions": [part("a", 1, 0.4)]}

    told = list_differences(before, after)

    assert [(one["feature"], one["before"], one["after"], one["difference"]) for one in told] == [
        ("b", -0.7, 0.0, 0.7),
        ("a", 0.5, 0.4, pytest.approx(-0.1)),
    ]


def test_what_either_release_calls_impossible_is_rejected(linear: Opened, booster: Opened) -> None:
    assert list(between(linear, booster, {**ROW, "age": 999})) == ["rejected"]


# --- words --------------------------------------------------------------------------------------------------------


def part(feature: str, value: object, size: float, *, missing: bool = False) -> Json:
    return {"feature": feature, "value": value, "missing": missing, "contribution": size, "difference": size}


def test_the_sentence_names_the_three_largest_parts_and_sums_up_the_rest() -> None:
    parts = [part("a", 148.0, 0.9), part("b", "x", -0.5), part("c", 0, 0.2, missing=True), part("d", 1, 0.1)]

    said = describe_answer({"probability": 0.7, "base": 0.0, "contributions": parts})

    assert said == (
        "The probability is 0.700, that of the average training row 0.500. What moves the log-odds most: "
        "a = 148 (+0.90), b = 'x' (-0.50) and c not measured (+0.20); all others together +0.10."
    )


def test_a_row_that_nothing_moves_is_told_as_such() -> None:
    said = describe_answer({"probability": 0.5, "base": 0.0, "contributions": [part("a", 1, 0.001)]})

    assert said == "The probability is 0.500, that of the average training row 0.500: no value moves it."


def test_the_sentence_of_a_change_names_its_direction_and_its_parts() -> None:
    before, after = ({"release": letter * 64, "probability": p} for letter, p in (("a", 0.2), ("b", 0.4)))
    change = {"log_odds": 0.98, "base": 0.1, "differences": [part("a", 1.5, 0.88)]}

    assert describe_change(before, after, change) == (
        "From release aaaaaaaaaaaa to bbbbbbbbbbbb the probability rises from 0.200 to 0.400 (+0.98 in log-odds). "
        "The largest parts: what a = 1.5 adds (+0.88) and the average row (+0.10)."
    )


def test_two_releases_that_say_the_same_are_told_as_such() -> None:
    both = {"release": "a" * 64, "probability": 0.2}

    said = describe_change(both, both, {"log_odds": 0.0, "base": 0.0, "differences": [part("a", 1, 0.0)]})

    assert said == "From release aaaaaaaaaaaa to aaaaaaaaaaaa the probability stays as it is (0.200 to 0.200)."
