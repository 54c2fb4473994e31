"""Recipes: which of the labelled rows a candidate is trained on, and what each of them counts.

Not here: whether the world has changed (`retraining.regimes`), or which candidate is best (`retraining.candidates`). A
recipe changes training alone: anchor and recent rows, by which candidates are judged, are the same for all.
"""

import numpy as np
from numpy.typing import NDArray

from homeostat.data.snapshots import PRODUCTION, take_labelled
from homeostat.records import Change, Counts, Floats, Json, LabelledRows, Mask, Recipe

UNION = Recipe("union")
# The shortest half-life that a change may ask for: with a shorter one a handful of rows would decide.
MIN_HALF_LIFE = 100
# The fewest rows of each class on the training side that are worth a search.
MIN_PER_CLASS = 10
# What the oldest row still counts: a fold whose rows all counted nothing would have no loss.
FLOOR = 1e-6
HALF = 0.5
# Fewer rows that count at least half cannot tell how good a model is out of fold.
MIN_HALF_ROWS = 30


def propose_recipes(
    rows: LabelledRows, change: Change | None, *, carried: Recipe = UNION, half_life: int | None, folds: int
) -> list[Recipe]:
    """Return the recipes that are tried, at least one.

    While the outcomes follow the features as they did, old rows still tell the truth: the recipe of the release in
    production is used again. Once they do not, the union is tried, and to let the rows since then count more, and to
    use nothing else. What wins is carried on: rows of a world that is gone do not come back with the next retraining.

    Parameters
    ----------
    rows
        The training set.
    change
        What has changed in the world; None before the first release.
    carried
        The recipe of the release in production.
    half_life
        That of the union, `retraining.half_life`; None if all rows count alike.
    folds
        Of the cross-validation: each needs a row of either class.
    """
    union = Recipe(UNION.name, half_life=half_life)
    if change is None or change.kind != "concept" or change.since is None:
        return [union if carried.name == UNION.name or not suffices(rows, carried, folds=folds) else carried]
    n_since = int(rows.seqs.max(initial=0)) - change.since + 1
    recipes = [union, Recipe("weighted", half_life=max(n_since, MIN_HALF_LIFE))]
    since = Recipe("since", since=change.since)
    return [*recipes, since] if suffices(rows, since, folds=folds) else recipes


def suffices(rows: LabelledRows, recipe: Recipe, *, folds: int) -> bool:
    """Return whether a recipe takes enough rows of each class to be worth a search."""
    labels = rows.labels[(rows.sides == "training") & takes(rows, recipe)]
    return min(int(labels.sum()), int((1 - labels).sum())) >= max(folds, MIN_PER_CLASS)


def takes(rows: LabelledRows, recipe: Recipe) -> Mask:
    """Return which rows are recent enough for a recipe, shape (n_rows,)."""
    if recipe.since is None:
        return np.ones(len(rows.labels), dtype=np.bool_)
    return np.asarray((rows.origins == PRODUCTION) & (rows.seqs >= recipe.since), dtype=np.bool_)


def apply_recipe(rows: LabelledRows, recipe: Recipe) -> LabelledRows:
    """Return the rows without those of the training side that a recipe does not take."""
    return take_labelled(rows, np.asarray((rows.sides != "training") | takes(rows, recipe), dtype=np.bool_))


def weigh_rows(seqs: Counts, recipe: Recipe) -> Floats | None:
    """Return what each row counts, in (0, 1], shape (n_rows,); None if all count alike.

    A row counts half as much as one that was predicted `half_life` predictions later; the newest counts 1. Rows of
    files (0 among the observed numbers `seqs`) are as old as the oldest prediction.
    """
    known = seqs[seqs > 0]
    if recipe.half_life is None or not len(known):
        return None
    ages = known.max() - np.where(seqs > 0, seqs, known.min())
    return np.asarray(np.maximum(0.5 ** (ages / recipe.half_life), FLOOR), dtype=np.float64)


def counts_half(labels: NDArray[np.int8], weights: Floats | None) -> Mask:
    """Return which rows tell how good a model is out of fold: those that count at least half, all if they are few."""
    everyone = np.ones(len(labels), dtype=np.bool_)
    if weights is None:
        return everyone
    told = weights >= HALF
    chosen = labels[told]
    enough = len(chosen) >= MIN_HALF_ROWS and min(int(chosen.sum()), int((1 - chosen).sum())) >= MIN_PER_CLASS
    return np.asarray(told, dtype=np.bool_) if enough else everyone


def recipe_from_json(stored: Json) -> Recipe:
    """Return a recipe as it is stored in records and lineages (`dataclasses.asdict`)."""
    return Recipe(stored["name"], stored["since"], stored["half_life"])
