"""Releases that were packed by hand: with a change, under their right digest, registered and promoted."""

import hashlib
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path

import pytest

from homeostat.deployment.artifacts import KIND, MANIFEST, find_release, read_verified, release_digest, render_manifest
from homeostat.deployment.registry import current_promotion, promote, register_release, require_production
from homeostat.project import Project, open_project
from homeostat.records import Criterion, GateResult


@pytest.fixture
def project(trained_project: Path) -> Iterator[Project]:
    with open_project(trained_project) as opened:
        yield opened


@pytest.fixture
def publish_changed(project: Project) -> Callable[[Mapping[str, bytes]], str]:
    """Store the production release with some files changed, under the digest of what it now is."""

    def publish(changes: Mapping[str, bytes]) -> str:
        with project.database.read() as connection:
            production = require_production(connection).release
        files = {**read_verified(find_release(production, project.blobs)), **changes}
        digest = release_digest({name: hashlib.sha256(content).hexdigest() for name, content in files.items()})
        project.blobs.publish(KIND, digest, {**files, MANIFEST: render_manifest(digest, files)})
        return digest

    return publish


@pytest.fixture
def put_in_production(project: Project) -> Callable[[str], int]:
    """Register a digest and promote it past every gate; return the epoch."""

    def put(digest: str) -> int:
        now = datetime.now(UTC)
        with project.database.write() as connection:
            register_release(connection, digest, snapshot="s", family="f", metrics={}, run_id=None, now=now)
            current = current_promotion(connection)
        epoch = current.epoch if current else 0
        verdict = GateResult((Criterion("test", passed=True, sentence="let in by a test", figures={}),))
        promote(project.database, digest, gate=verdict, expected_epoch=epoch, actor="test", reason="test", now=now)
        return epoch + 1

    return put
