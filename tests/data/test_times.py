"""Moments are read from whatever writes them, and what time has divided once stays divided."""

from dataclasses import replace
from datetime import UTC, date, datetime

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from homeostat.data.times import (
    Division,
    Times,
    describe_moment,
    divide,
    division_from_json,
    division_to_json,
    place_in_time,
    read_times,
)
from homeostat.errors import DataInsufficient, TimeInvalid
from homeostat.records import Dialect

NEW_YEAR = datetime(2024, 1, 1, tzinfo=UTC).timestamp()
DAY = 86_400.0
few = settings(max_examples=60, deadline=None)
moments = st.lists(st.integers(0, 30), min_size=2, max_size=60)
shares = st.sampled_from([0.05, 0.2, 0.5, 0.8])


def read(cells: list[object] | pl.Series) -> Times:
    column = cells if isinstance(cells, pl.Series) else pl.Series("day", cells)
    return read_times(column, np.ones(len(column), dtype=np.bool_), source="t.csv")


def numbered(values: list[int]) -> Times:
    return Times(np.array(values, dtype=np.float64), "number")


def division_of(values: list[int], share: float, earlier: Division | None = None) -> Division:
    return divide(numbered(values), column="day", share=share, earlier=earlier)


def sides_of(values: list[int], division: Division) -> list[str]:
    sides: list[str] = place_in_time(numbered(values).values, division).tolist()
    return sides


# --- moments ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "cell",
    [
        "2024-01-02",
        " 2024-01-02 ",
        "2024-01-02 00:00:00",
        "2024-01-02T00:00:00Z",
        "2024-01-02T00:00",
        "2024-01-02T02:00:00+02:00",
        "2024-W01-2",
        datetime(2024, 1, 2, tzinfo=UTC),
        date(2024, 1, 2),
    ],
)
def test_a_moment_is_the_same_however_it_is_written(cell: object) -> None:
    found = read([cell])

    assert (found.values.tolist(), found.kind) == ([NEW_YEAR + DAY], "moment")


def test_a_month_is_its_first_day() -> None:
    assert read(["2024-01"]).values.tolist() == [NEW_YEAR]


def test_moments_a_microsecond_apart_are_two() -> None:
    first, second = read(["2024-01-02 10:00:00.000001", "2024-01-02 10:00:00.000002"]).values

    assert second > first


@pytest.mark.parametrize("cells", [["1", "2.5", "1e3"], [1, 2.5, 1000], [1.0, 2.5, 1e3]])
def test_numbers_are_taken_as_they_stand(cells: list[object]) -> None:
    found = read(pl.Series("day", cells, strict=False))

    assert (found.values.tolist(), found.kind) == ([1.0, 2.5, 1000.0], "number")


def test_numbers_are_read_as_the_file_writes_them() -> None:
    column, wanted = pl.Series("day", ["999", "1.001", "2.002,5"]), np.ones(3, dtype=np.bool_)

    found = read_times(column, wanted, source="t.csv", dialect=Dialect(";", ",", "."))

    assert (found.values.tolist(), found.kind) == ([999.0, 1001.0, 2002.5], "number")


@pytest.mark.parametrize(
    ("cells", "row", "value"),
    [
        (["2024-01-02", "31.12.2024"], 2, "'31.12.2024'"),
        (["yesterday", "today"], 1, "'yesterday'"),
        (["2024-01-02", None], 2, "None"),
        (["2024-01-02", "7"], 2, "'7'"),
        (["7", "2024-01-02"], 2, "'2024-01-02'"),
        (["7", "soon"], 2, "'soon'"),
        ([1.0, float("nan")], 2, "nan"),
        ([True, False], 1, "True"),
    ],
)
def test_what_is_no_moment_is_named_with_its_row(cells: list[object], row: int, value: str) -> None:
    with pytest.raises(TimeInvalid) as refused:
        read(cells)

    assert refused.value.problem == f"t.csv: row {row} has day = {value}"
    assert "2024-05-31" in refused.value.expected
    assert refused.value.action.startswith("correct the row")


def test_the_moment_of_a_row_that_is_not_wanted_does_not_matter() -> None:
    found = read_times(pl.Series("day", ["?", "2024-01-02"]), np.array([False, True]), source="t.csv")

    assert np.isnan(found.values[0])
    assert found.values[1] == NEW_YEAR + DAY


@pytest.mark.parametrize(
    ("cell", "words"), [("2024-01-02", "2024-01-02"), ("2024-01-02 10:30", "2024-01-02 10:30:00"), (7.5, "7.5")]
)
def test_a_moment_is_told_as_it_is_written(cell: object, words: str) -> None:
    found = read([cell])

    assert describe_moment(float(found.values[0]), found.kind) == words


# --- the division -------------------------------------------------------------------------------------------------


def test_the_newest_share_of_the_rows_judges() -> None:
    division = division_of(list(range(10)), 0.2)

    assert sides_of(list(range(10)), division) == ["training"] * 8 + ["anchor"] * 2
    assert (division.anchor, division.newest) == (((8.0, 9.0),), 9.0)


@few
@given(values=moments.filter(lambda values: len(set(values)) > 1), share=shares)
def test_both_sides_have_rows_and_equal_moments_are_never_divided(values: list[int], share: float) -> None:
    sides = sides_of(values, division_of(values, share))

    judging = {value for value, side in zip(values, sides, strict=True) if side == "anchor"}
    others = set(values) - judging
    assert {value for value, side in zip(values, sides, strict=True) if side == "training"} == others
    assert max(others) < min(judging)


@few
@given(values=moments.filter(lambda values: len(set(values)) > 1), share=shares, grown=st.lists(moments, max_size=4))
def test_a_row_stays_on_its_side_however_often_the_file_grows(
    values: list[int], share: float, grown: list[list[int]]
) -> None:
    known, division = values, division_of(values, share)

    for more in grown:
        before = sides_of(known, division)
        later = [value + 20 for value in more]  # some older than what is known, some newer
        division = division_of([*known, *later], share, division)
        assert sides_of(known, division) == before
        known = [*known, *later]


def test_of_rows_that_come_later_the_newest_judge_and_the_others_teach() -> None:
    first = division_of(list(range(10)), 0.2)

    second = division_of(list(range(20)), 0.2, first)

    assert sides_of(list(range(10, 20)), second) == ["training"] * 8 + ["anchor"] * 2
    assert second.anchor == ((8.0, 9.0), (18.0, 19.0))


def test_rows_that_come_one_at_a_time_are_divided_in_the_same_share() -> None:
    division = division_of(list(range(10)), 0.2)

    for newest in range(10, 40):
        division = division_of(list(range(newest + 1)), 0.2, division)

    assert sides_of(list(range(10, 40)), division) == (["training"] * 4 + ["anchor"]) * 6


def test_rows_of_one_moment_are_all_before_the_anchor_or_all_in_it() -> None:
    first = division_of(list(range(10)), 0.2)

    grown = division_of([*range(10), *[10] * 50], 0.2, first)

    assert sides_of([10], grown) == ["training"]


def test_one_moment_cannot_be_divided() -> None:
    with pytest.raises(DataInsufficient, match="all rows have day = 7"):
        division_of([7, 7, 7], 0.2)


def test_another_kind_of_moments_than_before_is_refused() -> None:
    earlier = division_of(list(range(10)), 0.2)

    with pytest.raises(TimeInvalid, match="holds moments, and held numbers when the anchor was chosen"):
        divide(replace(numbered([1, 2]), kind="moment"), column="day", share=0.2, earlier=earlier)


def test_a_division_survives_the_lineage_and_is_told_in_words() -> None:
    times = read(["2024-01-01", "2024-01-02", "2024-01-03 12:00"])
    division = divide(times, column="day", share=0.3, earlier=None)

    stored = division_to_json(division)

    assert division_from_json(stored) == division
    assert (stored["anchor_from"], stored["anchor_to"]) == ("2024-01-03 12:00:00", "2024-01-03 12:00:00")
