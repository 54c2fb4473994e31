"""From a search's winner to a packed release: fit, evaluate the graph, choose golden rows, profile, pack.

Not here: the format of a release (`deployment.artifacts`). Every figure in a release is computed by its graph.
"""

import json

import numpy as np

from homeostat.data.columns import take_rows
from homeostat.data.snapshots import identify_rows
from homeostat.deployment.artifacts import HELD_OUT, OUT_OF_FOLD, pack_release
from homeostat.errors import TrainingFailed
from homeostat.monitoring.seasons import window_effects
from homeostat.project import Project
from homeostat.records import Floats, Json, Snapshot
from homeostat.training.boosting import FIXED
from homeostat.training.evaluation import evaluate
from homeostat.training.golden import golden_rows
from homeostat.training.graph import split_thresholds
from homeostat.training.preprocessing import preprocessor_to_json
from homeostat.training.scoring import Graph
from homeostat.training.train import Trained, fit, select_training
from homeostat.validation.profiles import build_profile

# The bound on |graph - native model| over the golden rows.
PARITY = 1e-6
# Fewer recent rows than this say nothing: a release then carries no metrics of them.
MIN_RECENT = 30
MAX_HELD_OUT = 10_000


def pack(project: Project, snapshot: Snapshot, found: Json, *, code: Json, provenance: Json) -> Json:
    """Fit, evaluate and pack a release; return its digest with the headline figures.

    Raises
    ------
    TrainingFailed
        The graph does not agree with the native model.
    """
    schema, settings = project.schema, project.settings.training
    rows = select_training(snapshot.rows, settings)
    trained = fit(rows, schema, settings, family=found["family"], parameters=found["parameters"])
    inputs = golden_rows(schema, trained.preprocessor, split_thresholds(trained.graph, trained.preprocessor), seed=0)
    graph = Graph(trained.graph, schema)
    parity = float(np.abs(graph.score(inputs) - trained.native_probabilities(inputs, schema)).max())
    if not parity <= PARITY:
        raise TrainingFailed(
            problem=f"the graph differs from the native model by {parity:.2g} on the golden rows",
            expected=f"at most {PARITY:g}",
            action="report this with the versions of onnxruntime and lightgbm; the release was not packed",
        )
    profile = build_profile(snapshot.baseline, schema)
    metrics = measure(snapshot, trained, found, graph, seed=settings.seed) | {"parity": parity}
    rules = project.settings.monitoring
    # Only on request: nothing tells a season from a file that is sorted by a column, whose windows differ as much.
    if rules.seasons == "baseline":
        usual = window_effects(snapshot.baseline, schema, profile, window=rules.window, alpha=rules.alpha)
        metrics["window_effects"] = dict(usual)
    held_out = score_held_out(snapshot, graph, seed=settings.seed)
    lineage = {
        "snapshot": snapshot.digest,
        "schema": schema.digest,
        "family": found["family"],
        "parameters": found["parameters"],
        "fixed": FIXED if found["family"] == "lightgbm" else {},
        "settings": settings.model_dump(mode="json"),
        "code": code,
    }
    digest = pack_release(
        graph=trained.graph,
        schema=schema,
        profile=profile,
        golden_inputs=inputs,
        metrics=metrics,
        lineage=lineage,
        extra=extra_files(trained, found) | {HELD_OUT: json.dumps({"scores": held_out}).encode()},
        provenance=provenance,
        blobs=project.blobs,
    )
    return {"release": digest, "family": found["family"], "metrics": headline(metrics)}


def score_held_out(snapshot: Snapshot, graph: Graph, *, seed: int) -> list[float]:
    """Return the scores, ascending, of the baseline's rows that training has not seen; at most `MAX_HELD_OUT` of them.

    Scores of rows that the model has fitted are more extreme than any that come: measured against those, the scores of
    production looked drifted in 30 of 30 streams without a drift.
    """
    trained = snapshot.rows.sides == "training"
    seen = set(identify_rows(take_rows(snapshot.rows.columns, np.asarray(trained, dtype=np.bool_))).tolist())
    fresh = np.flatnonzero([row not in seen for row in identify_rows(snapshot.baseline).tolist()])
    if len(fresh) > MAX_HELD_OUT:
        fresh = np.random.default_rng(seed).choice(fresh, MAX_HELD_OUT, replace=False)
    scores: list[float] = np.sort(graph.score(take_rows(snapshot.baseline, fresh)).astype(np.float64)).tolist()
    return scores


def extra_files(trained: Trained, found: Json) -> dict[str, bytes]:
    """Return the files of a release that serving does not need: native model, search, out-of-fold probabilities."""
    documents: dict[str, Json] = {
        "search.json": found,
        "preprocessing.json": preprocessor_to_json(trained.preprocessor),
        OUT_OF_FOLD: {"probability": trained.out_of_fold.tolist(), "label": trained.labels.tolist()},
    }
    files = {name: json.dumps(content, indent=1).encode() for name, content in documents.items()}
    return {"model.txt": trained.native.encode(), **files}


def measure(snapshot: Snapshot, trained: Trained, found: Json, graph: Graph, *, seed: int) -> Json:
    """Return the metrics of a release: out of fold, on the anchor (both classes), on the recent rows if enough."""
    return {
        "sentence": found["sentence"],
        "cross_validation": evaluate(trained.labels, trained.out_of_fold, seed=seed)
        | {"auc": found["candidates"][found["family"]]["auc"], "baseline_auc": found["candidates"]["logistic"]["auc"]},
        "anchor": measure_side(snapshot, "anchor", graph, at_least=1, seed=seed),
        "recent": measure_side(snapshot, "recent", graph, at_least=MIN_RECENT, seed=seed),
        "importance": trained.importance,
        "calibration": {"slope": trained.calibration.slope, "offset": trained.calibration.offset},
    }


def measure_side(snapshot: Snapshot, side: str, graph: Graph, *, at_least: int, seed: int) -> Json | None:
    """Return the metrics on one side's rows; None if there are fewer than `at_least`, or none of one class."""
    mask = np.asarray(snapshot.rows.sides == side, dtype=np.bool_)
    labels = snapshot.rows.labels[mask]
    if len(labels) < at_least or len(np.unique(labels)) == 1:
        return None
    scores: Floats = graph.score(take_rows(snapshot.rows.columns, mask)).astype(np.float64)
    return evaluate(labels, scores, seed=seed)


def headline(metrics: Json) -> Json:
    """Return the figures that tables show."""
    sides = ("cross_validation", "anchor", "recent")
    return {"sentence": metrics["sentence"]} | {
        side: {name: metrics[side][name] for name in ("auc", "brier", "n_rows")} for side in sides if metrics[side]
    }
