"""Answering with a compiled graph: the one way in which any row is ever scored.

Not here: making the graph (`training.graph`). A serving process imports this file and nothing else that trains.
"""

import numpy as np
import onnxruntime
from numpy.typing import NDArray
from onnxruntime.capi import onnxruntime_pybind11_state as onnx_errors

from homeostat.data.columns import take_rows
from homeostat.records import Columns, Schema

# The graph's inputs and output.
NUMERIC, CATEGORICAL, PROBABILITY = "numeric", "categorical", "probability"
# What it computes on the way: the design matrix of the model, and the calibrated log-odds.
DESIGN, LOG_ODDS = "design", "log_odds"
# What stands for a missing category inside the graph: an empty text is never a category (validation.checks).
NO_TEXT = ""
# Everything that a graph can make ONNX Runtime raise: its exceptions have no common base but Exception.
GRAPH_ERRORS = (
    onnx_errors.Fail,
    onnx_errors.InvalidArgument,
    onnx_errors.InvalidGraph,
    onnx_errors.InvalidProtobuf,
    onnx_errors.NoModel,
    onnx_errors.NotImplemented,
    onnx_errors.RuntimeException,
    KeyError,  # a column that the schema names and the golden rows lack
    ValueError,  # an output of another shape
)
# The probability from which on a row is called positive, in every answer and every metric.
POSITIVE_FROM = 0.5


def open_session(content: bytes) -> onnxruntime.InferenceSession:
    """Return an ONNX Runtime session on one thread, whose bits are then the same for any batch size."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])


def graph_inputs(columns: Columns, schema: Schema) -> dict[str, NDArray[np.float32] | NDArray[np.object_]]:
    """Return the graph's inputs: float32 of shape (n_rows, n_numeric) and text of shape (n_rows, n_categorical)."""
    inputs: dict[str, NDArray[np.float32] | NDArray[np.object_]] = {}
    if schema.numeric:
        inputs[NUMERIC] = np.stack([columns[f.name] for f in schema.numeric], axis=1).astype(np.float32)
    if schema.categorical:
        cells = [[NO_TEXT if cell is None else cell for cell in columns[f.name].tolist()] for f in schema.categorical]
        inputs[CATEGORICAL] = np.array(cells, dtype=object).T
    return inputs


class Graph:
    """A release's graph, ready to answer. `score` may be called from several threads."""

    def __init__(self, content: bytes, schema: Schema) -> None:
        self._session = open_session(content)
        self._schema = schema
        self._has_numbers, self._has_texts = bool(schema.numeric), bool(schema.categorical)

    def score(self, columns: Columns) -> NDArray[np.float32]:
        """Return the calibrated probability of the positive class, shape (n_rows,)."""
        return self._run(graph_inputs(columns, self._schema))

    def score_arrays(self, numbers: NDArray[np.float32], texts: NDArray[np.object_]) -> NDArray[np.float32]:
        """Return the same for rows as the graph takes them.

        Parameters
        ----------
        numbers
            Shape (n_rows, n_numeric), NaN for missing.
        texts
            Shape (n_rows, n_categorical), None for missing.
        """
        inputs: dict[str, NDArray[np.float32] | NDArray[np.object_]] = {}
        if self._has_numbers:
            inputs[NUMERIC] = numbers
        if self._has_texts:
            inputs[CATEGORICAL] = np.where(texts == None, NO_TEXT, texts)  # noqa: E711  by element
        return self._run(inputs)

    def _run(self, inputs: dict[str, NDArray[np.float32] | NDArray[np.object_]]) -> NDArray[np.float32]:
        (scores,) = self._session.run([PROBABILITY], inputs)
        found: NDArray[np.float32] = scores.reshape(-1)
        return found

    def score_each(self, columns: Columns) -> NDArray[np.float32]:
        """Return the same, NaN for a row on which the graph fails: of live rows one may be such, the others count."""
        n_rows = len(next(iter(columns.values())))
        try:
            return self.score(columns)
        except GRAPH_ERRORS:
            if n_rows == 1:
                return np.full(1, np.nan, dtype=np.float32)
        places = np.array_split(np.arange(n_rows), 2)
        return np.concatenate([self.score_each(take_rows(columns, part)) for part in places])
