"""What is asked of the loop is refused at once where it makes no sense, and waits in the table where it does."""

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from homeostat.deployment.registry import promote, register_release
from homeostat.errors import ReleaseMissing, StateError
from homeostat.records import Criterion, GateResult
from homeostat.retraining.asking import NO_REASON, describe_waiting, place, tell_request
from homeostat.retraining.cycles import close_cycle, find_open_cycle, open_cycle
from homeostat.retraining.requests import Asked, Request, answer_request, list_pending
from homeostat.store.database import Database
from homeostat.store.events import read_events

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
A, B, C = "a" * 64, "b" * 64, "c" * 64
PASSED = GateResult((Criterion("test", passed=True, sentence="let in by a test", figures={}),))


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    """Three releases, the first of them in production."""
    with Database(f"sqlite:///{tmp_path / 'homeostat.db'}") as opened:
        with opened.write() as connection:
            for digest in (A, B, C):
                register_release(connection, digest, snapshot="s", family="f", metrics={}, run_id=None, now=NOW)
        put(opened, A, at=0)
        yield opened


def put(database: Database, release: str, *, at: int) -> None:
    promote(database, release, gate=PASSED, expected_epoch=at, actor="test", reason="why", now=NOW)


def hold(database: Database, release: str) -> None:
    """Leave a cycle whose release passed the gate and was held."""
    with database.write() as connection:
        open_cycle(
            connection, trigger="hand", reason="r", step="approve", now=NOW, record={"fit": {"release": release}}
        )
        cycle = find_open_cycle(connection)
        assert cycle is not None
        close_cycle(connection, cycle, outcome="held", sentence="held", now=NOW)


def wish(database: Database, kind: Asked, name: str | None = None, reason: str = "because") -> Request:
    with database.write() as connection:
        return place(connection, kind, name=name, reason=reason, actor="cli:ann", now=NOW)


def refuse(database: Database, kind: Asked, name: str | None = None) -> StateError:
    with pytest.raises(StateError) as refused:
        wish(database, kind, name)
    with database.read() as connection:
        assert list(read_events(connection, kind="requested")) == []
    return refused.value


# --- what waits ---------------------------------------------------------------------------------------------------


def test_a_request_waits_under_its_number_and_is_an_event(database: Database) -> None:
    asked = wish(database, "promote", "2")

    with database.read() as connection:
        assert list_pending(connection) == [asked]
        payloads = [event.payload for event in read_events(connection, kind="requested")]
    assert payloads == [{"kind": "promote", "release": B, "reason": "because", "actor": "cli:ann"}]
    assert tell_request(asked)["outcome"] is None


@pytest.mark.parametrize("name", ["2", B, "bbbb"])
def test_a_release_is_called_by_any_of_its_names(database: Database, name: str) -> None:
    assert wish(database, "promote", name).release == B


def test_a_retraining_is_about_no_release(database: Database) -> None:
    assert wish(database, "retrain").release is None


def test_a_rollback_names_the_release_that_must_go(database: Database) -> None:
    put(database, B, at=1)

    assert wish(database, "rollback").release == B


def test_an_approval_means_the_newest_release_that_was_held(database: Database) -> None:
    hold(database, B)
    hold(database, C)

    assert wish(database, "approve").release == C


def test_an_older_release_that_was_held_is_approved_by_its_name(database: Database) -> None:
    hold(database, B)
    hold(database, C)

    assert wish(database, "approve", "2").release == B


def test_a_reason_is_kept_as_one_line_without_control_characters(database: Database) -> None:
    asked = wish(database, "retrain", reason=" the\x1b[31m world\nmoved ")

    assert asked.reason == "the [31m world moved"


@pytest.mark.parametrize(("reason", "kept"), [("", NO_REASON), (" \n", NO_REASON), ("x" * 5000, "x" * 1000)])
def test_a_reason_is_never_empty_and_never_endless(database: Database, reason: str, kept: str) -> None:
    assert wish(database, "retrain", reason=reason).reason == kept


# --- what is refused ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["promote", "approve"])
@pytest.mark.parametrize("name", ["4", "f", ""])
def test_a_release_that_does_not_exist_is_refused(database: Database, kind: Asked, name: str) -> None:
    assert isinstance(refuse(database, kind, name), ReleaseMissing)


@pytest.mark.parametrize("kind", ["promote", "approve"])
def test_the_release_in_production_is_refused_with_the_time_since_when(database: Database, kind: Asked) -> None:
    expected = f"release 1 ({A[:12]}) is in production already, since 2026-03-01 12:00:00 UTC"

    assert refuse(database, kind, "1").problem == expected


def test_an_approval_without_anything_that_waits_is_refused(database: Database) -> None:
    assert refuse(database, "approve").problem == "no release waits for approval"


def test_an_approval_of_a_release_that_was_not_held_is_refused_and_names_the_other_way(database: Database) -> None:
    assert "homeostat promote 2" in refuse(database, "approve", "2").action


def test_a_rollback_from_the_first_release_is_refused(database: Database) -> None:
    assert "there is nothing to go back to" in refuse(database, "rollback").problem


def test_a_rollback_before_the_first_promotion_is_refused(tmp_path: Path) -> None:
    with Database(f"sqlite:///{tmp_path / 'other.db'}") as empty:
        assert isinstance(refuse(empty, "rollback"), ReleaseMissing)


@pytest.mark.parametrize(("kind", "name"), [("retrain", None), ("rollback", None), ("promote", "3")])
def test_what_waits_already_is_not_asked_twice(database: Database, kind: Asked, name: str | None) -> None:
    put(database, B, at=1)
    first = wish(database, kind, name)

    with pytest.raises(StateError, match=f"request {first.id} asks for the same"):
        wish(database, kind, name)


def test_once_it_was_answered_it_may_be_asked_again(database: Database) -> None:
    first = wish(database, "promote", "2")
    with database.write() as connection:
        answer_request(connection, first, outcome="refused", sentence="no", now=NOW)

    assert wish(database, "promote", "2").id == first.id + 1


# --- what is shown ------------------------------------------------------------------------------------------------


def test_what_is_under_way_and_what_waits_for_whom_is_shown(database: Database) -> None:
    hold(database, B)
    asked = wish(database, "retrain")
    with database.write() as connection:
        open_cycle(connection, trigger="drift", reason="it moved", step="search", now=NOW)

    with database.read() as connection:
        waiting = describe_waiting(connection)

    started = {"started_at": NOW.isoformat()}
    assert waiting["cycle"] == {"trigger": "drift", "reason": "it moved", "step": "search", **started}
    assert waiting["held"] == {"release": B, "number": 2}
    assert waiting["requests"] == [tell_request(asked)]


def test_where_nothing_waits_nothing_is_shown(database: Database) -> None:
    with database.read() as connection:
        assert describe_waiting(connection) == {"cycle": None, "held": None, "requests": []}
