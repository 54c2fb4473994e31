"""The parts of a training attempt, each run in a child process: what it is asked, and what it answers, is JSON.

Not here: the process (`retraining.attempt`). Each part imports what it needs when it runs: the loop loads none of it.
"""

import sys
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from homeostat.project import Project
from homeostat.records import Json
from homeostat.retraining.progress import telling_progress

# The libraries whose version can change a model's bytes.
LIBRARIES = ("lightgbm", "numpy", "onnx", "onnxruntime", "optuna", "scikit-learn")


def snapshot_part(project: Project, request: Json) -> Json:
    """Freeze the training set of a cycle."""
    from homeostat.retraining.freezing import freeze_training_set  # noqa: PLC0415  only the child reads tables

    now = datetime.fromisoformat(request["now"])
    return freeze_training_set(project, reload_files=request["reload_files"], now=now)


def search_part(project: Project, request: Json) -> Json:
    """Search for the best configuration on the rows of a snapshot that a recipe takes."""
    from homeostat.data.snapshots import load_snapshot  # noqa: PLC0415  only the child trains
    from homeostat.training.recipes import recipe_from_json  # noqa: PLC0415  as above
    from homeostat.training.train import search, select_training  # noqa: PLC0415  as above

    snapshot = load_snapshot(request["snapshot"], schema=project.schema, blobs=project.blobs)
    rows = select_training(snapshot.rows, project.settings.training, recipe_from_json(request["recipe"]))
    tell = telling_progress(project.folder)
    return search(rows, project.schema, project.settings.training, tell=tell)


def fit_part(project: Project, request: Json) -> Json:
    """Fit the winner of each search, and pack the best of them as a release."""
    from homeostat.data.snapshots import load_snapshot  # noqa: PLC0415  only the child trains
    from homeostat.retraining.candidates import pack_best  # noqa: PLC0415  as above

    snapshot = load_snapshot(request["snapshot"], schema=project.schema, blobs=project.blobs)
    provenance = {"created_at": datetime.now(UTC).isoformat(), "cycle": request["cycle"], "trigger": request["trigger"]}
    code = code_version()
    searches, change = request["searches"], request["change"]
    return pack_best(project, snapshot, searches, change=change, code=code, provenance=provenance)


def prepare_part(project: Project, request: Json) -> Json:  # noqa: ARG001  one signature for all parts
    """Build the experiment manager's store, which takes seconds the first time."""
    from homeostat.training.tracking import open_client  # noqa: PLC0415  only the child loads MLflow

    open_client(project.tracking_url)
    return {}


def track_part(project: Project, request: Json) -> Json:
    """Record the attempt in the experiment manager."""
    from homeostat.retraining.tracked import open_tracked, record_release  # noqa: PLC0415  only the child loads MLflow

    return {"run_id": record_release(open_tracked(project), request["release"], request["attempt"])}


def judge_part(project: Project, request: Json) -> Json:
    """Put a challenger before the gate: what is our own is loaded, then this process limits itself."""
    from homeostat.deployment.limits import restrict  # noqa: PLC0415  only the child opens a challenger
    from homeostat.deployment.registry import gate_to_json  # noqa: PLC0415  as above
    from homeostat.records import GateResult  # noqa: PLC0415  as above
    from homeostat.retraining.cases import case_from_json  # noqa: PLC0415  as above
    from homeostat.retraining.comparison import Refused, compare, prepare  # noqa: PLC0415  as above

    case = case_from_json(request["case"])
    try:
        prepared = prepare(project, case)
    except Refused as refused:
        return gate_to_json(GateResult((refused.criterion,)))
    restrict(case.limits)
    return gate_to_json(compare(prepared, case))


def shadow_part(project: Project, request: Json) -> Json:
    """Let a challenger answer live rows: what is our own is loaded, then this process limits itself."""
    from homeostat.deployment.limits import restrict  # noqa: PLC0415  only the child opens a challenger
    from homeostat.deployment.registry import gate_to_json  # noqa: PLC0415  as above
    from homeostat.retraining.cases import shadow_from_json  # noqa: PLC0415  as above
    from homeostat.retraining.shadowing import judge_beside, prepare_shadow  # noqa: PLC0415  as above

    shadow = shadow_from_json(request["shadow"])
    beside = prepare_shadow(project, shadow)
    restrict(shadow.limits)
    return gate_to_json(judge_beside(beside, shadow))


def mirror_part(project: Project, request: Json) -> Json:
    """Point the experiment manager's alias at the release in production, recorded now if it was not before."""
    from homeostat.retraining.tracked import point_alias  # noqa: PLC0415  only the child loads MLflow

    return point_alias(project, request)


def tell_part(project: Project, request: Json) -> Json:
    """Tell the experiment manager of cycles that have ended, and what became of them."""
    from homeostat.retraining.tracked import tell_cycles  # noqa: PLC0415  only the child loads MLflow

    return tell_cycles(project, request["cycles"])


def alias_part(project: Project, request: Json) -> Json:
    """Look where the experiment manager's alias points, and put it back if that is asked for."""
    from homeostat.retraining.tracked import look_at_alias  # noqa: PLC0415  only the child loads MLflow

    return look_at_alias(project, request)


def reproduce_part(project: Project, request: Json) -> Json:
    """Make a release again from its lineage, in a folder that is thrown away, and compare."""
    from homeostat.retraining.reproduction import find_origin, repeat_search, reproduce  # noqa: PLC0415  as above

    origin = find_origin(project, request["release"])
    found = repeat_search(origin) if request["with_search"] else origin.found
    return reproduce(origin, found, code=code_version(), scratch=Path(request["scratch"]))


PARTS: Mapping[str, Callable[[Project, Json], Json]] = {
    "prepare": prepare_part,
    "snapshot": snapshot_part,
    "search": search_part,
    "fit": fit_part,
    "track": track_part,
    "judge": judge_part,
    "shadow": shadow_part,
    "mirror": mirror_part,
    "tell": tell_part,
    "alias": alias_part,
    "reproduce": reproduce_part,
}


def code_version() -> Json:
    """Return the versions of Homeostat and of the libraries whose arithmetic makes a release."""
    libraries = {name: version(name) for name in LIBRARIES}
    return {"homeostat": version("homeostat"), "python": sys.version.split()[0], **libraries}
