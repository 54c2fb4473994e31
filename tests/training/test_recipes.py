"""Recipes: which rows a candidate is trained on and what each counts; what is held out is the same for all."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import expit

from homeostat.data.columns import texts
from homeostat.errors import DataInsufficient
from homeostat.records import Change, LabelledRows, Recipe, Schema
from homeostat.settings import TrainingSettings
from homeostat.training.recipes import FLOOR, apply_recipe, counts_half, propose_recipes, recipe_from_json, weigh_rows
from homeostat.training.scoring import Graph
from homeostat.training.train import Trained, calibrate, fit, log_loss, search, select_training
from tests.training.generated import linear_table

SETTINGS = TrainingSettings(trials=3, repeats=1, folds=3)
N_OLD, N_NEW = 300, 200
FIRST_NEW = 101
SINCE, WEIGHTED = Recipe("since", since=FIRST_NEW), Recipe("weighted", half_life=100)


def turned_world() -> tuple[Schema, LabelledRows]:
    """Return rows of a file, and predictions 101 to 300 whose outcomes are turned round."""
    n_rows = N_OLD + N_NEW
    schema, columns, labels = linear_table(n_rows, n_features=3, noise=1.0, seed=0)
    old = np.arange(n_rows) < N_OLD
    sides = [("anchor" if old[row] else "recent") if row % 4 == 0 else "training" for row in range(n_rows)]
    rows = LabelledRows(
        texts([str(row) for row in range(n_rows)]),
        columns,
        np.where(old, labels, 1 - labels).astype(np.int8),
        texts(sides),
        texts(["file"] * N_OLD + ["production"] * N_NEW),
        np.array([0] * N_OLD + list(range(FIRST_NEW, FIRST_NEW + N_NEW))),
    )
    return schema, rows


SCHEMA, ROWS = turned_world()


def concept(since: int | None = FIRST_NEW) -> Change:
    return Change("concept", since, 2, confirmed=True, sentence="the outcomes turned round")


def names(change: Change | None, rows: LabelledRows = ROWS) -> list[str]:
    return [recipe.name for recipe in propose_recipes(rows, change, half_life=None, folds=3)]


# --- which are tried ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["none", "data"])
def test_while_the_outcomes_follow_the_features_as_before_only_the_union_is_tried(kind: str) -> None:
    assert names(Change(kind, 101, 2, confirmed=False, sentence="")) == ["union"]  # type: ignore[arg-type]


def test_before_the_first_release_only_the_union_is_tried() -> None:
    assert names(None) == ["union"]


def test_after_a_change_of_concept_three_recipes_are_tried_the_union_first() -> None:
    assert propose_recipes(ROWS, concept(), half_life=7, folds=3) == [
        Recipe("union", half_life=7),
        Recipe("weighted", half_life=200),
        SINCE,
    ]


def test_what_won_after_a_change_is_used_again_once_the_world_is_quiet() -> None:
    assert propose_recipes(ROWS, None, carried=SINCE, half_life=None, folds=3) == [SINCE]
    assert propose_recipes(ROWS, None, carried=WEIGHTED, half_life=None, folds=3) == [WEIGHTED]


def test_a_union_is_used_again_with_the_half_life_of_today() -> None:
    carried = Recipe("union", half_life=7)

    assert propose_recipes(ROWS, None, carried=carried, half_life=9, folds=3) == [Recipe("union", half_life=9)]


def test_after_another_change_the_union_is_tried_again_beside_the_rest() -> None:
    tried = propose_recipes(ROWS, concept(150), carried=SINCE, half_life=None, folds=3)

    assert [recipe.name for recipe in tried] == ["union", "weighted", "since"]
    assert tried[2].since == 150


def test_a_recipe_that_has_too_few_rows_left_is_not_used_again() -> None:
    assert names_after(Recipe("since", since=290)) == ["union"]


def names_after(carried: Recipe) -> list[str]:
    return [recipe.name for recipe in propose_recipes(ROWS, None, carried=carried, half_life=None, folds=3)]


def test_the_half_life_after_a_change_is_at_least_a_hundred_predictions() -> None:
    assert propose_recipes(ROWS, concept(291), half_life=None, folds=3)[1] == WEIGHTED


def test_too_few_rows_of_a_class_since_the_change_are_not_trained_on_alone() -> None:
    assert names(concept(285)) == ["union", "weighted"]


# --- what they take -----------------------------------------------------------------------------------------------


def test_rows_since_a_change_are_all_that_is_trained_on_and_what_is_held_out_stays() -> None:
    taken = apply_recipe(ROWS, SINCE)

    assert set(taken.origins[taken.sides == "training"]) == {"production"}
    for side in ("anchor", "recent"):
        assert (taken.sides == side).sum() == (ROWS.sides == side).sum()


def test_too_few_rows_for_the_folds_are_refused() -> None:
    with pytest.raises(DataInsufficient, match="the training side has"):
        select_training(ROWS, SETTINGS, Recipe("since", since=298))


def test_a_row_counts_half_a_half_life_later() -> None:
    seqs = np.array([0, 100, 200, 300])

    found = weigh_rows(seqs, WEIGHTED)

    assert found is not None
    np.testing.assert_allclose(found, [0.25, 0.25, 0.5, 1.0])


@given(st.lists(st.integers(0, 10**7), min_size=1, max_size=30), st.integers(1, 10**6))
def test_the_newest_counts_one_the_older_the_less_and_nothing_counts_nothing(seqs: list[int], half_life: int) -> None:
    found = weigh_rows(np.array(seqs), Recipe("weighted", half_life=half_life))

    if found is None:
        assert max(seqs) == 0
        return
    assert found.max() == 1
    assert found.min() >= FLOOR
    order = np.argsort(seqs)
    assert (np.diff(found[order]) >= 0).all()


def test_without_a_half_life_all_rows_count_alike() -> None:
    assert select_training(ROWS, SETTINGS).weights is None


def test_out_of_fold_only_rows_that_count_at_least_half_speak_for_the_model() -> None:
    labels, weights = np.tile(np.array([0, 1], dtype=np.int8), 50), np.linspace(0, 1, 100)

    assert counts_half(labels, weights).tolist() == (weights >= 0.5).tolist()
    assert counts_half(labels, weights / 2.1).all()


@pytest.mark.parametrize("recipe", [SINCE, WEIGHTED])
def test_a_recipe_is_the_same_after_it_was_stored(recipe: Recipe) -> None:
    stored = {"name": recipe.name, "since": recipe.since, "half_life": recipe.half_life}

    assert recipe_from_json(stored) == recipe


# --- what becomes of them -----------------------------------------------------------------------------------------


def fitted(recipe: Recipe) -> Trained:
    rows = select_training(ROWS, SETTINGS, recipe)
    return fit(rows, SCHEMA, SETTINGS, family="logistic", parameters={"C": 1.0})


def share_right(trained: Trained) -> float:
    recent = ROWS.sides == "recent"
    columns = {name: values[recent] for name, values in ROWS.columns.items()}
    return float(((Graph(trained.graph, SCHEMA).score(columns) >= 0.5) == ROWS.labels[recent]).mean())


def test_after_the_outcomes_turned_round_newer_rows_make_the_better_model() -> None:
    union, weighted, since = (
        share_right(fitted(r)) for r in (Recipe("union"), Recipe("weighted", half_life=30), SINCE)
    )

    assert union < 0.5
    assert min(weighted, since) > 0.7


def test_what_is_said_out_of_fold_of_a_weighted_model_is_about_the_new_world() -> None:
    trained = fitted(Recipe("weighted", half_life=60))

    newest = (ROWS.sides == "training") & (ROWS.seqs >= 240)
    assert trained.labels.tolist() == ROWS.labels[newest].tolist()
    assert ((trained.out_of_fold >= 0.5) == trained.labels).mean() > 0.6


def test_the_search_of_a_weighted_recipe_is_judged_by_the_rows_that_count() -> None:
    found = search(select_training(ROWS, SETTINGS, Recipe("weighted", half_life=30)), SCHEMA, SETTINGS)

    assert found["candidates"][found["family"]]["auc"]["value"] > 0.75


def test_losses_of_rows_that_count_twice_are_losses_of_the_rows_twice() -> None:
    labels, margins = np.array([0, 1, 1], dtype=np.int8), np.array([0.5, -1.0, 2.0])

    twice = log_loss(np.append(labels, labels[1]), np.append(margins, margins[1]))

    assert log_loss(labels, margins, np.array([1.0, 2.0, 1.0])) == pytest.approx(twice)


def test_calibration_follows_the_rows_that_count() -> None:
    rng = np.random.default_rng(0)
    probabilities = rng.uniform(0.05, 0.95, size=20_000)
    labels = (rng.random(20_000) < np.where(np.arange(20_000) < 10_000, probabilities, expit(1.0))).astype(np.int8)

    found = calibrate(labels, probabilities[np.newaxis], np.repeat([1.0, 1e-6], 10_000))

    assert (found.slope, found.offset) == pytest.approx((1, 0), abs=0.06)
