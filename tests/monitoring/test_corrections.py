"""Adjusted p-values are those of the textbook, and keep the promises that make them safe to compare with alpha."""

from typing import get_args

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from homeostat.monitoring.corrections import (
    CORRECTIONS,
    Correction,
    adjust_benjamini_hochberg,
    adjust_bonferroni,
    adjust_holm,
)
from homeostat.settings import MonitoringSettings

few = settings(max_examples=100, deadline=None)
p_values = st.lists(st.floats(0, 1), min_size=1, max_size=30)
corrections = st.sampled_from(list(CORRECTIONS))


def adjust(raw: list[float], correction: Correction) -> list[float]:
    adjusted: list[float] = CORRECTIONS[correction](np.array(raw)).tolist()
    return adjusted


def test_every_choice_of_the_setting_has_its_correction() -> None:
    assert set(get_args(MonitoringSettings.model_fields["correction"].annotation)) == set(CORRECTIONS)


@few
@given(raw=p_values)
def test_benjamini_hochberg_equals_scipy(raw: list[float]) -> None:
    np.testing.assert_allclose(
        adjust_benjamini_hochberg(np.array(raw)), stats.false_discovery_control(raw, method="bh"), rtol=1e-12
    )


def test_benjamini_hochberg_rejects_the_four_hypotheses_of_the_paper() -> None:
    # Benjamini and Hochberg (1995), section 3.1, fifteen end points of a trial: at .05 Bonferroni rejects three.
    low = [0.0001, 0.0004, 0.0019, 0.0095, 0.0201, 0.0278, 0.0298, 0.0344]
    raw = np.array([*low, 0.0459, 0.3240, 0.4262, 0.5719, 0.6528, 0.7590, 1.0])

    assert (adjust_benjamini_hochberg(raw) < 0.05).sum() == 4
    assert (adjust_bonferroni(raw) < 0.05).sum() == 3


@pytest.mark.parametrize(
    ("correction", "adjusted"),
    [
        ("none", [0.01, 0.04, 0.03, 0.005]),
        ("bonferroni", [0.04, 0.16, 0.12, 0.02]),
        ("holm", [0.03, 0.06, 0.06, 0.02]),
        ("benjamini-hochberg", [0.02, 0.04, 0.04, 0.02]),
    ],
)
def test_four_p_values_worked_by_hand(correction: Correction, adjusted: list[float]) -> None:
    assert adjust([0.01, 0.04, 0.03, 0.005], correction) == pytest.approx(adjusted)


@few
@given(raw=p_values)
def test_holm_rejects_step_by_step_until_the_first_that_stands(raw: list[float]) -> None:
    rejected = 0
    while rejected < len(raw) and sorted(raw)[rejected] * (len(raw) - rejected) < 0.05:
        rejected += 1

    assert sum(p < 0.05 for p in adjust(raw, "holm")) == rejected


@few
@given(raw=p_values, correction=corrections)
def test_an_adjusted_p_value_is_never_below_the_raw_one_nor_above_1(raw: list[float], correction: Correction) -> None:
    assert all(p * (1 - 1e-12) <= q <= 1 for p, q in zip(raw, adjust(raw, correction), strict=True))


@few
@given(raw=p_values, correction=corrections)
def test_a_smaller_p_value_never_gets_a_larger_adjusted_one(raw: list[float], correction: Correction) -> None:
    order = np.argsort(raw)

    assert (np.diff(np.array(adjust(raw, correction))[order]) >= 0).all()


@few
@given(raw=p_values, correction=corrections, data=st.data())
def test_the_order_of_the_features_is_irrelevant(raw: list[float], correction: Correction, data: st.DataObject) -> None:
    order = data.draw(st.permutations(range(len(raw))))

    shuffled = adjust([raw[i] for i in order], correction)

    assert shuffled == [adjust(raw, correction)[i] for i in order]


@few
@given(raw=p_values)
def test_holm_lies_between_benjamini_hochberg_and_bonferroni(raw: list[float]) -> None:
    values = np.array(raw)

    assert (adjust_benjamini_hochberg(values) <= adjust_holm(values) * (1 + 1e-12)).all()
    assert (adjust_holm(values) <= adjust_bonferroni(values) * (1 + 1e-12)).all()


@few
@given(p=st.floats(0, 1), correction=corrections)
def test_a_single_feature_is_not_corrected(p: float, correction: Correction) -> None:
    assert adjust([p], correction) == [p]
