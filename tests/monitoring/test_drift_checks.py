"""The record of drift checks, and since when they say that the world has moved."""

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import insert, select

from homeostat.monitoring.drift_checks import (
    LOOK_BACK,
    append_check,
    change_point,
    date_change,
    last_checked,
    latest_drift_check,
    list_drift_checks,
    newest_fired,
)
from homeostat.records import Json
from homeostat.store.database import Database
from homeostat.store.tables import promotions

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
flags = st.lists(st.booleans(), max_size=30)


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    with Database(f"sqlite:///{tmp_path / 'homeostat.db'}") as opened:
        yield opened


def append(database: Database, *scores: float, epoch: int = 1, first: int = 1, guarded: Json | None = None) -> None:
    with database.write() as connection:
        if connection.scalar(select(promotions.c.epoch).where(promotions.c.epoch == epoch)) is None:
            line = {"epoch": epoch, "release": "a" * 64, "decided_at": NOW, "actor": "a", "reason": "r", "gate": "{}"}
            connection.execute(insert(promotions).values(line))
        for place, score in enumerate(scores):
            window = (first + 200 * place, first + 200 * place + 199)
            report: Json = {"score": score, "boundary": 0.3, "features": []}
            report |= {} if guarded is None else {"guarded": guarded}
            append_check(connection, report, epoch=epoch, window=window, release="a" * 64, now=NOW)


def watch_of(fired: Sequence[bool]) -> list[tuple[int, bool]]:
    """Return windows of 200 rows, from row 1 on."""
    return [(1 + 200 * place, one) for place, one in enumerate(fired)]


def window_of(pattern: str) -> int | None:
    """Return the window, from 0, at which the change point lies; `!` is a fired window and `.` a quiet one."""
    found = change_point(watch_of([mark == "!" for mark in pattern]))
    return None if found is None else (found - 1) // 200


def test_a_check_comes_back_as_it_was_stored(database: Database) -> None:
    append(database, 0.375)

    with database.read() as connection:
        check = latest_drift_check(connection)

    assert check == {
        "id": 1,
        "epoch": 1,
        "first_seq": 1,
        "last_seq": 200,
        "checked_at": NOW.isoformat(),
        "release": "a" * 64,
        "score": 0.375,
        "fired": True,
        "guarded": False,
        "report": {"score": 0.375, "boundary": 0.3, "features": []},
    }


@pytest.mark.parametrize(("score", "fired"), [(0.29, False), (0.3, False), (0.31, True)])
def test_a_check_fires_above_the_boundary_and_not_at_it(database: Database, *, score: float, fired: bool) -> None:
    append(database, score)

    with database.read() as connection:
        assert list_drift_checks(connection)[0]["fired"] is fired


@pytest.mark.parametrize("score", [0.2, 0.5])
@pytest.mark.parametrize("guarded", [True, False])
def test_the_two_rules_fire_apart_from_each_other(database: Database, *, score: float, guarded: bool) -> None:
    append(database, score, guarded={"fired": guarded, "since": 1})

    with database.read() as connection:
        (check,) = list_drift_checks(connection)
        fired = [newest_fired(connection, epoch=1, rule=rule) is not None for rule in ("book", "guarded")]

    assert [check["fired"], check["guarded"]] == fired == [score > 0.3, guarded]


def test_the_newest_check_that_fired_is_found_behind_quiet_ones(database: Database) -> None:
    append(database, 0.5, guarded={"fired": True, "since": 1})
    append(database, 0.5, first=201)
    append(database, 0.0, 0.0, first=401)

    with database.read() as connection:
        found = [newest_fired(connection, epoch=1, rule=rule) for rule in ("book", "guarded")]

    assert [check and check["first_seq"] for check in found] == [201, 1]


@pytest.mark.parametrize(("since", "expected"), [(57, 57), (None, 401)])
def test_the_evidence_dates_a_change_by_the_guarded_rule(database: Database, since: int | None, expected: int) -> None:
    append(database, 0.0, 0.5)
    append(database, 0.5, first=401, guarded={"fired": True, "since": since})
    append(database, 0.5, first=601)

    with database.read() as connection:
        dated = [date_change(connection, epoch=1, rule=rule) for rule in ("guarded", "book")]

    assert dated == [expected, 201]


def test_without_an_alarm_by_the_rule_no_change_is_dated(database: Database) -> None:
    append(database, 0.5)

    with database.read() as connection:
        assert date_change(connection, epoch=1, rule="guarded") is None
        assert date_change(connection, epoch=2, rule="book") is None


def test_the_books_change_point_is_looked_for_among_the_newest_windows(database: Database) -> None:
    append(database, *[0.5] * (LOOK_BACK + 3))

    with database.read() as connection:
        assert date_change(connection, epoch=1, rule="book") == 1 + 3 * 200


def test_before_the_first_check_there_is_none(database: Database) -> None:
    with database.read() as connection:
        assert latest_drift_check(connection) is None
        assert last_checked(connection, epoch=1) is None


def test_checks_are_listed_by_watch_oldest_first(database: Database) -> None:
    append(database, 0.1, 0.2)
    append(database, 0.0, epoch=2, first=401)

    with database.read() as connection:
        assert [check["score"] for check in list_drift_checks(connection, epoch=1)] == [0.1, 0.2]
        assert [check["score"] for check in list_drift_checks(connection)] == [0.1, 0.2, 0.0]


def test_each_watch_knows_its_last_checked_row(database: Database) -> None:
    append(database, 0.1, 0.2)
    append(database, 0.0, epoch=2, first=401)

    with database.read() as connection:
        assert [last_checked(connection, epoch=epoch) for epoch in (1, 2, 3)] == [400, 600, None]


@pytest.mark.parametrize(
    ("pattern", "window"),
    [
        ("", None),
        ("....", None),
        ("!", 0),
        ("..!!", 2),
        ("!.......!!", 8),  # one chance alarm long ago does not date the change
        ("..!.!!", 2),  # one quiet window within the change does not hide it
        ("..!.", 2),
        ("..!..", None),  # a change that most windows since deny
        ("!..!", 0),  # half of the windows since are enough
        ("!!....", None),
    ],
)
def test_the_change_point_of_an_example(pattern: str, window: int | None) -> None:
    assert window_of(pattern) == window


@given(flags)
def test_the_change_point_is_the_first_fired_window_since_which_half_fired(fired: list[bool]) -> None:
    since = [fired[place:] for place in range(len(fired))]
    expected = [1 + 200 * place for place, rest in enumerate(since) if rest[0] and 2 * sum(rest) >= len(rest)]

    assert change_point(watch_of(fired)) == (expected[0] if expected else None)


@given(flags)
def test_a_watch_that_just_fired_always_has_a_change_point(fired: list[bool]) -> None:
    assert change_point(watch_of([*fired, True])) is not None


@given(flags, st.integers(1, 20))
def test_quiet_windows_before_the_change_do_not_move_it(fired: list[bool], quiet: int) -> None:
    alone, later = change_point(watch_of(fired)), change_point(watch_of([False] * quiet + fired))

    assert later == (None if alone is None else alone + 200 * quiet)


def test_the_newest_check_is_that_of_the_release_in_production_or_none(database: Database) -> None:
    append(database, 0.375)
    append(database, epoch=2)

    with database.read() as connection:
        assert latest_drift_check(connection) is None
