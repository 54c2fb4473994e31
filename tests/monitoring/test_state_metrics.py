"""What Prometheus is told of the stored state, and what it costs to find out."""

import math
from collections.abc import Iterator
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import insert

from homeostat.monitoring.drift_checks import append_check
from homeostat.monitoring.state_metrics import StateCollector, StoredState, read_state
from homeostat.records import Json
from homeostat.store.database import Database
from homeostat.store.events import append_event
from homeostat.store.leases import give_lease_back, take_lease
from homeostat.store.tables import outcome_checks, predictions, promotions

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
OF_BEFORE: Json = {"score": 0.375, "boundary": 0.3, "features": []}
REPORT: Json = OF_BEFORE | {
    "evidence": {"streams": {"Age": {"value": 3.5, "peak": 9.0}, ".scores": {"value": 0.5, "peak": 1.0}}},
    "guarded": {"fired": True, "evidence_needed": 120.0, "alert_needed": 160.0},
}


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    with Database(f"sqlite:///{tmp_path / 'homeostat.db'}", durability="relaxed") as opened:
        yield opened


def read(database: Database) -> StoredState:
    with database.read() as connection:
        return read_state(connection)


def put_into_production(database: Database, epoch: int) -> None:
    line = {"epoch": epoch, "release": "a", "decided_at": NOW, "actor": "a", "reason": "r", "gate": "{}"}
    with database.write() as connection:
        connection.execute(insert(promotions).values(line))
        append_event(connection, "promoted", {"epoch": epoch}, now=NOW)


def check(database: Database, report: Json, *, epoch: int = 1, first: int = 1) -> None:
    with database.write() as connection:
        append_check(connection, report, epoch=epoch, window=(first, first + 199), release="a", now=NOW)


def alert(database: Database, *kinds: str) -> None:
    with database.write() as connection:
        for kind in kinds:
            append_event(connection, "alert", {"kind": kind, "subject": "Age"}, now=NOW)


def check_outcomes(database: Database, report: str, *, first: int = 1) -> None:
    line = {"epoch": 1, "first_seq": first, "last_seq": first, "checked_at": NOW, "release": "a", "report": report}
    with database.write() as connection:
        connection.execute(insert(outcome_checks).values(line))


def keep_rows(database: Database, n_rows: int) -> None:
    """Keep rows that arrived one second after the other, the first at NOW."""
    line = {"release": "a", "row": b"{}", "probability": 0.5, "label": "0"}
    lines = [line | {"id": str(n), "received_at": NOW + timedelta(seconds=n)} for n in range(n_rows)]
    with database.write() as connection:
        connection.execute(insert(predictions), lines)


def count_steps(database: Database) -> int:
    """Return how many steps SQLite's machine takes to read the state."""
    n_steps = 0

    def count() -> int:
        nonlocal n_steps
        n_steps += 1
        return 0

    with database.read() as connection:
        driver = connection.connection.driver_connection
        assert driver is not None
        driver.set_progress_handler(count, 1)
        read_state(connection)
        driver.set_progress_handler(None, 0)
    return n_steps


def live_through(database: Database, n_times: int, *, first: int) -> None:
    """Let so many windows be checked, and as many rows, events and outcomes be kept."""
    for place in range(first, first + n_times):
        check(database, REPORT, first=1 + 200 * place)
        check_outcomes(database, '{"n_rows": 200, "n_outcomes": 50}', first=1 + 200 * place)
    with database.write() as connection:
        for _ in range(n_times):
            append_event(connection, "drift_checked", REPORT, now=NOW)


def test_of_an_empty_project_nothing_is_known(database: Database) -> None:
    state = asdict(read(database))

    assert (state.pop("evidence"), state.pop("alerts")) == ({}, {})
    assert all(math.isnan(value) for value in state.values())


def test_the_newest_check_of_the_watch_is_told(database: Database) -> None:
    put_into_production(database, 1)
    check(database, OF_BEFORE)
    check(database, REPORT | {"score": 0.5}, first=201)

    state = read(database)

    assert (state.drift_score, state.drift_fired, state.drift_guarded) == (0.5, 1, 1)
    assert state.evidence == {"Age": 3.5, ".scores": 0.5}
    assert (state.evidence_needed, state.evidence_alert_needed) == (120, 160)


def test_a_check_of_before_tells_what_it_has(database: Database) -> None:
    put_into_production(database, 1)
    check(database, OF_BEFORE)

    state = read(database)

    assert (state.drift_score, state.drift_fired, state.evidence) == (0.375, 1, {})
    assert math.isnan(state.drift_guarded)
    assert math.isnan(state.evidence_needed)


@pytest.mark.parametrize("absent", [{}, {"evidence": None}, {"evidence": {}, "guarded": {}}])
def test_a_check_without_evidence_tells_none(database: Database, absent: Json) -> None:
    put_into_production(database, 1)
    check(database, OF_BEFORE | absent)

    state = read(database)

    assert (state.evidence, math.isnan(state.drift_guarded)) == ({}, True)


def test_a_promotion_forgets_the_checks_and_the_alerts_of_the_watch_before(database: Database) -> None:
    put_into_production(database, 1)
    check(database, REPORT)
    alert(database, "above")

    put_into_production(database, 2)

    state = read(database)
    assert (state.evidence, state.alerts, math.isnan(state.drift_score)) == ({}, {}, True)


def test_the_alerts_of_the_watch_are_counted_by_kind(database: Database) -> None:
    put_into_production(database, 1)
    alert(database, "above", "evidence", "above")

    assert read(database).alerts == {"above": 2, "evidence": 1}


def test_the_loop_was_seen_when_it_last_took_its_lease_even_if_it_gave_it_back(database: Database) -> None:
    lease = take_lease(database, now=NOW)
    assert read(database).loop_seen_timestamp_seconds == NOW.timestamp()

    give_lease_back(database, lease)

    assert read(database).loop_seen_timestamp_seconds == NOW.timestamp()


def test_the_newest_row_tells_when_the_last_one_came(database: Database) -> None:
    keep_rows(database, 3)

    assert read(database).last_prediction_timestamp_seconds == NOW.timestamp() + 2


def test_the_labels_are_those_of_the_newest_check_of_outcomes(database: Database) -> None:
    check_outcomes(database, '{"n_rows": 200, "n_outcomes": 200}')
    check_outcomes(database, '{"n_rows": 200, "n_outcomes": 50}', first=201)

    state = read(database)

    assert (state.labels_mature_rows, state.labels_missing_rows) == (200, 150)


def test_the_state_takes_as_many_steps_to_read_after_a_long_history_as_after_a_short_one(database: Database) -> None:
    put_into_production(database, 1)
    alert(database, "above", "evidence")
    keep_rows(database, 2)
    live_through(database, 5, first=0)
    short = count_steps(database)

    live_through(database, 300, first=5)

    assert count_steps(database) == short


def test_the_collector_tells_each_field_under_its_name() -> None:
    collector = StateCollector()
    collector.state = StoredState(drift_score=0.25, evidence={"Age": 2.0, ".scores": 0.5}, alerts={"above": 3})

    told = {(s.name, *s.labels.values()): s.value for family in collector.collect() for s in family.samples}

    assert told["homeostat_drift_score",] == 0.25
    assert told["homeostat_evidence", "Age"] == 2.0
    assert told["homeostat_evidence", ".scores"] == 0.5
    assert told["homeostat_alerts", "above"] == 3
    assert math.isnan(told["homeostat_drift_guarded",])
