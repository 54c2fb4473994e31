"""The log only grows, every line names all before it, and whatever is done to a line is found."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import Connection, delete, insert, select, update
from sqlalchemy.exc import IntegrityError

from homeostat.errors import ArtifactCorrupt
from homeostat.records import Json
from homeostat.store.database import Database
from homeostat.store.events import (
    GENESIS,
    Event,
    append_event,
    chain_digest,
    find_break,
    find_breaks,
    latest_event,
    read_events,
)
from homeostat.store.tables import event_head, events

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)

plain = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text()
payloads = st.dictionaries(st.text(), plain | st.lists(plain, max_size=3), max_size=3)
moments = st.datetimes(datetime(1960, 1, 1), datetime(2500, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001  timezones= sets it
logs = st.lists(st.tuples(st.sampled_from(["promoted", "gate", ""]), payloads, moments), min_size=2, max_size=8)
few = settings(max_examples=60, deadline=None)


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Database]:
    """One database for all examples of the properties, each in a transaction that is undone."""
    with Database(f"sqlite:///{tmp_path_factory.mktemp('events') / 'homeostat.db'}") as opened:
        yield opened


@contextmanager
def undone(database: Database) -> Iterator[Connection]:
    with database.write() as connection:
        yield connection
        connection.rollback()


def fill(connection: Connection, log: list[tuple[str, Json, datetime]]) -> list[Event]:
    return [append_event(connection, kind, payload, now=now) for kind, payload, now in log]


@few
@given(log=logs)
def test_lines_are_read_as_they_were_appended(shared: Database, log: list[tuple[str, Json, datetime]]) -> None:
    with undone(shared) as connection:
        appended = fill(connection, log)

        assert list(read_events(connection)) == appended
        assert [(e.kind, e.payload, e.at) for e in appended] == log


@few
@given(log=logs)
def test_every_line_names_the_one_before_it_and_a_whole_chain_has_no_break(
    shared: Database, log: list[tuple[str, Json, datetime]]
) -> None:
    with undone(shared) as connection:
        appended = fill(connection, log)

        assert [e.seq for e in appended] == list(range(1, len(log) + 1))
        assert [e.previous for e in appended] == [GENESIS, *(e.digest for e in appended[:-1])]
        assert find_break(connection) is None


EDITS = {
    "at": lambda value: value + timedelta(microseconds=1),
    "kind": lambda value: value + "x",
    "payload": lambda value: value + " ",
    "previous": lambda value: value[::-1] + "0",
    "digest": lambda value: value[::-1] + "0",
}


@few
@given(log=logs, column=st.sampled_from(sorted(EDITS)), data=st.data())
def test_any_edit_is_found_at_its_line(
    shared: Database, log: list[tuple[str, Json, datetime]], column: str, data: st.DataObject
) -> None:
    with undone(shared) as connection:
        fill(connection, log)
        line = events.c.seq == data.draw(st.integers(1, len(log)))
        row = connection.execute(select(events).where(line)).one()
        connection.execute(update(events).where(line).values({column: EDITS[column](getattr(row, column))}))

        assert find_break(connection) == row.seq


@few
@given(log=logs, data=st.data())
def test_the_removal_of_any_line_but_the_last_is_found(
    shared: Database, log: list[tuple[str, Json, datetime]], data: st.DataObject
) -> None:
    with undone(shared) as connection:
        fill(connection, log)
        removed = data.draw(st.integers(1, len(log) - 1))
        connection.execute(delete(events).where(events.c.seq == removed))

        assert find_break(connection) == removed


def renumber(connection: Connection, seq: int, to: int) -> None:
    connection.execute(update(events).where(events.c.seq == seq).values(seq=to))


@few
@given(log=logs, data=st.data())
def test_a_removal_with_all_later_lines_moved_up_is_found(
    shared: Database, log: list[tuple[str, Json, datetime]], data: st.DataObject
) -> None:
    with undone(shared) as connection:
        fill(connection, log)
        removed = data.draw(st.integers(1, len(log) - 1))
        connection.execute(delete(events).where(events.c.seq == removed))
        for seq in range(removed + 1, len(log) + 1):
            renumber(connection, seq, seq - 1)

        assert find_break(connection) == removed


@few
@given(log=logs, data=st.data())
def test_lines_that_change_places_are_found(
    shared: Database, log: list[tuple[str, Json, datetime]], data: st.DataObject
) -> None:
    with undone(shared) as connection:
        fill(connection, log)
        first, second = sorted(data.draw(st.permutations(range(1, len(log) + 1)))[:2])
        for seq, to in ((first, 0), (second, first), (0, second)):
            renumber(connection, seq, to)

        assert find_break(connection) == first


@pytest.mark.parametrize("seq", [0, 4])
def test_a_line_from_elsewhere_is_found(database: Database, seq: int) -> None:
    values = {"seq": seq, "at": NOW, "kind": "k", "payload": "{}", "previous": GENESIS, "digest": "d" * 64}
    with database.write() as connection:
        fill(connection, [("a", {}, NOW)] * 3)
        connection.execute(insert(events).values(values))

        assert find_break(connection) == seq


def sentences(connection: Connection) -> list[str]:
    return [finding.sentence for finding in find_breaks(connection)]


@few
@given(log=logs, data=st.data())
def test_lines_that_are_cut_off_at_the_end_are_found_also_after_more_were_appended(
    shared: Database, log: list[tuple[str, Json, datetime]], data: st.DataObject
) -> None:
    with undone(shared) as connection:
        fill(connection, log)
        first = data.draw(st.integers(1, len(log)))
        connection.execute(delete(events).where(events.c.seq >= first))
        found = find_breaks(connection)

        assert [(finding.line, "cut off" in finding.sentence) for finding in found] == [(first, True)]
        assert append_event(connection, "b", {}, now=NOW).seq == len(log) + 1
        assert [finding.line for finding in find_breaks(connection)] == [first]


def test_a_line_that_is_forged_with_a_right_digest_is_found_by_the_next_one(database: Database) -> None:
    with database.write() as connection:
        fill(connection, [("a", {}, NOW)] * 3)
        previous = connection.scalar(select(events.c.previous).where(events.c.seq == 2))
        forged = {"payload": '{"x": 1}', "digest": chain_digest(2, NOW, "a", '{"x": 1}', str(previous))}
        connection.execute(update(events).where(events.c.seq == 2).values(forged))

        assert sentences(connection) == [
            "line 3 was not written after the line before: one of them is not the one that stood there"
        ]


def test_a_forged_last_line_is_found_by_the_record_of_it(database: Database) -> None:
    with database.write() as connection:
        fill(connection, [("a", {}, NOW)] * 2)
        previous = connection.scalar(select(events.c.previous).where(events.c.seq == 2))
        forged = {"payload": "[]", "digest": chain_digest(2, NOW, "a", "[]", str(previous))}
        connection.execute(update(events).where(events.c.seq == 2).values(forged))

        assert sentences(connection) == ["line 2 was put in the place of another"]


def test_a_line_that_is_added_with_a_right_digest_is_found(database: Database) -> None:
    with database.write() as connection:
        last = fill(connection, [("a", {}, NOW)] * 2)[-1]
        values = {"seq": 3, "at": NOW, "kind": "k", "payload": "{}", "previous": last.digest}
        digest = chain_digest(3, NOW, "k", "{}", last.digest)
        connection.execute(insert(events).values(**values, digest=digest))

        assert sentences(connection) == ["line 3 was added by something else than Homeostat"]
        assert append_event(connection, "b", {}, now=NOW).seq == 4


def test_every_fault_is_told_and_neighbours_as_one(database: Database) -> None:
    with database.write() as connection:
        fill(connection, [("a", {}, NOW)] * 9)
        connection.execute(update(events).where(events.c.seq.in_([2, 3])).values(kind="b"))
        connection.execute(delete(events).where(events.c.seq.in_([5, 6, 9])))

        assert sentences(connection) == [
            "lines 2 to 3 were edited, or moved from another place",
            "lines 5 to 6 were removed",
            "line 9 was cut off at the end",
        ]


def test_a_number_beyond_all_others_is_found_at_once(database: Database) -> None:
    with database.write() as connection:
        fill(connection, [("a", {}, NOW)] * 2)
        renumber(connection, 2, 2**31 - 1)

        assert [finding.line for finding in find_breaks(connection)] == [2, 2**31 - 1, 3]


def test_the_loss_of_the_record_of_the_last_line_is_found(database: Database) -> None:
    with database.write() as connection:
        fill(connection, [("a", {}, NOW)] * 2)
        connection.execute(delete(event_head))

        assert sentences(connection) == ["the record of the last line was removed; now line 2 is the last"]


def test_an_empty_log_is_whole(database: Database) -> None:
    with database.read() as connection:
        assert find_breaks(connection) == []


def test_a_line_that_is_no_json_any_more_is_an_error_that_names_it(database: Database) -> None:
    with database.write() as connection:
        fill(connection, [("a", {}, NOW)] * 2)
        connection.execute(update(events).where(events.c.seq == 2).values(payload="{"))

        with pytest.raises(ArtifactCorrupt, match="line 2 of the event log is no JSON"):
            list(read_events(connection))


# --- reading ------------------------------------------------------------------------------------------------------


@pytest.fixture
def log(database: Database) -> Database:
    with database.write() as connection:
        fill(connection, [("gate", {"n": 1}, NOW), ("promoted", {"n": 2}, NOW), ("gate", {"n": 3}, NOW)])
    return database


@pytest.mark.parametrize(
    ("read", "seqs"),
    [
        (read_events, [1, 2, 3]),
        (lambda connection: read_events(connection, after=1), [2, 3]),
        (lambda connection: read_events(connection, kind="gate"), [1, 3]),
        (lambda connection: read_events(connection, after=1, kind="gate"), [3]),
        (lambda connection: read_events(connection, kind="unheard"), []),
    ],
)
def test_lines_are_read_after_a_number_and_of_a_kind(
    log: Database, read: Callable[[Connection], Iterator[Event]], seqs: list[int]
) -> None:
    with log.read() as connection:
        assert [event.seq for event in read(connection)] == seqs


def test_the_latest_line_of_a_kind_is_found_or_none(log: Database) -> None:
    with log.read() as connection:
        latest = latest_event(connection, "gate")

        assert latest is not None
        assert (latest.seq, latest.payload) == (3, {"n": 3})
        assert latest_event(connection, "unheard") is None


def test_a_line_of_a_write_that_is_undone_is_not_in_the_log(log: Database) -> None:
    with undone(log) as connection:
        append_event(connection, "lost", {}, now=NOW)

    with log.read() as connection:
        assert latest_event(connection, "lost") is None
        assert find_break(connection) is None


def test_a_number_is_given_once(log: Database) -> None:
    values = {"seq": 3, "at": NOW, "kind": "k", "payload": "{}", "previous": GENESIS, "digest": "d" * 64}

    with log.write() as connection, pytest.raises(IntegrityError):
        connection.execute(insert(events).values(values))
