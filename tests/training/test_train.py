"""From labelled rows to a calibrated model: reproducible, honest about the baseline, blind to what is held out."""

from dataclasses import replace

import numpy as np
import optuna
import pytest
from numpy.typing import NDArray
from scipy.special import expit

from homeostat.data.columns import texts
from homeostat.errors import DataInsufficient
from homeostat.records import Columns, Json, LabelledRows, Schema
from homeostat.settings import TrainingSettings
from homeostat.training.evaluation import auc
from homeostat.training.models import FAMILIES
from homeostat.training.scoring import Graph
from homeostat.training.train import (
    BASELINE_TRIALS,
    Trained,
    TrainingRows,
    calibrate,
    choose_trial,
    cross_score,
    fit,
    log_odds,
    parameter_importance,
    search,
    select_training,
)
from tests.training.generated import linear_table

SETTINGS = TrainingSettings(trials=3, repeats=2, folds=3)
STUMPS = {"num_iterations": 20, "num_leaves": 2, "learning_rate": 0.3}


def on_sides(columns: Columns, labels: NDArray[np.int8]) -> LabelledRows:
    """Return the rows in turn on the anchor, among the recent ones, and three times on the training side."""
    n_rows = len(labels)
    sides = texts([("anchor", "recent", "training", "training", "training")[row % 5] for row in range(n_rows)])
    return LabelledRows(
        texts([str(row) for row in range(n_rows)]),
        columns,
        labels,
        sides,
        texts(["file"] * n_rows),
        np.zeros(n_rows, dtype=np.int64),
    )


class Table:
    """A table on its sides, and what is trained on it."""

    def __init__(self, *, n_rows: int = 400, noise: float = 1.0, curved: bool = False) -> None:
        self.schema: Schema
        self.schema, columns, labels = linear_table(n_rows, n_features=4, noise=noise, seed=0)
        if curved:
            labels = (np.abs(columns["x0"]) + np.abs(columns["x1"]) > 1.5).astype(np.int8)
        self.rows = on_sides(columns, labels)

    def select(self) -> TrainingRows:
        return select_training(self.rows, SETTINGS)

    def search(self, settings: TrainingSettings = SETTINGS) -> Json:
        return search(self.select(), self.schema, settings)

    def fit(self, rows: TrainingRows | None = None, family: str = "lightgbm") -> Trained:
        parameters = STUMPS if family == "lightgbm" else {"C": 0.1}
        return fit(rows or self.select(), self.schema, SETTINGS, family=family, parameters=parameters)


@pytest.fixture(scope="module")
def linear() -> Table:
    """Labels that are linear in four features, with noise: the baseline's home."""
    return Table()


@pytest.fixture(scope="module")
def found(linear: Table) -> Json:
    return linear.search()


@pytest.fixture(scope="module")
def trained(linear: Table) -> Trained:
    return linear.fit()


# --- which rows are seen ------------------------------------------------------------------------------------------


def test_only_rows_of_the_training_side_are_selected(linear: Table) -> None:
    rows = linear.select()

    mask = linear.rows.sides == "training"
    np.testing.assert_array_equal(rows.columns["x0"], linear.rows.columns["x0"][mask])
    np.testing.assert_array_equal(rows.labels, linear.rows.labels[mask])


@pytest.mark.parametrize("side", ["anchor", "recent"])
def test_what_is_held_out_never_reaches_the_model(linear: Table, trained: Trained, side: str) -> None:
    mask = np.asarray(linear.rows.sides == side, dtype=np.bool_)
    columns = {name: np.where(mask, 9.0, values) for name, values in linear.rows.columns.items()}
    labels = np.where(mask, 1 - linear.rows.labels, linear.rows.labels).astype(np.int8)

    again = linear.fit(select_training(replace(linear.rows, columns=columns, labels=labels), SETTINGS))

    assert again.graph == trained.graph
    assert again.native == trained.native


def test_a_changed_label_of_the_training_side_does_reach_the_model(linear: Table, trained: Trained) -> None:
    labels = linear.rows.labels.copy()
    labels[[2, 3, 4]] = 1 - labels[[2, 3, 4]]

    again = linear.fit(select_training(replace(linear.rows, labels=labels), SETTINGS))

    assert again.graph != trained.graph


@pytest.mark.parametrize("side", ["training", "anchor"])
def test_too_few_rows_of_a_class_are_refused_with_the_figures(linear: Table, side: str) -> None:
    labels = np.where(linear.rows.sides == side, 0, linear.rows.labels).astype(np.int8)
    labels[np.flatnonzero(linear.rows.sides == side)[:2]] = 1
    n_rows = int((linear.rows.sides == side).sum())

    with pytest.raises(DataInsufficient) as refused:
        select_training(replace(linear.rows, labels=labels), SETTINGS)

    assert refused.value.problem == f"the {side} side has {n_rows} rows, only 2 of its rarer class"
    assert refused.value.expected.startswith("at least 3 rows of each class")
    change = "raise" if side == "anchor" else "lower"
    assert refused.value.action == (
        f"give more rows of the rarer class, or {change} training.anchor_share, or set training.folds to 2"
    )


def test_the_folds_of_each_repeat_hold_out_every_row_once(linear: Table) -> None:
    rows = linear.select()

    held = [np.concatenate([held for _, held in rows.folds[at : at + 3]]) for at in (0, 3)]

    assert [sorted(one.tolist()) for one in held] == [list(range(240))] * 2
    assert held[0].tolist() != held[1].tolist()


def test_a_score_out_of_fold_does_not_depend_on_the_rows_own_label(linear: Table) -> None:
    rows = linear.select()
    inside, held = rows.folds[0]
    one_fold = replace(rows, folds=[(inside, held)] * 6)
    turned = replace(one_fold, labels=np.where(np.isin(np.arange(240), held), 1 - rows.labels, rows.labels))

    scores = [
        cross_score(FAMILIES["lightgbm"], STUMPS, side, linear.schema, SETTINGS)[0, held] for side in (one_fold, turned)
    ]

    assert scores[0].tobytes() == scores[1].tobytes()


# --- search -------------------------------------------------------------------------------------------------------


def test_the_same_rows_and_settings_give_the_same_search(linear: Table, found: Json) -> None:
    assert linear.search() == found


def test_both_families_are_searched_the_baseline_within_its_own_budget(linear: Table) -> None:
    many = linear.search(SETTINGS.model_copy(update={"trials": 10}))

    assert {name: len(one["trials"]) for name, one in many["candidates"].items()} == {
        "lightgbm": 10,
        "logistic": BASELINE_TRIALS,
    }


def trials_of(*losses_by_fold: list[float]) -> list[optuna.trial.FrozenTrial]:
    """Return finished trials with these losses; the first is the prior."""
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    for losses in losses_by_fold:
        trial = optuna.trial.create_trial(value=float(np.mean(losses)), user_attrs={"losses": losses})
        study.add_trial(trial)
    return study.trials


@pytest.mark.parametrize(
    ("prior", "others", "chosen"),
    [
        ([0.5, 0.6, 0.7], [[0.4, 0.5, 0.6]], 1),  # better in every fold by as much
        ([0.5, 0.6, 0.7], [[0.4, 0.7, 0.6]], 0),  # better on average, as chance would have it
        ([0.5, 0.6, 0.7], [[0.6, 0.7, 0.8]], 0),
        ([0.5, 0.6, 0.7], [[0.5, 0.6, 0.7]], 0),
        ([0.5, 0.6, 0.7], [[0.45, 0.55, 0.65], [0.4, 0.5, 0.6]], 2),
    ],
)
def test_the_prior_stays_unless_the_best_trial_gains_more_than_its_error(
    prior: list[float], others: list[list[float]], chosen: int
) -> None:
    assert choose_trial(trials_of(prior, *others)).number == chosen


def test_the_parameters_that_win_are_those_of_one_of_the_trials(found: Json) -> None:
    for candidate in found["candidates"].values():
        assert candidate["parameters"] in [trial["parameters"] for trial in candidate["trials"]]


def test_a_booster_that_is_worse_beyond_its_interval_is_not_shipped(found: Json) -> None:
    assert found["difference"]["high"] < 0
    assert found["family"] == "logistic"
    assert "lightgbm is worse than this baseline beyond its interval" in found["sentence"]


def test_a_booster_that_is_lower_within_its_interval_is_shipped() -> None:
    found = Table(n_rows=150, noise=3.0).search()

    assert found["difference"]["value"] < 0 < found["difference"]["high"]
    assert found["family"] == "lightgbm"


def test_a_booster_that_is_better_is_shipped_with_the_baseline_beside_it() -> None:
    found = Table(curved=True).search()

    assert found["family"] == "lightgbm"
    assert found["difference"]["low"] > 0
    assert (
        f"against {found['candidates']['logistic']['auc']['value']:.3f} for the logistic baseline" in found["sentence"]
    )


@pytest.mark.parametrize("family", sorted(FAMILIES))
def test_a_family_asked_for_by_name_is_shipped_whatever_the_baseline(linear: Table, family: str) -> None:
    found = linear.search(SETTINGS.model_copy(update={"family": family, "trials": 1}))

    assert found["family"] == family
    assert found["sentence"].startswith(f"{family} with ")


def test_the_sentence_says_what_won_over_how_many_and_what_mattered(found: Json) -> None:
    assert found["sentence"].startswith("logistic with C ")
    assert "won its search of 3 configurations, in which C (100%) mattered most: AUC 0." in found["sentence"]


def test_the_shares_of_the_parameters_sum_to_one(found: Json) -> None:
    for candidate in found["candidates"].values():
        assert sum(candidate["importance"].values()) == pytest.approx(1)


def test_where_every_trial_gave_the_same_no_parameter_mattered() -> None:
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    study.optimize(lambda trial: 0.0 * trial.suggest_float("C", 0, 1) * trial.suggest_float("D", 0, 1), n_trials=3)

    assert parameter_importance(study, 0) == {"C": 0.0, "D": 0.0}


# --- fit ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("family", sorted(FAMILIES))
def test_the_same_rows_and_settings_give_the_same_graph(linear: Table, family: str) -> None:
    first, second = linear.fit(family=family), linear.fit(family=family)

    assert first.graph == second.graph
    assert first.native == second.native
    assert first.out_of_fold.tobytes() == second.out_of_fold.tobytes()


def test_the_graph_agrees_with_the_native_model_and_its_calibration(linear: Table, trained: Trained) -> None:
    native = trained.native_probabilities(linear.rows.columns, linear.schema)

    np.testing.assert_allclose(Graph(trained.graph, linear.schema).score(linear.rows.columns), native, atol=1e-6)


def test_calibrated_probabilities_are_right_on_average(linear: Table) -> None:
    rows = linear.select()
    scores = cross_score(FAMILIES["lightgbm"], STUMPS, rows, linear.schema, SETTINGS)

    found = calibrate(rows.labels, scores)

    calibrated = expit(found.slope * log_odds(scores) + found.offset)
    assert calibrated.mean() == pytest.approx(rows.labels.mean(), abs=1e-3)


def test_probabilities_that_are_right_already_stay_as_they_are() -> None:
    rng = np.random.default_rng(0)
    probabilities = rng.uniform(0.05, 0.95, size=50_000)
    labels = (rng.random(50_000) < probabilities).astype(np.int8)

    found = calibrate(labels, probabilities[np.newaxis])

    assert (found.slope, found.offset) == pytest.approx((1, 0), abs=0.03)


def test_calibration_keeps_the_order_of_the_rows(trained: Trained, linear: Table) -> None:
    scores = cross_score(FAMILIES["lightgbm"], STUMPS, linear.select(), linear.schema, SETTINGS)[0]

    assert auc(trained.labels, trained.out_of_fold) == pytest.approx(auc(trained.labels, scores), abs=1e-12)


def test_the_importance_is_by_name_of_the_design_column(trained: Trained) -> None:
    assert set(trained.importance) == {"x0", "x1", "x2", "x3"}
    assert sum(trained.importance.values()) == pytest.approx(1)
