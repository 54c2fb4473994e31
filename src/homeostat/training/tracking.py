"""The experiment manager: opening MLflow's store, the project's experiment, and listing its runs.

Not here: what is recorded of an attempt (`training.tracking_runs`), or who is in production (`training.mirroring`).
MLflow's file store is gone, so the embedded store is SQLite.
"""

import logging
import os
from contextlib import suppress
from pathlib import Path

from sqlalchemy import make_url

from homeostat.store.failpoints import durable
from homeostat.store.scratch import scratch_folder

# Set before MLflow is imported: it reports usage to its makers otherwise.
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("DO_NOT_TRACK", "true")
# A server that is away: MLflow would ask eight times, in four minutes, and the loop does its work without it.
os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
os.environ.setdefault("MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR", "1")
os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "30")

from mlflow import MlflowClient
from mlflow.entities import Run

DIGEST_TAG, TRIGGER_TAG = "homeostat.release", "homeostat.trigger"
SERVERS = ("http://", "https://")


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
    if url.startswith(SERVERS):
        return
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


def ensure_experiment(client: MlflowClient, project: str, artifacts: Path) -> str:
    """Return the id of the project's experiment, created on first use.

    An embedded store keeps artifacts in a folder; a server keeps them where it was told to.
    """
    found = client.get_experiment_by_name(project)
    if found is not None:
        return str(found.experiment_id)
    location = None
    if not client.tracking_uri.startswith(SERVERS):
        artifacts.mkdir(parents=True, exist_ok=True)
        location = artifacts.as_uri()
    with durable("mlflow_experiment"):
        return str(client.create_experiment(project, artifact_location=location))


def list_runs(client: MlflowClient, project: str) -> list[Run]:
    """Return the project's attempts, newest first: without the configurations that each of them has tried."""
    found = client.get_experiment_by_name(project)
    if found is None:
        return []
    # Every attempt has been triggered by something; what it tried are runs below it.
    attempts = f"tags.`{TRIGGER_TAG}` LIKE '%'"
    return list(client.search_runs([found.experiment_id], attempts, order_by=["attributes.start_time DESC"]))
