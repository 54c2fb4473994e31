"""The guarded trigger fires only for a drift that a window's test and the evidence of the watch both see."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from homeostat.monitoring.evidence import Evidence, Stream, begin_evidence, wait_for_reference
from homeostat.monitoring.guard import Guarded, guarded_to_json, judge_evidence

NAMES = tuple("abcdefgh")


def stream(peak: float, *, value: float | None = None, since: int = 401) -> Stream:
    begun = begin_evidence({"a": np.empty(0)}).streams["a"]
    now = peak if value is None else value
    return replace(begun, peak=peak, value=now, runs=np.full(10, 5.0), starts=np.full(10, since))


def watch(*streams: Stream, scores: Stream | None = None) -> Evidence:
    """Return the evidence of 8 features, the first as given, the others without any."""
    quiet = [begin_evidence({"a": np.empty(0)}).streams["a"]] * (8 - len(streams))
    named = dict(zip(NAMES, [*streams, *quiet], strict=True))
    return Evidence(768, 1_000, None, named if scores is None else {**named, ".scores": scores})


def judge(
    evidence: Evidence, *, p_value: float = 0.001, effect: float = 0.2, boundary: float = 0.3, alpha_life: float = 0.05
) -> Guarded:
    p_values, effects = dict.fromkeys(NAMES, p_value), dict.fromkeys(NAMES, effect)
    return judge_evidence(
        p_values, effects, evidence, alpha=0.05, boundary=boundary, alpha_life=alpha_life, effect_floor=0.05
    )


def test_three_of_eight_features_with_the_evidence_fire() -> None:
    verdict = judge(watch(stream(120.0), stream(130.0, since=601), stream(500.0, since=601)))

    assert guarded_to_json(verdict) == {
        "fired": True,
        "counted": ("a", "b", "c"),
        "needed": 3,
        "evidence_needed": pytest.approx(120.0),
        "alert_needed": pytest.approx(160.0),
        "since": 601,
    }


def test_two_of_eight_features_do_not_fire_but_are_named() -> None:
    verdict = judge(watch(stream(160.0), stream(1e100)))

    assert not verdict.fired
    assert verdict.since is None
    assert verdict.counted == verdict.alerts == ("a", "b")


def test_a_window_that_looks_like_the_baseline_counts_no_feature() -> None:
    assert judge(watch(*[stream(1e6)] * 3), p_value=0.05).counted == ()


def test_a_distance_below_the_floor_counts_no_feature() -> None:
    assert judge(watch(*[stream(1e6)] * 3), effect=0.049).counted == ()


def test_evidence_that_has_melted_away_counts_no_feature() -> None:
    assert judge(watch(*[stream(1e6, value=0.9)] * 3)).counted == ()


def test_evidence_just_below_the_bound_counts_no_feature() -> None:
    assert judge(watch(*[stream(119.9)] * 8)).counted == ()


def test_the_scores_are_no_feature_but_may_be_named_at_a_bound_shared_among_nine() -> None:
    named = judge(watch(*[stream(170.0)] * 2, scores=stream(180.0)))

    assert named.counted == ("a", "b")
    assert not named.fired
    assert named.alerts == (".scores",)


@pytest.mark.parametrize(("boundary", "needed", "evidence_needed"), [(0.0, 1, 160.0), (0.3, 3, 120.0), (0.99, 8, 20.0)])
def test_a_higher_boundary_needs_more_features_with_less_evidence_each(
    boundary: float, needed: int, evidence_needed: float
) -> None:
    verdict = judge(watch(), boundary=boundary)

    assert verdict.needed == needed
    assert verdict.evidence_needed == pytest.approx(evidence_needed)


def test_a_boundary_of_1_never_fires() -> None:
    assert not judge(watch(*[stream(1e100)] * 8), boundary=1.0).fired


def test_a_boundary_that_a_share_only_equals_asks_for_one_feature_more() -> None:
    assert judge(watch(), boundary=3 / 8).needed == 4


def test_nothing_fires_while_the_reference_is_gathered() -> None:
    verdict = judge(wait_for_reference(NAMES), boundary=0.0)

    assert not verdict.fired
    assert verdict.alerts == ()


def test_a_window_without_rows_fires_nothing() -> None:
    evidence = watch(*[stream(1e6)] * 8)

    assert not judge_evidence({}, {}, evidence, alpha=0.05, boundary=0.3, alpha_life=0.05, effect_floor=0.0).fired


@given(st.integers(1, 40), st.integers(0, 40), st.floats(0, 1), st.floats(0.001, 0.999))
def test_no_dependence_of_the_features_makes_false_alarms_more_frequent_than_promised(
    n_features: int, n_drifted: int, boundary: float, alpha_life: float
) -> None:
    evidence = Evidence(1, 1, None, {str(i): stream(1.0) for i in range(n_features)})
    verdict = judge_evidence({}, {}, evidence, alpha=0.05, boundary=boundary, alpha_life=alpha_life, effect_floor=0.0)
    false_needed, undrifted = verdict.needed - n_drifted, n_features - n_drifted

    # Ville and Markov: the expected number of the undrifted that reach the bound, over the number that is needed.
    if 0 < false_needed <= undrifted:
        assert undrifted / verdict.evidence_needed / false_needed <= alpha_life * (1 + 1e-9)
