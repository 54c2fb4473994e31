"""What a release has learned of each feature: measured by its graph, the same for the same rows, telling no row."""

import json
import time

import numpy as np
import pytest

from homeostat.data.columns import take_rows, texts
from homeostat.records import Columns, Feature, Json
from homeostat.training.contributions import Explainer, Parts
from homeostat.training.effects import GROUP, MAX_POINTS, describe_effects, draw_sample, numeric_points, text_points
from homeostat.training.graph import Calibration, compile_release, design_matrix
from homeostat.training.models import FAMILIES
from homeostat.training.preprocessing import fit_preprocessor
from homeostat.training.scoring import Graph
from homeostat.validation.schema import freeze_schema
from tests.training.generated import TARGET

SCHEMA = freeze_schema(
    [Feature("noise", "numeric"), Feature("dose", "numeric", missing=(-1.0,)), Feature("city", "categorical")], TARGET
)


def draw_rows(n_rows: int) -> Columns:
    rng = np.random.default_rng(0)
    dose = rng.normal(0, 1, n_rows)
    dose[:60] = -1.0
    city = ["A", "B", "C", None] * (n_rows // 4)
    city[7] = "alone"
    return {"noise": rng.normal(0, 1, n_rows), "dose": dose, "city": texts(city)}


@pytest.fixture(scope="module")
def columns() -> Columns:
    return draw_rows(600)


@pytest.fixture(scope="module")
def parts(columns: Columns) -> Parts:
    labels = (columns["dose"].astype(np.float64) + (columns["city"] == "A") > 0.5).astype(np.int8)
    preprocessor = fit_preprocessor(columns, SCHEMA)
    model = FAMILIES["lightgbm"].fit(
        design_matrix(preprocessor, columns, SCHEMA), labels, parameters=FAMILIES["lightgbm"].prior(), seed=0
    )
    graph = compile_release(preprocessor, model, Calibration(1.0, 0.0), SCHEMA)
    return Parts(graph, "lightgbm", model.text(), preprocessor, 1.0, 0.0)


@pytest.fixture(scope="module")
def told(parts: Parts, columns: Columns) -> Json:
    return describe(parts, columns)


def describe(parts: Parts, columns: Columns) -> Json:
    return describe_effects(Graph(parts.graph, SCHEMA), Explainer(parts, SCHEMA), columns, SCHEMA, seed=7)


def test_importance_is_the_mean_size_of_the_contributions_largest_first(
    parts: Parts, columns: Columns, told: Json
) -> None:
    sample = take_rows(columns, draw_sample(600, SCHEMA, seed=7))
    sizes = np.abs(Explainer(parts, SCHEMA).explain(sample).values).mean(axis=0)

    assert list(told["importance"]) == ["dose", "city", "noise"]
    assert told["importance"]["dose"] == pytest.approx(sizes[1], rel=1e-5)
    assert told["n_rows"] == 500


def test_an_effect_is_the_graphs_mean_answer_if_every_row_had_that_value(
    parts: Parts, columns: Columns, told: Json
) -> None:
    sample = take_rows(columns, draw_sample(600, SCHEMA, seed=7))
    effect = told["effects"]["dose"]
    at = effect["at"][12]

    scores = Graph(parts.graph, SCHEMA).score({**sample, "dose": np.full(500, at)})

    assert effect["mean"][12] == pytest.approx(scores.mean(), rel=1e-5)
    assert [effect["low"][12], effect["high"][12]] == pytest.approx(np.quantile(scores, [0.1, 0.9]), rel=1e-5)


def test_the_answer_rises_where_the_outcome_does(told: Json) -> None:
    mean = told["effects"]["dose"]["mean"]

    assert mean[-1] > mean[0] + 0.5


def test_what_training_missed_has_an_effect_and_what_it_never_missed_has_none(told: Json) -> None:
    assert 0 < told["effects"]["dose"]["missing"] < 1
    assert 0 < told["effects"]["city"]["missing"] < 1
    assert told["effects"]["noise"]["missing"] is None


def test_a_marker_of_missing_values_is_no_point(told: Json) -> None:
    assert -1.0 not in told["effects"]["dose"]["at"]


def test_a_category_of_few_rows_is_not_told(told: Json) -> None:
    assert sorted(told["effects"]["city"]["at"]) == ["A", "B", "C"]


def test_the_same_rows_give_the_same_bytes(parts: Parts, columns: Columns, told: Json) -> None:
    assert json.dumps(describe(parts, columns)) == json.dumps(told)


def test_no_point_is_the_value_of_fewer_rows_than_a_group() -> None:
    rng = np.random.default_rng(0)
    values = np.concatenate([rng.normal(50, 20, 333), np.full(40, 7.0), [1e9]])

    points = numeric_points(values)

    counts = {float(f"{value:.6g}"): int((values == value).sum()) for value in values}
    assert all(counts.get(point, GROUP) >= GROUP for point in points)
    assert 7.0 in points
    assert max(points) < 1e9


def test_points_ascend_and_are_not_too_many() -> None:
    points = numeric_points(np.random.default_rng(0).integers(0, 8, 5_000).astype(np.float64))

    assert points == [0, 1, 2, 3, 4, 5, 6, 7]
    assert len(numeric_points(np.random.default_rng(0).normal(size=5_000))) == MAX_POINTS


def test_too_few_rows_have_no_points() -> None:
    assert numeric_points(np.arange(9.0)) == []
    assert text_points(["a"] * 9) == []


def test_a_table_of_a_hundred_columns_is_described_in_seconds() -> None:
    rng = np.random.default_rng(0)
    schema = freeze_schema([Feature(f"x{j}", "numeric") for j in range(100)], TARGET)
    columns: Columns = {feature.name: rng.normal(size=400) for feature in schema.features}
    labels = (columns["x0"].astype(np.float64) > 0).astype(np.int8)
    preprocessor = fit_preprocessor(columns, schema)
    design = design_matrix(preprocessor, columns, schema)
    model = FAMILIES["lightgbm"].fit(design, labels, parameters=FAMILIES["lightgbm"].prior(), seed=0)
    parts = Parts(
        compile_release(preprocessor, model, Calibration(1.0, 0.0), schema),
        "lightgbm",
        model.text(),
        preprocessor,
        1,
        0,
    )
    started = time.process_time()

    told = describe_effects(Graph(parts.graph, schema), Explainer(parts, schema), columns, schema, seed=0)

    assert len(told["effects"]) == 100
    assert time.process_time() - started < 10
