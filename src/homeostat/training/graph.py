"""Compiling preprocessing, model and calibration into one ONNX graph.

Not here: answering with it (`training.scoring`). The preparation alone is compiled too (`compile_design`), and gives
the design matrix that models are fitted on: there is one transformation, in training as in serving.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import GraphProto, NodeProto, TensorProto, helper, numpy_helper

from homeostat.records import Columns, Floats, Schema
from homeostat.training.models import FittedModel
from homeostat.training.preprocessing import CategoricalStep, NumericStep, Preprocessor
from homeostat.training.scoring import (
    CATEGORICAL,
    DESIGN,
    LOG_ODDS,
    NO_TEXT,
    NUMERIC,
    PROBABILITY,
    graph_inputs,
    open_session,
)

OPSETS = (("", 17), ("ai.onnx.ml", 3))
IR_VERSION = 9
# Rows that are prepared at once.
BLOCK = 100_000


@dataclass(frozen=True, slots=True)
class Calibration:
    """Platt's scaling of margins: probability = 1 / (1 + exp(-(slope * margin + offset)))."""

    slope: float
    offset: float


@dataclass(slots=True)
class Builder:
    """Nodes and constants of a graph under construction."""

    nodes: list[NodeProto]
    constants: list[TensorProto]

    def constant(self, name: str, value: NDArray[np.generic]) -> str:
        """Add a constant and return its name."""
        self.constants.append(numpy_helper.from_array(value, name))
        return name

    def node(self, operator: str, inputs: Sequence[str], output: str, **attributes: Any) -> str:
        """Add a node of the standard or the ML domain and return its output's name."""
        # Any above: an attribute is whatever its operator's definition says.
        domain = "ai.onnx.ml" if operator in {"LabelEncoder", "OneHotEncoder"} else ""
        self.nodes.append(helper.make_node(operator, list(inputs), [output], domain=domain, **attributes))
        return output


def compile_release(preprocessor: Preprocessor, model: FittedModel, calibration: Calibration, schema: Schema) -> bytes:
    """Return the graph that maps raw rows to the calibrated probability of the positive class."""
    builder = Builder([], [])
    design = add_preparation(builder, preprocessor)
    nodes, constants = model.nodes(design, "margin")
    builder.nodes += nodes
    builder.constants += constants
    builder.constant("calibration_slope", np.array([calibration.slope], dtype=np.float32))
    builder.constant("calibration_offset", np.array([calibration.offset], dtype=np.float32))
    builder.node("Mul", ["margin", "calibration_slope"], "scaled")
    builder.node("Add", ["scaled", "calibration_offset"], LOG_ODDS)
    builder.node("Sigmoid", [LOG_ODDS], PROBABILITY)
    return serialise(builder, PROBABILITY, schema)


def compile_design(preprocessor: Preprocessor, schema: Schema) -> bytes:
    """Return the graph that maps raw rows to the design matrix, float32 of shape (n_rows, n_design)."""
    builder = Builder([], [])
    add_preparation(builder, preprocessor)
    return serialise(builder, DESIGN, schema)


def design_matrix(preprocessor: Preprocessor, columns: Columns, schema: Schema) -> NDArray[np.float32]:
    """Return the design matrix of some rows, as the compiled preparation computes it."""
    session, n_rows = open_session(compile_design(preprocessor, schema)), len(next(iter(columns.values())))
    design = np.empty((n_rows, len(preprocessor.design_names)), dtype=np.float32)
    # A block at a time: what each node computes on the way is several times the matrix.
    for start in range(0, n_rows, BLOCK):
        block = {name: array[start : start + BLOCK] for name, array in columns.items()}
        design[start : start + BLOCK] = session.run([DESIGN], graph_inputs(block, schema))[0]
    return design


def add_preparation(builder: Builder, preprocessor: Preprocessor) -> str:
    """Add the nodes that compute the design matrix and return its name."""
    parts: list[str] = []
    if preprocessor.numeric:
        parts += add_numeric(builder, preprocessor.numeric)
    for position, step in enumerate(preprocessor.categorical):
        parts.append(add_categorical(builder, step, position))
    return builder.node("Concat", parts, DESIGN, axis=1)


def add_numeric(builder: Builder, steps: Sequence[NumericStep]) -> list[str]:
    """Add marker -> missing -> fill, and the missing indicators, for all numeric features at once."""
    missing = builder.node("IsNaN", [NUMERIC], "is_nan")
    for place in range(max(len(step.markers) for step in steps)):
        # NaN equals nothing: a feature with fewer markers has none in this place.
        markers = [step.markers[place] if place < len(step.markers) else np.nan for step in steps]
        row = builder.constant(f"markers_{place}", np.array([markers], dtype=np.float32))
        found = builder.node("Equal", [NUMERIC, row], f"is_marker_{place}")
        missing = builder.node("Or", [missing, found], f"missing_{place}")
    fills = builder.constant("fills", np.array([[step.fill for step in steps]], dtype=np.float32))
    parts = [builder.node("Where", [missing, fills, NUMERIC], "filled")]
    with_indicator = [position for position, step in enumerate(steps) if step.indicator]
    if with_indicator:
        flags = builder.node("Cast", [missing], "missing_flags", to=TensorProto.FLOAT)
        chosen = builder.constant("indicator_columns", np.array(with_indicator, dtype=np.int64))
        parts.append(builder.node("Gather", [flags, chosen], "indicators", axis=1))
    return parts


def add_categorical(builder: Builder, step: CategoricalStep, position: int) -> str:
    """Add one feature's 0/1 columns; a category that training did not keep gets zeros throughout."""
    name = f"category_{position}"
    index = builder.constant(f"{name}_position", np.array([position], dtype=np.int64))
    text = builder.node("Gather", [CATEGORICAL, index], f"{name}_text", axis=1)
    keys = [*step.categories, *(marker for marker in step.markers if marker not in step.categories)]
    missing = step.categories.index(NO_TEXT) if NO_TEXT in step.categories else -1
    codes = [*range(len(step.categories)), *([missing] * (len(keys) - len(step.categories)))]
    code = builder.node(
        "LabelEncoder", [text], f"{name}_code", keys_strings=keys, values_int64s=codes, default_int64=-1
    )
    flat = builder.node("Reshape", [code, builder.constant(f"{name}_flat", np.array([-1]))], f"{name}_codes")
    return builder.node("OneHotEncoder", [flat], name, cats_int64s=list(range(len(step.categories))), zeros=1)


def serialise(builder: Builder, output: str, schema: Schema) -> bytes:
    """Return the checked graph with one output as the bytes of an ONNX file."""
    inputs = []
    if schema.numeric:
        inputs.append(helper.make_tensor_value_info(NUMERIC, TensorProto.FLOAT, [None, len(schema.numeric)]))
    if schema.categorical:
        inputs.append(helper.make_tensor_value_info(CATEGORICAL, TensorProto.STRING, [None, len(schema.categorical)]))
    result = helper.make_tensor_value_info(output, TensorProto.FLOAT, [None, None])
    graph = helper.make_graph(builder.nodes, "homeostat", inputs, [result], builder.constants)
    opsets = [helper.make_opsetid(domain, version) for domain, version in OPSETS]
    model = helper.make_model(graph, opset_imports=opsets, producer_name="homeostat", ir_version=IR_VERSION)
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString(deterministic=True))


def split_thresholds(content: bytes, preprocessor: Preprocessor) -> dict[str, Floats]:
    """Return the thresholds at which a release's trees split each numeric feature, ascending; empty without trees."""
    graph: GraphProto = onnx.load_from_string(content).graph
    found: dict[str, set[float]] = {step.name: set() for step in preprocessor.numeric}
    for node in graph.node:
        if node.op_type != "TreeEnsembleRegressor":
            continue
        attributes = {a.name: helper.get_attribute_value(a) for a in node.attribute}
        for feature, value, mode in zip(
            attributes["nodes_featureids"], attributes["nodes_values"], attributes["nodes_modes"], strict=True
        ):
            if mode == b"BRANCH_LEQ" and feature < len(preprocessor.numeric):
                found[preprocessor.numeric[feature].name].add(value)
    return {name: np.array(sorted(values), dtype=np.float64) for name, values in found.items()}
