"""The durable log: when an answered or a rejected row counts as kept, and what happens when the disk fails.

Not here: outcomes (`monitoring.labels`), which rows are accepted (`validation.checks`), or the log as training data
(`monitoring.production`).
"""

import asyncio
import os
import queue
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from types import TracebackType
from typing import Self, TypeAlias

import msgspec
from sqlalchemy import Connection, Table, func, insert, select
from sqlalchemy.exc import SQLAlchemyError

from homeostat.errors import LogBusy, LogFailed, StateError
from homeostat.records import Json, Label, Prediction
from homeostat.store.database import Database, is_refusal
from homeostat.store.tables import EPOCH, labels, predictions, rejections

# Rows that may wait for their commit: some 100 MB at the most, then new ones are turned away.
MAX_PENDING_ROWS = 50_000
# One line of `predictions` or `rejections`, by column. Made by the sender, in whichever thread has time for it.
Values: TypeAlias = dict[str, object]


@dataclass(frozen=True, slots=True)
class Rejection:
    """One refused row: `row` is its JSON text as it was sent, `violations` what was answered."""

    received_at: datetime
    row: bytes
    violations: Sequence[Json]


@dataclass(frozen=True, slots=True)
class LogCounts:
    """How much the log holds, and the moment of its latest prediction."""

    predictions: int
    rejections: int
    labels: int
    latest_at: datetime | None


@dataclass(frozen=True, slots=True)
class Batch:
    """The rows of one request, and the future that its sender waits for."""

    predictions: Sequence[Values]
    rejections: Sequence[Values]
    committed: asyncio.Future[None]

    @property
    def n_rows(self) -> int:
        """How many rows wait here."""
        return len(self.predictions) + len(self.rejections)


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
    """

    def __init__(self, database: Database, *, on_commit: Callable[[float], None]) -> None:
        self.failure: LogFailed | None = None
        self.failed = asyncio.Event()
        self.pending_rows = 0
        self._database = database
        self._on_commit = on_commit
        self._loop = asyncio.get_running_loop()
        self._queue: queue.SimpleQueue[Batch | None] = queue.SimpleQueue()
        self._open = True
        self._thread = threading.Thread(target=self._write_until_closed, name="prediction-log", daemon=True)
        self._thread.start()

    async def append(self, answered: Sequence[Values], rejected: Sequence[Values] = ()) -> None:
        """Return once every line is committed (`prediction_values`, `rejection_values`).

        Raises
        ------
        LogBusy
            Nothing was written: too many rows wait, the disk is full, or another process holds the database.
        LogFailed
            An I/O error: whether the rows were written is unknown.
        """
        self.require_whole()
        if not self._open or self.pending_rows + len(answered) + len(rejected) > MAX_PENDING_ROWS:
            raise LogBusy(
                problem=f"{self.pending_rows} rows wait to be written",
                expected=f"at most {MAX_PENDING_ROWS} with those of this request",
                action="send the request again in a moment",
            )
        batch = Batch(answered, rejected, self._loop.create_future())
        self.pending_rows += batch.n_rows
        self._queue.put(batch)
        await batch.committed

    async def close(self) -> None:
        """Write everything that waits, then end the writer."""
        if self._open:
            self._open = False
            self._queue.put(None)
            await asyncio.to_thread(self._thread.join)

    def require_whole(self) -> None:
        """Raise LogFailed if an I/O error has ended the log."""
        if self.failure is not None:
            raise afresh(self.failure)

    def fail(self, error: BaseException) -> LogFailed:
        """Mark the log as failed for good, and return the error that every sender gets."""
        if self.failure is None:
            self.failure = LogFailed(
                problem=f"the database could not be written: {error}",
                expected="a disk that keeps what it is given",
                action="look at the disk; the service exits, and starting it again recovers the log",
            )
            self._loop.call_soon_threadsafe(self.failed.set)
        return self.failure

    def _write_until_closed(self) -> None:
        open_ = True
        while open_:
            waiting = list(self._take())
            group = [batch for batch in waiting if batch is not None]
            open_ = len(group) == len(waiting)
            error = self._commit(group)
            self._loop.call_soon_threadsafe(self._tell, group, error)

    def _take(self) -> Iterator[Batch | None]:
        yield self._queue.get()
        while not self._queue.empty():
            yield self._queue.get()

    def _commit(self, group: Sequence[Batch]) -> StateError | None:
        if self.failure is not None or not group:
            return self.failure
        started = time.perf_counter()
        try:
            with self._database.write() as connection:
                insert_entries(connection, predictions, [line for batch in group for line in batch.predictions])
                insert_entries(connection, rejections, [line for batch in group for line in batch.rejections])
        except SQLAlchemyError as error:
            return busy(error) or self.fail(error)
        except Exception as error:  # noqa: BLE001  the edge of a thread: if it ended in silence, every sender would wait
            return self.fail(error)
        self._on_commit(time.perf_counter() - started)
        return None

    def _tell(self, group: Sequence[Batch], error: StateError | None) -> None:
        for batch in group:
            self.pending_rows -= batch.n_rows
            if batch.committed.done():  # its request was cancelled
                continue
            if error is None:
                batch.committed.set_result(None)
            else:
                batch.committed.set_exception(afresh(error))

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()


def busy(error: SQLAlchemyError) -> LogBusy | None:
    """Return the refusal that an error of the database stands for, None if the file can no longer be trusted."""
    if not is_refusal(error):
        return None
    return LogBusy(
        problem=f"the database took no row: {error}",
        expected="a database that is free, on a disk with room",
        action="send the request again; if it goes on, free disk space or end the process that holds the database",
    )


def afresh(error: StateError) -> StateError:
    """Return an equal error of its own: one instance that many tasks raise collects the traceback of each."""
    return type(error)(problem=error.problem, expected=error.expected, action=error.action)


def new_prediction_id(now: datetime) -> str:
    """Return an id that sorts by its millisecond and cannot be guessed: a UUID of version 7, 74 bits of it random.

    References
    ----------
    RFC 9562, section 5.7. https://www.rfc-editor.org/rfc/rfc9562#section-5.7
    """
    millis = (now - EPOCH) // timedelta(milliseconds=1)
    random = int.from_bytes(os.urandom(10))
    return str(uuid.UUID(int=millis << 80 | 0x7 << 76 | (random >> 68) << 64 | 0b10 << 62 | random & (1 << 62) - 1))


def label_to_text(label: Label) -> str:
    """Return a label as the database keeps it: JSON, so that 1 and "1" stay two things."""
    return msgspec.json.encode(label).decode()


def label_from_text(text: str) -> Label:
    """Return the label that `label_to_text` wrote."""
    label: Label = msgspec.json.decode(text, type=int | str)
    return label


def prediction_values(prediction: Prediction) -> Values:
    """Return an answered row as its line; the row is JSON, missing markers as they were sent."""
    return {
        "id": prediction.id,
        "received_at": prediction.received_at,
        "release": prediction.release,
        "row": msgspec.json.encode(prediction.row),
        "probability": prediction.probability,
        "label": label_to_text(prediction.label),
    }


def rejection_values(rejection: Rejection) -> Values:
    """Return a rejected row as its line."""
    return {
        "received_at": rejection.received_at,
        "row": rejection.row,
        "violations": msgspec.json.encode(rejection.violations),
    }


def insert_entries(connection: Connection, table: Table, lines: Sequence[Values]) -> None:
    """Insert lines of `predictions` or `rejections` inside the caller's write transaction."""
    if lines:
        connection.execute(insert(table), lines)


def count_log(connection: Connection) -> LogCounts:
    """Return how much the log holds."""
    n_predictions, n_rejections, n_labels = (
        connection.scalar(select(func.count()).select_from(table)) or 0 for table in (predictions, rejections, labels)
    )
    latest = select(predictions.c.received_at).order_by(predictions.c.seq.desc()).limit(1)
    return LogCounts(n_predictions, n_rejections, n_labels, connection.scalar(latest))
