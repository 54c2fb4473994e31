"""Two ways to use the database: a read sees one state, a write is kept whole or not at all."""

import secrets
import subprocess
import sys
import time
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import create_engine, func, insert, inspect, select, text, update
from sqlalchemy.dialects import sqlite
from sqlalchemy.engine import make_url
from sqlalchemy.exc import IntegrityError, SQLAlchemyError
from sqlalchemy.pool import QueuePool

from homeostat.errors import DatabaseTooNew
from homeostat.store.database import (
    Database,
    Durability,
    insert_lines,
    insert_statement,
    is_refusal,
    make_parent,
    resolve_url,
)
from homeostat.store.events import append_event, find_break
from homeostat.store.tables import EPOCH, SCHEMA_VERSION, Instant, answers, events, leases, metadata, versions

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
LINE = {"name": "loop", "holder": "somebody", "fence": 1, "expires_at": NOW}

# Appends events, one transaction each, and prints their number.
WRITER = """
import sys
from datetime import UTC, datetime
from homeostat.store.database import Database
from homeostat.store.events import append_event
with Database(sys.argv[1]) as database:
    print("ready", flush=True)
    for number in range(int(sys.argv[2])):
        with database.write() as connection:
            append_event(connection, "a", {"number": number}, now=datetime.now(UTC))
            append_event(connection, "b", {"number": number}, now=datetime.now(UTC))
"""


def start_writer(url: str, n_writes: int) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-c", WRITER, url, str(n_writes)], stdout=subprocess.PIPE)


def names(database: Database) -> list[str]:
    with database.read() as connection:
        return list(connection.scalars(select(leases.c.name)))


def test_a_new_database_has_every_table_and_its_version(database: Database) -> None:
    with database.read() as connection:
        assert set(inspect(connection).get_table_names()) == set(metadata.tables)
        assert connection.scalars(select(versions.c.version)).all() == [SCHEMA_VERSION]


def test_opening_again_keeps_what_is_there(url: str, database: Database) -> None:
    with database.write() as connection:
        connection.execute(insert(leases).values(LINE))

    with Database(url) as again, again.read() as connection:
        assert connection.scalars(select(leases.c.name)).all() == ["loop"]
        assert connection.scalar(select(func.count()).select_from(versions)) == 1


def test_a_database_of_a_newer_version_is_refused_in_three_parts(url: str, database: Database) -> None:
    with database.write() as connection:
        connection.execute(update(versions).values(version=SCHEMA_VERSION + 1))

    with pytest.raises(DatabaseTooNew) as refused:
        Database(url)

    assert refused.value.problem == f"the database has schema version {SCHEMA_VERSION + 1}"
    assert refused.value.expected == f"version {SCHEMA_VERSION} or older, which this Homeostat can read"
    assert refused.value.action == "upgrade Homeostat, or restore a backup made before the upgrade"


def test_no_free_connection_is_a_refusal_and_no_failed_disk() -> None:
    engine = create_engine("sqlite://", poolclass=QueuePool, pool_size=1, max_overflow=0, pool_timeout=0.01)
    with engine.connect(), pytest.raises(SQLAlchemyError) as refused:
        engine.connect()
    engine.dispose()

    assert is_refusal(refused.value)


def write_and_fail(database: Database) -> None:
    with database.write() as connection:
        connection.execute(insert(leases).values(LINE))
        raise ZeroDivisionError


def test_a_write_that_raises_leaves_nothing(database: Database) -> None:
    with pytest.raises(ZeroDivisionError):
        write_and_fail(database)

    assert names(database) == []


def test_a_read_sees_one_state_while_others_write(database: Database) -> None:
    with database.read() as reader:
        before = reader.scalar(select(func.count()).select_from(leases))
        with database.write() as writer:
            writer.execute(insert(leases).values(LINE))

        assert reader.scalar(select(func.count()).select_from(leases)) == before == 0
    assert names(database) == ["loop"]


def test_a_write_waits_for_the_one_before_it_and_sees_what_it_wrote(url: str, database: Database) -> None:
    with database.write() as connection:
        append_event(connection, "first", {}, now=NOW)
        writer = start_writer(url, 1)
        assert writer.stdout is not None
        writer.stdout.readline()
        append_event(connection, "second", {}, now=NOW)

    assert writer.communicate()[0] == b""
    with database.read() as connection:
        assert connection.scalars(select(events.c.kind).order_by(events.c.seq)).all() == ["first", "second", "a", "b"]


def test_processes_that_write_at_once_lose_nothing(url: str, database: Database) -> None:
    writers = [start_writer(url, 30) for _ in "ab"]

    assert [writer.communicate() and writer.returncode for writer in writers] == [0, 0]
    with database.read() as connection:
        assert connection.scalar(select(func.count()).select_from(events)) == 120
        assert find_break(connection) is None


def test_processes_that_create_the_database_at_once_create_it_once(url: str) -> None:
    writers = [start_writer(url, 1) for _ in "ab"]

    assert [writer.communicate() and writer.returncode for writer in writers] == [0, 0]
    with Database(url) as database, database.read() as connection:
        assert connection.scalar(select(func.count()).select_from(versions)) == 1


def insert_events(database: Database, kinds: Sequence[str]) -> None:
    columns = ["kind", "seq", "at", "payload", "previous", "digest"]
    with database.write() as connection:
        insert_lines(connection, events, columns, [(kind, seq, 0, "{}", "", "") for seq, kind in enumerate(kinds)])


def test_lines_are_inserted_by_position_in_the_order_of_the_named_columns(database: Database) -> None:
    insert_events(database, ["first", "second"])

    with database.read() as connection:
        found = connection.execute(select(events.c.seq, events.c.kind, events.c.at).order_by(events.c.seq)).all()
    assert found == [(0, "first", EPOCH), (1, "second", EPOCH)]


def test_no_lines_are_no_statement(database: Database) -> None:
    insert_events(database, [])

    with database.read() as connection:
        assert connection.scalar(select(func.count()).select_from(events)) == 0


def test_lines_that_are_refused_raise_as_any_statement_does(database: Database) -> None:
    with pytest.raises(IntegrityError), database.write() as connection:
        insert_lines(connection, leases, ["name", "holder"], [("loop", "somebody")])


def test_more_lines_than_one_statement_holds_are_inserted_too(database: Database) -> None:
    insert_events(database, [f"kind {number}" for number in range(1_234)])

    assert [len(events_of(database)), events_of(database)[-1]] == [1_234, "kind 1233"]


def events_of(database: Database) -> list[str]:
    with database.read() as connection:
        return list(connection.scalars(select(events.c.kind).order_by(events.c.seq)))


def test_each_driver_is_given_parameters_by_position() -> None:
    columns, psycopg = ("owner", "created_at"), make_url("postgresql+psycopg://").get_dialect()()
    start = "INSERT INTO answers (owner, created_at) VALUES "

    assert insert_statement(sqlite.dialect(), answers, columns, 2) == f"{start}(?, ?), (?, ?)"
    assert insert_statement(psycopg, answers, columns, 1) == f"{start}(%s::VARCHAR, %s::BIGINT)"


@pytest.mark.parametrize("attempt", range(3))
def test_a_writer_that_is_killed_leaves_whole_transactions(url: str, attempt: int) -> None:  # noqa: ARG001  three times
    with start_writer(url, 100_000) as writer:
        assert writer.stdout is not None
        writer.stdout.readline()
        time.sleep(secrets.randbelow(100_000) / 1_000_000)
        writer.kill()

    with Database(url) as database, database.read() as connection:
        kinds = connection.scalars(select(events.c.kind).order_by(events.c.seq)).all()
        assert kinds == ["a", "b"] * (len(kinds) // 2)
        assert find_break(connection) is None


@pytest.mark.parametrize(("durability", "synchronous"), [("power-safe", 2), ("process-safe", 1)])
def test_durability_is_how_often_sqlite_syncs(url: str, durability: Durability, synchronous: int) -> None:
    with Database(url, durability=durability) as database, database.read() as connection:
        assert connection.scalar(text("PRAGMA synchronous")) == synchronous
        assert connection.scalar(text("PRAGMA journal_mode")) == "wal"


def test_the_folder_of_a_sqlite_file_is_made_and_no_other(tmp_path: Path) -> None:
    make_parent(f"sqlite:///{tmp_path / 'a' / 'b' / 'homeostat.db'}")
    make_parent("postgresql://host/clinic")

    assert [path.name for path in tmp_path.rglob("*")] == ["a", "b"]


@pytest.mark.parametrize(
    ("url", "resolved"),
    [
        ("sqlite:///a/b.db", "sqlite:////project/a/b.db"),
        ("sqlite:///../b.db", "sqlite:////b.db"),
        ("sqlite:////data/b.db", "sqlite:////data/b.db"),
        ("postgresql://host/clinic", "postgresql://host/clinic"),
    ],
)
def test_a_relative_sqlite_path_begins_at_the_folder(url: str, resolved: str) -> None:
    assert resolve_url(url, Path("/project")) == resolved


# --- moments ------------------------------------------------------------------------------------------------------

# Offsets, not places: Python holds an hour that a place skips in spring for unequal to every other.
offsets = st.timedeltas(timedelta(hours=-23), timedelta(hours=23))
moments = st.datetimes(datetime(2, 1, 1), datetime(9998, 1, 1), timezones=st.builds(timezone, offsets))  # noqa: DTZ001  timezones= sets it
dialect = sqlite.dialect()


@given(moment=moments)
def test_a_moment_comes_back_exactly_in_utc(moment: datetime) -> None:
    stored = Instant().process_bind_param(moment, dialect)
    found = Instant().process_result_value(stored, dialect)

    assert found == moment
    assert found is None or found.tzinfo is UTC


@given(first=moments, second=moments)
def test_moments_are_stored_in_their_order(first: datetime, second: datetime) -> None:
    stored = [Instant().process_bind_param(moment, dialect) for moment in (first, second)]

    assert stored == sorted(stored, key=lambda micros: micros or 0) or first > second


def test_a_moment_without_a_timezone_is_a_programming_error() -> None:
    with pytest.raises(TypeError):
        Instant().process_bind_param(NOW.replace(tzinfo=None), dialect)


def test_no_moment_is_no_moment() -> None:
    assert Instant().process_bind_param(None, dialect) is None
    assert Instant().process_result_value(None, dialect) is None


def test_a_moment_is_the_same_from_every_timezone() -> None:
    elsewhere = NOW.astimezone(timezone(timedelta(hours=5, minutes=30)))

    assert Instant().process_bind_param(elsewhere, dialect) == Instant().process_bind_param(NOW, dialect)
