"""Every row is on its side for good: it follows from what the row is, not from when or with what it came."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from homeostat.data.columns import stack_rows, texts
from homeostat.data.sides import place_files
from homeostat.data.snapshots import FILE, PRODUCTION, choose_side, identify_rows
from homeostat.records import Feature, Row, Schema, Side, Target

SCHEMA = Schema((Feature("age", "numeric"), Feature("city", "categorical")), Target("outcome", 0, 1), digest="d")
SHARES = {"anchor_share": 0.2, "recent_share": 0.4}
few = settings(max_examples=50, deadline=None)


def sides_of(rows: list[Row]) -> list[str]:
    return [choose_side(row_id, origin=FILE, **SHARES) for row_id in identify_rows(stack_rows(rows, SCHEMA)).tolist()]


rows_of_files = st.lists(
    st.fixed_dictionaries({"age": st.none() | st.floats(0, 99), "city": st.none() | st.text(max_size=3)}),
    min_size=1,
    max_size=10,
)


@few
@given(old=rows_of_files, new=rows_of_files)
def test_a_row_stays_on_its_side_when_rows_are_added_before_and_after_it(old: list[Row], new: list[Row]) -> None:
    assert sides_of([*new, *old, *new])[len(new) : -len(new)] == sides_of(old)


@few
@given(rows=rows_of_files)
def test_rows_have_the_same_id_exactly_if_their_features_are_equal(rows: list[Row]) -> None:
    ids = identify_rows(stack_rows(rows, SCHEMA)).tolist()

    assert [[a == b for a in ids] for b in ids] == [[a == b for a in rows] for b in rows]


def test_ids_and_sides_are_the_same_in_every_version_of_homeostat() -> None:
    """Changed, they would move anchor rows into the training of every project there is."""
    ids = identify_rows(stack_rows([{"age": 50.0, "city": "Köln"}, {"age": None, "city": None}], SCHEMA))
    sides = [choose_side(str(number), origin=FILE, **SHARES) for number in range(10)]

    assert ids.tolist() == ["ffc23ddf77de8109194b4e01837968b4", "42440c9ba6d4e727b57f0134bda95510"]
    assert [number for number, side in enumerate(sides) if side == "anchor"] == [1, 3, 6, 8]


@pytest.mark.parametrize(("origin", "side", "share"), [(FILE, "anchor", 0.2), (PRODUCTION, "recent", 0.4)])
def test_the_share_of_rows_kept_from_training_is_near_the_one_asked_for(origin: str, side: Side, share: float) -> None:
    sides = [choose_side(str(number), origin=origin, **SHARES) for number in range(20_000)]

    assert set(sides) == {"training", side}
    # Four standard errors of a share in 20,000 rows.
    assert abs(sides.count(side) / 20_000 - share) < 0.014


def test_a_larger_share_only_ever_moves_rows_out_of_training() -> None:
    small = [choose_side(str(number), origin=FILE, anchor_share=0.1, recent_share=0.1) for number in range(2_000)]
    large = [choose_side(str(number), origin=FILE, anchor_share=0.3, recent_share=0.1) for number in range(2_000)]

    assert all(after == "anchor" for before, after in zip(small, large, strict=True) if before == "anchor")


# --- a table of few different rows --------------------------------------------------------------------------------


def place(ids: list[str], labels: list[int], *, anchor_share: float = 0.2) -> list[str]:
    sides: list[str] = place_files(texts(ids), np.array(labels, dtype=np.int8), anchor_share=anchor_share).tolist()
    return sides


crowds = st.lists(st.tuples(st.sampled_from("ab"), st.sampled_from([0, 1])), min_size=1, max_size=60)


def test_five_equal_rows_with_the_same_outcome_keep_together() -> None:
    ids = [str(number) for number in range(200)]

    sides = place(ids * 10, ([0] * 200 + [1] * 200) * 5)

    assert sides[:200] == [choose_side(row_id, origin=FILE, **SHARES) for row_id in ids]
    assert sides == sides[:200] * 10


def test_the_rows_of_a_table_with_few_different_ones_are_on_both_sides_of_each() -> None:
    ids, labels = ["a", "b", "c"] * 2_000, ([0] * 3 + [1] * 3) * 1_000

    sides = place(ids, labels)

    for row_id in "abc":
        for label in (0, 1):
            chosen = [s for s, i, y in zip(sides, ids, labels, strict=True) if (i, y) == (row_id, label)]
            # Four standard errors of a share in 1,000 rows.
            assert abs(chosen.count("anchor") / len(chosen) - 0.2) < 0.055


@few
@given(table=crowds, data=st.data())
def test_the_order_of_equal_rows_does_not_matter(table: list[tuple[str, int]], data: st.DataObject) -> None:
    turned = data.draw(st.permutations(table))

    both = [Counter(zip(one, place(*map(list, zip(*one, strict=True))), strict=True)) for one in (table, turned)]

    assert both[0] == both[1]


@few
@given(table=crowds, more=crowds)
def test_further_equal_rows_never_move_those_that_were_there(
    table: list[tuple[str, int]], more: list[tuple[str, int]]
) -> None:
    before = place(*map(list, zip(*table, strict=True)))

    assert place(*map(list, zip(*table, *more, strict=True)))[: len(table)] == before


def test_the_side_of_the_sixth_equal_row_is_the_same_in_every_version_of_homeostat() -> None:
    sides = place(["a"] * 30, [1] * 30)

    assert [number for number, side in enumerate(sides) if side == "anchor"] == [0, 1, 2, 3, 4, 18, 19, 20, 28]
