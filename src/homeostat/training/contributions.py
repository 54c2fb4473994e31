"""Why an answer is what it is: what each feature of a row adds to its log-odds, by the native model of a release.

Not here: answering (`training.scoring`), or telling it to anybody (`deployment.explaining`). The design matrix is the
one that the packed graph computes on the way to its answer: features are cast to float32 there, and nowhere else.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

import lightgbm
import msgspec
import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper

from homeostat.errors import ReleaseUnexplained
from homeostat.records import Columns, Floats, Json, Schema
from homeostat.training.preprocessing import Preprocessor
from homeostat.training.scoring import DESIGN, LOG_ODDS, graph_inputs, open_session


@dataclass(frozen=True, slots=True)
class Contributions:
    """What each feature of some rows adds to the log-odds: `base` + a row of `values` = the row's log-odds.

    `base` is the log-odds of the average training row. `values` has shape (n_rows, n_features), in schema order;
    `log_odds`, shape (n_rows,), are the graph's own, calibrated.
    """

    base: float
    values: Floats
    log_odds: Floats


@dataclass(frozen=True, slots=True)
class Parts:
    """What a release is explained by: graph, family and text of the native model, learned preparation, calibration."""

    graph: bytes
    family: str
    native: str
    preprocessor: Preprocessor
    slope: float
    offset: float


class Explainer:
    """A release's native model, ready to explain rows."""

    def __init__(self, parts: Parts, schema: Schema) -> None:
        self._session = open_session(expose(parts.graph))
        self._explain = require_family(parts.family)(parts.native)
        # As the graph holds them.
        self._slope, self._offset = float(np.float32(parts.slope)), float(np.float32(parts.offset))
        self._schema = schema
        self._owners = owners(parts.preprocessor, schema)

    def explain(self, columns: Columns) -> Contributions:
        """Return what each feature adds: the columns that a feature has in the design matrix are taken together."""
        design, log_odds = self._session.run([DESIGN, LOG_ODDS], graph_inputs(columns, self._schema))
        base, by_column = self._explain(design)
        values = np.zeros((len(design), len(self._schema.features)))
        np.add.at(values.T, self._owners, by_column.T)
        told = log_odds.reshape(-1).astype(np.float64)
        return Contributions(self._slope * base + self._offset, self._slope * values, told)


def expose(graph: bytes) -> bytes:
    """Return a packed graph that also gives the design matrix and the log-odds that it computes on the way.

    Raises
    ------
    ReleaseUnexplained
        The graph computes neither, or names them otherwise.
    """
    model = onnx.load_from_string(graph)
    computed = {name for node in model.graph.node for name in node.output}
    if not {DESIGN, LOG_ODDS} <= computed:
        raise ReleaseUnexplained(
            problem="the graph of this release has no design matrix and no log-odds of ours",
            expected="a release that `homeostat train` has packed",
            action="explain another release",
        )
    model.graph.output.extend(
        helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in (DESIGN, LOG_ODDS)
    )
    return bytes(model.SerializeToString())


def owners(preprocessor: Preprocessor, schema: Schema) -> NDArray[np.int64]:
    """Return the place in the schema of the feature behind each column of the design matrix, shape (n_design,)."""
    place = {feature.name: position for position, feature in enumerate(schema.features)}
    return np.array([place[name] for name in preprocessor.design_features], dtype=np.int64)


# --- by family ----------------------------------------------------------------------------------------------------

# What explains the rows of a design matrix: the margin of the average row, and by how much each column moves that of
# each row, shape (n_rows, n_design).
Explain = Callable[[NDArray[np.float32]], tuple[float, Floats]]


def explain_trees(native: str) -> Explain:
    """Return what gives the exact SHAP values of trees, conditional on the path (TreeSHAP).

    References
    ----------
    Lundberg, Erion, Chen et al. (2020), From local explanations to global understanding with explainable AI for trees,
    Nature Machine Intelligence 2, 56-67.
    """
    booster = lightgbm.Booster(model_str=native)

    def explain(design: NDArray[np.float32]) -> tuple[float, Floats]:
        # LightGBM cannot predict an empty matrix.
        rows = design if len(design) else np.zeros((1, booster.num_feature()), dtype=np.float32)
        found = np.asarray(booster.predict(rows, pred_contrib=True, num_threads=1), dtype=np.float64)
        return float(found[0, -1]), found[: len(design), :-1]

    return explain


def explain_linear(native: str) -> Explain:
    """Return what gives the exact SHAP values of a linear model whose features are taken one at a time.

    That is the weight times the distance from the mean of the training rows; the average row has the intercept.
    """
    found = msgspec.json.decode(native)
    mean, scale, weights = (np.array(found[name], dtype=np.float64) for name in ("mean", "scale", "weights"))

    def explain(design: NDArray[np.float32]) -> tuple[float, Floats]:
        return float(found["intercept"]), np.asarray((design.astype(np.float64) - mean) / scale * weights)

    return explain


EXPLAINED: Mapping[str, Callable[[str], Explain]] = MappingProxyType(
    {"lightgbm": explain_trees, "logistic": explain_linear}
)


def require_family(family: str) -> Callable[[str], Explain]:
    """Return what explains a family; ReleaseUnexplained for one that nobody has taught us to explain."""
    if family not in EXPLAINED:
        raise ReleaseUnexplained(
            problem=f"models of the family {family!r} cannot be explained",
            expected=f"a release of the family {' or '.join(EXPLAINED)}",
            action="explain another release, or add the family to `training.contributions`",
        )
    return EXPLAINED[family]


def describe_calibration(metrics: Json) -> tuple[float, float]:
    """Return slope and offset of a release's calibration, as its metrics hold them."""
    return metrics["calibration"]["slope"], metrics["calibration"]["offset"]
