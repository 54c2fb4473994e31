"""The model families: what a family must offer, and the table of those that ship.

Not here: search, evaluation, calibration (`training.train`). A third party adds a family by satisfying `ModelFamily`,
adding a line to `FAMILIES` and passing `tests/conformance/model_family.py`.
"""

from collections.abc import Mapping
from typing import Protocol

import numpy as np
import optuna
from numpy.typing import NDArray
from onnx import NodeProto, TensorProto

from homeostat.records import Floats, Json
from homeostat.training.boosting import LightGbm
from homeostat.training.logistic import Logistic


class FittedModel(Protocol):
    """A model that gives each row of a design matrix a margin: log-odds before calibration."""

    def margins(self, design: NDArray[np.float32]) -> Floats:
        """Return the margins that the native library computes, shape (n_rows,), for parity checks and search."""
        ...

    def nodes(self, source: str, target: str) -> tuple[list[NodeProto], list[TensorProto]]:
        """Return ONNX nodes and constants that compute `target` (n_rows, 1) from `source` (n_rows, n_design)."""
        ...

    def text(self) -> str:
        """Return the native form of the model, as text."""
        ...

    def importance(self) -> Floats:
        """Return the weight of each design column, shape (n_design,), summing to 1 (all 0 for a constant model)."""
        ...


class ModelFamily(Protocol):
    """A kind of model that can be searched, fitted and compiled."""

    @property
    def name(self) -> str:
        """Return the word used in settings and reports."""
        ...

    def prior(self) -> Json:
        """Return a configuration that is good on most tables: the first one that the search tries."""
        ...

    def suggest(self, trial: optuna.Trial) -> Json:
        """Return the parameters of one search trial."""
        ...

    def fit(
        self,
        design: NDArray[np.float32],
        labels: NDArray[np.int8],
        *,
        parameters: Json,
        seed: int,
        weights: Floats | None = None,
    ) -> FittedModel:
        """Return the model fitted to a design matrix (n_rows, n_design) without NaN; the same input, the same model.

        `weights`, shape (n_rows,), says what each row counts: 2 as much as the row twice, 0 as if it were not there.
        None counts all alike.
        """
        ...


FAMILIES: Mapping[str, ModelFamily] = {family.name: family for family in (LightGbm(), Logistic())}
BASELINE = "logistic"
