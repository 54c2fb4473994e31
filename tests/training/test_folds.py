"""Folds: at random or forward in time, of all rows or of a sample, and a row that no fold scores harms nobody."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from homeostat.data.columns import texts
from homeostat.errors import DataInsufficient
from homeostat.records import LabelledRows, Schema
from homeostat.settings import TrainingSettings
from homeostat.training.folds import chain_forward, draw_sample, make_folds
from homeostat.training.scoring import Graph
from homeostat.training.train import fit, search, select_training
from tests.training.generated import linear_table

SETTINGS = TrainingSettings(folds=4, repeats=2, trials=2, time="day")
few = settings(max_examples=60, deadline=None)


def in_time(n_rows: int = 400, *, n_production: int = 0) -> tuple[Schema, LabelledRows]:
    """Return a linear table whose last fifth judges, and labelled predictions after it."""
    schema, columns, labels = linear_table(n_rows, n_features=3, noise=1.0, seed=0)
    n_files = n_rows - n_production
    place = np.arange(n_rows)
    rows = LabelledRows(
        texts([str(row) for row in place]),
        columns,
        labels,
        texts(np.where((place < n_files) & (place >= 0.8 * n_files), "anchor", "training").tolist()),
        texts(["file"] * n_files + ["production"] * n_production),
        np.where(place < n_files, 0, place - n_files + 1),
        np.where(place < n_files, place // 2, np.nan),
    )
    return schema, rows


# --- forward in time ----------------------------------------------------------------------------------------------


@few
@given(
    moments=st.lists(st.integers(0, 12), min_size=30, max_size=80),
    n_folds=st.integers(2, 5),
    seed=st.integers(0, 9),
)
def test_every_model_learns_from_all_rows_before_those_that_it_scores(
    moments: list[int], n_folds: int, seed: int
) -> None:
    places, labels = np.array(moments), np.random.default_rng(seed).integers(2, size=len(moments)).astype(np.int8)
    try:
        folds = chain_forward(places, labels, n_folds=n_folds)
    except DataInsufficient:
        return

    for inside, held in folds:
        assert places[inside].max() < places[held].min()
        assert set(inside) == set(np.flatnonzero(places < places[held].min()))
        assert min(labels[inside].sum(), (1 - labels[inside]).sum()) >= n_folds
    scored = np.concatenate([held for _, held in folds])
    assert len(set(scored)) == len(scored)
    assert set(scored) == set(range(len(places))) - set(folds[0][0])


def test_the_blocks_are_equal_where_every_row_has_its_own_moment() -> None:
    folds = chain_forward(np.arange(100), np.tile([0, 1], 50).astype(np.int8), n_folds=4)

    assert [(len(inside), len(held)) for inside, held in folds] == [(20, 20), (40, 20), (60, 20), (80, 20)]


def test_a_class_that_comes_late_leaves_fewer_folds() -> None:
    labels = (np.arange(100) >= 50).astype(np.int8)

    folds = chain_forward(np.arange(100), labels, n_folds=4)

    assert [(len(inside), len(held)) for inside, held in folds] == [(60, 20), (80, 20)]


@pytest.mark.parametrize("labels", [np.arange(100) >= 90, np.zeros(100)])
def test_a_class_that_comes_too_late_is_refused_with_what_to_do(labels: np.ndarray) -> None:
    with pytest.raises(DataInsufficient) as refused:
        chain_forward(np.arange(100), labels.astype(np.int8), n_folds=4)

    assert refused.value.problem.startswith("in the order of time only 0 of 4 folds have 4 rows of each class")
    assert "remove training.time" in refused.value.action


def test_labelled_predictions_come_after_the_rows_of_the_files_in_the_order_of_the_log() -> None:
    _, rows = in_time(300, n_production=100)
    training = select_training(rows, SETTINGS)

    inside, held = training.folds[-1]

    # 160 of the files' 200 rows and 100 predictions are trained on: the last fifth of them is scored last.
    assert held.tolist() == list(range(208, 260))
    assert inside.tolist() == list(range(208))


def test_in_time_there_is_one_repeat_whatever_the_setting() -> None:
    rows = select_training(in_time()[1], SETTINGS)

    assert (rows.repeats, rows.n_folds, len(rows.folds)) == (1, 4, 4)


def test_without_an_order_in_time_there_are_as_many_repeats_as_asked_for() -> None:
    rows = select_training(replace(in_time()[1], times=None), SETTINGS)

    assert (rows.repeats, rows.n_folds, len(rows.folds)) == (2, 4, 8)
    assert rows.scored.all()


# --- rows that no fold scores -------------------------------------------------------------------------------------


def test_the_search_says_that_scores_are_of_models_of_earlier_rows() -> None:
    schema, rows = in_time()

    found = search(select_training(rows, SETTINGS), schema, SETTINGS)

    assert found["sentence"].endswith(" Every score is of a model of earlier rows (4 folds, 256 of 320 rows).")
    assert (found["folds"], found["repeats"]) == (4, 1)
    assert 0.5 < found["candidates"]["lightgbm"]["auc"]["low"] < found["candidates"]["lightgbm"]["auc"]["high"] < 1


def test_rows_that_no_fold_scores_are_learned_from_and_left_out_of_the_calibration() -> None:
    schema, rows = in_time()
    training = select_training(rows, SETTINGS)

    trained = fit(training, schema, SETTINGS, family="logistic", parameters={"C": 1.0})

    assert len(trained.out_of_fold) == len(trained.labels) == 256
    assert np.isfinite(trained.out_of_fold).all()
    np.testing.assert_array_equal(trained.labels, training.labels[64:])
    assert np.isfinite(Graph(trained.graph, schema).score(rows.columns)).all()


def test_what_the_oldest_rows_say_reaches_the_model() -> None:
    schema, rows = in_time()
    turned = replace(rows, labels=np.where(np.arange(400) < 64, 1 - rows.labels, rows.labels).astype(np.int8))

    first, second = (
        fit(select_training(one, SETTINGS), schema, SETTINGS, family="logistic", parameters={"C": 1.0})
        for one in (rows, turned)
    )

    assert first.native != second.native


# --- very large tables --------------------------------------------------------------------------------------------


def test_of_a_very_large_table_a_sample_with_the_same_share_of_positives_is_cross_validated() -> None:
    labels = (np.arange(200_000) % 4 == 0).astype(np.int8)

    chosen = draw_sample(labels, seed=0)

    assert len(chosen) == 50_000
    assert labels[chosen].mean() == 0.25
    assert (np.diff(chosen) > 0).all()


def test_a_table_that_is_not_very_large_is_cross_validated_whole() -> None:
    assert len(draw_sample(np.tile([0, 1], 25_000).astype(np.int8), seed=0)) == 50_000


def test_the_sample_grows_until_it_holds_enough_of_the_rarer_class() -> None:
    labels = (np.arange(200_000) % 200 == 0).astype(np.int8)

    assert labels[draw_sample(labels, seed=0)].sum() == 500


def test_many_rows_are_cross_validated_once() -> None:
    _, columns, labels = linear_table(21_000, n_features=1, noise=1.0, seed=0)
    sides = texts(["anchor" if row % 50 == 0 else "training" for row in range(21_000)])
    heads = (texts(["file"] * 21_000), np.zeros(21_000, dtype=np.int64))
    rows = LabelledRows(texts(list(map(str, range(21_000)))), columns, labels, sides, *heads)

    found = select_training(rows, TrainingSettings(folds=2, repeats=3))

    assert (found.repeats, len(found.folds)) == (1, 2)
    assert found.scored.all()


def test_the_folds_of_a_sample_hold_out_each_of_its_rows_once() -> None:
    n_rows = 60_000
    rows = LabelledRows(
        texts([str(row) for row in range(n_rows)]),
        {},
        (np.arange(n_rows) % 3 == 0).astype(np.int8),
        texts(["training"] * n_rows),
        texts(["file"] * n_rows),
        np.zeros(n_rows, dtype=np.int64),
    )

    folds = make_folds(rows, TrainingSettings(folds=3, repeats=1))

    held = np.concatenate([held for _, held in folds])
    assert len(held) == len(set(held.tolist())) == 50_000
    assert all(set(inside.tolist()) == set(held.tolist()) - set(out.tolist()) for inside, out in folds)
