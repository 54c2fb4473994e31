"""Watching the world: every complete window of accepted rows is checked once against the champion's baseline.

Not here: the statistics (`monitoring.drift`) or what follows from them (`retraining.triggers`).
"""

from datetime import datetime

from sqlalchemy import Connection

from homeostat.monitoring.drift import detect_drift, report_to_json
from homeostat.monitoring.drift_checks import append_check, last_checked
from homeostat.monitoring.production import read_rows, stamp_rows, watched_range
from homeostat.records import Columns, DriftReport, Promotion, Release
from homeostat.settings import MonitoringSettings
from homeostat.store.database import Database
from homeostat.store.events import append_event
from homeostat.store.leases import Lease, require_lease
from homeostat.validation.profiles import count_rows


def watch(
    database: Database,
    release: Release,
    promotion: Promotion,
    settings: MonitoringSettings,
    *,
    lease: Lease,
    now: datetime,
) -> list[DriftReport]:
    """Stamp the new rows, check each complete window, store the checks, and return their reports.

    Windows are tumbling and begin anew with each promotion; rows beyond the last complete window wait.

    Raises
    ------
    LeaseHeld
        Another loop took the lease meanwhile; what was checked until then stays.
    """
    stamp_rows(database, lease=lease, epoch=promotion.epoch)
    reports: list[DriftReport] = []
    while (report := check_next_window(database, release, promotion, settings, lease=lease, now=now)) is not None:
        reports.append(report)
    return reports


def check_next_window(
    database: Database,
    release: Release,
    promotion: Promotion,
    settings: MonitoringSettings,
    *,
    lease: Lease,
    now: datetime,
) -> DriftReport | None:
    """Check the next window of this watch and return its report, None if it is not complete yet."""
    with database.read() as connection:
        window = next_window(connection, promotion, settings)
        if window is None:
            return None
        columns = read_rows(connection, release.schema, first=window[0], last=window[1])
    report = judge_window(columns, release, settings)
    with database.write() as connection:
        require_lease(connection, lease)
        append_check(
            connection, report_to_json(report), epoch=promotion.epoch, window=window, release=release.digest, now=now
        )
        payload = {"window": window, "score": report.score, "boundary": report.boundary, "fired": report.fired}
        append_event(connection, "drift_checked", {**payload, "drifted": list(report.drifted)}, now=now)
    return report


def window_is_complete(database: Database, promotion: Promotion, settings: MonitoringSettings) -> bool:
    """Return whether a window of this watch is complete and not yet checked."""
    with database.read() as connection:
        return next_window(connection, promotion, settings) is not None


def next_window(connection: Connection, promotion: Promotion, settings: MonitoringSettings) -> tuple[int, int] | None:
    """Return the first and last observed number of the next window to check, None if it is not complete yet."""
    watched = watched_range(connection, epoch=promotion.epoch)
    if watched is None:
        return None
    done = last_checked(connection, epoch=promotion.epoch)
    first = watched[0] if done is None else done + 1
    last = first + settings.window - 1
    return None if last > watched[1] else (first, last)


def judge_window(columns: Columns, release: Release, settings: MonitoringSettings) -> DriftReport:
    """Return the report on one window's rows; without any, none of the features is tested and nothing fires.

    A window is empty if the schema was edited and accepts none of its rows any more: the watch must go on behind it.
    """
    current = count_rows(columns, release.schema, release.profile)
    if current.n_rows == 0:
        return DriftReport((), 0.0, settings.boundary, release.profile.n_rows, 0)
    return detect_drift(release.profile, current, alpha=settings.alpha, boundary=settings.boundary)
