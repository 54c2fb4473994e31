"""Watching the world: every complete window of accepted rows is checked once against the champion's baseline.

Not here: the statistics (`monitoring.drift`) or what follows from them (`retraining.triggers`).
"""

from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection

from homeostat.errors import InputError
from homeostat.monitoring.alerts import raise_alert
from homeostat.monitoring.drift_checks import append_check, last_checked
from homeostat.monitoring.evidence import Evidence
from homeostat.monitoring.evidence_bytes import evidence_from_bytes, evidence_to_bytes
from homeostat.monitoring.observed import read_rows
from homeostat.monitoring.production import WINDOWS_PER_CALL, window_after
from homeostat.monitoring.watch_states import find_state, store_state
from homeostat.monitoring.window_reports import Judged, begin_watch, judge_window, name_alerts
from homeostat.records import Columns, DriftReport, Promotion, Release
from homeostat.settings import MonitoringSettings
from homeostat.store.database import Database
from homeostat.store.events import append_event
from homeostat.store.leases import Lease, require_lease
from homeostat.training.scoring import Graph

STATE = "evidence"


@dataclass(frozen=True, slots=True)
class Watching:
    """A release in production, where its rows are, and the rules by which they are watched."""

    database: Database
    release: Release
    promotion: Promotion
    settings: MonitoringSettings


@dataclass(frozen=True, slots=True)
class Window:
    """The rows of the next check, first and last observed number included, and the evidence before them."""

    first: int
    last: int
    columns: Columns
    evidence: Evidence


def watch(
    database: Database,
    release: Release,
    promotion: Promotion,
    settings: MonitoringSettings,
    *,
    lease: Lease,
    now: datetime,
) -> list[DriftReport]:
    """Check each complete window of the stamped rows, store the checks, and return their reports.

    Windows are tumbling and begin anew with each promotion; rows beyond the last complete window wait. Of more than
    `WINDOWS_PER_CALL` the others wait for the next call.

    Raises
    ------
    LeaseHeld
        Another loop took the lease meanwhile; what was checked until then stays.
    """
    watching = Watching(database, release, promotion, settings)
    graph: Graph | None = None
    reports: list[DriftReport] = []
    while len(reports) < WINDOWS_PER_CALL and (window := read_window(watching)) is not None:
        # Opened for the first window only: most turns of the loop find none.
        graph = graph or Graph(release.graph, release.schema)
        reports.append(check_window(watching, window, graph, lease=lease, now=now))
    return reports


def check_window(watching: Watching, window: Window, graph: Graph, *, lease: Lease, now: datetime) -> DriftReport:
    """Check one window, store what was said of it, and return the book's report."""
    judged = judge_window(
        window.columns, watching.release, graph, window.evidence, settings=watching.settings, first_seq=window.first
    )
    with watching.database.write("check_window") as connection:
        require_lease(connection, lease)
        record(connection, watching, window, judged, now=now)
    return judged.report


def read_window(watching: Watching) -> Window | None:
    """Return the next window with the evidence before it, None if it is not complete yet."""
    release, epoch = watching.release, watching.promotion.epoch
    with watching.database.read() as connection:
        done = last_checked(connection, epoch=epoch)
        found = window_after(connection, epoch=epoch, done=done, n_rows=watching.settings.window)
        if found is None:
            return None
        columns = read_rows(connection, release.schema, first=found[0], last=found[1])
        state = find_state(connection, epoch=epoch, kind=STATE)
    return Window(*found, columns, restore_evidence(state, release, epoch=epoch))


def restore_evidence(state: tuple[int, bytes] | None, release: Release, *, epoch: int) -> Evidence:
    """Return the evidence as the last window left it; begun anew before the first, or if another version left it."""
    if state is not None:
        with suppress(InputError):
            return evidence_from_bytes(state[1])
    return begin_watch(release, epoch=epoch)


def record(connection: Connection, watching: Watching, window: Window, judged: Judged, *, now: datetime) -> None:
    """Store a check, the evidence behind it, and the events that tell of it, in the caller's transaction."""
    epoch, report, rows = watching.promotion.epoch, judged.report, (window.first, window.last)
    release = watching.release.digest
    append_check(connection, judged.document, epoch=epoch, window=rows, release=release, now=now)
    state = evidence_to_bytes(judged.evidence)
    store_state(connection, epoch=epoch, kind=STATE, last_seq=window.last, state=state)
    payload = {"window": rows, "score": report.score, "boundary": report.boundary, "fired": report.fired}
    payload |= {"drifted": list(report.drifted), "guarded": judged.guarded.fired, "since": judged.guarded.since}
    if judged.document["explanation"]:
        payload |= {"scores": judged.document["explanation"]}
    append_event(connection, "drift_checked", payload, now=now)
    for alert in name_alerts(window.evidence, judged):
        raise_alert(connection, alert, epoch=epoch, now=now)
