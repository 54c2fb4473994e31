"""The baseline is scikit-learn's logistic regression on standardised columns."""

import json

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from homeostat.training.logistic import Logistic
from tests.conformance.model_family import draw_table


def test_the_margins_are_those_of_a_scikit_learn_pipeline() -> None:
    design, labels = draw_table(0)
    fresh, _ = draw_table(1)
    peer = make_pipeline(StandardScaler(), LogisticRegression(C=0.5, max_iter=5_000)).fit(design, labels)

    found = Logistic().fit(design, labels, parameters={"C": 0.5}, seed=0).margins(fresh)

    np.testing.assert_allclose(found, peer.decision_function(fresh), atol=1e-4)


def test_a_unit_of_measurement_makes_no_difference() -> None:
    design, labels = draw_table(0)
    scaled = design * np.float32(1024)

    margins = [Logistic().fit(d, labels, parameters={}, seed=0).margins(d) for d in (design, scaled)]

    np.testing.assert_allclose(margins[0], margins[1], atol=1e-5)


@pytest.mark.parametrize("size", [1e-37, 1e37])
def test_values_at_either_end_of_float32_are_learned_from(size: float) -> None:
    design, labels = draw_table(0)

    model = Logistic().fit(design * np.float32(size), labels, parameters={}, seed=0)

    assert model.importance()[:2].sum() > 0.5


def test_a_stronger_penalty_gives_smaller_weights() -> None:
    design, labels = draw_table(0)

    weak, strong = (Logistic().fit(design, labels, parameters={"C": c}, seed=0) for c in (10.0, 0.001))

    assert np.abs(strong.weights).sum() < np.abs(weak.weights).sum() / 3


def test_a_row_that_counts_twice_is_the_row_twice() -> None:
    design, labels = draw_table(0)
    weights = np.where(np.arange(len(labels)) % 3, 1, 2)
    copies = np.repeat(np.arange(len(labels)), weights)

    weighted = Logistic().fit(design, labels, parameters={"C": 0.5}, seed=0, weights=weights.astype(np.float64))
    repeated = Logistic().fit(design[copies], labels[copies], parameters={"C": 0.5}, seed=0)

    np.testing.assert_allclose(weighted.margins(design), repeated.margins(design), atol=1e-4)


def test_the_text_holds_every_parameter() -> None:
    model = Logistic().fit(*draw_table(0), parameters={}, seed=0)

    written = json.loads(model.text())

    assert written["weights"] == model.weights.tolist()
    assert written["mean"] == model.mean.tolist()
    assert written["scale"] == model.scale.tolist()
    assert written["intercept"] == model.intercept
