"""Recording attempts in MLflow: parameters, metrics with intervals, curves, the release, and who is in production.

Not here: any decision. MLflow holds what people compare; production is decided by the promotion log
(`deployment.registry`) and only mirrored here. MLflow's file store is gone, so the embedded store is SQLite.
"""

import json
import logging
import os
import tempfile
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from sqlalchemy import make_url

from homeostat.records import Json
from homeostat.store.failpoints import durable
from homeostat.store.scratch import scratch_folder

# Set before MLflow is imported: it reports usage to its makers otherwise.
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("DO_NOT_TRACK", "true")

from mlflow import MlflowClient
from mlflow.entities import Metric, Param, Run, RunTag
from mlflow.exceptions import MlflowException

ALIAS = "production"
DIGEST_TAG = "homeostat.release"
METRICS = ("auc", "brier", "log_loss", "accuracy")


def open_client(url: str) -> MlflowClient:
    """Return a client of the experiment manager, without its migration messages."""
    for name in ("alembic", "mlflow"):
        logging.getLogger(name).setLevel(logging.ERROR)
    create_store(url)
    return MlflowClient(tracking_uri=url, registry_uri=url)


def create_store(url: str) -> None:
    """Create an embedded store, whole or not at all; one that is there stays as it is.

    MLflow builds it by some sixty migrations that take seconds, and a store whose maker was killed among them never
    opens again (7 of 10 kills).
    """
    location = make_url(url)
    path = Path(location.database or "")
    if location.get_backend_name() != "sqlite":
        return
    # Also beside a store that is there: who made it may have been killed before its folder was gone.
    with scratch_folder(path.parent) as scratch:
        if path.exists():
            return
        whole = scratch / path.name
        MlflowClient(tracking_uri=f"sqlite:///{whole}").search_experiments(max_results=1)
        with durable("mlflow_store"), suppress(FileExistsError):  # somebody else was faster
            os.link(whole, path)


def record_run(
    client: MlflowClient, *, project: str, artifacts: Path, release: str, folder: Path, tags: Mapping[str, str]
) -> str:
    """Record one attempt as a finished run and return its id; a release that is recorded already is not recorded twice.

    Parameters
    ----------
    client
        The experiment manager.
    project
        The name of the project: its experiment and its registered model.
    artifacts
        The folder in which an embedded store keeps artifacts.
    release, folder
        The digest of the packed release and the files that are logged with it (name to bytes on disk).
    tags
        What else the run is found by: snapshot, trigger, code version.
    """
    experiment = ensure_experiment(client, project, artifacts)
    for run in client.search_runs([experiment], f"tags.`{DIGEST_TAG}` = '{release}'"):
        if run.info.status == "FINISHED":
            return str(run.info.run_id)
        # Only one loop records at a time: this is what a killed one has left.
        with durable("mlflow_killed"):
            client.set_terminated(run.info.run_id, "KILLED")
    with durable("mlflow_run"):
        run = client.create_run(experiment, run_name=f"release {release[:12]}", tags={**tags, DIGEST_TAG: release})
    run_id = str(run.info.run_id)
    log_release(client, run_id, folder)
    with durable("mlflow_end"):
        client.set_terminated(run_id, "FINISHED")
    return run_id


def log_release(client: MlflowClient, run_id: str, folder: Path) -> None:
    """Log a release folder's parameters, metrics, curves and files to a run."""
    metrics = json.loads((folder / "metrics.json").read_bytes())
    lineage = json.loads((folder / "lineage.json").read_bytes())
    procedure = {f"training.{key}": value for key, value in lineage["settings"].items()}
    chosen = {"family": lineage["family"], **lineage["parameters"]}
    parameters = {**chosen, **procedure, "snapshot": lineage["snapshot"]}
    now = int(time.time() * 1000)
    figures = [Metric(name, value, now, 0) for name, value in flatten_metrics(metrics).items()]
    params = [Param(name, str(value)) for name, value in parameters.items()]
    with durable("mlflow_figures"):
        tags = [RunTag("homeostat.sentence", metrics["sentence"])]
        client.log_batch(run_id, metrics=figures, params=params, tags=tags)
    with tempfile.TemporaryDirectory() as scratch:
        from homeostat.training.curves import draw_curves  # noqa: PLC0415  drawing takes a second to import

        for name, figure in draw_curves(metrics).items():
            path = Path(scratch) / f"{name}.png"
            figure.savefig(path, dpi=110)
            with durable("mlflow_curves"):
                client.log_artifact(run_id, str(path), "curves")
    with durable("mlflow_files"):
        client.log_artifacts(run_id, str(folder), "release")


def flatten_metrics(metrics: Json) -> dict[str, float]:
    """Return the figures of a release by MLflow name: `anchor_auc`, `anchor_auc_low`, `anchor_auc_high`, ..."""
    flat: dict[str, float] = {}
    for side in ("cross_validation", "anchor", "recent"):
        for name in METRICS:
            estimate = (metrics.get(side) or {}).get(name)
            if estimate:
                flat |= {f"{side}_{name}": estimate["value"]}
                flat |= {f"{side}_{name}_{end}": estimate[end] for end in ("low", "high")}
    return flat


def ensure_experiment(client: MlflowClient, project: str, artifacts: Path) -> str:
    """Return the id of the project's experiment, created on first use."""
    found = client.get_experiment_by_name(project)
    if found is not None:
        return str(found.experiment_id)
    artifacts.mkdir(parents=True, exist_ok=True)
    with durable("mlflow_experiment"):
        return str(client.create_experiment(project, artifact_location=artifacts.as_uri()))


def mirror_production(client: MlflowClient, *, project: str, release: str, run_id: str) -> str:
    """Point the alias `production` of the registered model at a release, and return the model version."""
    try:
        client.get_registered_model(project)
    except MlflowException:
        with durable("mlflow_model"):
            client.create_registered_model(project)
    versions: list[Any] = list(client.search_model_versions(f"name = '{project}'"))
    known = [version for version in versions if version.run_id == run_id]
    source = f"{client.get_run(run_id).info.artifact_uri}/release"
    if not known:
        with durable("mlflow_version"):
            known = [client.create_model_version(project, source, run_id, tags={DIGEST_TAG: release})]
    version = str(known[0].version)
    with durable("mlflow_alias"):
        client.set_registered_model_alias(project, ALIAS, version)
    return version


def list_runs(client: MlflowClient, project: str) -> list[Run]:
    """Return the project's runs, newest first."""
    found = client.get_experiment_by_name(project)
    return (
        []
        if found is None
        else list(client.search_runs([found.experiment_id], order_by=["attributes.start_time DESC"]))
    )
