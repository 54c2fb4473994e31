"""What is asked of the loop is carried out by its next turns, through the same checks, or refused with the reason."""

from collections.abc import Iterator
from datetime import UTC, datetime

import pytest

from homeostat.deployment.artifacts import find_release
from homeostat.deployment.registry import list_promotions
from homeostat.errors import LeaseHeld
from homeostat.loop import Advance, advance, run_step, tick
from homeostat.project import Project, open_project
from homeostat.records import Promotion
from homeostat.retraining.cycles import find_open_cycle, list_cycles
from homeostat.retraining.requests import Asked, Request, ask, find_request
from homeostat.retraining.turn import Turn
from homeostat.store.events import Event, read_events
from tests.production_log import lease_lost
from tests.retraining.clinic import NOW, put_in_production, register_another


@pytest.fixture
def untracked(clinic: Project, champion: Promotion, monkeypatch: pytest.MonkeyPatch) -> Iterator[Project]:
    """The clinic with a champion and without MLflow, which takes seconds."""
    assert champion.epoch == 1
    monkeypatch.setenv("HOMEOSTAT_STORE__TRACKING", "none")
    with open_project(clinic.folder) as project:
        yield project


@pytest.fixture
def with_approval(untracked: Project, monkeypatch: pytest.MonkeyPatch) -> Iterator[Project]:
    monkeypatch.setenv("HOMEOSTAT_RETRAINING__PROMOTION", "approval")
    with open_project(untracked.folder) as project:
        yield project


def request(project: Project, kind: Asked, release: str | None = None) -> Request:
    with project.database.write() as connection:
        return ask(connection, kind, release=release, reason="because", actor="cli:ann", now=NOW)


def became(project: Project, asked: Request) -> Request:
    with project.database.read() as connection:
        return find_request(connection, asked.id)


def run_out(project: Project) -> list[Advance]:
    return list(tick(project))


def log(project: Project) -> list[Promotion]:
    with project.database.read() as connection:
        return list_promotions(connection)


def events(project: Project, *kinds: str) -> list[Event]:
    with project.database.read() as connection:
        return [event for event in read_events(connection) if event.kind in kinds]


# --- retrain ------------------------------------------------------------------------------------------------------


def test_a_retraining_that_is_asked_for_is_done_and_the_request_tells_how_it_ended(untracked: Project) -> None:
    asked = request(untracked, "retrain")

    done = run_out(untracked)

    assert done[0].sentence == "Retraining, asked for by cli:ann: because."
    assert done[-1].outcome == "promoted"
    assert became(untracked, asked).outcome == "promoted"


def test_a_request_waits_for_the_cycle_that_is_under_way(untracked: Project) -> None:
    first, second = request(untracked, "retrain"), request(untracked, "retrain")

    advance(untracked, now=datetime.now(UTC))

    assert (became(untracked, first).outcome, became(untracked, second).outcome) == ("begun", None)


# --- promote ------------------------------------------------------------------------------------------------------


def test_a_release_that_somebody_wants_goes_through_the_gate_into_production(untracked: Project) -> None:
    wanted = register_another(untracked, penalty=0.5)
    asked = request(untracked, "promote", wanted)

    done = run_out(untracked)

    assert [step.outcome for step in done][-1] == "promoted"
    assert (log(untracked)[-1].release, log(untracked)[-1].actor) == (wanted, "cli:ann")
    assert became(untracked, asked).outcome == "promoted"
    assert [event.payload["trigger"] for event in events(untracked, "promotion_decided")] == ["hand"]


@pytest.mark.parametrize(("name", "problem"), [("f" * 64, "no releases are called"), ("", "")])
def test_a_release_that_is_not_there_is_refused_with_the_reason(untracked: Project, name: str, problem: str) -> None:
    asked = request(untracked, "promote", name or log(untracked)[-1].release)

    run_out(untracked)

    found = became(untracked, asked)
    assert found.outcome == "refused"
    assert found.sentence is not None
    assert (problem or "is in production already") in found.sentence
    assert [event.payload["sentence"] for event in events(untracked, "request_refused")] == [found.sentence]


# --- approve ------------------------------------------------------------------------------------------------------


def test_with_approval_a_challenger_that_passed_waits_and_an_approval_lets_it_in(with_approval: Project) -> None:
    request(with_approval, "retrain")
    held = run_out(with_approval)[-1]
    before = log(with_approval)
    asked = request(with_approval, "approve")

    done = run_out(with_approval)

    assert held.outcome == "held"
    assert "waits for approval" in held.sentence
    assert len(before) == 1
    assert done[-1].outcome == "promoted"
    assert became(with_approval, asked).outcome == "promoted"
    assert log(with_approval)[-1].actor == "cli:ann"


def test_a_release_is_approved_once(with_approval: Project) -> None:
    request(with_approval, "retrain")
    run_out(with_approval)
    request(with_approval, "approve")
    run_out(with_approval)
    again = request(with_approval, "approve")

    run_out(with_approval)

    found = became(with_approval, again)
    assert (found.outcome, found.sentence) == ("refused", "Refused to approve: no release waits for approval.")


# --- roll back ----------------------------------------------------------------------------------------------------


@pytest.fixture
def two_releases(untracked: Project) -> Project:
    put_in_production(untracked, penalty=0.5)
    return untracked


def test_a_rollback_restores_the_last_good_release_and_bars_the_other(two_releases: Project) -> None:
    asked = request(two_releases, "rollback")

    done = run_out(two_releases)

    first, second, third = log(two_releases)
    assert done[-1].outcome == "rolled_back"
    assert (third.release, third.previous, third.actor) == (first.release, second.release, "cli:ann")
    assert became(two_releases, asked).outcome == "rolled_back"
    assert [event.payload["barred"] for event in events(two_releases, "rolled_back")] == [True]


def test_where_nothing_is_left_to_go_back_to_a_rollback_is_refused(untracked: Project) -> None:
    asked = request(untracked, "rollback")

    run_out(untracked)

    assert became(untracked, asked).outcome == "refused"
    assert len(log(untracked)) == 1


def test_a_rollback_ends_the_training_that_is_under_way(two_releases: Project) -> None:
    request(two_releases, "retrain")
    advance(two_releases, now=datetime.now(UTC))
    request(two_releases, "rollback")

    run_out(two_releases)

    with two_releases.database.read() as connection:
        assert [cycle.outcome for cycle in list_cycles(connection)] == ["overtaken", "rolled_back"]


def test_a_damaged_release_is_passed_over_on_the_way_back(two_releases: Project) -> None:
    put_in_production(two_releases, penalty=0.25)
    first, second, _ = log(two_releases)
    (find_release(second.release, two_releases.blobs) / "model.onnx").write_bytes(b"no graph")
    request(two_releases, "rollback")

    run_out(two_releases)

    assert log(two_releases)[-1].release == first.release


def test_a_rollback_that_was_killed_after_it_went_back_does_not_go_back_again(two_releases: Project) -> None:
    put_in_production(two_releases, penalty=0.25)
    request(two_releases, "rollback")
    advance(two_releases, now=datetime.now(UTC))
    with two_releases.database.read() as connection:
        opened = find_open_cycle(connection)
    assert opened is not None
    advance(two_releases, now=datetime.now(UTC))
    with two_releases.database.write() as connection:  # as if the step had left no record
        connection.exec_driver_sql("UPDATE cycles SET step = 'restore' WHERE id = ?", (opened.id,))

    run_out(two_releases)

    assert len(log(two_releases)) == 4


def test_a_loop_that_lost_its_lease_restores_nothing(two_releases: Project) -> None:
    request(two_releases, "rollback")
    advance(two_releases, now=datetime.now(UTC))
    with two_releases.database.read() as connection:
        opened = find_open_cycle(connection)
    assert opened is not None

    with lease_lost(two_releases.database) as lease, pytest.raises(LeaseHeld):
        run_step(Turn(two_releases, lease, opened, datetime.now(UTC)))

    assert len(log(two_releases)) == 2
