"""Who was in production at a moment has one answer, the same from both logs, and every disagreement is found."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import Connection, delete, insert, select, update

from homeostat.deployment.history import find_disagreements, find_move, read_moves, who_was_live
from homeostat.deployment.registry import list_promotions, promote, register_release
from homeostat.deployment.restoring import restore
from homeostat.errors import ArtifactCorrupt
from homeostat.records import Criterion, GateResult, Promotion
from homeostat.store.database import Database
from homeostat.store.events import append_event
from homeostat.store.tables import events, promotions

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
A, B = "a" * 64, "b" * 64
FIGURES = {"value": 0.8, "low": float("nan")}
PASSED = GateResult((Criterion("skill", passed=True, sentence="AUC .8", figures=FIGURES),))

# Few moments, so that several promotions share one; in any order, so that the clock steps back.
offsets = st.integers(0, 6)
histories = st.lists(offsets, max_size=8).map(
    lambda hours: [
        Promotion(epoch, "ab"[epoch % 2] * 64, None, moment(hour), "test", "why") for epoch, hour in enumerate(hours, 1)
    ]
)


def moment(hours: int) -> datetime:
    return NOW + timedelta(hours=hours)


# --- at a moment --------------------------------------------------------------------------------------------------


@given(history=histories, hour=offsets, seed=st.integers(0, 99))
def test_there_is_one_answer_in_whatever_order_the_promotions_are_given(
    history: list[Promotion], hour: int, seed: int
) -> None:
    shuffled = Random(seed).sample(history, len(history))  # noqa: S311  no secret

    assert who_was_live(shuffled, moment(hour)) == who_was_live(history, moment(hour))


@given(history=histories, hour=offsets)
def test_it_is_the_last_promotion_of_that_moment_or_before(history: list[Promotion], hour: int) -> None:
    expected = None
    for promotion in history:
        expected = promotion if promotion.decided_at <= moment(hour) else expected

    assert who_was_live(history, moment(hour)) == expected


@given(history=histories, hours=st.tuples(offsets, offsets).map(sorted))
def test_a_later_moment_never_has_an_earlier_epoch(history: list[Promotion], hours: list[int]) -> None:
    earlier, later = (who_was_live(history, moment(hour)) for hour in hours)

    assert (earlier.epoch if earlier else 0) <= (later.epoch if later else 0)


@given(history=histories)
def test_before_the_first_moment_nothing_was_live_and_after_the_last_the_last_epoch(history: list[Promotion]) -> None:
    assert who_was_live(history, moment(-1)) is None
    assert who_was_live(history, moment(7)) == (history[-1] if history else None)


# --- in the two logs ----------------------------------------------------------------------------------------------


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    """Two releases: each was promoted, and the first restored; one promotion has a verdict in the event log."""
    with Database(f"sqlite:///{tmp_path / 'homeostat.db'}") as opened:
        register(opened)
        promote(opened, A, gate=PASSED, expected_epoch=0, actor="hand", reason="the first", now=NOW)
        with opened.write() as connection:
            said = {"name": "skill", "passed": True, "sentence": "AUC .8", "figures": FIGURES}
            append_event(connection, "gate", {"release": B, "passed": True, "criteria": [said]}, now=moment(1))
        promote(opened, B, gate=PASSED, expected_epoch=1, actor="loop", reason="drift", now=moment(2))
        go_back(opened, at=2, now=moment(3))
        yield opened


def register(database: Database) -> None:
    with database.write() as connection:
        for digest in (A, B):
            register_release(connection, digest, snapshot="s", family="f", metrics={}, run_id=None, now=NOW)


def go_back(database: Database, *, at: int, now: datetime) -> None:
    restore(database, A, expected_epoch=at, alarm="hand", reason="bad", actor="cli:ann", labels_ever=0, now=now)


@pytest.mark.parametrize(
    ("hours", "release", "how"),
    [(0, A, "promoted"), (1, A, "promoted"), (2, B, "promoted"), (3, A, "rolled_back"), (9, A, "rolled_back")],
)
def test_the_event_log_says_who_was_live_and_how_that_came(
    database: Database, hours: int, release: str, how: str
) -> None:
    with database.read() as connection:
        found = find_move(connection, moment(hours))

    assert found is not None
    assert (found.promotion.release, found.how) == (release, how)


def test_a_move_of_production_holds_until_the_next_one_and_says_who_and_why(database: Database) -> None:
    with database.read() as connection:
        moves = read_moves(connection)

    assert [move.until for move in moves] == [moment(2), moment(3), None]
    assert [(move.promotion.actor, move.promotion.reason) for move in moves] == [
        ("hand", "the first"),
        ("loop", "drift"),
        ("cli:ann", "bad"),
    ]


def test_before_the_first_promotion_nothing_was_live(database: Database) -> None:
    with database.read() as connection:
        assert find_move(connection, NOW - timedelta(microseconds=1)) is None


@settings(max_examples=12, deadline=None)
@given(hours=st.lists(offsets, max_size=6), asked=offsets)
def test_both_logs_give_the_same_answer_whatever_the_clock_did(
    tmp_path_factory: pytest.TempPathFactory, hours: list[int], asked: int
) -> None:
    with Database(f"sqlite:///{tmp_path_factory.mktemp('history') / 'homeostat.db'}") as opened:
        register(opened)
        for epoch, hour in enumerate(hours):
            release = (A, B)[epoch % 2]
            promote(opened, release, gate=PASSED, expected_epoch=epoch, actor="t", reason="t", now=moment(hour))

        with opened.read() as connection:
            found = find_move(connection, moment(asked))

            assert (found.promotion if found else None) == who_was_live(list_promotions(connection), moment(asked))
            assert find_disagreements(connection) == []


# --- verifying ----------------------------------------------------------------------------------------------------


def edit(**values: object) -> Callable[[Connection], object]:
    return lambda connection: connection.execute(update(promotions).where(promotions.c.epoch == 2).values(**values))


def forget(connection: Connection) -> None:
    connection.execute(delete(promotions).where(promotions.c.epoch == 2))


def invent(connection: Connection) -> None:
    row = {"epoch": 4, "release": B, "decided_at": NOW, "actor": "x", "reason": "x", "gate": "{}"}
    connection.execute(insert(promotions).values(row))


def drop_line(connection: Connection) -> None:
    connection.execute(delete(events).where(events.c.seq == 5))


def repeat_line(connection: Connection) -> None:
    row = connection.execute(select(events).where(events.c.seq == 5)).mappings().one()
    connection.execute(insert(events).values({**row, "seq": 7}))


def garble_line(connection: Connection) -> None:
    connection.execute(update(events).where(events.c.seq == 5).values(payload='{"epoch": 2}'))


def shown(hour: int) -> str:
    return f"2026-03-01 {hour}:00:00.000000 UTC"


TAMPERINGS: list[tuple[Callable[[Connection], object], int | None, str]] = [
    (edit(release=A), 5, f"line 5 says of epoch 2 that release is '{B}', the promotion log '{A}'"),
    (edit(previous=None), 5, f"line 5 says of epoch 2 that previous is '{A}', the promotion log None"),
    (edit(actor="cli:eve"), 5, "line 5 says of epoch 2 that actor is 'loop', the promotion log 'cli:eve'"),
    (edit(reason="none"), 5, "line 5 says of epoch 2 that reason is 'drift', the promotion log 'none'"),
    (
        edit(decided_at=moment(1)),
        5,
        f"line 5 says of epoch 2 that decided_at is {shown(14)}, the promotion log {shown(13)}",
    ),
    (edit(gate="{}"), 4, "line 4 has another verdict of the gate than the promotion log for epoch 2"),
    (edit(gate="{"), 4, "line 4 has another verdict of the gate than the promotion log for epoch 2"),
    (forget, 5, "line 5 tells of epoch 2, which the promotion log has not"),
    (invent, None, "the promotion of epoch 4 is in no line of the event log"),
    (drop_line, None, "the promotion of epoch 2 is in no line of the event log"),
    (repeat_line, 7, "line 7 begins epoch 2, and so does another one"),
    (garble_line, None, "line 5 of the event log tells of no promotion: KeyError('release')"),
]


def test_two_logs_that_nobody_touched_agree(database: Database) -> None:
    with database.read() as connection:
        assert find_disagreements(connection) == []


@pytest.mark.parametrize(("tamper", "line", "sentence"), TAMPERINGS)
def test_every_tampering_with_the_promotions_is_found_and_named_with_its_line(
    database: Database, tamper: Callable[[Connection], object], line: int | None, sentence: str
) -> None:
    with database.write() as connection:
        tamper(connection)

        found = [(finding.line, finding.sentence) for finding in find_disagreements(connection)]

    assert found == [(line, sentence)]


def test_no_answer_is_given_while_the_two_logs_disagree(database: Database) -> None:
    with database.write() as connection:
        edit(release=A)(connection)

        with pytest.raises(ArtifactCorrupt, match=f"the event log says that release {B[:12]}"):
            find_move(connection, moment(2))
