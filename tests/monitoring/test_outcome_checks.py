"""The record of what outcomes said, and how many of them there are by now."""

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import delete, insert, update

from homeostat.monitoring import outcome_checks
from homeostat.monitoring.drift_checks import append_check
from homeostat.monitoring.outcome_checks import (
    SHOWN,
    append_outcome_check,
    describe_current_outcomes,
    describe_outcomes,
    latest_outcome_check,
    newest_outcome_checks,
)
from homeostat.monitoring.production import stamp_rows
from homeostat.records import Json
from homeostat.store.database import Database
from homeostat.store.tables import predictions, promotions
from tests.production_log import NOW, answer, label, own_lease


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    with Database(f"sqlite:///{tmp_path / 'homeostat.db'}") as opened:
        yield opened


def append(database: Database, first: int, last: int, *, n_outcomes: int = 0, epoch: int = 1) -> None:
    with database.write() as connection:
        report = {"n_outcomes": n_outcomes}
        append_outcome_check(connection, report, epoch=epoch, window=(first, last), release="r", now=NOW)


def produce(database: Database, n_rows: int, *, epoch: int = 1) -> list[str]:
    ids = answer(database, [{}] * n_rows)
    stamp_rows(database, lease=own_lease(database), epoch=epoch)
    return ids


def promote(database: Database, epoch: int) -> None:
    line = {"epoch": epoch, "release": "r", "decided_at": NOW, "actor": "a", "reason": "r", "gate": "{}"}
    with database.write() as connection:
        connection.execute(insert(promotions).values(line))


def describe(database: Database, *, epoch: int = 1) -> Json:
    with database.read() as connection:
        return describe_outcomes(connection, epoch=epoch)


def test_a_check_comes_back_as_it_was_stored(database: Database) -> None:
    promote(database, 1)
    append(database, 1, 200, n_outcomes=7)

    with database.read() as connection:
        check = latest_outcome_check(connection)

    assert check == {
        "id": 1,
        "epoch": 1,
        "first_seq": 1,
        "last_seq": 200,
        "checked_at": NOW.isoformat(),
        "release": "r",
        "report": {"n_outcomes": 7},
    }


def test_the_newest_check_is_that_of_the_release_in_production(database: Database) -> None:
    promote(database, 1)
    append(database, 1, 200)
    promote(database, 2)

    with database.read() as connection:
        assert latest_outcome_check(connection) is None


def test_only_the_newest_checks_are_shown_the_oldest_of_them_first(database: Database) -> None:
    for place in range(SHOWN + 2):
        append(database, 10 * place + 1, 10 * place + 10)

    shown = [check["first_seq"] for check in describe(database)["checks"]]

    assert shown == [10 * place + 1 for place in range(2, SHOWN + 2)]


def test_each_check_comes_with_what_the_drift_check_of_its_window_expected(database: Database) -> None:
    for first, estimated in ((1, None), (11, {"n_rows": 10}), (21, {"n_rows": 9})):
        with database.write() as connection:
            report = {"score": 0.0, "boundary": 0.3, "estimated": estimated}
            append_check(connection, report, epoch=1, window=(first, first + 9), release="r", now=NOW)
    append(database, 1, 10)
    append(database, 11, 20)

    found = describe(database)

    assert [check["estimated"] for check in found["checks"]] == [None, {"n_rows": 10}]
    assert found["estimated"] == {"first_seq": 21, "last_seq": 30, "n_rows": 9}


def test_outcomes_are_counted_that_are_there_now_and_those_that_came_late(database: Database) -> None:
    ids = produce(database, 30)
    append(database, 1, 10, n_outcomes=4)
    append(database, 11, 20, n_outcomes=2)
    label(database, [(i, 1) for i in [*ids[:6], *ids[10:13], ids[25]]])

    found = describe(database)

    assert {key: found["judged"][key] for key in ("n_rows", "n_labelled", "n_late")} == {
        "n_rows": 20,
        "n_labelled": 9,
        "n_late": 3,
    }
    assert {key: found["waiting"][key] for key in ("n_rows", "n_labelled")} == {"n_rows": 10, "n_labelled": 1}


def test_the_oldest_prediction_without_an_outcome_is_told_by_its_moment(database: Database) -> None:
    ids = produce(database, 3)
    label(database, [(ids[0], 1)])
    with database.write() as connection:
        connection.execute(update(predictions).values(received_at=NOW - timedelta(days=3)))

    found = describe(database)["waiting"]

    assert found["unlabelled_since"] == (NOW - timedelta(days=3)).isoformat()
    assert found["labelled_share"] == pytest.approx(1 / 3)


def test_predictions_that_were_deleted_since_make_nothing_negative(database: Database) -> None:
    produce(database, 10)
    append(database, 1, 10, n_outcomes=10)
    with database.write() as connection:
        connection.execute(delete(predictions))

    judged = describe(database)["judged"]

    assert (judged["n_rows"], judged["n_late"], judged["labelled_share"]) == (0, 0, None)


def test_no_more_rows_are_counted_than_a_service_can_afford(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outcome_checks, "COUNTED", 5)
    produce(database, 30)
    append(database, 1, 4)
    append(database, 5, 8)

    found = describe(database)

    assert (found["judged"]["n_rows"], found["waiting"]["n_rows"]) == (4, 5)


def test_before_anything_was_promoted_there_is_nothing_to_tell(database: Database) -> None:
    with database.read() as connection:
        found = describe_current_outcomes(connection)

    assert (found["epoch"], found["estimated"], found["checks"], found["waiting"]["n_rows"]) == (0, None, [], 0)


def test_checks_of_another_watch_are_not_told(database: Database) -> None:
    append(database, 1, 10, epoch=1)
    append(database, 11, 20, epoch=2)

    with database.read() as connection:
        assert [check["epoch"] for check in newest_outcome_checks(connection, epoch=1, limit=9)] == [1]
