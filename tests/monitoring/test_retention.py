"""What is older than its period goes, and nothing else: not what the loop still needs, and no number twice."""

from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import Table, create_engine, func, insert, select

from homeostat.errors import LeaseHeld
from homeostat.monitoring.drift_checks import append_check, list_drift_checks
from homeostat.monitoring.outcome_checks import append_outcome_check
from homeostat.monitoring.production import count_labels, count_labels_ever, stamp_rows, watched_range
from homeostat.monitoring.retention import BLOCK, EVERY, LONGEST, Periods, clear_expired, periods_of
from homeostat.records import Json
from homeostat.settings import parse_settings
from homeostat.store.database import Database, insert_lines
from homeostat.store.events import read_events
from homeostat.store.leases import take_lease
from homeostat.store.tables import EPOCH, answers, labels, predictions, promotions, rejections
from tests.production_log import NOW, lease_lost, own_lease

DAY = timedelta(days=1)
PERIODS = Periods(predictions=10 * DAY, rejections=5 * DAY, answers=DAY)
REPORT: Json = {"score": 0.0, "boundary": 0.3, "features": []}


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    with Database(f"sqlite:///{tmp_path / 'homeostat.db'}") as opened:
        yield opened


def micros(moment: datetime) -> int:
    return (moment - EPOCH) // timedelta(microseconds=1)


def answer(database: Database, days_old: Sequence[float], *, row: bytes = b"{}", now: datetime = NOW) -> list[str]:
    """Append answered rows of some age; each even one has a label."""
    columns = ("id", "received_at", "release", "row", "probability", "label")
    with database.write() as connection:
        known = connection.scalar(select(func.coalesce(func.max(predictions.c.seq), 0)))
        # A microsecond apart: each is a request of its own.
        moments = [micros(now - days * DAY) + place for place, days in enumerate(days_old)]
        ids = [f"{micros(now)}-{known}-{place}" for place in range(len(days_old))]
        lines = [(i, moment, "a" * 64, row, 0.5, "0") for i, moment in zip(ids, moments, strict=True)]
        insert_lines(connection, predictions, columns, lines)
        outcomes = [(i, "1", micros(now), "test") for i in ids[::2]]
        insert_lines(connection, labels, ("prediction", "label", "received_at", "source"), outcomes)
    return ids


def stamp(database: Database, *, epoch: int = 0) -> None:
    stamp_rows(database, lease=own_lease(database), epoch=epoch)


def promote(database: Database, epoch: int = 1) -> None:
    """Begin a watch: rows of the ones before it are of no use to the loop."""
    values = {"release": "a" * 64, "decided_at": NOW, "actor": "test", "reason": "why", "gate": "{}"}
    with database.write() as connection:
        connection.execute(insert(promotions).values(epoch=epoch, **values))


def check(database: Database, first: int, last: int, *, epoch: int = 1) -> None:
    """Record that a drift check has covered some rows."""
    with database.write() as connection:
        append_check(connection, REPORT, epoch=epoch, window=(first, last), release="a" * 64, now=NOW)


def clear(database: Database, *, now: datetime = NOW, n_steps: int = 200, periods: Periods = PERIODS) -> bool:
    return clear_expired(database, periods, lease=take_lease(database, now=now), now=now, n_steps=n_steps)


def count(database: Database, table: Table = predictions) -> int:
    with database.read() as connection:
        return connection.scalar(select(func.count()).select_from(table)) or 0


def kept(database: Database) -> list[str]:
    with database.read() as connection:
        return list(connection.scalars(select(predictions.c.id).order_by(predictions.c.seq)))


def told(database: Database) -> list[Json]:
    with database.read() as connection:
        return [event.payload for event in read_events(connection, kind="retention_ran")]


@pytest.fixture
def watched(database: Database) -> Database:
    """A database with a release in production, epoch 1."""
    promote(database)
    return database


# --- what goes ----------------------------------------------------------------------------------------------------


def test_rows_beyond_their_period_go_with_their_labels_and_younger_ones_stay(watched: Database) -> None:
    ids = answer(watched, [30, 11, 9, 0])
    stamp(watched)

    clear(watched)

    assert kept(watched) == ids[2:]
    assert count(watched, labels) == 1


def test_rejected_rows_and_remembered_answers_have_periods_of_their_own(database: Database) -> None:
    with database.write() as connection:
        for days in (6, 4, 0):
            moment = NOW - days * DAY
            connection.execute(insert(rejections).values(received_at=moment, row=b"", violations=b""))
            values = {"body": "", "status": 200, "headers": "{}", "answer": b"", "created_at": moment}
            connection.execute(insert(answers).values(owner="o", key=str(days), **values))

    clear(database)

    assert (count(database, rejections), count(database, answers)) == (2, 1)


def test_more_rows_than_one_transaction_takes_all_go(watched: Database) -> None:
    answer(watched, [30.0] * (2 * BLOCK + 1))
    stamp(watched)

    clear(watched)

    assert count(watched) == 0


def test_a_row_from_the_future_does_not_keep_those_behind_it(watched: Database) -> None:
    future = answer(watched, [-400.0] * (BLOCK + 1))
    answer(watched, [30.0])
    stamp(watched)

    clear(watched)

    assert kept(watched) == future


# --- what the loop still needs ------------------------------------------------------------------------------------


def test_rows_that_no_loop_has_numbered_stay(watched: Database) -> None:
    ids = answer(watched, [30, 30])

    clear(watched)

    assert kept(watched) == ids


def test_rows_of_this_watch_stay_until_a_check_has_covered_them(watched: Database) -> None:
    ids = answer(watched, [30] * 5)
    stamp(watched, epoch=1)
    check(watched, 1, 3)

    clear(watched)

    assert kept(watched) == ids[3:]


def test_rows_of_this_watch_stay_until_their_outcomes_were_judged(watched: Database) -> None:
    ids = answer(watched, [30] * 5)
    stamp(watched, epoch=1)
    check(watched, 1, 4)
    with watched.write() as connection:
        append_outcome_check(connection, {}, epoch=1, window=(1, 2), release="a" * 64, now=NOW)

    clear(watched, periods=replace(PERIODS, await_outcomes=True))

    assert kept(watched) == ids[2:]


@pytest.mark.parametrize(("maturity_s", "awaited"), [(9 * 86_400, True), (10 * 86_400, False), (float("inf"), False)])
def test_rows_that_would_go_before_they_could_be_judged_are_not_kept_for_it(
    *, maturity_s: float, awaited: bool
) -> None:
    document = {
        "project": {"name": "p", "data": ["d.csv"], "target": "y"},
        "features": {"x": {"kind": "numeric"}},
        "monitoring": {"maturity_s": maturity_s},
        "store": {"keep_predictions_days": 10},
    }

    assert periods_of(parse_settings(document)).await_outcomes is awaited


def test_before_the_first_check_every_row_of_this_watch_stays(watched: Database) -> None:
    ids = answer(watched, [30] * 5)
    stamp(watched, epoch=1)

    clear(watched)

    assert kept(watched) == ids


def test_rows_of_an_earlier_watch_go_though_no_check_covered_them(watched: Database) -> None:
    answer(watched, [30] * 5)
    stamp(watched, epoch=1)
    promote(watched, epoch=2)

    clear(watched)

    assert kept(watched) == []


def test_windows_go_on_behind_the_rows_that_are_gone(watched: Database) -> None:
    answer(watched, [30] * 120)
    stamp(watched, epoch=1)
    check(watched, 1, 50)
    check(watched, 51, 100)
    clear(watched)

    answer(watched, [0] * 30)
    stamp(watched, epoch=1)

    with watched.read() as connection:
        assert watched_range(connection, epoch=1) == (101, 150)
        assert connection.scalars(select(predictions.c.observed_seq).order_by(predictions.c.seq)).all() == [
            *range(101, 151)
        ]


def test_numbers_are_given_once_though_every_row_is_gone(watched: Database) -> None:
    answer(watched, [30] * 5)
    stamp(watched)
    clear(watched)

    answer(watched, [0])
    stamp(watched, epoch=1)

    with watched.read() as connection:
        assert watched_range(connection, epoch=1) == (6, 6)


def test_a_label_that_is_gone_still_counts_as_one_that_arrived(watched: Database) -> None:
    answer(watched, [30, 30, 30, 0, 0])
    stamp(watched)

    clear(watched)

    with watched.read() as connection:
        assert (count_labels(connection), count_labels_ever(connection)) == (1, 3)


# --- when ---------------------------------------------------------------------------------------------------------


def test_it_runs_once_an_hour(watched: Database) -> None:
    clear(watched)
    answer(watched, [30])
    stamp(watched)

    left = []
    for now in (NOW, NOW + EVERY - timedelta(seconds=1), NOW + EVERY):
        clear(watched, now=now)
        left.append(count(watched))

    assert left == [1, 1, 0]


def test_it_runs_if_the_clock_was_turned_back(watched: Database) -> None:
    clear(watched, now=NOW + 400 * DAY)
    answer(watched, [30])
    stamp(watched)

    clear(watched)

    assert count(watched) == 0


def test_one_event_tells_what_went_in_several_turns(watched: Database) -> None:
    answer(watched, [30.0] * (2 * BLOCK + 1))
    stamp(watched)

    ends = [clear(watched, n_steps=1) for _ in range(9)]

    assert ends == sorted(ends)
    assert ends[-1]
    assert told(watched) == [{"predictions": 2 * BLOCK + 1, "labels": BLOCK + 1}]


def test_where_nothing_went_there_is_no_event(watched: Database) -> None:
    answer(watched, [0])
    stamp(watched)

    assert clear(watched)
    assert told(watched) == []


def test_a_loop_that_lost_its_lease_deletes_nothing(watched: Database) -> None:
    answer(watched, [30])
    stamp(watched)

    with lease_lost(watched) as lease, pytest.raises(LeaseHeld):
        clear_expired(watched, PERIODS, lease=lease, now=NOW)

    assert count(watched) == 1


def test_a_period_beyond_the_calendar_is_for_ever() -> None:
    project = {"name": "p", "data": ["a.csv"], "target": "y"}
    kept = {"keep_predictions_days": float("inf"), "keep_rejections_days": 1e300}
    declared = {"project": project, "features": {"x": {}}, "store": kept, "serving": {"idempotency_s": 1e300}}

    periods = periods_of(parse_settings(declared))

    assert {periods.predictions, periods.rejections, periods.answers} == {LONGEST}
    assert NOW - LONGEST < EPOCH


# --- the file -----------------------------------------------------------------------------------------------------


def size_bytes(database: Database) -> int:
    assert database.engine.url.database is not None
    return Path(database.engine.url.database).stat().st_size


def test_the_file_becomes_smaller_when_most_rows_go(watched: Database) -> None:
    answer(watched, [30.0] * 5_000, row=b"x" * 500)
    stamp(watched)
    watched.checkpoint()
    before = size_bytes(watched)

    clear(watched)

    assert size_bytes(watched) < before / 5


def test_a_long_reader_delays_the_shrinking_and_breaks_nothing(watched: Database) -> None:
    answer(watched, [30.0] * 5_000, row=b"x" * 500)
    stamp(watched)
    watched.checkpoint()
    before = size_bytes(watched)

    with watched.read() as reader:
        seen = reader.scalar(select(func.count()).select_from(predictions))
        clear(watched)
        assert reader.scalar(select(func.count()).select_from(predictions)) == seen == 5_000
    clear(watched, now=NOW + EVERY)

    assert size_bytes(watched) < before / 5


def test_thirty_days_of_rows_and_retention_leave_the_file_as_it_was_after_twelve(watched: Database) -> None:
    sizes = []
    for day in range(30):
        now = NOW + day * DAY
        answer(watched, [0.0] * 300, row=b"x" * 300, now=now)
        stamp_rows(watched, lease=take_lease(watched, now=now), epoch=0)
        clear(watched, now=now)
        watched.checkpoint()
        sizes.append(size_bytes(watched))

    assert max(sizes) <= 1.1 * sizes[12]
    assert count(watched) == 11 * 300


def test_a_file_that_was_made_without_a_map_of_its_pages_keeps_its_size_and_works(tmp_path: Path) -> None:
    path = tmp_path / "old.db"
    with closing(create_engine(f"sqlite:///{path}").raw_connection()) as old:
        old.cursor().execute("CREATE TABLE old (x)")
    with Database(f"sqlite:///{path}") as database:
        promote(database)
        answer(database, [30.0] * 3_000, row=b"x" * 500)
        stamp(database)
        database.checkpoint()
        before = size_bytes(database)

        assert clear(database)
        assert (count(database), size_bytes(database)) == (0, before)


# --- any history --------------------------------------------------------------------------------------------------

days = st.floats(-2, 30).map(lambda value: round(value, 2))
histories = st.lists(
    st.one_of(
        st.tuples(st.just("answer"), st.lists(days, max_size=6)),
        st.tuples(st.just("stamp"), st.just([])),
        st.tuples(st.just("promote"), st.just([])),
        st.tuples(st.just("check"), st.just([])),
        st.tuples(st.just("clear"), st.just([])),
    ),
    max_size=12,
)


def live(database: Database, history: Sequence[tuple[str, list[float]]]) -> None:
    """Let a history happen, its moments an hour apart."""
    epoch = 1
    for hour, (what, ages) in enumerate(history):
        now = NOW + hour * EVERY
        if what == "answer":
            answer(database, ages, now=now)
        elif what == "stamp":
            stamp(database, epoch=epoch)
        elif what == "promote":
            epoch += 1
            promote(database, epoch)
        elif what == "check":
            cover(database, epoch)
        else:
            clear(database, now=now)


def cover(database: Database, epoch: int) -> None:
    """Check a window of two rows, if there is one."""
    with database.read() as connection:
        watched = watched_range(connection, epoch=epoch)
        checks = list_drift_checks(connection, epoch=epoch)
    first = checks[-1]["last_seq"] + 1 if checks else watched[0] if watched else 0
    if watched and first + 1 <= watched[1]:
        check(database, first, first + 1, epoch=epoch)


def state(database: Database) -> list[object]:
    with database.read() as connection:
        query = select(predictions.c.id, predictions.c.observed_seq).order_by(predictions.c.seq)
        return [*connection.execute(query), *connection.scalars(select(labels.c.prediction))]


@settings(max_examples=60, deadline=None)
@given(history=histories)
def test_after_any_history_a_second_run_changes_nothing_and_only_the_expired_are_gone(
    tmp_path_factory: pytest.TempPathFactory, history: list[tuple[str, list[float]]]
) -> None:
    with Database(f"sqlite:///{tmp_path_factory.mktemp('any') / 'h.db'}", durability="process-safe") as database:
        promote(database)
        live(database, history)
        now = NOW + len(history) * EVERY
        with database.read() as connection:
            young = select(predictions.c.id).where(predictions.c.received_at >= now - PERIODS.predictions)
            must_stay = set(connection.scalars(young))
        clear(database, now=now)
        once = state(database)
        clear(database, now=now - timedelta(microseconds=1))  # a clock that was turned back makes it run at once

        assert state(database) == once
        assert must_stay <= set(kept(database))
        with database.read() as connection:
            assert set(connection.scalars(select(labels.c.prediction))) <= set(kept(database))
