"""Telling the experiment manager, in the child process that has loaded MLflow: requests and answers are JSON.

Not here: when it is told, and what of (`retraining.telling`, `retraining.alias_requests`).
"""

from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from mlflow import MlflowClient

from homeostat.deployment.artifacts import find_release, open_release
from homeostat.errors import ArtifactError, ReleaseMissing
from homeostat.project import Project
from homeostat.records import Json, Release
from homeostat.training.mirroring import ensure_version, mirror_production, read_alias, set_alias
from homeostat.training.tracking import open_client
from homeostat.training.tracking_runs import Attempt, git_revision, record_failure, record_outcome, record_run


@dataclass(frozen=True, slots=True)
class Tracked:
    """A project beside the experiment manager that it is told to."""

    project: Project
    client: MlflowClient

    @property
    def name(self) -> str:
        """The name of the experiment and of the registered model."""
        return self.project.settings.project.name

    def attempt(self, told: Json) -> Attempt:
        """Return what `telling.tell_attempt` has told."""
        folder = self.project.folder
        started_at, artifacts = datetime.fromisoformat(told["started_at"]), folder / ".homeostat" / "tracking"
        return Attempt(self.name, artifacts, **{**told, "started_at": started_at, "revision": git_revision(folder)})

    def open(self, digest: str) -> tuple[Release, Path]:
        """Return a release and its folder."""
        folder = find_release(digest, self.project.blobs)
        return open_release(folder), folder


def open_tracked(project: Project) -> Tracked:
    """Open the experiment manager of a project."""
    return Tracked(project, open_client(project.tracking_url))


def record_release(tracked: Tracked, digest: str, attempt: Json) -> str:
    """Record the attempt that came to a release and register the release, unless that is done; return the run's id."""
    release, folder = tracked.open(digest)
    run_id = record_run(tracked.client, tracked.attempt(attempt), release, folder)
    ensure_version(tracked.client, project=tracked.name, release=release, run_id=run_id)
    return run_id


def point_alias(project: Project, request: Json) -> Json:
    """Point the alias at a release, and tell what became of that; return the run and the version."""
    tracked = open_tracked(project)
    run_id = record_release(tracked, request["release"], request["attempt"])
    if request["concluded"] is not None:
        conclude(tracked, run_id, request["concluded"])
    release, _ = tracked.open(request["release"])
    version = mirror_production(tracked.client, project=tracked.name, release=release, run_id=run_id)
    return {"run_id": run_id, "version": version}


def conclude(tracked: Tracked, run_id: str, concluded: Json) -> None:
    """Tell what became of a run's release."""
    at = datetime.fromisoformat(concluded["at"])
    outcome, sentence, gate = concluded["outcome"], concluded["sentence"], concluded["gate"]
    record_outcome(tracked.client, run_id, outcome=outcome, sentence=sentence, gate=gate, at=at)


def tell_cycles(project: Project, cycles: list[Json]) -> Json:
    """Record ended cycles: those that came to a release with what became of it, the others as failed."""
    tracked = open_tracked(project)
    for one in cycles:
        concluded = one["concluded"]
        if one["release"] is not None:
            with suppress(ArtifactError, ReleaseMissing):  # it is gone, or damaged: then there is nothing to record
                conclude(tracked, record_release(tracked, one["release"], one["attempt"]), concluded)
            continue
        # Whoever made way for something else has not failed.
        status = "FAILED" if concluded["outcome"] == "failed" else "KILLED"
        ended_at = datetime.fromisoformat(concluded["at"])
        attempt = tracked.attempt(one["attempt"])
        record_failure(tracked.client, attempt, status=status, sentence=concluded["sentence"], ended_at=ended_at)
    return {"told": len(cycles)}


def look_at_alias(project: Project, request: Json) -> Json:
    """Return whether the alias is where production is, and where it is; put it back where it may be.

    It may be put back if it is `late` (where it was mirrored last, production has moved since), or if it is where
    `put_back` says: the move was answered.
    """
    tracked = open_tracked(project)
    found = read_alias(tracked.client, tracked.name)
    told = {"version": found.version, "release": found.release}
    if found.version is not None and found.release == request["release"]:
        if found.mirrored != found.version:
            set_alias(tracked.client, tracked.name, found.version)
        return told | {"state": "in step"}
    is_late = found.mirrored is None or found.version == found.mirrored
    if is_late or request["put_back"] == {"version": found.version}:
        return (
            told | point_alias(project, {**request, "concluded": None}) | {"state": "late" if is_late else "put back"}
        )
    return told | {"state": "moved"}
