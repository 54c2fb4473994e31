"""A release on one number and one category that answers yes or no, for what a table of numbers does not show."""

from datetime import UTC, datetime

import numpy as np

from homeostat.data.columns import texts
from homeostat.deployment.serving import LiveRelease
from homeostat.records import Columns, Feature, Promotion, Target
from homeostat.training.graph import Calibration, compile_release, design_matrix
from homeostat.training.logistic import Logistic
from homeostat.training.preprocessing import fit_preprocessor
from homeostat.training.scoring import Graph
from homeostat.validation.decoding import RowDecoder
from homeostat.validation.schema import freeze_schema

SCHEMA = freeze_schema(
    [Feature("age", "numeric", low=0.3, high=66.6, missing=(-9.9, "n/a")), Feature("ward", "categorical")],
    Target("outcome", "no", "yes"),
)


def open_mixed_release() -> LiveRelease:
    """Return the release as a worker holds it."""
    columns: Columns = {"age": np.tile([10.0, 60.0], 20), "ward": texts(["north", "1", "south", None] * 10)}
    labels = np.tile([0, 1, 1, 1], 10).astype(np.int8)
    preprocessor = fit_preprocessor(columns, SCHEMA)
    model = Logistic().fit(design_matrix(preprocessor, columns, SCHEMA), labels, parameters={"C": 1.0}, seed=0)
    graph = compile_release(preprocessor, model, Calibration(1.0, 0.0), SCHEMA)
    promotion = Promotion(1, "a" * 64, None, datetime.now(UTC), "test", "test")
    return LiveRelease(promotion, SCHEMA, Graph(graph, SCHEMA), RowDecoder(SCHEMA))
