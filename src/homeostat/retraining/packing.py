"""From a fitted model to a packed release: evaluate the graph, choose golden rows, profile, pack.

Not here: which candidate it is (`retraining.candidates`), or the format of a release (`deployment.artifacts`). Every
figure in a release is computed by its graph.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np

from homeostat.data.columns import take_rows
from homeostat.data.snapshots import FILE, identify_rows, take_labelled
from homeostat.deployment.artifacts import EFFECTS, HELD_OUT, NATIVE, OUT_OF_FOLD, PREPROCESSING, pack_release
from homeostat.errors import TrainingFailed
from homeostat.monitoring.seasons import window_effects
from homeostat.project import Project
from homeostat.records import Floats, Json, LabelledRows, Mask, Recipe, Schema, Snapshot
from homeostat.settings import MonitoringSettings, TrainingSettings
from homeostat.training.boosting import FIXED
from homeostat.training.contributions import EXPLAINED, Explainer, Parts
from homeostat.training.effects import describe_effects
from homeostat.training.evaluation import evaluate
from homeostat.training.golden import golden_rows
from homeostat.training.graph import split_thresholds
from homeostat.training.preprocessing import preprocessor_to_json
from homeostat.training.recipes import UNION, apply_recipe
from homeostat.training.scoring import Graph
from homeostat.training.train import Trained, fit, select_training
from homeostat.validation.profiles import build_profile

# The bound on |graph - native model| over the golden rows.
PARITY = 1e-6
# Fewer recent rows than this say nothing: a release then carries no metrics of them.
MIN_RECENT = 30
MAX_HELD_OUT = 10_000


@dataclass(frozen=True, slots=True)
class Candidate:
    """What a recipe has come to: what its search found, and the model fitted to its rows, `n_training` of them."""

    recipe: Recipe
    found: Json
    trained: Trained
    n_training: int


@dataclass(frozen=True, slots=True)
class Choice:
    """What a release was chosen from: the figures of every candidate, and the change in the world behind it.

    `change` holds `kind` and `since`; recent rows choose, and are measured, from there on. None: nothing has changed.
    """

    candidates: Sequence[Json] = ()
    change: Json | None = None

    @property
    def since(self) -> int | None:
        """Return the observed number of the first row after the change."""
        return None if self.change is None else self.change["since"]


ONLY = Choice()


def fit_candidate(project: Project, snapshot: Snapshot, found: Json, recipe: Recipe = UNION) -> Candidate:
    """Return the winner of a recipe's search, fitted to the recipe's rows."""
    rows = select_training(snapshot.rows, project.settings.training, recipe)
    settings, parameters = project.settings.training, found["parameters"]
    trained = fit(rows, project.schema, settings, family=found["family"], parameters=parameters)
    return Candidate(recipe, found, trained, len(rows.labels))


def pack(
    project: Project,
    snapshot: Snapshot,
    found: Json,
    *,
    code: Json,
    provenance: Json,
    recipe: Recipe = UNION,
    choice: Choice = ONLY,
) -> Json:
    """Fit, evaluate and pack a release; return its digest with the headline figures.

    Parameters
    ----------
    project, snapshot
        The open project, and the training set.
    found
        What the search of the recipe has found.
    code
        The versions of what computes it.
    provenance
        What is kept beside the release and is not part of its digest.
    recipe, choice
        Which rows it is trained on, and what it was chosen from.

    Raises
    ------
    TrainingFailed
        The graph does not agree with the native model.
    """
    candidate = fit_candidate(project, snapshot, found, recipe)
    return pack_candidate(project, snapshot, candidate, choice, code=code, provenance=provenance)


def pack_candidate(
    project: Project, snapshot: Snapshot, candidate: Candidate, choice: Choice, *, code: Json, provenance: Json
) -> Json:
    """Evaluate a candidate and pack it as a release; see `pack`."""
    schema, rules, seed = project.schema, project.settings.monitoring, project.settings.training.seed
    trained = candidate.trained
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
    metrics = measure(snapshot, candidate, graph, since=choice.since, seed=seed) | {"parity": parity}
    # Only on request: nothing tells a season from a file that is sorted by a column, whose windows differ as much.
    if rules.seasons == "baseline":
        usual = window_effects(snapshot.baseline, schema, profile, window=rules.window, alpha=rules.alpha)
        metrics["window_effects"] = dict(usual)
    held_out = score_held_out(snapshot, graph, seed=seed)
    digest = pack_release(
        graph=trained.graph,
        schema=schema,
        profile=profile,
        golden_inputs=inputs,
        metrics=metrics,
        lineage=describe_origin(project, snapshot, candidate, choice) | {"code": code},
        extra=extra_files(trained, candidate.found)
        | effects_file(candidate, graph, snapshot.rows, schema, seed=seed)
        | {HELD_OUT: json.dumps({"scores": held_out}).encode()},
        provenance=provenance,
        blobs=project.blobs,
    )
    return {"release": digest, "family": candidate.found["family"], "metrics": headline(metrics)}


def describe_origin(project: Project, snapshot: Snapshot, candidate: Candidate, choice: Choice) -> Json:
    """Return what a release was made of, all that is needed to make it again."""
    found = candidate.found
    return {
        "snapshot": snapshot.digest,
        "schema": project.schema.digest,
        "family": found["family"],
        "parameters": found["parameters"],
        "fixed": FIXED if found["family"] == "lightgbm" else {},
        "settings": training_settings(project.settings.training),
        "monitoring": seasonal_settings(project.settings.monitoring),
        "recipe": asdict(candidate.recipe),
        "change": choice.change,
        "candidates": list(choice.candidates),
    }


def training_settings(rules: TrainingSettings) -> Json:
    """Return the settings of training that a release depends on."""
    # Without it a release is what it was before the setting was there.
    return rules.model_dump(mode="json", exclude={"time"} if rules.time is None else None)


def seasonal_settings(rules: MonitoringSettings) -> Json:
    """Return the settings of monitoring that a release depends on."""
    if rules.seasons == "none":
        return {"seasons": rules.seasons}
    return {"seasons": rules.seasons, "window": rules.window, "alpha": rules.alpha}


def score_held_out(snapshot: Snapshot, graph: Graph, *, seed: int) -> list[float]:
    """Return the scores, ascending, of the baseline's rows that training has not seen; at most `MAX_HELD_OUT` of them.

    Of features that stand on both sides, the model has learned the rate, not the rows: they count as not seen.

    Scores of rows that the model has fitted are more extreme than any that come: measured against those, the scores of
    production looked drifted in 30 of 30 streams without a drift.
    """
    seen = contents_of(snapshot.rows, trained=True) - contents_of(snapshot.rows, trained=False)
    fresh = np.flatnonzero([row not in seen for row in identify_rows(snapshot.baseline).tolist()])
    if len(fresh) > MAX_HELD_OUT:
        fresh = np.random.default_rng(seed).choice(fresh, MAX_HELD_OUT, replace=False)
    scores: list[float] = np.sort(graph.score(take_rows(snapshot.baseline, fresh)).astype(np.float64)).tolist()
    return scores


def contents_of(rows: LabelledRows, *, trained: bool) -> set[str]:
    """Return what the rows that are trained on, or those that are not, are as features."""
    part = take_labelled(rows, np.asarray((rows.sides == "training") == trained, dtype=np.bool_))
    is_file = np.asarray(part.origins == FILE, dtype=np.bool_)
    # The id of a file's row is that of its features.
    return {*part.ids[is_file].tolist(), *identify_rows(take_rows(part.columns, ~is_file)).tolist()}


def extra_files(trained: Trained, found: Json) -> dict[str, bytes]:
    """Return the files of a release that serving does not need: native model, search, out-of-fold probabilities."""
    documents: dict[str, Json] = {
        "search.json": found,
        PREPROCESSING: preprocessor_to_json(trained.preprocessor),
        OUT_OF_FOLD: {"probability": trained.out_of_fold.tolist(), "label": trained.labels.tolist()},
    }
    files = {name: json.dumps(content, indent=1).encode() for name, content in documents.items()}
    return {NATIVE: trained.native.encode(), **files}


def effects_file(
    candidate: Candidate, graph: Graph, rows: LabelledRows, schema: Schema, *, seed: int
) -> dict[str, bytes]:
    """Return what the model has learned of each feature, measured on its training rows, as a file of a release.

    There is none of a family that is not ours: nothing explains it.
    """
    trained, family = candidate.trained, candidate.found["family"]
    if family not in EXPLAINED:
        return {}
    calibration = trained.calibration
    parts = Parts(trained.graph, family, trained.native, trained.preprocessor, calibration.slope, calibration.offset)
    taken = apply_recipe(rows, candidate.recipe)
    seen = take_rows(taken.columns, np.asarray(taken.sides == "training", dtype=np.bool_))
    effects = describe_effects(graph, Explainer(parts, schema), seen, schema, seed=seed)
    return {EFFECTS: json.dumps(effects, indent=1).encode()}


def measure(snapshot: Snapshot, candidate: Candidate, graph: Graph, *, since: int | None, seed: int) -> Json:
    """Return the metrics of a release: out of fold, on the anchor (both classes), on the recent rows if enough."""
    found, trained, rows = candidate.found, candidate.trained, snapshot.rows
    return {
        "sentence": found["sentence"],
        "cross_validation": evaluate(trained.labels, trained.out_of_fold, seed=seed)
        | {"auc": found["candidates"][found["family"]]["auc"], "baseline_auc": found["candidates"]["logistic"]["auc"]},
        "anchor": measure_rows(rows, rows.sides == "anchor", graph, at_least=1, seed=seed),
        "recent": measure_rows(rows, recent_since(rows, since), graph, at_least=MIN_RECENT, seed=seed),
        "importance": trained.importance,
        "calibration": {"slope": trained.calibration.slope, "offset": trained.calibration.offset},
    }


def recent_since(rows: LabelledRows, since: int | None) -> Mask:
    """Return which rows are kept from all training and not older than a change, shape (n_rows,)."""
    return np.asarray((rows.sides == "recent") & (rows.seqs >= (since or 0)), dtype=np.bool_)


def measure_rows(rows: LabelledRows, chosen: Mask, graph: Graph, *, at_least: int, seed: int) -> Json | None:
    """Return the metrics on the chosen rows; None if there are fewer than `at_least`, or none of one class."""
    part = take_labelled(rows, chosen)
    if len(part.labels) < at_least or len(np.unique(part.labels)) == 1:
        return None
    scores: Floats = graph.score(part.columns).astype(np.float64)
    return evaluate(part.labels, scores, seed=seed)


def headline(metrics: Json) -> Json:
    """Return the figures that tables show."""
    sides = ("cross_validation", "anchor", "recent")
    return {"sentence": metrics["sentence"]} | {
        side: {name: metrics[side][name] for name in ("auc", "brier", "n_rows")} for side in sides if metrics[side]
    }
