"""An explanation finds again what a known model has made of a known drift, and bears every column."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from homeostat.data.columns import texts
from homeostat.deployment.artifacts import find_release, open_release
from homeostat.errors import DataInsufficient
from homeostat.monitoring.explanation import describe_explanation, explain_scores, put_back
from homeostat.records import Columns, Feature, Floats, Json, Schema, Target
from homeostat.store.blobs import FolderBlobs
from homeostat.training.scoring import Graph
from homeostat.validation.profiles import build_profile, count_rows, mask_missing
from homeostat.validation.schema import freeze_schema
from tests.deployment.small_release import pack
from tests.training.generated import linear_table

X, Z, CITY = Feature("x", "numeric", missing=(-1,)), Feature("z", "numeric"), Feature("city", "categorical")
SCHEMA = freeze_schema([X, Z, CITY], Target("outcome", 0, 1))
NAMES = [feature.name for feature in SCHEMA.features]

Score = Callable[[Columns], Floats]
few = settings(max_examples=80, deadline=None)
numbers = st.sampled_from([-1.0, float("nan"), 0.0, 1.0]) | st.floats(-100, 100)
columns_of_numbers = st.lists(numbers, min_size=1, max_size=40)
columns_of_texts = st.lists(st.sampled_from([None, "A", "B", "C"]), min_size=1, max_size=40)


def draw(n_rows: int, *, seed: int, x: float = 0.0, z: float = 0.0, share_b: float = 0.5) -> Columns:
    rng = np.random.default_rng(seed)
    cities = texts(["B" if place < share_b else "A" for place in rng.random(n_rows)])
    return {"x": rng.normal(10 + x, 1, n_rows), "z": rng.normal(20 + z, 1, n_rows), "city": cities}


def linear(columns: Columns) -> Floats:
    """Score rows by x, tenfold by city, not at all by z; a missing x counts as 10."""
    x = np.where(np.isnan(columns["x"].astype(float)) | (columns["x"] == -1), 10, columns["x"].astype(float))
    return np.asarray(0.02 * x + 0.2 * (columns["city"] == "B"), dtype=np.float64)


def explain(rows: Columns, *, score: Score = linear, then: Columns | None = None, names: list[str] = NAMES) -> Json:
    reference = build_profile(then or draw(2_000, seed=1), SCHEMA)
    return explain_scores(score, reference, rows, SCHEMA, names=names, seed=0)


def test_the_effect_of_each_feature_of_a_linear_model_is_found_again() -> None:
    explanation = explain(draw(1_000, seed=2, x=3, z=5, share_b=0.9))

    assert explanation["features"]["x"] == pytest.approx(0.06, abs=0.003)
    assert explanation["features"]["city"] == pytest.approx(0.08, abs=0.008)
    assert explanation["now"] - explanation["then"] == pytest.approx(0.14, abs=0.01)


def test_a_feature_that_the_model_ignores_explains_nothing_however_far_it_moved() -> None:
    assert explain(draw(500, seed=3, z=50))["features"]["z"] == 0


def test_with_all_features_put_back_a_linear_model_scores_as_on_the_reference() -> None:
    then = draw(2_000, seed=1)

    explanation = explain(draw(1_000, seed=4, x=3, share_b=0.1), then=then)

    assert explanation["then"] == pytest.approx(linear(then).mean(), abs=1e-3)


def test_effects_that_add_up_leave_nothing_to_interactions() -> None:
    assert explain(draw(500, seed=5, x=2, share_b=0.8))["interactions"] == pytest.approx(0, abs=1e-9)


def test_what_only_two_features_together_do_is_said_to_be_their_interaction() -> None:
    explanation = explain(draw(500, seed=6, x=2, z=2), score=lambda columns: (columns["x"] - 10) * (columns["z"] - 20))

    alone = explanation["features"]
    assert explanation["interactions"] == pytest.approx(explanation["now"] - explanation["then"] - sum(alone.values()))
    assert explanation["interactions"] < -3


def test_without_drift_nothing_is_explained() -> None:
    explanation = explain(draw(2_000, seed=7))

    assert all(abs(part) < 0.01 for part in explanation["features"].values())
    assert explanation["now"] == pytest.approx(explanation["then"], abs=0.01)


def test_the_largest_effect_comes_first_whatever_its_sign() -> None:
    explanation = explain(draw(500, seed=8, x=1, z=9, share_b=0.1))

    assert list(explanation["features"]) == ["city", "x", "z"]


def test_only_the_named_features_are_put_back() -> None:
    explanation = explain(draw(500, seed=9, x=3, share_b=0.9), names=["x"])

    assert list(explanation["features"]) == ["x"]
    assert explanation["now"] - explanation["then"] == pytest.approx(0.06, abs=0.006)


def test_without_names_then_is_now() -> None:
    explanation = explain(draw(100, seed=9, x=3), names=[])

    assert explanation == {"then": explanation["now"], "now": explanation["now"], "features": {}, "interactions": 0}


def test_the_same_seed_gives_the_same_figures() -> None:
    rows = draw(300, seed=10, x=1, share_b=0.7)

    assert json.dumps(explain(rows)) == json.dumps(explain(rows))


def test_the_order_of_names_is_irrelevant() -> None:
    rows = draw(300, seed=10, x=1, share_b=0.7)

    assert explain(rows, names=NAMES[::-1]) == explain(rows)


def test_a_rise_of_the_missing_share_is_explained_too() -> None:
    rows = dict(draw(1_000, seed=11))
    rows["x"] = np.where(np.arange(1_000) % 2, -1.0, rows["x"])

    explanation = explain(rows, score=lambda columns: np.isnan(columns["x"].astype(float)) | (columns["x"] == -1))

    assert (explanation["then"], explanation["now"]) == (0, 0.5)
    assert explanation["features"]["x"] == 0.5


@pytest.mark.parametrize("then", ["usual", "empty", "all missing", "constant"])
@pytest.mark.parametrize("now", ["usual", "one row", "all missing", "constant", "unseen"])
def test_columns_of_every_kind_are_explained_in_finite_figures(then: str, now: str) -> None:
    kinds: dict[str, Columns] = {
        "usual": draw(50, seed=12),
        "one row": draw(1, seed=13),
        "empty": draw(0, seed=14),
        "all missing": {"x": np.full(9, -1.0), "z": np.full(9, np.nan), "city": texts([None] * 9)},
        "constant": {"x": np.full(9, 3.0), "z": np.full(9, 3.0), "city": texts(["A"] * 9)},
        "unseen": {"x": np.full(9, 1e30), "z": np.full(9, -1e30), "city": texts(["never seen"] * 9)},
    }

    explanation = explain(kinds[now], then=kinds[then])

    assert set(explanation["features"]) == set(NAMES)
    assert np.isfinite([*explanation["features"].values(), explanation["then"], explanation["now"]]).all()


@few
@given(then=columns_of_numbers, now=columns_of_numbers)
def test_a_number_column_put_back_has_the_shares_of_the_reference(then: list[float], now: list[float]) -> None:
    schema = Schema((X,), SCHEMA.target, digest="0" * 64)
    reference = build_profile({"x": np.array(then)}, schema)

    restored = put_back(np.array(now), X, reference, chance=np.random.default_rng(0))

    found = count_rows({"x": restored}, schema, reference).features["x"].counts
    wanted = reference.features["x"].counts
    distance = np.abs(np.cumsum(found) / len(now) - np.cumsum(wanted) / len(then)).max()
    assert distance <= 1 / len(now) + 1e-9


@few
@given(then=columns_of_texts, now=columns_of_texts)
def test_a_category_column_put_back_has_the_shares_of_the_reference_and_changes_as_few_rows_as_it_can(
    then: list[str | None], now: list[str | None]
) -> None:
    schema = Schema((CITY,), SCHEMA.target, digest="0" * 64)
    reference = build_profile({"city": texts(then)}, schema)

    restored = put_back(texts(now), CITY, reference, chance=np.random.default_rng(0))

    wanted, before, after = (
        count_rows({"city": column}, schema, reference).features["city"].counts
        for column in (texts(then), texts(now), restored)
    )
    assert np.abs(after - wanted * len(now) / len(then)).max() < 1
    changed = sum(old != new for old, new in zip(now, restored.tolist(), strict=True))
    assert changed == np.maximum(before - after, 0).sum()


def test_ranks_stay_when_a_column_is_put_back() -> None:
    reference = build_profile(draw(500, seed=15), SCHEMA)
    window = draw(100, seed=16, x=5)["x"]

    restored = put_back(window, X, reference, chance=np.random.default_rng(0))

    assert (np.diff(restored[np.argsort(window)].astype(float)) >= 0).all()


def test_the_window_itself_is_left_as_it_was() -> None:
    rows = draw(100, seed=17, x=2)
    copies = {name: column.copy() for name, column in rows.items()}

    explain(rows)

    for feature in SCHEMA.features:
        assert (
            mask_missing(rows[feature.name], feature).tolist() == mask_missing(copies[feature.name], feature).tolist()
        )


def test_the_graph_of_a_release_can_be_asked(tmp_path: Path) -> None:
    blobs = FolderBlobs(tmp_path)
    release = open_release(find_release(pack(blobs), blobs))
    _, columns, _ = linear_table(200, n_features=2, noise=1.0, seed=1)
    name = release.schema.features[0].name
    rows = {**columns, name: columns[name].astype(np.float64) + 2}

    graph = Graph(release.graph, release.schema)
    explanation = explain_scores(graph.score, release.profile, rows, release.schema, names=[name], seed=0)

    assert explanation["now"] - explanation["then"] == pytest.approx(explanation["features"][name])
    assert abs(explanation["features"][name]) > 0.05


def test_a_window_without_rows_is_refused() -> None:
    with pytest.raises(DataInsufficient, match="the window has no rows"):
        explain(draw(0, seed=18))


def test_an_explanation_reads_as_a_sentence_with_shares_of_the_whole() -> None:
    explanation = {"then": 0.35, "now": 0.52, "features": {"Glucose": 0.136, "Age": -0.01}, "interactions": 0.044}

    expected = "mean score 0.350 -> 0.520: Glucose +0.136 (80%), Age -0.010, together beyond their sum +0.044 (26%)"
    assert describe_explanation(explanation) == expected


def test_where_nothing_was_explained_only_the_scores_are_told() -> None:
    told = describe_explanation({"then": 0.35, "now": 0.35, "features": {}, "interactions": 0})

    assert told == "mean score 0.350 -> 0.350"
