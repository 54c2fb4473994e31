"""What each serving process says of itself: requests answered and failed with each release, and when it last spoke.

Not here: when a process reports (`web.reporting`), or what its figures mean for a release (`monitoring.bake`). The
service imports this.
"""

import json
import os
import socket
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from sqlalchemy import Connection, Row, delete, insert, select, update

from homeostat.records import Promotion
from homeostat.settings import RetrainingSettings
from homeostat.store.events import latest_event
from homeostat.store.tables import worker_reports

LIFETIME = timedelta(days=1)
# While a release is on probation: how often news is reported. Without news a sign of life is enough, several times
# within `retraining.bake_silence_s`; that is 15 commits a minute of an idle service at the default.
REPORT_S, PER_SILENCE = 2.0, 2.5


@dataclass(frozen=True, slots=True)
class WorkerReport:
    """What one process says of one promotion: counts since `started_at`, `latency` by bucket of `latencies`.

    `ended_at` is None for a process that answers, hangs or was killed.
    """

    worker: str
    epoch: int
    started_at: datetime
    reported_at: datetime
    ended_at: datetime | None
    answered: int
    failed: int
    latency: Sequence[int]


def store_reports(connection: Connection, reports: Sequence[WorkerReport], *, now: datetime) -> None:
    """Put reports in place of those that their process has made before, and delete those of another day.

    The reports of the release before the newest stay: its latency is what the newest one is measured by.
    """
    for report in reports:
        values = {name: getattr(report, name) for name in ("reported_at", "ended_at", "answered", "failed")}
        values["latency"] = json.dumps(list(report.latency))
        line = {"worker": report.worker, "epoch": report.epoch}
        known = update(worker_reports).filter_by(**line).values(**values)
        if not connection.execute(known).rowcount:
            connection.execute(insert(worker_reports).values(**line, started_at=report.started_at, **values))
    newest = max((report.epoch for report in reports), default=0)
    old = (worker_reports.c.reported_at < now - LIFETIME) & (worker_reports.c.epoch != newest - 1)
    connection.execute(delete(worker_reports).where(old))


def read_reports(connection: Connection) -> list[WorkerReport]:
    """Return all reports: few, as old ones are deleted."""
    query = select(worker_reports).order_by(worker_reports.c.epoch, worker_reports.c.worker)
    return [as_report(row) for row in connection.execute(query)]


def as_report(row: Row[tuple[object, ...]]) -> WorkerReport:
    """Return a row of the table as a record."""
    latency = json.loads(row.latency)
    moments = (row.started_at, row.reported_at, row.ended_at)
    return WorkerReport(row.worker, row.epoch, *moments, row.answered, row.failed, latency)


def has_passed(connection: Connection, promotion: Promotion) -> bool:
    """Return whether the probation of a promotion is over."""
    event = latest_event(connection, "bake_passed")
    return event is not None and event.payload["epoch"] == promotion.epoch


def are_awaited(connection: Connection, promotion: Promotion, rules: RetrainingSettings) -> bool:
    """Return whether somebody waits for reports on a promotion: it may be on probation."""
    return promotion.previous is not None and rules.bake_rows > 0 and not has_passed(connection, promotion)


# --- which process ------------------------------------------------------------------------------------------------


def name_worker() -> str:
    """Return a name for this process that no other has: its host, its number, and the moment at which it began."""
    return f"{socket.gethostname()}:{os.getpid()}:{began_at(os.getpid()) or time.time_ns()}"


def is_here(worker: str) -> bool:
    """Return whether a process is one of this machine."""
    return worker.rsplit(":", 2)[0] == socket.gethostname()


def is_alive(worker: str) -> bool:
    """Return whether a process may still be there: of another machine nobody knows.

    A number that was given to another process since, as after a restart of a container, is no sign of life.
    """
    if not is_here(worker):
        return True
    _, process, began = worker.rsplit(":", 2)
    try:
        os.kill(int(process), 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return began_at(int(process)) in {None, began}


def began_at(process: int) -> str | None:
    """Return when a process of this machine began, in ticks since the machine did; None where nobody can tell.

    Empty for one that has ended and that nobody has asked after.
    """
    try:
        # The name of the program, in brackets, may hold spaces. Fields 3 (state) and 22 (start) of proc(5).
        fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return "" if fields[0] == "Z" else fields[19]


def silences(reports: Sequence[WorkerReport], *, epoch: int, now: datetime) -> Mapping[str, float]:
    """Return for each live process that has answered since a promotion, by name, how old its report is (s).

    Negative for a report from the future: a clock was set back, and nobody knows how old it is.
    """
    ours = [one for one in reports if one.epoch == epoch and one.ended_at is None and one.answered + one.failed]
    return {one.worker: (now - one.reported_at).total_seconds() for one in ours if is_alive(one.worker)}


def find_silent(
    reports: Sequence[WorkerReport], *, epoch: int, now: datetime, after_s: float
) -> Sequence[WorkerReport]:
    """Return the reports of live processes that seem silent: further than so many seconds from now, on either side."""
    ages = silences(reports, epoch=epoch, now=now)
    return [one for one in reports if one.epoch == epoch and abs(ages.get(one.worker, 0.0)) > after_s]


def longest_pause_s(silence_s: float) -> float:
    """Return how long a live process without news may take for another word, with a second for the commit."""
    beat_s = silence_s / PER_SILENCE
    return beat_s + min(REPORT_S, beat_s) + 1


def have_reported(
    reports: Sequence[WorkerReport], promotion: Promotion, *, since: datetime, alive_since: datetime
) -> bool:
    """Return whether each worker that answers has reported on this promotion since a moment.

    True where no worker is there, as when rows are scored in batches or recorded history is replayed. A worker of
    another machine that answers nothing and has not reported since `alive_since` may have died: nobody waits for it.
    """
    there = [one for one in reports if one.ended_at is None and is_alive(one.worker)]
    # A worker reports as soon as it answers with a release. Who has reported on an earlier one alone counts only as
    # long as no worker at all has reported on this one.
    ours = [one for one in there if one.epoch == promotion.epoch]
    if not ours:
        return not any(is_here(one.worker) or one.reported_at >= promotion.decided_at for one in there)
    late = [one for one in ours if one.reported_at < since]
    return not any(is_here(one.worker) or one.answered + one.failed or one.reported_at >= alive_since for one in late)
