"""Which labelled predictions are used: no source beyond its share, no copy on two sides, every row accounted for."""

import random
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from homeostat.data.columns import texts
from homeostat.data.snapshots import FILE, PRODUCTION, identify_rows, take_labelled
from homeostat.records import LabelledRows
from homeostat.retraining.selection import Selection, cap_sources, largest_share, select_labels
from homeostat.settings import RetrainingSettings

# Rows of the project's own table: their one feature, and the side of each.
TABLE = {100.0: "anchor", 101.0: "training", 102.0: "training"}
ALL, HALF = RetrainingSettings(max_source_share=1), RetrainingSettings(max_source_share=0.5)


def rows_of(values: list[float], *, labels: list[int] | None = None, sides: list[str] | None = None) -> LabelledRows:
    """Return the table's rows, then labelled predictions p0, p1, ... with these features, in the order of the log."""
    n_rows = len(values)
    column = np.array([*TABLE, *values])
    ids = [*identify_rows({"x": np.array(list(TABLE))}), *(f"p{n}" for n in range(n_rows))]
    return LabelledRows(
        texts(ids),
        {"x": column},
        np.array([0, 1, 0, *(labels or [0] * n_rows)], dtype=np.int8),
        texts([*TABLE.values(), *(sides or ["training"] * n_rows)]),
        texts([FILE] * len(TABLE) + [PRODUCTION] * n_rows),
        np.array([0] * len(TABLE) + [n + 1 for n in range(n_rows)]),
    )


def distinct(n_rows: int) -> LabelledRows:
    return rows_of([n + 0.25 for n in range(n_rows)])


def sent_by(*sources: str | None) -> dict[str, str]:
    return {f"p{n}": source for n, source in enumerate(sources) if source is not None}


def used(rows: LabelledRows, found: Selection) -> list[str]:
    return [row_id for row_id in rows.ids[found.kept].tolist() if row_id.startswith("p")]


# --- every row is accounted for -----------------------------------------------------------------------------------


@st.composite
def offers(draw: st.DrawFn) -> tuple[LabelledRows, dict[str, str], RetrainingSettings]:
    """Return a training set with copies on both sides, who sent its outcomes, and settings."""
    n_rows = draw(st.integers(0, 40))
    few = st.sampled_from([0.0, 1.0, 2.0, 3.0, 100.0, 101.0])
    values = draw(st.lists(few | st.floats(0, 99), min_size=n_rows, max_size=n_rows))
    labels = draw(st.lists(st.integers(0, 1), min_size=n_rows, max_size=n_rows))
    sides = draw(st.lists(st.sampled_from(["training", "recent"]), min_size=n_rows, max_size=n_rows))
    senders = draw(st.lists(st.sampled_from(["a", "a", "a", "b", "c", None]), min_size=n_rows, max_size=n_rows))
    asked = {"max_source_share": draw(st.floats(0.05, 1)), "data": draw(st.just("all") | st.integers(1, 50))}
    settings = RetrainingSettings.model_validate(asked)
    return rows_of(values, labels=labels, sides=sides), sent_by(*senders), settings


@given(offers())
def test_what_is_used_and_what_is_left_out_is_everything(
    offer: tuple[LabelledRows, dict[str, str], RetrainingSettings],
) -> None:
    rows, senders, settings = offer

    found = select_labels(rows, senders, settings)

    assert int(found.kept.sum()) + sum(found.left_out.values()) == len(rows.ids)
    assert found.kept[: len(TABLE)].all()


@given(offers(), st.randoms(use_true_random=False))
def test_the_order_in_which_rows_are_handed_over_changes_nothing(
    offer: tuple[LabelledRows, dict[str, str], RetrainingSettings], chance: random.Random
) -> None:
    rows, senders, settings = offer
    order = list(range(len(rows.ids)))
    chance.shuffle(order)
    turned = take_labelled(rows, np.array(order))

    first, second = select_labels(rows, senders, settings), select_labels(turned, senders, settings)

    assert set(used(rows, first)) == set(used(turned, second))
    assert (first.left_out, first.sources) == (second.left_out, second.sources)


@given(offers())
def test_no_content_is_both_trained_on_and_judging(
    offer: tuple[LabelledRows, dict[str, str], RetrainingSettings],
) -> None:
    rows, senders, settings = offer

    kept = take_labelled(rows, select_labels(rows, senders, settings).kept)

    trained, recent, anchor = (set(kept.columns["x"][kept.sides == s]) for s in ("training", "recent", "anchor"))
    assert not trained & (recent | anchor)


# --- sources ------------------------------------------------------------------------------------------------------


@given(st.lists(st.sampled_from("abcd"), max_size=60), st.floats(0.01, 1))
def test_no_source_gives_more_than_its_share_of_what_is_used(senders: list[str], share: float) -> None:
    kept = cap_sources([str(n) for n in range(len(senders))], senders, share=share, least=1)

    given_by = Counter(sender for sender, stays in zip(senders, kept, strict=True) if stays)
    allowed = largest_share(share, n_sources=len(set(senders)))
    assert all(n <= allowed * given_by.total() + 1e-6 for n in given_by.values())


@given(st.lists(st.sampled_from("abcd"), max_size=60), st.floats(0.01, 1))
def test_a_source_loses_rows_only_if_one_more_would_be_too_many(senders: list[str], share: float) -> None:
    kept = cap_sources([str(n) for n in range(len(senders))], senders, share=share, least=1)

    given_by = Counter(sender for sender, stays in zip(senders, kept, strict=True) if stays)
    sent, most = Counter(senders), max(given_by.values(), default=0)
    one_more = sum(min(n, most + 1) for n in sent.values())
    allowed = largest_share(share, n_sources=len(sent))
    assert all(given_by[s] == n for s, n in sent.items()) or most + 1 > allowed * one_more + 1e-9


def test_the_larger_of_two_sources_gives_as_much_as_the_other() -> None:
    found = select_labels(distinct(130), sent_by(*["a"] * 100, *["b"] * 30), HALF)

    assert found.sources == {"a": 30, "b": 30}
    assert found.left_out == {"source_cap": 70}


def test_one_of_several_gives_at_most_four_fifths() -> None:
    found = select_labels(distinct(330), sent_by(*["a"] * 300, *["b"] * 30), RetrainingSettings())

    assert found.sources == {"a": 120, "b": 30}


def test_a_sender_who_was_tried_once_makes_nobody_one_of_several() -> None:
    found = select_labels(distinct(330), sent_by(*["a"] * 301, *["b"] * 29), RetrainingSettings())

    assert (found.left_out, found.single_source) == ({}, True)


def test_a_single_source_has_no_cap_and_is_told() -> None:
    found = select_labels(distinct(100), sent_by(*["a"] * 100), RetrainingSettings())

    assert (found.sources, found.left_out, found.single_source) == ({"a": 100}, {}, True)


def test_a_share_of_one_caps_nobody() -> None:
    found = select_labels(distinct(100), sent_by(*["a"] * 70, *["b"] * 30), ALL)

    assert (found.left_out, found.single_source) == ({}, False)


def test_rows_whose_outcome_is_no_longer_in_the_log_are_reached_by_no_cap() -> None:
    found = select_labels(distinct(100), sent_by(*[None] * 50, *["a"] * 45, *["b"] * 5), RetrainingSettings())

    assert found.sources == {"a": 45, "b": 5}


def test_which_rows_of_a_capped_source_stay_does_not_follow_their_order() -> None:
    rows = distinct(110)

    stay = [int(i[1:]) for i in used(rows, select_labels(rows, sent_by(*["a"] * 80, *["b"] * 30), HALF))]

    from_a = [number for number in stay if number < 80]
    assert len(from_a) == 30
    assert 25 < np.mean(from_a) < 55


def test_rows_that_stay_under_a_cap_stay_when_more_arrive() -> None:
    rows, more = distinct(110), distinct(150)
    senders = sent_by(*["a"] * 80, *["b"] * 30, *["c"] * 40)

    before = used(rows, select_labels(rows, {i: s for i, s in senders.items() if s != "c"}, HALF))
    after = used(more, select_labels(more, senders, HALF))

    assert len(before) < len(after)
    assert set(before) <= set(after)


# --- window -------------------------------------------------------------------------------------------------------


def test_of_a_window_only_the_newest_are_used() -> None:
    rows = distinct(30)

    found = select_labels(rows, sent_by(*["a"] * 30), RetrainingSettings(data=10))

    assert used(rows, found) == [f"p{n}" for n in range(20, 30)]
    assert found.left_out == {"window": 20}


def test_a_source_that_floods_the_window_does_not_push_the_others_out() -> None:
    rows = distinct(110)
    window = RetrainingSettings(data=20, max_source_share=0.5)

    found = select_labels(rows, sent_by(*["a"] * 30, *["flood"] * 80), window)

    assert found.sources == {"a": 10, "flood": 10}


# --- copies -------------------------------------------------------------------------------------------------------


def test_a_row_of_training_with_the_features_of_an_anchor_row_is_not_trained_on() -> None:
    found = select_labels(rows_of([100.0, 5.0]), {}, ALL)

    assert found.kept.tolist() == [True, True, True, False, True]
    assert found.left_out == {"leakage": 1}


def test_a_recent_row_with_the_features_of_an_anchor_row_may_judge() -> None:
    assert select_labels(rows_of([100.0], sides=["recent"]), {}, ALL).left_out == {}


@pytest.mark.parametrize("sides", [["training", "recent"], ["recent", "training"]])
def test_of_equal_rows_on_two_sides_the_first_stays(sides: list[str]) -> None:
    rows = rows_of([5.0, 5.0], sides=sides)

    found = select_labels(rows, sent_by("a", "b"), ALL)

    assert used(rows, found) == ["p0"]
    assert found.left_out == {"leakage": 1}


def test_a_row_that_one_source_sends_again_and_again_counts_once() -> None:
    rows = rows_of([5.0] * 10)

    found = select_labels(rows, sent_by(*["a"] * 10), ALL)

    assert used(rows, found) == ["p0"]
    assert found.left_out == {"duplicate": 9}


@pytest.mark.parametrize(("labels", "senders"), [([0, 1], ("a", "a")), ([0, 0], ("a", "b"))])
def test_another_outcome_or_another_source_is_no_duplicate(labels: list[int], senders: tuple[str, str]) -> None:
    assert select_labels(rows_of([5.0, 5.0], labels=labels), sent_by(*senders), ALL).left_out == {}


def test_in_a_table_that_repeats_itself_equal_rows_are_what_rates_are_learned_from() -> None:
    rows = rows_of([5.0] * 10)
    first, second = rows.ids[:2].tolist()
    repeated = replace(rows, ids=texts([first, first, second, *rows.ids[3:].tolist()]))

    assert select_labels(repeated, sent_by(*["a"] * 10), ALL).left_out == {}
