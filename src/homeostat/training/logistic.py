"""Logistic regression on standardised columns: the baseline that every booster has to match.

Not here: the comparison (`training.train`).
"""

import json
from dataclasses import dataclass

import numpy as np
import optuna
from numpy.typing import NDArray
from onnx import NodeProto, TensorProto, helper, numpy_helper
from sklearn.linear_model import LogisticRegression

from homeostat.records import Floats, Json


class Logistic:
    """The family of L2-penalised logistic regressions."""

    name = "logistic"

    def prior(self) -> Json:
        """Return the middle of the range, on a log scale."""
        return {"C": 0.1}

    def suggest(self, trial: optuna.Trial) -> Json:
        """Return the inverse strength of the penalty."""
        return {"C": trial.suggest_float("C", 1e-3, 10.0, log=True)}

    def fit(
        self,
        design: NDArray[np.float32],
        labels: NDArray[np.int8],
        *,
        parameters: Json,
        seed: int,
        weights: Floats | None = None,
    ) -> "LinearModel":
        """Return the fitted coefficients; a constant column has scale 1 and so weight 0."""
        mean, scale = standardise(design) if weights is None else standardise_weighted(design, weights)
        model = LogisticRegression(C=parameters.get("C", 1.0), max_iter=5_000, random_state=seed)
        model.fit((design.astype(np.float64) - mean) / scale, labels, sample_weight=weights)
        found = np.asarray(model.coef_[0], dtype=np.float32)
        return LinearModel(mean, scale, found, float(np.float32(model.intercept_[0])))


def standardise(design: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return mean and standard deviation of each column, each of shape (n_design,), 1 where it is constant."""
    mean = design.mean(axis=0, dtype=np.float64).astype(np.float32)
    scale = design.std(axis=0, dtype=np.float64).astype(np.float32)
    scale[scale == 0] = 1
    return mean, scale


def standardise_weighted(
    design: NDArray[np.float32], weights: Floats
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return the same of rows that count differently; those without weight are not there."""
    counted, values = weights > 0, design.astype(np.float64)
    mean = np.average(values, axis=0, weights=weights)
    variance = np.average((values - mean) ** 2, axis=0, weights=weights)
    scale = np.asarray(np.sqrt(variance), dtype=np.float32)
    # A weighted mean of equal numbers is not always that number.
    scale[np.ptp(design[counted], axis=0) == 0] = 1
    scale[scale == 0] = 1
    return np.asarray(mean, dtype=np.float32), scale


@dataclass(frozen=True, slots=True)
class LinearModel:
    """A fitted logistic regression: margin = weights . (row - mean) / scale + intercept.

    The parameters are float32, the arithmetic is double.
    """

    mean: NDArray[np.float32]
    scale: NDArray[np.float32]
    weights: NDArray[np.float32]
    intercept: float

    def margins(self, design: NDArray[np.float32]) -> Floats:
        """Return the margins, shape (n_rows,)."""
        standard = (design.astype(np.float64) - self.mean) / self.scale
        return np.asarray(standard @ self.weights.astype(np.float64) + self.intercept, dtype=np.float64)

    def text(self) -> str:
        """Return the coefficients as JSON."""
        content = {
            "mean": self.mean.tolist(),
            "scale": self.scale.tolist(),
            "weights": self.weights.tolist(),
            "intercept": self.intercept,
        }
        return json.dumps(content, indent=1)

    def importance(self) -> Floats:
        """Return each design column's share of the absolute standardised weights."""
        size = np.abs(self.weights).astype(np.float64)
        return size / size.sum() if size.sum() else size

    def nodes(self, source: str, target: str) -> tuple[list[NodeProto], list[TensorProto]]:
        """Return Sub, Div, MatMul and Add, in double.

        In float32, terms that cancel leave an error beyond 1e-6 from some ten standard deviations on.
        """
        constants = {
            "model_mean": self.mean,
            "model_scale": self.scale,
            "model_weights": self.weights.reshape(-1, 1),
            "model_intercept": np.array([self.intercept]),
        }
        nodes = [
            helper.make_node("Cast", [source], ["model_input"], to=TensorProto.DOUBLE),
            helper.make_node("Sub", ["model_input", "model_mean"], ["model_centred"]),
            helper.make_node("Div", ["model_centred", "model_scale"], ["model_standard"]),
            helper.make_node("MatMul", ["model_standard", "model_weights"], ["model_product"]),
            helper.make_node("Add", ["model_product", "model_intercept"], ["model_margin"]),
            helper.make_node("Cast", ["model_margin"], [target], to=TensorProto.FLOAT),
        ]
        return nodes, [numpy_helper.from_array(value.astype(np.float64), name) for name, value in constants.items()]
