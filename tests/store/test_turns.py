"""One writer at a time, and no writer waits for ever: not for a dead one, a stopped one, or itself."""

import fcntl
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from sqlalchemy import insert, select
from sqlalchemy.exc import SQLAlchemyError

from homeostat.store.database import Database, is_refusal, lock_file
from homeostat.store.tables import EPOCH, leases
from homeostat.store.turns import TurnRefused, hold_turn, lock, unlock

# Writes a line, and stays in the middle of the transaction.
HOLDER = """
import sys, time
from sqlalchemy import insert
from homeostat.store.database import Database
from homeostat.store.tables import EPOCH, leases
with Database(sys.argv[1]) as database, database.write() as connection:
    connection.execute(insert(leases).values(name="held", holder="h", fence=1, expires_at=EPOCH))
    print("held", flush=True)
    time.sleep(60)
"""


@contextmanager
def held_by_a_process(url: str) -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen([sys.executable, "-c", HOLDER, url], stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        try:
            yield holder
        finally:
            holder.kill()


@pytest.fixture
def hasty(url: str) -> Iterator[Database]:
    """A database whose writes wait for 0.2 s only."""
    with Database(url, busy_timeout_ms=200) as opened:
        yield opened


def write(database: Database, name: str = "mine") -> None:
    with database.write() as connection:
        connection.execute(insert(leases).values(name=name, holder="h", fence=1, expires_at=EPOCH))


def test_a_write_is_refused_as_busy_while_the_holder_is_stopped(url: str, hasty: Database) -> None:
    with held_by_a_process(url) as holder:
        holder.send_signal(signal.SIGSTOP)
        with pytest.raises(SQLAlchemyError) as refused:
            write(hasty)

    assert is_refusal(refused.value)


def test_a_holder_that_is_killed_holds_nothing(url: str, database: Database) -> None:
    with held_by_a_process(url) as holder:
        holder.kill()
        holder.wait()

        write(database, "held")


def test_who_waits_is_served_when_the_holder_ends(url: str, database: Database) -> None:
    with held_by_a_process(url) as holder:
        threading.Timer(0.2, holder.kill).start()

        write(database)


def test_who_gave_up_does_not_hold_the_turn_that_comes_late(url: str, hasty: Database) -> None:
    with held_by_a_process(url), pytest.raises(TurnRefused):
        write(hasty)

    write(hasty)


def test_reads_take_no_turn(url: str, hasty: Database) -> None:
    with held_by_a_process(url), hasty.read() as connection:
        assert connection.execute(leases.select()).all() == []


def test_a_database_is_opened_and_read_while_another_process_writes(url: str, database: Database) -> None:
    write(database)

    with held_by_a_process(url), Database(url, busy_timeout_ms=200) as opened, opened.read() as connection:
        assert connection.scalars(select(leases.c.name)).all() == ["mine"]


def test_a_write_within_a_write_is_refused_and_the_outer_one_kept(hasty: Database) -> None:
    with hasty.write() as connection:
        with pytest.raises(TurnRefused):
            write(hasty)
        connection.execute(insert(leases).values(name="outer", holder="h", fence=1, expires_at=EPOCH))

    with hasty.read() as connection:
        assert connection.scalars(leases.select()).all() == ["outer"]


def test_threads_take_turns(tmp_path: Path) -> None:
    inside: list[int] = []

    def take() -> None:
        for _ in range(20):
            with hold_turn(tmp_path / "lock", timeout_s=30):
                inside.append(1)
                time.sleep(0.0005)
                inside.append(-1)

    threads = [threading.Thread(target=take) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert inside == [1, -1] * 80


def test_a_forked_process_does_not_keep_the_turn_of_its_parent(tmp_path: Path) -> None:
    with hold_turn(tmp_path / "lock", timeout_s=1):
        # Not closed on exec: as a child between fork and exec has it.
        descriptor = next(int(fd.name) for fd in descriptors() if points_to(fd, tmp_path / "lock"))
        copy = os.dup(descriptor)

    with hold_turn(tmp_path / "lock", timeout_s=0.1):
        os.close(copy)


def descriptors() -> list[Path]:
    return list(Path("/proc/self/fd").iterdir())


def points_to(descriptor: Path, path: Path) -> bool:
    try:
        return descriptor.readlink() == path
    except OSError:  # the one that listed them
        return False


def test_a_lock_file_that_cannot_be_made_is_a_refusal(tmp_path: Path) -> None:
    with pytest.raises(TurnRefused, match="cannot be locked"), hold_turn(tmp_path / "no" / "lock", timeout_s=1):
        pass


def test_a_lock_file_that_cannot_be_opened_after_a_wait_is_a_refusal_at_once(tmp_path: Path) -> None:
    (tmp_path / "lock").mkdir()  # which nobody can open to write
    place = lock(tmp_path / "lock.queue", fcntl.LOCK_EX)
    threading.Timer(0.2, unlock, [place]).start()

    with pytest.raises(TurnRefused, match="cannot be locked"), hold_turn(tmp_path / "lock", timeout_s=30):
        pass


def test_no_descriptor_is_left_behind(database: Database) -> None:
    write(database)
    before = len(descriptors())
    write(database, "another")

    assert len(descriptors()) == before


@pytest.mark.parametrize(
    ("url", "path"),
    [
        ("sqlite:////data/b.db", Path("/data/b.db.lock")),
        ("sqlite://", None),
        ("sqlite:///:memory:", None),
        ("postgresql://host/clinic", None),
    ],
)
def test_only_a_sqlite_file_has_a_lock_beside_it(url: str, path: Path | None) -> None:
    assert lock_file(url) == path
