"""A release of five small trees, packed in a moment, for tests of what happens to releases.

Not here: a release that a loop has made (`tests/conftest.py`).
"""

from homeostat.deployment.artifacts import pack_release
from homeostat.records import Json
from homeostat.store.blobs import FolderBlobs
from homeostat.training.boosting import LightGbm
from homeostat.training.golden import golden_rows
from homeostat.training.graph import Calibration, compile_release, design_matrix, split_thresholds
from homeostat.training.preprocessing import fit_preprocessor
from homeostat.validation.profiles import build_profile
from tests.training.generated import linear_table


def pack(blobs: FolderBlobs, *, metrics: Json | None = None, provenance: Json | None = None, seed: int = 0) -> str:
    """Pack a small forest, and return its digest."""
    schema, columns, labels = linear_table(200, n_features=2, noise=1.0, seed=seed)
    preprocessor = fit_preprocessor(columns, schema)
    parameters = {"num_iterations": 5, "num_leaves": 3}
    model = LightGbm().fit(design_matrix(preprocessor, columns, schema), labels, parameters=parameters, seed=0)
    graph = compile_release(preprocessor, model, Calibration(1.5, -0.25), schema)
    return pack_release(
        graph=graph,
        schema=schema,
        profile=build_profile(columns, schema),
        golden_inputs=golden_rows(schema, preprocessor, split_thresholds(graph, preprocessor), seed=0),
        metrics=metrics or {"auc": 0.8},
        lineage={"family": "lightgbm"},
        extra={"model.txt": model.text().encode()},
        provenance=provenance or {"created_at": "2026-03-01"},
        blobs=blobs,
    )
