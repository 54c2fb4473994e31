"""A turn of the loop is a row that says which step is next and what the steps so far have left."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from homeostat.records import Json
from homeostat.retraining.cycles import Cycle, close_cycle, find_open_cycle, list_cycles, open_cycle, store_step
from homeostat.store.database import Database
from homeostat.store.events import read_events

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
left_by_a_step = st.dictionaries(
    st.text(), st.none() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False, allow_infinity=False) | st.text()
)


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    with Database(f"sqlite:///{tmp_path / 'homeostat.db'}") as opened:
        yield opened


def begin(database: Database, *, trigger: str = "drift", now: datetime = NOW) -> Cycle:
    with database.write() as connection:
        open_cycle(connection, trigger=trigger, reason="why", step="first", now=now)
    return under_way(database)


def under_way(database: Database) -> Cycle:
    with database.read() as connection:
        found = find_open_cycle(connection)
    assert found is not None
    return found


def finish(database: Database, cycle: Cycle, outcome: str) -> None:
    with database.write() as connection:
        close_cycle(connection, cycle, outcome=outcome, sentence="How it went.", now=NOW + timedelta(hours=1))


def step(database: Database, left: Json, *, following: str | None) -> Cycle:
    with database.write() as connection:
        store_step(connection, under_way(database), left, following=following)
    return under_way(database)


def kinds_of_events(database: Database) -> list[str]:
    with database.read() as connection:
        return [event.kind for event in read_events(connection)]


def test_an_idle_loop_has_no_cycle(database: Database) -> None:
    with database.read() as connection:
        assert find_open_cycle(connection) is None


def test_a_cycle_begins_at_its_first_step_with_trigger_and_reason(database: Database) -> None:
    assert begin(database) == Cycle(1, NOW, None, "drift", "why", "first", None, {})


def test_a_step_leaves_its_record_and_the_next_steps_name(database: Database) -> None:
    begin(database)

    after = step(database, {"rows": 3}, following="second")

    assert (after.step, after.record) == ("second", {"first": {"rows": 3}})


def test_later_steps_keep_what_earlier_ones_left(database: Database) -> None:
    begin(database)
    step(database, {"rows": 3}, following="second")

    after = step(database, {"digest": "a"}, following="third")

    assert after.record == {"first": {"rows": 3}, "second": {"digest": "a"}}


@settings(max_examples=8, deadline=None)
@given(left=left_by_a_step)
def test_what_a_step_left_comes_back_as_it_was(left: Json) -> None:
    with TemporaryDirectory() as folder, Database(f"sqlite:///{folder}/homeostat.db") as database:
        begin(database)

        assert step(database, left, following="second").record == {"first": left}


@pytest.mark.parametrize("outcome", ["promoted", "refused", "failed"])
def test_a_finished_cycle_says_how_and_when_and_is_an_event(database: Database, outcome: str) -> None:
    finish(database, begin(database), outcome)

    with database.read() as connection:
        (cycle,) = list_cycles(connection)
    assert (cycle.step, cycle.outcome, cycle.finished_at) == (None, outcome, NOW + timedelta(hours=1))
    assert kinds_of_events(database) == ["retrain_decided", f"cycle_{outcome}"]


def test_a_finished_cycle_is_no_longer_under_way(database: Database) -> None:
    finish(database, begin(database), "failed")

    assert begin(database, trigger="schedule").trigger == "schedule"


def test_cycles_are_listed_oldest_first(database: Database) -> None:
    for trigger in ("drift", "schedule", "hand"):
        finish(database, begin(database, trigger=trigger), "failed")

    with database.read() as connection:
        assert [cycle.trigger for cycle in list_cycles(connection)] == ["drift", "schedule", "hand"]
