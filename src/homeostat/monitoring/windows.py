"""Watching the world: every complete window of accepted rows is checked once against the champion's baseline.

Not here: the statistics (`monitoring.drift`) or what follows from them (`retraining.triggers`).
"""

from datetime import datetime

from homeostat.monitoring.drift import detect_drift, report_to_json
from homeostat.monitoring.drift_checks import append_check, last_checked
from homeostat.monitoring.production import read_rows, stamp_rows, watched_range
from homeostat.records import DriftReport, Promotion, Release
from homeostat.settings import MonitoringSettings
from homeostat.store.database import Database
from homeostat.store.events import append_event
from homeostat.validation.profiles import count_rows


def watch(
    database: Database, release: Release, promotion: Promotion, settings: MonitoringSettings, *, now: datetime
) -> list[DriftReport]:
    """Stamp the new rows, check each complete window, store the checks, and return their reports.

    Windows are tumbling and begin anew with each promotion; rows beyond the last complete window wait.
    """
    stamp_rows(database, epoch=promotion.epoch)
    reports: list[DriftReport] = []
    while (report := check_next_window(database, release, promotion, settings, now=now)) is not None:
        reports.append(report)
    return reports


def check_next_window(
    database: Database, release: Release, promotion: Promotion, settings: MonitoringSettings, *, now: datetime
) -> DriftReport | None:
    """Check the next window of this watch and return its report, None if it is not complete yet."""
    with database.read() as connection:
        watched = watched_range(connection, epoch=promotion.epoch)
        done = last_checked(connection, epoch=promotion.epoch)
        if watched is None:
            return None
        first = watched[0] if done is None else done + 1
        last = first + settings.window - 1
        if last > watched[1]:
            return None
        columns = read_rows(connection, release.schema, first=first, last=last)
    current = count_rows(columns, release.schema, release.profile)
    report = detect_drift(release.profile, current, alpha=settings.alpha, boundary=settings.boundary)
    with database.write() as connection:
        window = (first, last)
        append_check(
            connection, report_to_json(report), epoch=promotion.epoch, window=window, release=release.digest, now=now
        )
        payload = {"window": window, "score": report.score, "boundary": report.boundary, "fired": report.fired}
        append_event(connection, "drift_checked", {**payload, "drifted": list(report.drifted)}, now=now)
    return report
