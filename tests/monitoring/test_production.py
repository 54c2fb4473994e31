"""The log read as data: numbered by the one loop, in order, and by the rules of today."""

import json
import threading
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest
from sqlalchemy import func, insert, select

from homeostat.data.columns import unstack_rows
from homeostat.data.sources import Source, as_cells
from homeostat.errors import LeaseHeld, SourceUnreadable
from homeostat.monitoring.observed import read_rows
from homeostat.monitoring.production import (
    STAMP_BLOCK,
    LabelledProduction,
    Quarantine,
    count_labels,
    count_labels_ever,
    labelled_since,
    stamp_rows,
    watched_range,
)
from homeostat.records import Columns, Feature, Row, Schema, Target
from homeostat.store.database import Database
from homeostat.store.tables import predictions
from homeostat.validation.schema import freeze_schema
from tests.conformance.source import TABLE, SourceConformance
from tests.production_log import NOW, answer, label, lease_lost, own_lease

TARGET = Target("outcome", 0, 1)
AGE = Feature("age", "numeric", low=0.0, high=120.0, missing=(-1.0,))
CITY = Feature("city", "categorical")
SCHEMA = freeze_schema([AGE, CITY], TARGET)
ROW: Row = {"age": 50.0, "city": "Köln"}


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    with Database(f"sqlite:///{tmp_path / 'homeostat.db'}") as opened:
        yield opened


def stamp(database: Database, *, epoch: int = 1) -> int:
    return stamp_rows(database, lease=own_lease(database), epoch=epoch)


def stamps(database: Database) -> list[tuple[int | None, int | None]]:
    """Return observed number and epoch of every row, in the order of the log."""
    with database.read() as connection:
        query = select(predictions.c.observed_seq, predictions.c.epoch).order_by(predictions.c.seq)
        return [(row.observed_seq, row.epoch) for row in connection.execute(query)]


def read(database: Database, schema: Schema, *, first: int, last: int) -> Columns:
    with database.read() as connection:
        return read_rows(connection, schema, first=first, last=last)


# --- numbers ------------------------------------------------------------------------------------------------------


def test_rows_are_numbered_from_one_in_the_order_of_the_log(database: Database) -> None:
    answer(database, [ROW] * 3)

    assert stamp(database) == 3
    assert stamps(database) == [(1, 1), (2, 1), (3, 1)]


def test_a_numbered_row_keeps_its_number_and_its_watch(database: Database) -> None:
    answer(database, [ROW])
    stamp(database)
    answer(database, [ROW])

    assert stamp(database, epoch=2) == 1
    assert stamps(database) == [(1, 1), (2, 2)]


def test_without_new_rows_nothing_is_numbered(database: Database) -> None:
    assert stamp(database) == 0


def test_more_rows_than_one_transaction_takes_are_all_numbered(database: Database) -> None:
    answer(database, [ROW] * (2 * STAMP_BLOCK + 1))

    assert stamp(database) == 2 * STAMP_BLOCK + 1
    assert [number for number, _ in stamps(database)] == list(range(1, 2 * STAMP_BLOCK + 2))


def test_numbers_are_contiguous_and_in_log_order_while_others_write(database: Database) -> None:
    writers = [threading.Thread(target=lambda: [answer(database, [ROW] * 3) for _ in range(15)]) for _ in range(4)]
    for writer in writers:
        writer.start()
    while any(writer.is_alive() for writer in writers):
        stamp(database)
    stamp(database)

    assert stamps(database) == [(number, 1) for number in range(1, 181)]


def send(database: Database, ages: Sequence[float], *, seconds: int = 0) -> None:
    """Append the rows of one request, so many seconds after `NOW`."""
    with database.write() as connection:
        first = (connection.scalar(select(func.max(predictions.c.seq))) or 0) + 1
        row: dict[str, object] = {"release": "a" * 64, "probability": 0.5, "label": "0"}
        row["received_at"] = NOW + timedelta(seconds=seconds)
        bodies = [json.dumps({"age": age, "city": "A"}).encode() for age in ages]
        lines = [{**row, "id": f"p{first + place}", "row": body} for place, body in enumerate(bodies)]
        connection.execute(insert(predictions), lines)


def ages(database: Database, first: int, last: int) -> list[float]:
    with database.read() as connection:
        return [float(age) for age in read_rows(connection, SCHEMA, first=first, last=last)["age"].tolist()]


def test_rows_of_one_request_are_numbered_in_an_order_that_says_nothing_about_them(database: Database) -> None:
    send(database, range(100))
    stamp(database)

    found = ages(database, 1, 100)

    assert sorted(found) == list(range(100))
    assert 30 < np.mean(found[:50]) < 70


def test_requests_are_numbered_one_after_the_other(database: Database) -> None:
    for place in range(3):
        send(database, [place] * 10, seconds=place)
    stamp(database)

    assert ages(database, 1, 30) == [0.0] * 10 + [1.0] * 10 + [2.0] * 10


def test_the_order_within_a_request_is_the_same_whenever_it_is_asked(database: Database, tmp_path: Path) -> None:
    with Database(f"sqlite:///{tmp_path / 'other.db'}") as other:
        for one in (database, other):
            send(one, range(50))
            stamp(one)

        assert ages(database, 1, 50) == ages(other, 1, 50) != sorted(ages(other, 1, 50))


def test_a_loop_that_lost_its_lease_numbers_nothing(database: Database) -> None:
    answer(database, [ROW])

    with lease_lost(database) as lease, pytest.raises(LeaseHeld):
        stamp_rows(database, lease=lease, epoch=1)

    assert stamps(database) == [(None, None)]


def test_a_watch_reaches_from_its_first_row_to_its_last(database: Database) -> None:
    for epoch, n_rows in ((1, 3), (2, 2)):
        answer(database, [ROW] * n_rows)
        stamp(database, epoch=epoch)

    with database.read() as connection:
        assert [watched_range(connection, epoch=epoch) for epoch in (1, 2, 3)] == [(1, 3), (4, 5), None]


# --- rows ---------------------------------------------------------------------------------------------------------


def test_rows_come_back_as_they_were_sent_in_order(database: Database) -> None:
    sent: list[Row] = [{"age": -1.0, "city": "Köln"}, {"age": None, "city": None}, {"age": 0.1, "city": ""}]
    answer(database, sent)
    stamp(database)

    found = read(database, SCHEMA, first=1, last=2)

    assert unstack_rows(found) == sent[:2]


@pytest.mark.parametrize(
    ("edited", "kept"),
    [
        ([replace(AGE, high=60.0), CITY], [1, 3]),
        ([replace(AGE, kind="categorical", low=None, high=None, missing=()), CITY], [3]),
        ([AGE, Feature("city", "numeric")], [2]),
        ([replace(AGE, high=60.0), replace(CITY, kind="numeric")], []),
    ],
)
def test_rows_that_an_edited_schema_refuses_are_left_out(
    database: Database, edited: Sequence[Feature], kept: list[int]
) -> None:
    answer(database, [{"age": 50.0, "city": "A"}, {"age": 99.0, "city": None}, {"age": None, "city": "B"}])
    stamp(database)
    schema = freeze_schema(edited, TARGET)

    numbers = [n for n in (1, 2, 3) if len(read(database, schema, first=n, last=n)["age"])]

    assert numbers == kept
    assert len(read(database, schema, first=1, last=3)["age"]) == len(kept)


def test_a_feature_that_was_added_since_is_missing_and_a_removed_one_is_left_out(database: Database) -> None:
    answer(database, [ROW])
    stamp(database)

    found = read(database, freeze_schema([CITY, Feature("bmi", "numeric")], TARGET), first=1, last=1)

    assert unstack_rows(found) == [{"city": "Köln", "bmi": None}]


# --- labelled rows ------------------------------------------------------------------------------------------------


class TestLabelledProduction(SourceConformance):
    @pytest.fixture
    def source(self, database: Database) -> Source:
        *features, outcome = TABLE
        cells = zip(*(TABLE[name] for name in features), strict=True)
        ids = answer(database, [dict(zip(features, row, strict=True)) for row in cells])
        label(database, [(i, int(str(o))) for i, o in zip(ids, TABLE[outcome], strict=True)])
        stamp(database)
        return LabelledProduction(database, SCHEMA)

    @pytest.fixture
    def empty_source(self, database: Database) -> Source:
        answer(database, [ROW])
        return LabelledProduction(database, SCHEMA)


def labelled_ids(database: Database, schema: Schema = SCHEMA) -> list[str]:
    return LabelledProduction(database, schema).read()[".id"].to_list()


def test_only_labelled_predictions_are_handed_over_in_the_order_of_the_log(database: Database) -> None:
    first, _, third = answer(database, [ROW] * 3)
    stamp(database)
    label(database, [(third, 1), (first, 0)])

    assert labelled_ids(database) == [first, third]


def test_a_prediction_that_no_loop_has_seen_waits(database: Database) -> None:
    (seen,) = answer(database, [ROW])
    stamp(database)
    (unseen,) = answer(database, [ROW])
    label(database, [(seen, 0), (unseen, 1)])

    assert labelled_ids(database) == [seen]


def test_labelled_rows_that_an_edited_schema_refuses_are_left_out(database: Database) -> None:
    old, new = answer(database, [{"age": "fifty", "city": "A"}, ROW])
    label(database, [(old, 0), (new, 1)])
    stamp(database)

    assert labelled_ids(database) == [new]


def test_outcomes_that_an_edited_target_does_not_have_are_left_out(database: Database) -> None:
    old, new = answer(database, [ROW] * 2)
    label(database, [(old, "yes"), (new, 1)])
    stamp(database)

    assert labelled_ids(database) == [new]


def test_where_every_labelled_row_is_refused_there_is_no_table(database: Database) -> None:
    label(database, [(answer(database, [{"age": 999.0, "city": "A"}])[0], 0)])
    stamp(database)

    with pytest.raises(SourceUnreadable, match="none of 1 labelled predictions fits the schema"):
        labelled_ids(database)


def test_a_marker_is_handed_over_as_it_was_sent(database: Database) -> None:
    label(database, [(answer(database, [{"age": -1.0, "city": "A"}])[0], 0)])
    stamp(database)

    cells = as_cells(LabelledProduction(database, SCHEMA).read(), {"age": "numeric"})

    np.testing.assert_array_equal(cells["age"], [-1.0])


def test_labels_are_counted_and_listed_since_a_row(database: Database) -> None:
    ids = answer(database, [ROW] * 4)
    label(database, [(ids[0], 0), (ids[2], 1), (ids[3], 0)])
    stamp(database)

    with database.read() as connection:
        assert count_labels(connection) == 3
        found = sorted(labelled_since(connection, first_seq=3, at_most=9))

    assert found == [(ids[2], "1", "test"), (ids[3], "0", "test")]


# --- quarantine ---------------------------------------------------------------------------------------------------

QUARANTINE = Quarantine(NOW, 600)


@pytest.fixture
def young_and_old(database: Database) -> list[str]:
    """Rows whose outcomes came an hour ago, ten minutes ago, just now, and tomorrow by a clock that was wrong."""
    ids = answer(database, [ROW] * 4)
    for row_id, age in zip(ids, (60, 10, 0, -60 * 24), strict=True):
        label(database, [(row_id, 1)], now=NOW - timedelta(minutes=age))
    stamp(database)
    return ids


def test_an_outcome_is_used_once_its_quarantine_is_over(database: Database, young_and_old: list[str]) -> None:
    hour, ten_minutes, _, tomorrow = young_and_old

    found = LabelledProduction(database, SCHEMA, QUARANTINE).read()

    assert found[".id"].to_list() == [hour, ten_minutes, tomorrow]


@pytest.mark.parametrize(("lasts_s", "n_used"), [(0, 4), (1, 3), (600, 3), (601, 2), (3601, 1), (1e300, 0)])
def test_labels_in_quarantine_are_not_counted(
    database: Database, young_and_old: list[str], *, lasts_s: float, n_used: int
) -> None:
    quarantine = Quarantine(NOW, lasts_s)

    with database.read() as connection:
        listed = labelled_since(connection, first_seq=1, at_most=9, quarantine=quarantine)
        counted = count_labels_ever(connection, quarantine)

    assert len(listed) == counted == n_used
    assert {row_id for row_id, *_ in listed} <= set(young_and_old)


def test_who_sent_an_outcome_is_handed_over_with_it(database: Database) -> None:
    ids = answer(database, [ROW] * 2)
    for row_id, source in zip(ids, ("clinic", "laboratory"), strict=True):
        label(database, [(row_id, 0)], source=source)
    stamp(database)

    assert LabelledProduction(database, SCHEMA).read()[".sender"].to_list() == ["clinic", "laboratory"]


def test_labelled_rows_that_the_schema_refuses_are_counted(database: Database) -> None:
    ids = answer(database, [{"age": "fifty", "city": "A"}, ROW, {"age": 999.0, "city": "A"}])
    label(database, [(row_id, 0) for row_id in ids])
    stamp(database)

    frame, n_refused = LabelledProduction(database, SCHEMA).read_counted()

    assert (frame[".id"].to_list(), n_refused) == ([ids[1]], 2)
