"""The durable log: when an answered or a rejected row counts as kept, and what happens when the disk fails.

Not here: what a line holds (`monitoring.entries`), outcomes (`monitoring.labels`), which rows are accepted
(`validation.checks`), or the log as training data (`monitoring.production`).
"""

import asyncio
import logging
import queue
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from types import TracebackType
from typing import NamedTuple, Self, TypeAlias

from sqlalchemy import Connection, func, select
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from homeostat.errors import DeadlineExceeded, HomeostatError, IdempotencyReused, LogBusy, LogFailed
from homeostat.monitoring.entries import PREDICTION_COLUMNS, REJECTION_COLUMNS, Entries
from homeostat.monitoring.idempotency import Answered, find_answer, keep_answer
from homeostat.store.database import Database, insert_lines, is_refusal
from homeostat.store.tables import labels, predictions, rejections

# Rows that may wait for their commit: some 100 MB at the most, then new ones are turned away.
MAX_PENDING_ROWS = 50_000
# From so many on, a sender that need not wait for its rows waits all the same: what comes in faster than the disk takes
# it is slowed down, not refused.
EASY_PENDING_ROWS = 5_000
# How long rows that nobody waits for are gathered before they are written: without it, the writer would wake up for
# each of them and take the interpreter from the thread that answers.
GATHER_S = 0.05

logger = logging.getLogger("homeostat.log")

# What becomes of one request's entries: None (kept), what the same request was answered with before, or why not.
Outcome: TypeAlias = Answered | HomeostatError | None


@dataclass(frozen=True, slots=True)
class LogCounts:
    """How much the log holds, and the moment of its latest prediction."""

    predictions: int
    rejections: int
    labels: int
    latest_at: datetime | None


class Waiting(NamedTuple):
    """The entries of one request, and the future that its sender waits for, if it does."""

    entries: Entries
    committed: asyncio.Future[Answered | None] | None


class PredictionLog:
    """The one writer of answered and rejected rows in this process. Open it in the event loop that appends to it.

    Requests that wait at the same time share one transaction, so that they share one sync of the disk (one row per
    commit took 3.7 ms, 32 rows 0.23 ms each). The first I/O error ends the log for good: `failure` says why, `failed`
    is set, every later append is refused, and the process is expected to exit and recover by starting again.

    Parameters
    ----------
    database
        Where the rows go; its durability is that of every answer.
    on_commit
        Told the seconds each commit took, in the writer's thread.
    deadline_s
        How long `append` waits at the most.
    """

    def __init__(self, database: Database, *, on_commit: Callable[[float], None], deadline_s: float) -> None:
        self.failure: LogFailed | None = None
        self.failed = asyncio.Event()
        self.pending_rows = 0
        self._database = database
        self._on_commit = on_commit
        self._deadline_s = deadline_s
        self._loop = asyncio.get_running_loop()
        self._queue: queue.SimpleQueue[Waiting | None] = queue.SimpleQueue()
        self._urgent = threading.Event()
        self._open = True
        self._refused = False
        self._thread = threading.Thread(target=self._write_until_closed, name="prediction-log", daemon=True)
        self._thread.start()

    async def append(self, entries: Entries) -> Answered | None:
        """Return once every line is committed: None, or what the same request was answered with before.

        Raises
        ------
        LogBusy
            Nothing was written: too many rows wait, the disk is full, or another process holds the database.
        LogFailed
            An I/O error: whether the rows were written is unknown.
        DeadlineExceeded
            The commit takes too long: the rows may still be written.
        IdempotencyReused
            Nothing was written: the request's key came with another body before.
        """
        committed: asyncio.Future[Answered | None] = self._loop.create_future()
        self._enter(Waiting(entries, committed))
        self._urgent.set()
        try:
            async with asyncio.timeout(self._deadline_s):
                return await committed
        except TimeoutError as error:
            raise DeadlineExceeded(
                problem=f"the rows were not committed within {self._deadline_s:g} s",
                expected="a disk and a database that keep up",
                action="send the request again with an Idempotency-Key, or raise serving.deadline_s",
            ) from error

    async def post(self, entries: Entries) -> None:
        """Hand in entries that are written soon, or lost with the process; errors as `append`.

        Returns at once, unless very many rows wait already, or the database has refused rows and taken none since: a
        full disk must not go unnoticed.
        """
        if self.pending_rows > EASY_PENDING_ROWS or self._refused:
            await self.append(entries)
        else:
            self._enter(Waiting(entries, None))

    async def close(self) -> None:
        """Write everything that waits, then end the writer."""
        if self._open:
            self._open = False
            self._queue.put(None)
            self._urgent.set()
            await asyncio.to_thread(self._thread.join)

    def require_whole(self) -> None:
        """Raise LogFailed if an I/O error has ended the log."""
        if self.failure is not None:
            raise afresh(self.failure)

    def fail(self, error: BaseException) -> LogFailed:
        """Mark the log as failed for good, and return the error that every sender gets."""
        if self.failure is None:
            self.failure = LogFailed(
                problem=f"the database could not be written: {said_by_database(error)}",
                expected="a disk that keeps what it is given",
                action="look at the disk; the service exits, and starting it again recovers the log",
            )
            self._loop.call_soon_threadsafe(self.failed.set)
        return self.failure

    def _enter(self, waiting: Waiting) -> None:
        self.require_whole()
        n_rows = waiting.entries.n_rows
        if not self._open or self.pending_rows + n_rows > MAX_PENDING_ROWS:
            raise LogBusy(
                problem=f"{self.pending_rows} rows wait to be written",
                expected=f"at most {MAX_PENDING_ROWS} with those of this request",
                action="send the request again in a moment",
            )
        self.pending_rows += n_rows
        self._queue.put(waiting)

    def _write_until_closed(self) -> None:
        open_ = True
        while open_:
            taken = list(self._take())
            group = [waiting for waiting in taken if waiting is not None]
            open_ = len(group) == len(taken)
            outcomes = self._commit(group)
            self._loop.call_soon_threadsafe(self._tell, group, outcomes)

    def _take(self) -> Iterator[Waiting | None]:
        yield self._queue.get()
        self._urgent.wait(GATHER_S)
        self._urgent.clear()
        while not self._queue.empty():
            yield self._queue.get()

    def _commit(self, group: Sequence[Waiting]) -> Sequence[Outcome]:
        if self.failure is not None or not group:
            return [self.failure] * len(group)
        started = time.perf_counter()
        try:
            with self._database.write("log") as connection:
                outcomes = write_entries(connection, [waiting.entries for waiting in group])
        except SQLAlchemyError as error:
            return [busy(error) or self.fail(error)] * len(group)
        except Exception as error:  # noqa: BLE001  the edge of a thread: if it ended in silence, every sender would wait
            return [self.fail(error)] * len(group)
        self._on_commit(time.perf_counter() - started)
        return outcomes

    def _tell(self, group: Sequence[Waiting], outcomes: Sequence[Outcome]) -> None:
        for waiting, outcome in zip(group, outcomes, strict=True):
            self.pending_rows -= waiting.entries.n_rows
            committed = waiting.committed
            self._refused = isinstance(outcome, LogBusy)
            if committed is None and isinstance(outcome, HomeostatError):
                logger.error("%d answered rows are lost: %s", waiting.entries.n_rows, outcome)
            if committed is None or committed.done():  # nobody waits, or its request was cancelled
                continue
            if isinstance(outcome, HomeostatError):
                committed.set_exception(afresh(outcome))
            else:
                committed.set_result(outcome)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()


def write_entries(connection: Connection, group: Sequence[Entries]) -> list[Outcome]:
    """Write the entries of several requests inside one write transaction, and return what became of each.

    Nothing is written of a request whose key was claimed before.
    """
    outcomes = [claim_answer(connection, entries) for entries in group]
    fresh = [entries for entries, outcome in zip(group, outcomes, strict=True) if outcome is None]
    insert_lines(connection, predictions, PREDICTION_COLUMNS, [line for e in fresh for line in e.predicted])
    insert_lines(connection, rejections, REJECTION_COLUMNS, [line for e in fresh for line in e.rejected])
    return outcomes


def claim_answer(connection: Connection, entries: Entries) -> Outcome:
    """Return the earlier answer or the refusal of a request with a key; keep its claim and return None if it is new."""
    if entries.claimed is None:
        return None
    claim, answer = entries.claimed
    try:
        found = find_answer(connection, claim)
    except IdempotencyReused as error:
        return error
    if found is None:
        keep_answer(connection, claim, answer)
    return found


def busy(error: SQLAlchemyError) -> LogBusy | None:
    """Return the refusal that an error of the database stands for, None if the file can no longer be trusted."""
    if not is_refusal(error):
        return None
    return LogBusy(
        problem=f"the database took no row: {said_by_database(error)}",
        expected="a database that is free, on a disk with room",
        action="send the request again; if it goes on, free disk space or end the process that holds the database",
    )


def said_by_database(error: BaseException) -> object:
    """Return what the driver said of an error, without the statement, which SQLAlchemy adds."""
    return error.orig if isinstance(error, DBAPIError) else error


def afresh(error: HomeostatError) -> HomeostatError:
    """Return an equal error of its own: one instance that many tasks raise collects the traceback of each."""
    return type(error)(problem=error.problem, expected=error.expected, action=error.action)


def count_log(connection: Connection) -> LogCounts:
    """Return how much the log holds."""
    n_predictions, n_rejections, n_labels = (
        connection.scalar(select(func.count()).select_from(table)) or 0 for table in (predictions, rejections, labels)
    )
    latest = select(predictions.c.received_at).order_by(predictions.c.seq.desc()).limit(1)
    return LogCounts(n_predictions, n_rejections, n_labels, connection.scalar(latest))
