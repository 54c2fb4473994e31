"""What MLflow is told of an attempt: one run, with the configurations that it has tried as runs below it.

Not here: the store (`training.tracking`), or any decision. An attempt that is recorded already is not recorded twice;
what a killed recording has left is marked, and its runs below are deleted, so that nothing is seen double.
"""

import json
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from homeostat.records import Json, Release
from homeostat.store.failpoints import durable
from homeostat.training.registered_model import write_model
from homeostat.training.tracking import DIGEST_TAG, TRIGGER_TAG, ensure_experiment

# MLflow comes after `training.tracking`, which says what it must not send.
# isort: split
from mlflow import MlflowClient
from mlflow.entities import Dataset, DatasetInput, InputTag, Metric, Param, RunTag
from mlflow.utils.mlflow_tags import (
    MLFLOW_DATASET_CONTEXT,
    MLFLOW_GIT_COMMIT,
    MLFLOW_PARENT_RUN_ID,
    MLFLOW_RUN_NOTE,
    MLFLOW_SOURCE_NAME,
)

METRICS = ("auc", "brier", "log_loss", "accuracy")
SIDES = ("cross_validation", "anchor", "recent")
MODEL, RELEASE = "model", "release"
# What MLflow takes at most: characters of a tag, and of a dataset's digest.
MAX_TAG, MAX_DIGEST = 5_000, 36
# What MLflow does not take in the name of a metric or of a tag.
FOREIGN = re.compile(r"[^\w./ -]+")


@dataclass(frozen=True, slots=True)
class Attempt:
    """One training as the experiment manager is told of it.

    `artifacts` is the folder in which an embedded store keeps files. `searches` holds, for each recipe, the recipe and
    what its search has found; empty if it came to none.
    """

    project: str
    artifacts: Path
    cycle: int
    trigger: str
    reason: str
    started_at: datetime
    snapshot: str | None = None
    revision: str | None = None
    searches: Sequence[Json] = field(default=())

    @property
    def start_ms(self) -> int:
        """When it began, in milliseconds since 1970."""
        return milliseconds(self.started_at)

    def tags(self) -> dict[str, str]:
        """Return what its run is found by."""
        tags = {
            "homeostat.cycle": str(self.cycle),
            TRIGGER_TAG: self.trigger,
            "homeostat.reason": self.reason[:MAX_TAG],
            "homeostat.code": version("homeostat"),
            MLFLOW_SOURCE_NAME: "homeostat",
        }
        known = {"homeostat.snapshot": self.snapshot, MLFLOW_GIT_COMMIT: self.revision}
        return tags | {name: value for name, value in known.items() if value is not None}


def record_run(client: MlflowClient, attempt: Attempt, release: Release, folder: Path) -> str:
    """Record an attempt that has come to a release as a finished run and return its id.

    Parameters
    ----------
    client, attempt
        The experiment manager, and what it is told.
    release, folder
        The packed release, and where its files are.
    """
    experiment = ensure_experiment(client, attempt.project, attempt.artifacts)
    for run in client.search_runs([experiment], f"tags.`{DIGEST_TAG}` = '{release.digest}'"):
        if run.info.status == "FINISHED":
            return str(run.info.run_id)
        # Only one loop records at a time: this is what a killed one has left.
        clear_killed(client, experiment, str(run.info.run_id))
    name = f"cycle {attempt.cycle}: {attempt.trigger}, release {release.digest[:12]}"
    recipe = release.lineage.get("recipe", {}).get("name", "union")
    note = {MLFLOW_RUN_NOTE: release.metrics["sentence"], "homeostat.sentence": release.metrics["sentence"]}
    tags = {**attempt.tags(), **note, DIGEST_TAG: release.digest, "homeostat.recipe": recipe}
    with durable("mlflow_run"):
        run = client.create_run(experiment, start_time=attempt.start_ms, run_name=name, tags=tags)
    run_id = str(run.info.run_id)
    log_figures(client, run_id, release, attempt)
    log_trials(client, experiment, run_id, attempt)
    log_files(client, run_id, release, folder)
    with durable("mlflow_end"):
        client.set_terminated(run_id, "FINISHED")
    return run_id


def record_failure(client: MlflowClient, attempt: Attempt, *, status: str, sentence: str, ended_at: datetime) -> str:
    """Record an attempt that has come to no release, once, and return its id; `status` is FAILED or KILLED."""
    experiment = ensure_experiment(client, attempt.project, attempt.artifacts)
    ours = f"tags.`homeostat.cycle` = '{attempt.cycle}' AND tags.`{TRIGGER_TAG}` = '{attempt.trigger}'"
    for run in client.search_runs([experiment], ours):
        if run.info.status == status:
            return str(run.info.run_id)
        clear_killed(client, experiment, str(run.info.run_id))
    name = f"cycle {attempt.cycle}: {attempt.trigger}, no release"
    tags = {**attempt.tags(), MLFLOW_RUN_NOTE: sentence, "homeostat.sentence": sentence[:MAX_TAG]}
    with durable("mlflow_run"):
        run = client.create_run(experiment, start_time=attempt.start_ms, run_name=name, tags=tags)
    run_id = str(run.info.run_id)
    log_trials(client, experiment, run_id, attempt)
    with durable("mlflow_end"):
        client.set_terminated(run_id, status, milliseconds(ended_at))
    return run_id


def record_outcome(client: MlflowClient, run_id: str, *, outcome: str, sentence: str, gate: Json, at: datetime) -> None:
    """Tag a run with what became of its release, and log the gate's figures; again with the same changes nothing."""
    criteria = gate.get("criteria", [])
    told = {
        f"homeostat.gate.{c['name']}": f"{'passed' if c['passed'] else 'refused'}: {c['sentence']}" for c in criteria
    }
    if criteria:
        told["homeostat.gate"] = "passed" if gate["passed"] else "refused"
    tags = {**told, "homeostat.outcome": outcome, "homeostat.outcome.sentence": sentence}
    figures = {f"gate_{c['name']}_{name}": value for c in criteria for name, value in numbers(c["figures"]).items()}
    metrics = [Metric(plain(name), value, milliseconds(at), 0) for name, value in figures.items()]
    with durable("mlflow_outcome"):
        client.log_batch(run_id, metrics=metrics, tags=[RunTag(plain(key), tags[key][:MAX_TAG]) for key in tags])


def clear_killed(client: MlflowClient, experiment: str, run_id: str) -> None:
    """Mark the run of a killed recording, and delete the runs below it, which the next recording makes anew."""
    for trial in client.search_runs([experiment], f"tags.`{MLFLOW_PARENT_RUN_ID}` = '{run_id}'"):
        with durable("mlflow_trial_deleted"):
            client.delete_run(trial.info.run_id)
    with durable("mlflow_killed"):
        client.set_terminated(run_id, "KILLED")


# --- what a run holds ---------------------------------------------------------------------------------------------


def log_figures(client: MlflowClient, run_id: str, release: Release, attempt: Attempt) -> None:
    """Log a release's parameters and metrics, and the snapshot as the dataset that was used."""
    lineage = release.lineage
    procedure = {f"training.{key}": value for key, value in lineage["settings"].items()}
    parameters = {"family": lineage["family"], **lineage["parameters"], **procedure, "snapshot": lineage["snapshot"]}
    figures = flatten_metrics(release.metrics) | flatten_candidates(lineage.get("candidates", []))
    now = milliseconds(datetime.now(UTC))
    metrics = [Metric(plain(name), value, now, 0) for name, value in figures.items()]
    with durable("mlflow_figures"):
        client.log_batch(run_id, metrics=metrics, params=[Param(name, str(parameters[name])) for name in parameters])
    source = json.dumps({"snapshot": lineage["snapshot"]})
    dataset = Dataset(attempt.project, lineage["snapshot"][:MAX_DIGEST], "homeostat", source)
    with durable("mlflow_inputs"):
        client.log_inputs(run_id, [DatasetInput(dataset, [InputTag(MLFLOW_DATASET_CONTEXT, "training")])])


def log_trials(client: MlflowClient, experiment: str, run_id: str, attempt: Attempt) -> None:
    """Log every configuration that a search has tried as a run below the attempt's."""
    for name, tags, trial in list_trials(attempt.searches):
        above = {MLFLOW_PARENT_RUN_ID: run_id, "homeostat.cycle": str(attempt.cycle)}
        with durable("mlflow_trial"):
            below = client.create_run(experiment, start_time=attempt.start_ms, run_name=name, tags={**above, **tags})
        below_id, params = (
            str(below.info.run_id),
            [Param(key, str(value)) for key, value in trial["parameters"].items()],
        )
        with durable("mlflow_trial_figures"):
            client.log_batch(below_id, [Metric("log_loss", trial["log_loss"], attempt.start_ms, 0)], params)
        with durable("mlflow_trial_end"):
            client.set_terminated(below_id, "FINISHED", attempt.start_ms)


def list_trials(searches: Sequence[Json]) -> Iterator[tuple[str, Mapping[str, str], Json]]:
    """Yield the name, the tags and the figures of each configuration of each family under each recipe."""
    for search in searches:
        recipe = search["recipe"]["name"]
        for family, candidate in search["found"]["candidates"].items():
            for number, trial in enumerate(candidate.get("trials", []), start=1):
                is_chosen = trial["parameters"] == candidate["parameters"]
                tags = {
                    "homeostat.recipe": recipe,
                    "homeostat.family": family,
                    "homeostat.chosen": str(is_chosen).lower(),
                }
                yield f"{recipe}, {family} {number}", tags, trial


def log_files(client: MlflowClient, run_id: str, release: Release, folder: Path) -> None:
    """Log curves as images, the release's files, and the release as a model that MLflow can serve."""
    from homeostat.training.curves import draw_curves  # noqa: PLC0415  drawing takes a second to import

    with tempfile.TemporaryDirectory() as scratch:
        for name, figure in draw_curves(release.metrics).items():
            figure.savefig(Path(scratch) / f"{name}.png", dpi=110)
        with durable("mlflow_curves"):
            client.log_artifacts(run_id, scratch, "curves")
    with durable("mlflow_files"):
        client.log_artifacts(run_id, str(folder), RELEASE)
    log_model(client, run_id, release)


def log_model(client: MlflowClient, run_id: str, release: Release) -> None:
    """Log the release as a model that MLflow can serve."""
    with tempfile.TemporaryDirectory() as scratch:
        write_model(release, Path(scratch), run_id=run_id, created_at=datetime.now(UTC))
        with durable("mlflow_model_files"):
            client.log_artifacts(run_id, scratch, MODEL)


def flatten_metrics(metrics: Json) -> dict[str, float]:
    """Return the figures of a release by MLflow name: `anchor_auc`, `anchor_auc_low`, `anchor_auc_high`, ..."""
    flat: dict[str, float] = {}
    for side in SIDES:
        found = metrics.get(side) or {}
        for name in (*METRICS, "baseline_auc"):
            if estimate := found.get(name):
                flat[f"{side}_{name}"] = estimate["value"]
                flat |= {f"{side}_{name}_{end}": estimate[end] for end in ("low", "high")}
        flat |= {
            f"{side}_{name}": found[name] for name in ("calibration_error", "n_rows", "n_positive") if name in found
        }
    flat |= {f"calibration_{name}": value for name, value in metrics.get("calibration", {}).items()}
    flat |= {f"importance {name}": value for name, value in metrics.get("importance", {}).items()}
    return flat | numbers({"parity": metrics.get("parity")})


def flatten_candidates(candidates: Sequence[Json]) -> dict[str, float]:
    """Return what the candidates of several recipes were chosen by: their log loss on the rows that choose."""
    return numbers({f"choosing_log_loss_{one['recipe']}": one["log_loss"] for one in candidates})


def numbers(figures: Json) -> dict[str, float]:
    """Return those of some figures that are numbers."""
    return {name: float(value) for name, value in figures.items() if isinstance(value, int | float)}


def plain(name: str) -> str:
    """Return a name as MLflow takes it."""
    return FOREIGN.sub("_", name)


def milliseconds(moment: datetime) -> int:
    """Return a moment as MLflow keeps it: milliseconds since 1970."""
    return int(moment.timestamp() * 1_000)


def git_revision(folder: Path) -> str | None:
    """Return the revision that a folder is at, None if it is in no repository or there is no git."""
    git = shutil.which("git")
    if git is None:
        return None
    command = [git, "-C", str(folder), "rev-parse", "--verify", "HEAD"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=10)  # noqa: S603  git itself
    return done.stdout.strip() if done.returncode == 0 else None
