"""What each feature adds to an answer: together with the base it is the log-odds of the packed graph's answer."""

from collections.abc import Callable
from dataclasses import replace

import lightgbm
import numpy as np
import pytest
from numpy.typing import NDArray

from homeostat.data.columns import take_rows, texts
from homeostat.errors import ReleaseUnexplained
from homeostat.records import Columns, Feature, Json
from homeostat.training.contributions import Explainer, Parts
from homeostat.training.graph import Calibration, compile_release, design_matrix
from homeostat.training.models import FAMILIES
from homeostat.training.preprocessing import fit_preprocessor, preprocessor_from_json, preprocessor_to_json
from homeostat.training.scoring import Graph
from homeostat.validation.schema import freeze_schema
from tests.training.generated import TARGET

SCHEMA = freeze_schema(
    [
        Feature("city", "categorical", missing=("?",)),
        Feature("dose", "numeric", missing=(0.0, -1.0)),
        Feature("noise", "numeric"),
        Feature("age", "numeric"),
        Feature("shift", "categorical"),
    ],
    TARGET,
)
CALIBRATION = Calibration(1.3, -0.4)
PARAMETERS = {"lightgbm": FAMILIES["lightgbm"].prior() | {"num_iterations": 30}, "logistic": {"C": 1.0}}


def draw_rows(n_rows: int, *, seed: int, cities: str = "ABC") -> Columns:
    """Return rows with markers and missing values; `cities` may hold what training has not."""
    rng = np.random.default_rng(seed)
    dose, age = rng.normal(5, 3, n_rows), rng.normal(50, 10, n_rows)
    dose[rng.random(n_rows) < 0.2] = 0
    age[rng.random(n_rows) < 0.2] = np.nan
    city = rng.choice([*cities, "?"], n_rows).tolist()
    return {
        "city": texts([None if rng.random() < 0.1 else one for one in city]),
        "dose": dose,
        "noise": rng.normal(0, 1e-3, n_rows),
        "age": age,
        "shift": texts(rng.choice(["day", "night"], n_rows).tolist()),
    }


def draw_labels(columns: Columns) -> NDArray[np.int8]:
    margin = (
        np.nan_to_num(columns["age"].astype(np.float64) - 50) / 5 + (columns["city"] == "A") + (columns["dose"] > 6)
    )
    return np.asarray(margin > 0.3, dtype=np.int8)


@pytest.fixture(params=["lightgbm", "logistic"])
def parts(request: pytest.FixtureRequest) -> Parts:
    return fit_parts(request.param)


def fit_parts(family: str) -> Parts:
    columns = draw_rows(400, seed=0)
    preprocessor = fit_preprocessor(columns, SCHEMA)
    design = design_matrix(preprocessor, columns, SCHEMA)
    model = FAMILIES[family].fit(design, draw_labels(columns), parameters=PARAMETERS[family], seed=0)
    graph = compile_release(preprocessor, model, CALIBRATION, SCHEMA)
    return Parts(graph, family, model.text(), preprocessor, CALIBRATION.slope, CALIBRATION.offset)


@pytest.mark.parametrize("seed", range(3))
def test_base_and_contributions_sum_to_the_log_odds_of_the_packed_graph(parts: Parts, seed: int) -> None:
    rows = draw_rows(300, seed=10 + seed, cities="ABCXY")

    told = Explainer(parts, SCHEMA).explain(rows)

    summed = told.base + told.values.sum(axis=1)
    assert np.abs(summed - told.log_odds).max() < 1e-5
    answers = Graph(parts.graph, SCHEMA).score(rows)
    assert np.abs(1 / (1 + np.exp(-summed)) - answers).max() < 1e-6


def test_a_row_alone_is_explained_as_among_others(parts: Parts) -> None:
    rows = draw_rows(20, seed=3)
    explainer = Explainer(parts, SCHEMA)

    alone = explainer.explain(take_rows(rows, np.array([7])))

    assert alone.values.tolist() == explainer.explain(rows).values[7:8].tolist()


def test_no_rows_have_no_contributions(parts: Parts) -> None:
    told = Explainer(parts, SCHEMA).explain(draw_rows(0, seed=0))

    assert told.values.shape == (0, 5)


def test_what_the_outcome_follows_contributes_more_than_what_it_does_not(parts: Parts) -> None:
    told = Explainer(parts, SCHEMA).explain(draw_rows(300, seed=4))

    size = dict(zip([f.name for f in SCHEMA.features], np.abs(told.values).mean(axis=0), strict=True))
    assert size["age"] > 5 * size["noise"]
    assert size["age"] > 5 * size["shift"]


def test_the_columns_that_a_feature_has_in_the_design_matrix_are_taken_together(parts: Parts) -> None:
    rows = draw_rows(50, seed=5)
    other = {**rows, "city": texts(["B"] * 50)}
    explainer = Explainer(parts, SCHEMA)

    before, after = explainer.explain(rows), explainer.explain(other)

    if parts.family == "logistic":  # a linear model: another city moves nothing but the city's part
        assert np.delete(after.values - before.values, 0, axis=1) == pytest.approx(0)
    moved = (after.values - before.values).sum(axis=1)
    assert moved == pytest.approx(after.log_odds - before.log_odds, abs=2e-5)


def test_the_average_training_row_has_the_base_of_a_linear_model() -> None:
    training = draw_rows(400, seed=0)

    told = Explainer(fit_parts("logistic"), SCHEMA).explain(training)

    assert told.values.mean(axis=0) == pytest.approx(0, abs=1e-5)


def test_trees_are_explained_as_the_shapley_values_of_their_definition() -> None:
    """Two features of one tree that is small enough to take the sum over all coalitions by hand."""
    rng = np.random.default_rng(0)
    columns: Columns = {"a": rng.normal(size=200), "b": rng.normal(size=200)}
    schema = freeze_schema([Feature("a", "numeric"), Feature("b", "numeric")], TARGET)
    labels = ((columns["a"].astype(np.float64) > 0) & (columns["b"].astype(np.float64) > 0)).astype(np.int8)
    preprocessor = fit_preprocessor(columns, schema)
    design = design_matrix(preprocessor, columns, schema)
    model = FAMILIES["lightgbm"].fit(
        design, labels, parameters={"num_iterations": 1, "num_leaves": 3, "min_data_in_leaf": 5}, seed=0
    )
    graph = compile_release(preprocessor, model, Calibration(1.0, 0.0), schema)
    parts = Parts(graph, "lightgbm", model.text(), preprocessor, 1.0, 0.0)
    root = lightgbm.Booster(model_str=model.text()).dump_model()["tree_info"][0]["tree_structure"]

    told = Explainer(parts, schema).explain(columns)

    worth = expected_by(root, design[0])
    assert told.base == pytest.approx(worth(()))
    assert told.values[0, 0] == pytest.approx(((worth((0,)) - worth(())) + (worth((0, 1)) - worth((1,)))) / 2)


def expected_by(root: Json, row: NDArray[np.float32]) -> Callable[[tuple[int, ...]], float]:
    """Return the expected margin of a tree if only some features of a row are known, along the paths of its rows."""

    def expect(node: Json, known: tuple[int, ...]) -> float:
        if "leaf_value" in node:
            return float(node["leaf_value"])
        left, right = node["left_child"], node["right_child"]
        if node["split_feature"] in known:
            return expect(left if row[node["split_feature"]] <= node["threshold"] else right, known)
        n_left, n_right = (
            child["internal_count" if "left_child" in child else "leaf_count"] for child in (left, right)
        )
        return float((n_left * expect(left, known) + n_right * expect(right, known)) / (n_left + n_right))

    return lambda known: expect(root, known)


def test_a_model_that_learned_nothing_has_only_a_base() -> None:
    parts = fit_parts("lightgbm")
    columns, labels = draw_rows(40, seed=1), np.tile(np.array([0, 1], dtype=np.int8), 20)
    design = design_matrix(parts.preprocessor, columns, SCHEMA)
    model = FAMILIES["lightgbm"].fit(design, labels, parameters={"num_iterations": 2, "min_data_in_leaf": 40}, seed=0)
    graph = compile_release(parts.preprocessor, model, CALIBRATION, SCHEMA)

    told = Explainer(replace(parts, graph=graph, native=model.text()), SCHEMA).explain(columns)

    assert told.values.any() == np.False_
    assert told.log_odds == pytest.approx(told.base, abs=1e-6)


def test_the_preparation_that_a_release_holds_explains_as_the_fitted_one(parts: Parts) -> None:
    stored = preprocessor_from_json(preprocessor_to_json(parts.preprocessor))

    assert stored == parts.preprocessor


def test_a_family_that_nobody_has_taught_to_explain_is_refused() -> None:
    with pytest.raises(ReleaseUnexplained, match="'stranger' cannot be explained"):
        Explainer(replace(fit_parts("logistic"), family="stranger"), SCHEMA)


def test_a_graph_that_is_not_ours_is_refused() -> None:
    parts = fit_parts("logistic")

    with pytest.raises(ReleaseUnexplained, match="no design matrix"):
        Explainer(replace(parts, graph=parts.graph.replace(b"log_odds", b"log_even")), SCHEMA)
