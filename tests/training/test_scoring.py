"""Answering with a graph: one input layout, any number of rows, any number of threads."""

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from homeostat.data.columns import stack_rows, take_rows
from homeostat.records import Feature, Row
from homeostat.training.graph import Calibration, compile_release, design_matrix
from homeostat.training.logistic import Logistic
from homeostat.training.preprocessing import fit_preprocessor
from homeostat.training.scoring import Graph, graph_inputs
from homeostat.validation.schema import freeze_schema
from tests.training.generated import TARGET

SCHEMA = freeze_schema([Feature("age", "numeric"), Feature("city", "categorical"), Feature("bmi", "numeric")], TARGET)
ROWS: list[Row] = [{"age": 20.0 + i, "city": "AB"[i % 2] if i % 5 else None, "bmi": None} for i in range(60)]
COLUMNS = stack_rows(ROWS, SCHEMA)


@pytest.fixture(scope="module")
def graph() -> Graph:
    preprocessor = fit_preprocessor(COLUMNS, SCHEMA)
    labels = (np.arange(60) % 3 == 0).astype(np.int8)
    model = Logistic().fit(design_matrix(preprocessor, COLUMNS, SCHEMA), labels, parameters={}, seed=0)
    return Graph(compile_release(preprocessor, model, Calibration(1.0, 0.0), SCHEMA), SCHEMA)


def test_numbers_are_handed_over_as_float32_in_schema_order() -> None:
    inputs = graph_inputs(stack_rows([{"bmi": None, "city": "A", "age": 0.1}], SCHEMA), SCHEMA)

    assert inputs["numeric"].dtype == np.float32
    np.testing.assert_array_equal(inputs["numeric"], np.array([[0.1, np.nan]], dtype=np.float32))


def test_a_missing_category_is_handed_over_as_an_empty_text() -> None:
    inputs = graph_inputs(take_rows(COLUMNS, np.array([0, 1])), SCHEMA)

    assert inputs["categorical"].tolist() == [[""], ["B"]]


def test_there_is_one_probability_for_each_row(graph: Graph) -> None:
    scores = graph.score(COLUMNS)

    assert scores.shape == (60,)
    assert scores.dtype == np.float32
    assert ((scores > 0) & (scores < 1)).all()


def test_no_rows_have_no_probabilities(graph: Graph) -> None:
    assert graph.score(stack_rows([], SCHEMA)).shape == (0,)


def test_the_order_in_which_columns_are_given_does_not_matter(graph: Graph) -> None:
    turned = {name: COLUMNS[name] for name in sorted(COLUMNS, reverse=True)}

    assert graph.score(turned).tobytes() == graph.score(COLUMNS).tobytes()


def test_several_threads_get_the_same_bits(graph: Graph) -> None:
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda _: graph.score(COLUMNS).tobytes(), range(200)))

    assert len(set(answers)) == 1


def test_opening_a_graph_leaves_no_trace_in_the_home_folder(tmp_path: Path) -> None:
    environment = {key: value for key, value in os.environ.items() if key != "ORT_DISABLE_TELEMETRY"}
    script = "import homeostat.training.scoring"
    subprocess.run([sys.executable, "-c", script], check=True, env={**environment, "HOME": str(tmp_path)})

    assert list(tmp_path.rglob("*")) == []
