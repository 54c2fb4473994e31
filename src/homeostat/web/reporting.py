"""What this process says of itself: requests by promotion, counted where they are answered, reported by a thread.

Not here: where reports are kept (`monitoring.worker_reports`), or what they mean for a release (`monitoring.bake`).
"""

import logging
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime

from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from homeostat.deployment.serving import LiveRelease
from homeostat.monitoring.latencies import N_BUCKETS, bucket_of
from homeostat.monitoring.predictions import PredictionLog
from homeostat.monitoring.worker_reports import (
    PER_SILENCE,
    REPORT_S,
    WorkerReport,
    are_awaited,
    name_worker,
    store_reports,
)
from homeostat.project import Project
from homeostat.records import Promotion

logger = logging.getLogger("homeostat.reports")
# After a probation news alone, for the release that comes next to be measured by.
REST_S = 60.0
# A request for more rows than these counts as several that took their part of its time.
ROWS_AT_ONCE = 100
# An orderly end waits so long for its last report: a database that does not answer must not hold it up.
LAST_REPORT_S = 2.0


class Tally:
    """What became of the requests of one promotion in this process; only the event loop adds to it."""

    __slots__ = ("answered", "failed", "latency", "started_at")

    def __init__(self) -> None:
        self.answered = 0
        self.failed = 0
        self.latency = [0] * N_BUCKETS
        self.started_at = datetime.now(UTC)

    def add(self, seconds: float, n_rows: int) -> None:
        """Count a request that was answered, and how long the release took for it."""
        self.answered += 1
        self.latency[bucket_of(seconds if n_rows <= ROWS_AT_ONCE else seconds * ROWS_AT_ONCE / n_rows)] += 1


class Reporter:
    """Reports in a thread of its own, at once when another release begins to answer.

    Parameters
    ----------
    project
        Where reports go, in small transactions; a database that takes none for a while harms nobody. And how long a
        worker may be silent.
    log
        Told of an error after which nobody knows what the disk holds; once it has failed, nothing is written.
    find_live
        Returns the release that answers.
    """

    def __init__(self, project: Project, log: PredictionLog, *, find_live: Callable[[], LiveRelease | None]) -> None:
        self.trouble: str | None = None
        self._database = project.database
        self._rules = project.settings.retraining
        self._log = log
        self._find_live = find_live
        self._worker = name_worker()
        self._tallies: dict[int, Tally] = {}
        # By epoch: how many requests the last report has told of, and when it was made.
        self._told: dict[int, tuple[int, float]] = {}
        self._stopped, self._urgent = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._report_until_stopped, name="worker-reports", daemon=True)

    def tally(self, epoch: int) -> Tally:
        """Return where the requests of a promotion are counted."""
        found = self._tallies.get(epoch)
        return self._tallies.setdefault(epoch, Tally()) if found is None else found

    def start(self) -> None:
        """Report that this process begins to answer, then go on in the thread."""
        self._try_to_report()
        self._thread.start()

    def hurry(self) -> None:
        """Report now."""
        self._urgent.set()

    def stop(self) -> None:
        """Report for the last time that this process has ended in order, and return soon."""
        self._stopped.set()
        self.hurry()
        if self._thread.is_alive():
            self._thread.join(LAST_REPORT_S)

    def _report_until_stopped(self) -> None:
        period_s = min(REPORT_S, self._rules.bake_silence_s / PER_SILENCE)
        while not self._stopped.is_set():
            self._urgent.wait(period_s)
            self._urgent.clear()
            self._try_to_report()

    def _try_to_report(self) -> None:
        try:
            self._report()
        except (SQLAlchemyError, OSError) as error:
            self.trouble = f"reports cannot be stored: {error}"
            if isinstance(error, SQLAlchemyError) and names_io_error(error):
                self._log.fail(error)
        except Exception as error:
            # The edge of a thread. If it ended, a worker that answers would be taken for one that hangs.
            trouble = f"reports cannot be made: {type(error).__name__}: {error}"
            if trouble != self.trouble:
                logger.exception("reports cannot be made; tried again every few seconds")
            self.trouble = trouble
        else:
            self.trouble = None

    def _report(self) -> None:
        live = self._find_live()
        if live is None or self._log.failure is not None:
            return
        self.tally(live.promotion.epoch)
        reports = self._due_reports(live.promotion)
        if not reports:
            return
        with self._database.write("report_worker") as connection:
            store_reports(connection, reports, now=datetime.now(UTC))
        for report in reports:
            self._told[report.epoch] = (report.answered + report.failed, time.monotonic())
        for epoch in [epoch for epoch in list(self._tallies) if epoch < live.promotion.epoch - 1]:
            del self._tallies[epoch]

    def _due_reports(self, promotion: Promotion) -> list[WorkerReport]:
        now = datetime.now(UTC)
        with self._database.read() as connection:
            awaited = are_awaited(connection, promotion, self._rules)
        beat_s = self._rules.bake_silence_s / PER_SILENCE if awaited else float("inf")
        return [
            WorkerReport(
                self._worker,
                epoch,
                tally.started_at,
                now,
                now if self._stopped.is_set() else None,
                tally.answered,
                tally.failed,
                list(tally.latency),
            )
            for epoch, tally in list(self._tallies.items())
            if self._is_due(epoch, tally, news_s=0 if awaited else REST_S, beat_s=beat_s)
        ]

    def _is_due(self, epoch: int, tally: Tally, *, news_s: float, beat_s: float) -> bool:
        told = self._told.get(epoch)
        if told is None or self._stopped.is_set():
            return True
        silent_s = time.monotonic() - told[1]
        return silent_s >= (beat_s if told[0] == tally.answered + tally.failed else news_s)


def names_io_error(error: SQLAlchemyError) -> bool:
    """Return whether the disk failed under SQLite: then nobody may write to it, whoever has met the error first."""
    cause = error.orig if isinstance(error, DBAPIError) else None
    return str(getattr(cause, "sqlite_errorname", "")).startswith("SQLITE_IOERR")
