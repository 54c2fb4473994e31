"""The compiled graph is the one transformation: equal to a plain reading of its rules, and to LightGBM bit for bit."""

from collections.abc import Callable

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from onnx import helper, numpy_helper
from scipy.special import expit

from homeostat.data.columns import take_rows, texts
from homeostat.records import Columns, Feature, Schema
from homeostat.training.boosting import BoostedTrees, LightGbm, place_threshold, walk
from homeostat.training.golden import golden_rows
from homeostat.training.graph import Calibration, compile_release, design_matrix, split_thresholds
from homeostat.training.logistic import Logistic
from homeostat.training.models import FAMILIES, FittedModel
from homeostat.training.preprocessing import MAX_CATEGORIES, Preprocessor, fit_preprocessor
from homeostat.training.scoring import Graph
from tests.training.generated import TARGET, Tables, linear_table, tables

Design = NDArray[np.float32]

few = settings(max_examples=50, deadline=None)
CALIBRATION = Calibration(slope=1.25, offset=-0.5)
TREES = {"num_iterations": 150, "learning_rate": 0.1, "num_leaves": 8, "min_data_in_leaf": 5}
PARAMETERS = {"lightgbm": TREES, "logistic": {"C": 1.0}}
both_families = pytest.mark.parametrize("family", FAMILIES)


# --- the reference: the rules as README states them, in numpy -----------------------------------------------------


def reference_design(training: Columns, fresh: Columns, schema: Schema) -> Design:
    """Return the design matrix of the fresh rows: values, missing indicators, one column for each known category."""
    values, indicators, categories = [], [], []
    for feature in schema.numeric:
        learned, given_ = (side[feature.name].astype(np.float32) for side in (training, fresh))
        measured = learned[~is_missing(learned, feature)]
        fill = np.float32(np.median(measured.astype(np.float64))) if measured.size else np.float32(0)
        values.append(np.where(is_missing(given_, feature), fill, given_))
        if measured.size < learned.size:
            indicators.append(is_missing(given_, feature))
    for feature in schema.categorical:
        known = {None if cell in feature.missing else cell for cell in training[feature.name]}
        cells = [None if cell in feature.missing else cell for cell in fresh[feature.name]]
        categories += [[cell == name for cell in cells] for name in sorted(known, key=lambda cell: cell or "")]
    return np.array([*values, *indicators, *categories], dtype=np.float32).T


def is_missing(values: Design, feature: Feature) -> NDArray[np.bool_]:
    return np.isnan(values) | np.isin(values, np.array([m for m in feature.missing if not isinstance(m, str)], "f4"))


@few
@given(tables())
def test_the_design_matrix_equals_the_reference_on_any_schema_and_rows(generated: Tables) -> None:
    schema, training, fresh = generated.schema, generated.training, generated.fresh

    found = design_matrix(fit_preprocessor(training, schema), fresh, schema)

    np.testing.assert_array_equal(found, reference_design(training, fresh, schema))


@few
@given(tables(), st.sampled_from(sorted(FAMILIES)))
def test_the_probability_equals_the_native_model_on_the_reference(generated: Tables, family: str) -> None:
    schema, training, fresh = generated.schema, generated.training, generated.fresh
    design = reference_design(training, training, schema)
    labels = (np.arange(len(design)) % 2).astype(np.int8)
    model = FAMILIES[family].fit(design, labels, parameters=PARAMETERS[family] | {"min_data_in_leaf": 1}, seed=0)

    graph = Graph(compile_release(fit_preprocessor(training, schema), model, CALIBRATION, schema), schema)

    margins = model.margins(reference_design(training, fresh, schema))
    np.testing.assert_allclose(graph.score(fresh), expit(1.25 * margins - 0.5), atol=1e-6)


def test_a_category_beyond_the_limit_is_encoded_like_an_unseen_one() -> None:
    schema = Schema((Feature("city", "categorical"),), TARGET, "0" * 64)
    names = [f"c{number:03}" for number in range(MAX_CATEGORIES + 1)]

    preprocessor = fit_preprocessor({"city": texts(names)}, schema)

    assert not design_matrix(preprocessor, {"city": texts([names[-1], "unseen"])}, schema).any()
    assert design_matrix(preprocessor, {"city": texts(names[:-1])}, schema).sum() == MAX_CATEGORIES


# --- thresholds ---------------------------------------------------------------------------------------------------


class Forest:
    """Trees on three features of both signs, one of them with exact zeros, and rows placed on their thresholds."""

    def __init__(self) -> None:
        self.schema, columns, labels = linear_table(1_500, n_features=3, noise=0.3, seed=2)
        self.columns = {**columns, "x2": np.where(np.abs(columns["x2"]) < 0.3, 0.0, columns["x2"])}
        self.preprocessor = fit_preprocessor(self.columns, self.schema)
        self.model = LightGbm().fit(self.design(self.columns), labels, parameters=TREES, seed=0)
        self.placed = self.rows_on_thresholds()

    def design(self, columns: Columns) -> Design:
        return design_matrix(self.preprocessor, columns, self.schema)

    def compile(self) -> bytes:
        return compile_release(self.preprocessor, self.model, Calibration(1.0, 0.0), self.schema)

    def rows_on_thresholds(self) -> Columns:
        """Return for each threshold and one float32 step on either side a few rows whose other features are drawn."""
        rng = np.random.default_rng(0)
        parts = []
        for name, cuts in split_thresholds(self.compile(), self.preprocessor).items():
            at = cuts.astype(np.float32)
            steps = [np.nextafter(at, np.float32(end)) for end in (-np.inf, np.inf)]
            values = np.repeat(np.concatenate([at, *steps]).astype(np.float64), 5)
            drawn = take_rows(self.columns, rng.integers(1_500, size=len(values)))
            parts.append({**drawn, name: values})
        return {name: np.concatenate([part[name] for part in parts]) for name in self.columns}

    def largest_difference(self, content: bytes) -> float:
        native = expit(self.model.margins(self.design(self.placed)))
        return float(np.abs(Graph(content, self.schema).score(self.placed) - native).max())


@pytest.fixture(scope="module")
def forest() -> Forest:
    return Forest()


def with_thresholds(content: bytes, model: BoostedTrees, place: Callable[[float], float]) -> bytes:
    """Return the graph with each of LightGBM's own thresholds placed otherwise."""
    trees = [tree["tree_structure"] for tree in model.booster.dump_model()["tree_info"]]
    values = [place(node.get("threshold", 0.0)) for tree in trees for node, _, _ in walk(tree)]
    loaded = onnx.load_from_string(content)
    (ensemble,) = (node for node in loaded.graph.node if node.op_type == "TreeEnsembleRegressor")
    (attribute,) = (a for a in ensemble.attribute if a.name == "nodes_values")
    attribute.CopyFrom(helper.make_attribute("nodes_values", values))
    return bytes(loaded.SerializeToString())


def test_rows_on_thresholds_and_one_step_beside_are_answered_as_lightgbm_does(forest: Forest) -> None:
    assert len(forest.placed["x0"]) > 3_000
    assert forest.largest_difference(forest.compile()) <= 1e-6


def test_thresholds_rounded_to_nearest_fail_the_same_check(forest: Forest) -> None:
    rounded = with_thresholds(forest.compile(), forest.model, lambda value: float(np.float32(value)))

    assert forest.largest_difference(rounded) > 1e-3


def test_thresholds_placed_again_by_the_rule_are_those_of_the_graph(forest: Forest) -> None:
    again = with_thresholds(forest.compile(), forest.model, place_threshold)

    assert forest.largest_difference(again) <= 1e-6


def test_the_thresholds_found_in_a_graph_are_those_of_the_trees(forest: Forest) -> None:
    trees = [tree["tree_structure"] for tree in forest.model.booster.dump_model()["tree_info"]]
    splits = [node for tree in trees for node, _, _ in walk(tree) if "threshold" in node]

    found = split_thresholds(forest.compile(), forest.preprocessor)

    expected = {place_threshold(node["threshold"]) for node in splits if node["split_feature"] == 1}
    assert found["x1"].tolist() == sorted(expected)


def test_a_graph_without_trees_has_no_thresholds() -> None:
    schema, columns, labels = linear_table(50, n_features=2, noise=1.0, seed=0)
    preprocessor = fit_preprocessor(columns, schema)
    model = Logistic().fit(design_matrix(preprocessor, columns, schema), labels, parameters={}, seed=0)

    found = split_thresholds(compile_release(preprocessor, model, CALIBRATION, schema), preprocessor)

    assert [cuts.tolist() for cuts in found.values()] == [[], []]


# --- parity and batches -------------------------------------------------------------------------------------------


class Fitted:
    """One family's model on eight features, with its graph."""

    def __init__(self, family: str) -> None:
        self.schema, self.columns, labels = linear_table(768, n_features=8, noise=3.0, seed=1)
        self.preprocessor: Preprocessor = fit_preprocessor(self.columns, self.schema)
        design = design_matrix(self.preprocessor, self.columns, self.schema)
        self.model: FittedModel = FAMILIES[family].fit(design, labels, parameters=PARAMETERS[family], seed=0)
        self.content = compile_release(self.preprocessor, self.model, CALIBRATION, self.schema)
        self.graph = Graph(self.content, self.schema)

    def largest_difference(self, columns: Columns) -> float:
        margins = self.model.margins(design_matrix(self.preprocessor, columns, self.schema))
        return float(np.abs(self.graph.score(columns) - expit(1.25 * margins - 0.5)).max())


@pytest.fixture(scope="module", params=sorted(FAMILIES))
def fitted(request: pytest.FixtureRequest) -> Fitted:
    return Fitted(request.param)


def test_the_graph_agrees_with_the_native_model_on_the_golden_rows(fitted: Fitted) -> None:
    thresholds = split_thresholds(fitted.content, fitted.preprocessor)

    assert fitted.largest_difference(golden_rows(fitted.schema, fitted.preprocessor, thresholds, seed=0)) <= 1e-6


@pytest.mark.parametrize("width", [1.0, 10.0, 1_000.0])
def test_the_graph_agrees_with_the_native_model_on_50_000_random_rows(fitted: Fitted, width: float) -> None:
    rng = np.random.default_rng(3)
    drawn = {name: rng.normal(scale=width, size=50_000) for name in fitted.columns}

    assert fitted.largest_difference(drawn) <= 1e-6


@pytest.mark.parametrize("size", [1, 2, 7, 64, 128, 129])
def test_a_row_is_answered_with_the_same_bits_in_a_batch_of_any_size(fitted: Fitted, size: int) -> None:
    whole = fitted.graph.score(fitted.columns)

    blocks = [take_rows(fitted.columns, np.arange(at, min(at + size, 768))) for at in range(0, 768, size)]

    assert np.concatenate([fitted.graph.score(block) for block in blocks]).tobytes() == whole.tobytes()


@both_families
def test_the_same_model_is_compiled_to_the_same_bytes(family: str) -> None:
    assert Fitted(family).content == Fitted(family).content


def test_a_graph_of_another_fill_answers_differently(fitted: Fitted) -> None:
    loaded = onnx.load_from_string(fitted.content)
    (fills,) = (constant for constant in loaded.graph.initializer if constant.name == "fills")
    fills.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(fills) + np.float32(1), "fills"))
    missing = {name: np.array([np.nan]) for name in fitted.columns}

    changed = Graph(loaded.SerializeToString(), fitted.schema).score(missing)

    assert abs(float(changed[0] - fitted.graph.score(missing)[0])) > 1e-3
