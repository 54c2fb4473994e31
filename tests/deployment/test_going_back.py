"""Going back: the last good release returns in one transaction, and the one that must go is barred."""

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from homeostat.deployment.registry import list_promotions, promote, register_release, require_production
from homeostat.deployment.restoring import is_barred, last_good, restore
from homeostat.errors import LeaseHeld, PromotionConflict, StateError
from homeostat.records import Criterion, GateResult, Promotion
from homeostat.store.database import Database
from homeostat.store.events import find_break, read_events
from homeostat.store.leases import Lease

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
A, B, C = "a" * 64, "b" * 64, "c" * 64
PASSED = GateResult((Criterion("skill", passed=True, sentence="AUC .8", figures={}),))


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    with open_registry(tmp_path) as opened:
        yield opened


def open_registry(folder: Path) -> Database:
    database = Database(f"sqlite:///{folder / 'homeostat.db'}", durability="process-safe")
    with database.write() as connection:
        for digest in (A, B, C):
            register_release(connection, digest, snapshot="s", family="f", metrics={}, run_id=None, now=NOW)
    return database


def put(database: Database, *digests: str, now: datetime = NOW) -> None:
    for release in digests:
        epoch = epoch_of(database)
        promote(database, release, gate=PASSED, expected_epoch=epoch, actor="test", reason="why", now=now)


def go_back(
    database: Database, release: str, *, at: int, labels: int = 0, now: datetime = NOW, lease: Lease | None = None
) -> Promotion:
    return restore(
        database,
        release,
        expected_epoch=at,
        alarm="errors",
        reason="9 of 10 requests failed",
        actor="loop",
        labels_ever=labels,
        now=now,
        lease=lease,
    )


def epoch_of(database: Database) -> int:
    with database.read() as connection:
        return len(list_promotions(connection))


def find_last_good(database: Database) -> str | None:
    with database.read() as connection:
        return last_good(connection)


def test_the_release_before_comes_back_as_a_new_line_of_the_log(database: Database) -> None:
    put(database, A, B)

    go_back(database, A, at=2)

    with database.read() as connection:
        assert require_production(connection) == Promotion(3, A, B, NOW, "loop", "9 of 10 requests failed")


def test_going_back_is_one_event_that_names_the_alarm_and_the_bar(database: Database) -> None:
    put(database, A, B)

    go_back(database, A, at=2)

    with database.read() as connection:
        (event,) = read_events(connection, kind="rolled_back")
        moved = {"release": A, "previous": B, "epoch": 3, "alarm": "errors", "actor": "loop"}
        assert event.payload == {**moved, "reason": "9 of 10 requests failed", "barred": True}
        assert find_break(connection) is None


@pytest.mark.parametrize(("labels_ever", "barred"), [(7, True), (8, False)])
def test_a_release_that_went_is_barred_until_a_label_arrives(
    database: Database, labels_ever: int, *, barred: bool
) -> None:
    put(database, A, B)

    go_back(database, A, at=2, labels=7)

    with database.read() as connection:
        assert is_barred(connection, B, labels_ever=labels_ever) is barred
        assert not is_barred(connection, A, labels_ever=0)


def test_a_release_that_passes_the_gate_again_is_barred_no_more(database: Database) -> None:
    put(database, A, B)
    go_back(database, A, at=2)

    put(database, B)

    with database.read() as connection:
        assert not is_barred(connection, B, labels_ever=0)
        assert last_good(connection) == A


def test_the_first_release_has_none_to_go_back_to(database: Database) -> None:
    assert find_last_good(database) is None

    put(database, A)

    assert find_last_good(database) is None


def test_going_back_twice_leads_further_back_and_then_nowhere(database: Database) -> None:
    put(database, A, B, C)

    go_back(database, B, at=3)
    assert find_last_good(database) == A
    go_back(database, A, at=4)

    assert find_last_good(database) is None


@pytest.mark.parametrize("wrong", [A, C, "f" * 64])
def test_only_the_last_good_release_comes_back(database: Database, wrong: str) -> None:
    put(database, A, B, C)

    with pytest.raises(StateError, match="cannot go back to release"):
        go_back(database, wrong, at=3)

    assert epoch_of(database) == 3


def test_going_back_from_a_release_that_has_gone_already_is_refused(database: Database) -> None:
    put(database, A, B, C)

    with pytest.raises(PromotionConflict):
        go_back(database, A, at=2)

    assert epoch_of(database) == 3


def test_a_loop_that_lost_its_lease_moves_nothing(database: Database) -> None:
    put(database, A, B)

    with pytest.raises(LeaseHeld):
        go_back(database, A, at=2, lease=Lease("loop", "another", 7))

    assert epoch_of(database) == 2
    assert find_last_good(database) == A


# --- any history --------------------------------------------------------------------------------------------------


def live_at(log: Sequence[Promotion], moment: datetime) -> str | None:
    """Return who was in production at a moment: the last line decided until then."""
    return next((line.release for line in reversed(log) if line.decided_at <= moment), None)


@settings(max_examples=15, deadline=None)
@given(st.lists(st.sampled_from([A, B, C, None]), max_size=10))
def test_over_any_history_one_release_is_live_and_none_that_is_barred(moves: list[str | None]) -> None:
    live: list[str | None] = []
    with TemporaryDirectory() as folder, open_registry(Path(folder)) as database:
        for hour, release in enumerate(moves):
            now = NOW + timedelta(hours=hour)
            back = find_last_good(database)
            if release is not None:
                put(database, release, now=now)
            elif back is not None:
                go_back(database, back, at=epoch_of(database), now=now)
            live.append(release or back or (live[-1] if live else None))
            with database.read() as connection:
                assert live[-1] is None or not is_barred(connection, live[-1], labels_ever=0)
        with database.read() as connection:
            log = list_promotions(connection)

    assert [live_at(log, NOW + timedelta(hours=hour)) for hour in range(len(live))] == live


@settings(max_examples=10, deadline=None)
@given(st.lists(st.sampled_from([A, B, C]), min_size=1, max_size=8))
def test_going_back_again_and_again_meets_each_release_once_and_ends(history: list[str]) -> None:
    met = [history[-1]]
    with TemporaryDirectory() as folder, open_registry(Path(folder)) as database:
        put(database, *history)
        while (back := find_last_good(database)) is not None:
            go_back(database, back, at=epoch_of(database))
            met.append(back)

    assert sorted(met) == sorted(set(history))
