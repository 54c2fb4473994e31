"""Outcomes: one for each prediction, counted once, whatever the order in which they arrive."""

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import select

from homeostat.monitoring.entries import new_prediction_ids, to_microseconds
from homeostat.monitoring.labels import LabelItem, LabelOutcome, judge_labels, record_labels
from homeostat.records import Label, Target
from homeostat.store.database import Database
from homeostat.store.tables import labels
from tests.production_log import answer

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
TARGET = Target("Outcome", 0, 1)
ISSUED = frozenset("abcdef")

sent_items = st.lists(st.builds(LabelItem, st.sampled_from("abcdefgh"), st.sampled_from([0, 1, 2, "1", True, None])))


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    with Database(f"sqlite:///{tmp_path / 'homeostat.db'}") as opened:
        yield opened


@pytest.fixture
def issued(database: Database) -> list[str]:
    return answer(database, [{"Age": 50.0}] * 3)


def record(database: Database, *items: tuple[str, object]) -> list[LabelOutcome]:
    sent = [LabelItem(prediction, label) for prediction, label in items]
    return record_labels(database, sent, target=TARGET, source="test", now=NOW)


def stored(database: Database) -> dict[str, str]:
    with database.read() as connection:
        return {row.prediction: row.label for row in connection.execute(select(labels))}


def judge_in_requests(requests: Sequence[Sequence[LabelItem]]) -> dict[str, Label]:
    standing: dict[str, Label] = {}
    for items in requests:
        for outcome in judge_labels(items, issued=ISSUED, standing=standing, target=TARGET):
            if outcome.standing is not None:
                standing[outcome.id] = outcome.standing
    return standing


def test_a_new_outcome_is_recorded_with_its_source(database: Database, issued: list[str]) -> None:
    outcome = record(database, (issued[0], 1))[0]

    with database.read() as connection:
        line = connection.execute(select(labels)).one()
    assert (outcome.status, line.prediction, line.label, line.source) == ("recorded", issued[0], "1", "test")


def test_the_same_outcome_again_is_repeated_and_changes_nothing(database: Database, issued: list[str]) -> None:
    record(database, (issued[0], 1))

    assert record(database, (issued[0], 1))[0].status == "repeated"
    assert stored(database) == {issued[0]: "1"}


def test_another_outcome_is_conflicting_and_reported_with_both(database: Database, issued: list[str]) -> None:
    record(database, (issued[0], 1))

    outcome = record(database, (issued[0], 0))[0]

    assert outcome == LabelOutcome(issued[0], 0, "conflicting", 1)
    assert stored(database) == {issued[0]: "1"}


def test_two_outcomes_in_one_request_conflict_too(database: Database, issued: list[str]) -> None:
    outcomes = record(database, (issued[0], 0), (issued[0], 1), (issued[0], 0))

    assert [o.status for o in outcomes] == ["recorded", "conflicting", "repeated"]
    assert stored(database) == {issued[0]: "0"}


def test_an_id_that_was_never_answered_is_unknown(database: Database, issued: list[str]) -> None:
    outcomes = record(
        database,
        (issued[0], 1),
        (new_prediction_ids(1, to_microseconds(NOW))[0], 1),
        ("", 1),
        ("'; DROP TABLE labels; --", 1),
    )

    assert [o.status for o in outcomes] == ["recorded", "unknown", "unknown", "unknown"]


@pytest.mark.parametrize("value", [2, "1", True, 1.0, None, [], {"label": 1}])
def test_a_value_that_the_target_does_not_have_is_invalid(database: Database, issued: list[str], value: object) -> None:
    assert record(database, (issued[0], value))[0].status == "invalid"
    assert stored(database) == {}


def test_thousands_of_outcomes_are_told_apart_in_one_request(database: Database, issued: list[str]) -> None:
    items = [(new_prediction_ids(1, to_microseconds(NOW))[0], 1) for _ in range(2_000)]

    outcomes = record(database, *items, (issued[2], 1))

    assert [o.status for o in outcomes].count("unknown") == 2_000
    assert stored(database) == {issued[2]: "1"}


@given(st.data(), st.dictionaries(st.sampled_from("abcdefgh"), st.sampled_from([0, 1])))
def test_any_order_any_repeats_and_any_requests_leave_the_same_table(
    data: st.DataObject, truth: dict[str, int]
) -> None:
    items = [LabelItem(prediction, label) for prediction, label in truth.items()]
    repeated = data.draw(st.permutations(items + data.draw(st.lists(st.sampled_from(items)) if items else st.just([]))))
    cut = data.draw(st.integers(0, len(repeated)))

    found = judge_in_requests([repeated[:cut], repeated[cut:]])

    assert found == {prediction: label for prediction, label in truth.items() if prediction in ISSUED}


@given(sent_items)
def test_the_first_valid_outcome_of_each_issued_id_stands(items: list[LabelItem]) -> None:
    first: dict[str, object] = {}
    for item in items:
        if item.id in ISSUED and type(item.label) is int and item.label in {0, 1}:
            first.setdefault(item.id, item.label)

    assert judge_in_requests([items]) == first


@given(sent_items)
def test_every_outcome_is_answered_in_its_place(items: list[LabelItem]) -> None:
    outcomes = judge_labels(items, issued=ISSUED, standing={}, target=TARGET)

    assert [(o.id, o.label) for o in outcomes] == [(i.id, i.label) for i in items]
