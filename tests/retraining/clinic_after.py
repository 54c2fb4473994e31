"""A second release beside the clinic's first, and rows that it has answered, for tests of what follows a promotion.

Not here: the first release (`tests/retraining/clinic.py`).
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta

from sqlalchemy import insert

from homeostat.deployment.artifacts import (
    HELD_OUT,
    KIND,
    MANIFEST,
    METRICS,
    find_release,
    read_verified,
    release_digest,
    render_manifest,
)
from homeostat.deployment.registry import promote, register_release, require_production
from homeostat.monitoring.entries import new_prediction_ids, to_microseconds
from homeostat.project import Project
from homeostat.records import Criterion, GateResult, Promotion, Row
from homeostat.store.tables import predictions

PASSED = GateResult((Criterion("test", passed=True, sentence="let in by a test", figures={}),))


def publish(project: Project, changes: Mapping[str, bytes]) -> str:
    """Store the release in production with some files changed, under the digest of what it now is."""
    with project.database.read() as connection:
        production = require_production(connection).release
    files = {**read_verified(find_release(production, project.blobs)), **changes}
    digest = release_digest({name: hashlib.sha256(content).hexdigest() for name, content in files.items()})
    project.blobs.publish(KIND, digest, {**files, MANIFEST: render_manifest(digest, files)})
    return digest


def promote_digest(project: Project, digest: str, *, now: datetime | None = None) -> Promotion:
    """Register a release and promote it past every gate."""
    at = now or datetime.now(UTC)
    with project.database.write() as connection:
        register_release(connection, digest, snapshot="s", family="f", metrics={}, run_id=None, now=at)
        epoch = require_production(connection).epoch
    return promote(project.database, digest, gate=PASSED, expected_epoch=epoch, actor="test", reason="test", now=at)


def promote_another(project: Project, *, note: str = "another", held_out: Sequence[float] | None = None) -> Promotion:
    """Promote a release that answers as the one in production, under another digest."""
    changes = {METRICS: json.dumps({"note": note}).encode()}
    if held_out is not None:
        changes[HELD_OUT] = json.dumps({"scores": sorted(held_out)}).encode()
    return promote_digest(project, publish(project, changes))


def keep_answers(
    project: Project,
    promotion: Promotion,
    rows: Sequence[Row],
    probabilities: Sequence[float],
    *,
    epoch: int | None = None,
) -> list[str]:
    """Append rows that a release has answered to the log, and return their ids; `epoch` if a loop has seen them."""
    began = datetime.now(UTC)
    ids = new_prediction_ids(len(rows), to_microseconds(began))
    with project.database.write() as connection:
        first = connection.exec_driver_sql("SELECT COALESCE(MAX(observed_seq), 0) FROM predictions").scalar_one()
        lines = [
            {
                "id": id_,
                "received_at": began + number * timedelta(microseconds=1),
                "release": promotion.release,
                "row": json.dumps(row).encode(),
                "probability": float(probability),
                "label": '"yes"' if probability >= 0.5 else '"no"',
                "observed_seq": None if epoch is None else first + 1 + number,
                "epoch": epoch,
            }
            for number, (id_, row, probability) in enumerate(zip(ids, rows, probabilities, strict=True))
        ]
        if lines:
            connection.execute(insert(predictions), lines)
    return ids
