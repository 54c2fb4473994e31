"""A release that is worse than its predecessor on the same labelled rows is found; one that is not is left alone."""

from dataclasses import replace
from functools import partial

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.rollback import draw, rows_until_undone
from homeostat.errors import StateError
from homeostat.monitoring.succession import (
    VERSION,
    Succession,
    advance_succession,
    choose_rows,
    judge_outcomes_since,
    succession_from_bytes,
    succession_to_bytes,
)

ALPHA = 0.05
sources_of_rows = st.lists(st.sampled_from("abc"), max_size=200)
parts = st.floats(0.05, 1)


def advance(state: Succession, seed: int, *, n_rows: int = 100, turned: bool = False) -> Succession:
    """Return the comparison after rows of two equally good releases, the first turned round if asked."""
    ours, theirs, labels = draw(np.random.default_rng(seed), n_rows)
    told = 1 - ours if turned else ours
    return advance_succession(state, told, theirs, labels, sources=["clinic"] * n_rows, most=0.5)


# --- the test -----------------------------------------------------------------------------------------------------


def test_a_release_trained_on_labels_turned_round_goes_after_some_tens_of_labelled_rows() -> None:
    rng = np.random.default_rng(0)
    lives = [draw(rng, 200) for _ in range(20)]

    found = [rows_until_undone(1 - ours, theirs, labels, step=1) for ours, theirs, labels in lives]

    assert max(number or 200 for number in found) < 100


def test_of_twenty_releases_as_good_as_their_predecessor_none_goes_in_two_thousand_rows() -> None:
    rng = np.random.default_rng(1)

    assert [rows_until_undone(*draw(rng, 2000), step=200) for _ in range(20)] == [None] * 20


def test_a_release_that_becomes_worse_late_goes_too() -> None:
    sound = advance(Succession(), 0, n_rows=3000)

    spoiled = advance(sound, 1, n_rows=300, turned=True)

    assert judge_outcomes_since(sound, alpha=ALPHA) is None
    assert judge_outcomes_since(spoiled, alpha=ALPHA) is not None


def test_a_better_release_never_goes() -> None:
    ours, theirs, labels = draw(np.random.default_rng(0), 2000)

    assert rows_until_undone(ours, 1 - theirs, labels, step=200) is None


def test_the_sentence_compares_both_errors_and_says_who_has_sent_the_outcomes() -> None:
    ours, theirs, labels = draw(np.random.default_rng(0), 100)

    state = advance_succession(Succession(), 1 - ours, theirs, labels, sources=["a", "b"] * 50, most=0.5)

    breach = judge_outcomes_since(state, alpha=ALPHA)
    assert breach is not None
    assert breach.alarm == "outcomes"
    assert breach.sentence.startswith(
        "on 100 rows with an outcome its mean squared error is 0.520, its predecessor's 0.149"
    )
    assert breach.sentence.endswith("alarm at 20; outcomes from 2 sources, at most 50% from one")


@given(st.integers(0, 100), st.integers(0, 60))
def test_however_the_rows_are_divided_the_result_is_the_same_to_the_last_bit(seed: int, where: int) -> None:
    ours, theirs, labels = draw(np.random.default_rng(seed), 60)
    step = partial(advance_succession, most=0.5)
    names = ["clinic"] * 60

    whole = step(Succession(), ours, theirs, labels, sources=names)
    first = step(Succession(), ours[:where], theirs[:where], labels[:where], sources=names[:where])
    both = step(first, ours[where:], theirs[where:], labels[where:], sources=names[where:])

    assert succession_to_bytes(both) == succession_to_bytes(whole)


# --- whose outcomes -----------------------------------------------------------------------------------------------


def test_outcomes_of_one_source_among_several_undo_nothing() -> None:
    """One sends a thousand outcomes turned round, another three true ones."""
    ours, _, labels = draw(np.random.default_rng(0), 1003)
    hostile = np.r_[[False] * 3, [True] * 1000]
    told = np.where(hostile, ours < 0.5, labels).astype(np.int8)
    names = np.where(hostile, "hostile", "clinic").tolist()

    state = advance_succession(Succession(), ours, 1 - ours, told, sources=names, most=0.5)

    assert judge_outcomes_since(state, alpha=ALPHA) is None
    assert state.n_left_out > 990


@given(sources_of_rows, parts)
def test_one_of_several_sources_has_no_more_than_its_part_of_what_counts(names: list[str], most: float) -> None:
    chosen = choose_rows(names, {}, most=most)

    counted = [name for name, counts in zip(names, chosen, strict=True) if counts]
    part = max(most, 1 / len(set(names))) if len(set(names)) > 1 else 1.0
    assert all(counted.count(name) <= part * len(counted) + 2 for name in set(names))


@given(st.integers(0, 100))
def test_outcomes_of_the_only_source_all_count(n_rows: int) -> None:
    assert choose_rows(["a"] * n_rows, {}, most=0.1).all()


@settings(max_examples=50)
@given(st.integers(1, 50), st.integers(1, 50))
def test_one_that_was_alone_waits_until_others_have_sent_as_many(n_alone: int, n_others: int) -> None:
    chosen = choose_rows(["b"] * n_others + ["a"] * 5, {"a": n_alone}, most=0.5)

    counted = int(chosen[:n_others].sum())
    assert counted >= min(n_others, n_alone)
    assert bool(chosen[n_others]) == (n_alone <= (n_alone + counted) / 2 + 1)


# --- its state ----------------------------------------------------------------------------------------------------


def test_the_comparison_comes_back_from_bytes() -> None:
    state = advance(Succession(), 0, turned=True)

    again = succession_from_bytes(succession_to_bytes(state))

    assert succession_to_bytes(again) == succession_to_bytes(state)
    assert judge_outcomes_since(again, alpha=ALPHA) == judge_outcomes_since(state, alpha=ALPHA)
    assert succession_to_bytes(advance(again, 1)) == succession_to_bytes(advance(state, 1))


def test_a_state_of_another_version_is_told() -> None:
    content = succession_to_bytes(replace(Succession(), n_rows=3))

    with pytest.raises(StateError, match=f"version {VERSION + 1}"):
        succession_from_bytes(content.replace(bytes([VERSION]), bytes([VERSION + 1]), 1))


def test_a_bad_stretch_after_a_long_good_time_undoes_nothing() -> None:
    state = replace(Succession(), n_rows=400, error=47.6, error_before=49.2, peak=31.3, sources={"clinic": 400})

    assert judge_outcomes_since(state, alpha=ALPHA) is None
    assert judge_outcomes_since(replace(state, error=50.0), alpha=ALPHA) is not None
