"""The folds of the cross-validation: which rows a model learns from, and which it then scores.

Not here: which rows are on the training side (`training.recipes`), or what is done with the scores (`training.train`).
Seeded: the same rows give the same folds. A row need not be scored: where time orders the rows the oldest block has
nobody who could have learned before it, and of a very large table only a sample is cross-validated.
"""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from sklearn.model_selection import RepeatedStratifiedKFold

from homeostat.errors import DataInsufficient
from homeostat.records import Counts, Floats, LabelledRows
from homeostat.settings import TrainingSettings

Fold = tuple[NDArray[np.int64], NDArray[np.int64]]
# Rows of which a cross-validation is made. With as many, the standard error of an AUC of .8 is .002; a search of
# fifteen configurations makes more than a hundred fits, each of which takes as much longer as there are more rows.
MOST_ROWS = 50_000
# What is kept of the rarer class all the same, if the table has it: a table with one positive row in a thousand is
# searched on more rows.
LEAST_RARER = 500
# Beyond so many rows a cross-validation is not repeated: of 20,000 rows of the electricity stream four partitions gave
# AUCs from .8935 to .8945, a tenth of the width of the interval, and repeats are most of the time of a training.
MOST_REPEATED = 20_000
# Folds in time without which nothing can be compared.
FEWEST_FOLDS = 2


def make_folds(rows: LabelledRows, settings: TrainingSettings) -> list[Fold]:
    """Return for each fold the rows that teach it and the rows that it scores, by their numbers, ascending.

    Without an order in time `settings.folds` of them for each repeat, stratified by class, at random; else one pass of
    forward chaining: each block of rows is scored by a model of all rows before it.

    Raises
    ------
    DataInsufficient
        Too few moments, or rows of a class, come before others.
    """
    chosen = draw_sample(rows.labels, seed=settings.seed)
    labels = rows.labels[chosen]
    if rows.times is None:
        splitter = RepeatedStratifiedKFold(
            n_splits=settings.folds, n_repeats=count_repeats(rows, settings), random_state=settings.seed
        )
        return [(chosen[inside], chosen[held]) for inside, held in splitter.split(labels, labels)]
    moments = order_in_time(rows.times[chosen], rows.seqs[chosen])
    return [(chosen[inside], chosen[held]) for inside, held in chain_forward(moments, labels, n_folds=settings.folds)]


def count_repeats(rows: LabelledRows, settings: TrainingSettings) -> int:
    """Return how often the rows are divided into folds: once in time, and once if they are many."""
    return 1 if rows.times is not None or len(rows.labels) > MOST_REPEATED else settings.repeats


def draw_sample(labels: NDArray[np.int8], *, seed: int) -> NDArray[np.int64]:
    """Return which rows are cross-validated, by their numbers, ascending: all of a table that is not very large."""
    n_rows = len(labels)
    n_rarer = min(int(labels.sum()), int((1 - labels).sum()))
    size = max(MOST_ROWS, math.ceil(LEAST_RARER * n_rows / n_rarer)) if n_rarer else n_rows
    if n_rows <= size:
        return np.arange(n_rows)
    rng = np.random.default_rng(seed)
    groups = [np.flatnonzero(labels == value) for value in (0, 1)]
    parts = [rng.choice(group, round(size * len(group) / n_rows), replace=False) for group in groups]
    return np.sort(np.concatenate(parts))


def order_in_time(times: Floats, seqs: Counts) -> NDArray[np.int64]:
    """Return the number of each row's moment, shape (n_rows,): labelled predictions follow the rows of the files."""
    _, places = np.unique(np.where(np.isnan(times), np.inf, times), return_inverse=True)
    return np.asarray(places + np.where(np.isnan(times), seqs, 0), dtype=np.int64)


def chain_forward(moments: NDArray[np.int64], labels: NDArray[np.int8], *, n_folds: int) -> list[Fold]:
    """Return folds of which each scores a block of rows by all rows before it; rows of one moment stay together.

    The blocks are as equal as moments allow. What comes before a block must hold `n_folds` rows of each class: until
    then rows only teach.

    References
    ----------
    Tashman (2000), Out-of-sample tests of forecasting accuracy, International Journal of Forecasting 16(4).
    """
    order = np.argsort(moments, kind="stable")
    ordered, outcomes = moments[order], labels[order]
    even = [len(order) * number // (n_folds + 1) for number in range(1, n_folds + 1)]
    starts = sorted({int(np.searchsorted(ordered, ordered[place], side="left")) for place in even})
    bounds = [start for start in starts if start and count_rarer(outcomes[:start]) >= n_folds]
    if len(bounds) < FEWEST_FOLDS:
        raise DataInsufficient(
            problem=f"in the order of time only {len(bounds)} of {n_folds} folds have {n_folds} rows of each class "
            "before them",
            expected=f"at least {FEWEST_FOLDS} (training.folds): both classes early, and rows of several moments",
            action="give more rows of earlier moments, set training.folds lower, or remove training.time",
        )
    ends = [*bounds[1:], len(order)]
    return [(np.sort(order[:start]), np.sort(order[start:end])) for start, end in zip(bounds, ends, strict=True)]


def count_rarer(labels: NDArray[np.int8]) -> int:
    """Return how many rows the rarer class has."""
    return min(int(labels.sum()), int((1 - labels).sum()))


def find_scored(folds: Sequence[Fold], n_rows: int) -> NDArray[np.bool_]:
    """Return which rows some fold scores, shape (n_rows,)."""
    scored = np.zeros(n_rows, dtype=np.bool_)
    for _, held in folds:
        scored[held] = True
    return scored


def describe_folds(folds: Sequence[Fold], n_rows: int, *, in_time: bool) -> str:
    """Return in words how a cross-validation differs from the ordinary one: nothing if it does not."""
    n_scored = int(find_scored(folds, n_rows).sum())
    if in_time:
        return f" Every score is of a model of earlier rows ({len(folds)} folds, {n_scored} of {n_rows} rows)."
    return f" Cross-validated on {n_scored} of {n_rows} rows, fitted to all." if n_scored < n_rows else ""
