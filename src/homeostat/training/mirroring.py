"""Who is in production, as MLflow shows it: the registered model, its versions, and the alias `production`.

Not here: who is (`deployment.registry`), or what the alias may ask for (`retraining.alias_requests`). The registered
model notes which version was mirrored last: an alias that names another was moved by somebody else.
"""

from dataclasses import dataclass
from typing import Any

from homeostat.records import Release
from homeostat.store.failpoints import durable
from homeostat.training.tracking import DIGEST_TAG
from homeostat.training.tracking_runs import MODEL, log_model

# MLflow comes after `training.tracking`, which says what it must not send.
# isort: split
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import RESOURCE_DOES_NOT_EXIST, ErrorCode

ALIAS = "production"
MIRRORED_TAG = "homeostat.mirrored"


def mirror_production(client: MlflowClient, *, project: str, release: Release, run_id: str) -> str:
    """Point the alias `production` of the registered model at a release, and return the model version."""
    version = ensure_version(client, project=project, release=release, run_id=run_id)
    set_alias(client, project, version)
    return version


def ensure_version(client: MlflowClient, *, project: str, release: Release, run_id: str) -> str:
    """Return the version of the registered model that is a run's release, made on first use."""
    try:
        client.get_registered_model(project)
    except MlflowException:
        with durable("mlflow_model"):
            client.create_registered_model(project)
    versions: list[Any] = list(client.search_model_versions(f"name = '{project}'"))
    known = [version for version in versions if version.run_id == run_id]
    if not known:
        if not client.list_artifacts(run_id, MODEL):  # recorded before there was a model in it
            log_model(client, run_id, release)
        source = f"{client.get_run(run_id).info.artifact_uri}/{MODEL}"
        with durable("mlflow_version"):
            known = [client.create_model_version(project, source, run_id, tags={DIGEST_TAG: release.digest})]
    return str(known[0].version)


def set_alias(client: MlflowClient, project: str, version: str) -> None:
    """Point the alias at a version, then note that it was us."""
    with durable("mlflow_alias"):
        client.set_registered_model_alias(project, ALIAS, version)
    with durable("mlflow_mirrored"):
        client.set_registered_model_tag(project, MIRRORED_TAG, version)


@dataclass(frozen=True, slots=True)
class Alias:
    """Where the alias points: the version and its release's digest, and the version that we pointed it at last."""

    version: str | None
    release: str | None
    mirrored: str | None


def read_alias(client: MlflowClient, project: str) -> Alias:
    """Return where the alias points; nothing but None if there is no registered model."""
    try:
        model = client.get_registered_model(project)
    except MlflowException as error:
        if error.error_code != ErrorCode.Name(RESOURCE_DOES_NOT_EXIST):
            raise
        return Alias(None, None, None)
    mirrored, version = model.tags.get(MIRRORED_TAG), model.aliases.get(ALIAS)
    if version is None:
        return Alias(None, None, mirrored)
    release = client.get_model_version(project, str(version)).tags.get(DIGEST_TAG)
    return Alias(str(version), release, mirrored)
