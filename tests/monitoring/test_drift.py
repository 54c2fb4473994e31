"""A drift report tests every feature, corrects if asked to, says what has changed, and survives any column."""

import json
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from homeostat.errors import DataInsufficient, InputError
from homeostat.monitoring.corrections import CORRECTIONS, Correction
from homeostat.monitoring.drift import detect_drift, report_from_json, report_to_json
from homeostat.records import Columns, DriftReport, Feature, Profile, Schema, Target
from homeostat.validation.profiles import build_profile, count_rows

NAN = float("nan")
SCHEMA = Schema((Feature("glucose", "numeric"), Feature("smoker", "categorical")), Target("outcome", 0, 1), "0" * 64)
ONLY_GLUCOSE = replace(SCHEMA, features=SCHEMA.features[:1])

few = settings(max_examples=60, deadline=None)
# Few distinct values, so that most are tied, or any doubles.
numbers = st.sampled_from([NAN, 1.0, 2.0, 3.0]) | st.floats(allow_infinity=False)
texts = st.sampled_from([None, "no", "yes", "seldom"])
tables = st.lists(st.tuples(numbers, texts), min_size=1, max_size=40)


def profiles(reference: Columns, current: Columns) -> tuple[Profile, Profile]:
    schema = replace(SCHEMA, features=tuple(f for f in SCHEMA.features if f.name in reference))
    then = build_profile(reference, schema)
    return then, count_rows(current, schema, then)


def columns(glucose: Sequence[float], smoker: Sequence[str | None]) -> Columns:
    return {"glucose": np.array(glucose, dtype=np.float64), "smoker": np.array(smoker, dtype=np.object_)}


def table(rows: list[tuple[float, str | None]]) -> Columns:
    return columns([number for number, _ in rows], [text for _, text in rows])


def report(reference: Columns, current: Columns, *, correction: Correction = "none") -> DriftReport:
    return detect_drift(*profiles(reference, current), alpha=0.05, boundary=0.3, correction=correction)


def test_the_score_is_the_share_of_drifted_features() -> None:
    then, now = profiles(columns([1, 2] * 50, ["no", "yes"] * 50), columns([8, 9] * 50, ["yes", "no"] * 50))

    found = detect_drift(then, now, alpha=0.05, boundary=0.3)

    assert [(f.name, f.test, f.drifted) for f in found.features] == [
        ("glucose", "kolmogorov-smirnov", True),
        ("smoker", "chi-square", False),
    ]
    assert (found.score, found.n_reference, found.n_current, found.fired) == (0.5, 100, 100, True)


@pytest.mark.parametrize(("boundary", "fired"), [(0.49, True), (0.5, False)])
def test_a_report_fires_only_above_the_boundary(boundary: float, fired: bool) -> None:  # noqa: FBT001  a table of cases
    then, now = profiles(columns([1] * 50, ["no"] * 50), columns([9] * 50, ["no"] * 50))

    assert detect_drift(then, now, alpha=0.05, boundary=boundary).fired is fired


def test_a_feature_has_drifted_only_below_alpha() -> None:
    then, now = profiles({"glucose": np.arange(4.0)}, {"glucose": np.arange(4.0) + 10})
    p_value = detect_drift(then, now, alpha=0.05, boundary=0.3).features[0].p_value

    assert detect_drift(then, now, alpha=p_value, boundary=0.3).drifted == ()
    assert detect_drift(then, now, alpha=p_value + 1e-9, boundary=0.3).drifted == ("glucose",)


def test_a_report_says_where_each_feature_stood_and_stands() -> None:
    then, now = profiles(columns([10, 20, 30], ["no", "no", "yes"]), columns([40, NAN], ["yes", None]))

    glucose, smoker = detect_drift(then, now, alpha=0.05, boundary=0.3).features

    assert glucose.then == {"median": 20, "quartiles": [10, 30], "missing_share": 0}
    assert glucose.now == {"median": 30, "quartiles": [30, 30], "missing_share": 0.5}
    assert smoker.then == {"mode": "no", "missing_share": 0, "unseen_share": 0}
    assert smoker.now == {"mode": "yes", "missing_share": 0.5, "unseen_share": 0}


@pytest.mark.parametrize(
    ("n_reference", "n_current", "side"), [(0, 0, "reference"), (0, 5, "reference"), (5, 0, "cur")]
)
def test_a_profile_without_rows_is_refused(n_reference: int, n_current: int, side: str) -> None:
    then, now = profiles(columns([1] * n_reference, ["no"] * n_reference), columns([1] * n_current, ["no"] * n_current))

    with pytest.raises(DataInsufficient, match=f"the {side}.* profile counts 0 rows of 2 features; expected at least"):
        detect_drift(then, now, alpha=0.05, boundary=0.3)


def test_profiles_in_different_cells_are_refused() -> None:
    a, b = (build_profile({"glucose": np.array([x])}, ONLY_GLUCOSE) for x in (1.0, 2.0))

    with pytest.raises(InputError, match="different cells for glucose"):
        detect_drift(a, b, alpha=0.05, boundary=0.3)


@few
@given(reference=tables, current=tables, correction=st.sampled_from(list(CORRECTIONS)))
def test_a_report_survives_json_exactly(
    reference: list[tuple[float, str | None]], current: list[tuple[float, str | None]], correction: Correction
) -> None:
    found = report(table(reference), table(current), correction=correction)

    stored = json.dumps(report_to_json(found), allow_nan=False)

    assert report_from_json(json.loads(stored)) == found


def test_what_a_stored_check_holds_beside_the_report_is_left_out() -> None:
    found = report(columns([1, 2], ["no", "yes"]), columns([1, 2], ["no", "yes"]))

    assert report_from_json({**report_to_json(found), "evidence": {"n_rows": 2}}) == found


@few
@given(reference=tables, current=tables, correction=st.sampled_from(list(CORRECTIONS)))
def test_every_figure_of_a_report_stays_within_its_bounds(
    reference: list[tuple[float, str | None]], current: list[tuple[float, str | None]], correction: Correction
) -> None:
    found = report(table(reference), table(current), correction=correction)

    assert 0 <= found.score <= 1
    for feature in found.features:
        assert 0 <= feature.p_value <= feature.adjusted_p_value <= 1
        assert 0 <= feature.effect <= 1
        assert feature.drifted is (feature.adjusted_p_value < 0.05)
        assert feature.shift


def test_without_a_correction_the_adjusted_p_values_are_the_raw_ones() -> None:
    found = report(columns(range(50), ["no"] * 50), columns(range(10, 60), ["no"] * 50))

    assert [f.adjusted_p_value for f in found.features] == [f.p_value for f in found.features]
    assert found.correction == "none"


def test_a_correction_decides_by_the_adjusted_p_values() -> None:
    # Alone glucose has p = 1/35; beside a second feature twice that.
    reference, current = columns([1, 2, 3, 4], ["no"] * 4), columns([11, 12, 13, 14], ["no"] * 4)

    raw, corrected = report(reference, current), report(reference, current, correction="bonferroni")

    assert (raw.drifted, corrected.drifted) == (("glucose",), ())
    assert corrected.features[0].adjusted_p_value == pytest.approx(2 / 35)
    assert corrected.features[0].p_value == raw.features[0].p_value


def test_a_column_that_becomes_constant_has_drifted_and_says_so() -> None:
    (glucose,) = report({"glucose": np.arange(100.0)}, {"glucose": np.full(100, 50.0)}).features

    assert glucose.drifted
    assert glucose.shift == "median 49.5 -> 50 (+0.5), quartiles 24.5-74.5 -> 50-50"


def test_a_window_of_missing_values_alone_has_drifted_and_says_so() -> None:
    reference, current = columns(range(100), ["no", "yes"] * 50), columns([NAN] * 50, [None] * 50)

    glucose, smoker = report(reference, current).features

    assert (glucose.drifted, smoker.drifted) == (True, True)
    assert glucose.shift == "median 49.5 -> none, quartiles 24.5-74.5 -> none, missing 0 % -> 100 %"
    assert smoker.shift == "no 50 % -> 0 %, yes 50 % -> 0 %, missing 0 % -> 100 %"


def test_a_window_against_a_column_that_was_never_measured_has_drifted() -> None:
    found = report(columns([NAN] * 100, [None] * 100), columns(range(50), ["no"] * 50))

    assert found.drifted == ("glucose", "smoker")
    assert found.features[1].shift == "missing 100 % -> 0 %; 100 % in categories never seen before"


@pytest.mark.parametrize("row", [(7.0, "no"), (NAN, None), (1e9, "seldom")])
def test_one_row_is_never_a_drift(row: tuple[float, str | None]) -> None:
    found = report(columns([1, 2, 3, 4] * 9, ["no", "yes"] * 18), table([row]))

    assert found.drifted == ()
    assert all(0.05 < f.p_value <= 1 for f in found.features)
