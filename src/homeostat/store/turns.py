"""Whose turn it is to write: a lock between threads and processes that the kernel takes back from the dead.

Not here: what is written. Nothing becomes wrong without it, for SQLite has a lock of its own; but those who wait for
that one sleep longer and longer between their attempts, up to 100 ms, and whoever comes back at once is served first
(`bench/writers.py` has the figures). Here the kernel wakes the one who waits.
"""

import fcntl
import os
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Thread

from sqlalchemy.exc import SQLAlchemyError


class TurnRefused(SQLAlchemyError):
    """The turn to write did not come, so nothing was written; an error of the database, as SQLite's own busy is."""


@contextmanager
def hold_turn(path: Path, *, timeout_s: float) -> Iterator[None]:
    """Hold the lock on a file, which is made if it is not there, until the block ends.

    Raises
    ------
    TurnRefused
        The lock did not come in time, for its holder is stopped or busy for that long; or the file cannot be locked.
    """
    try:
        descriptor = take_within(path, timeout_s)
    except OSError as error:
        raise TurnRefused(f"{path} cannot be locked: {error}") from error
    if descriptor is None:
        raise TurnRefused(f"another process held {path.name} for {timeout_s:g} s: it is stopped, or its disk hangs")
    try:
        yield
    finally:
        unlock(descriptor)


def take_within(path: Path, timeout_s: float) -> int | None:
    """Return the descriptor of the locked file, None if the lock did not come in time."""
    with suppress(BlockingIOError):
        return take(path, fcntl.LOCK_EX | fcntl.LOCK_NB)
    # flock has no timeout of its own, and asking again and again starves as SQLite's way does. So a thread waits, and
    # if the lock comes to it too late, gives it back.
    turn: Future[int] = Future()

    def wait() -> None:
        try:
            descriptor = take(path, fcntl.LOCK_EX)
        except OSError as error:
            if turn.set_running_or_notify_cancel():
                turn.set_exception(error)
            return
        if turn.set_running_or_notify_cancel():
            turn.set_result(descriptor)
        else:
            unlock(descriptor)

    Thread(target=wait, name="write-turn", daemon=True).start()
    try:
        return turn.result(timeout_s)
    except TimeoutError:
        return None if turn.cancel() else turn.result()
    finally:  # a signal that ends the process must not leave a thread with the lock behind it
        turn.cancel()


def take(path: Path, operation: int) -> int:
    """Lock a file, and return its descriptor.

    Who asks holds a second lock until the first one comes. A process that writes again and again is not awake sooner
    than the one that waits, then: it stands behind it. (Beside the retention, which deletes block after block, the
    service's commits took 340 ms in the 99th percentile without this, and 50 ms with it.)
    """
    place = lock(path.with_suffix(".queue"), operation)
    try:
        return lock(path, operation)
    finally:
        unlock(place)


def lock(path: Path, operation: int) -> int:
    """Open and lock a file, and return its descriptor; BlockingIOError if another holds it and one must not wait."""
    # Opened for each turn: what a forked process inherits is then never a turn of its own.
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    try:
        fcntl.flock(descriptor, operation)
    except OSError:
        os.close(descriptor)
        raise
    return descriptor


def unlock(descriptor: int) -> None:
    """Give a lock back."""
    fcntl.flock(descriptor, fcntl.LOCK_UN)  # not by closing alone: a process that was forked meanwhile has a copy
    os.close(descriptor)
