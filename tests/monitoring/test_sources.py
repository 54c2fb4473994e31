"""One sender of outcomes is told from the world: it can neither feign a change of it, nor hide behind the others."""

from collections.abc import Sequence
from dataclasses import replace

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from homeostat.errors import StateError
from homeostat.monitoring.concept import advance_concept, begin_concept, concept_to_bytes, is_reached
from homeostat.monitoring.dating import Outcomes
from homeostat.monitoring.sources import (
    MOST,
    POOLED,
    Hearing,
    advance_hearing,
    begin_hearing,
    count_sources,
    find_carriers,
    hearing_from_bytes,
    hearing_to_bytes,
)
from homeostat.records import Floats
from homeostat.training.evaluation import Labels

few = settings(max_examples=25, deadline=None)
ALPHA, WINDOW = 0.05, 200
THREE = ("a", "b", "c")


def to_probability(log_odds: Floats) -> Floats:
    return np.asarray(1 / (1 + np.exp(-log_odds)), dtype=np.float64)


def draw(rng: np.random.Generator, n_rows: int, *, shift: float = 0.0, slope: float = 1.0) -> tuple[Floats, Labels]:
    log_odds = rng.normal(-0.9, 1.8, size=n_rows)
    return to_probability(log_odds), (rng.random(n_rows) < to_probability(slope * log_odds + shift)).astype(np.int8)


def hear(hearing: Hearing, probabilities: Floats, labels: Labels, senders: Sequence[str]) -> Hearing:
    """Let the tests see outcomes window by window."""
    for first in range(0, len(labels), WINDOW):
        part = slice(first, min(first + WINDOW, len(labels)))
        places = hearing.everyone.concept.n_rows + np.arange(len(labels[part]))
        outcomes = Outcomes(probabilities[part], labels[part], places + 1, places)
        hearing = advance_hearing(hearing, outcomes, senders[part], alpha=ALPHA)
    return hearing


def live(
    seed: int,
    n_rows: int,
    *,
    shift: float = 0.0,
    slope: float = 1.0,
    names: Sequence[str] = THREE,
    flips: float = 0.0,
) -> Hearing:
    """Return what a life says in which the first of some senders flips a share of its outcomes."""
    rng = np.random.default_rng(seed)
    begun = begin_hearing(*draw(rng, 614))
    probabilities, labels = draw(rng, n_rows, shift=shift, slope=slope)
    which = rng.integers(len(names), size=n_rows)
    flipped = (which == 0) & (rng.random(n_rows) < flips)
    return hear(begun, probabilities, labels ^ flipped.astype(np.int8), [names[one] for one in which])


def is_confirmed(hearing: Hearing) -> bool:
    several = count_sources(hearing, since=1) >= 2
    return several and not find_carriers(hearing, alpha=ALPHA, risk_counts=True)


def named(hearing: Hearing) -> list[str]:
    return [name for name, source in hearing.sources.items() if source.is_named]


# --- what the world says ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("shift", "slope"), [(0.0, -1.0), (1.5, 1.0)])
def test_a_change_of_the_world_is_confirmed_by_several_senders_and_names_none(shift: float, slope: float) -> None:
    lives = [live(seed, 800, shift=shift, slope=slope) for seed in range(8)]

    assert [is_confirmed(one) for one in lives] == [True] * 8
    assert [named(one) for one in lives] == [[]] * 8


def test_without_a_change_nothing_is_confirmed_and_nobody_named() -> None:
    lives = [live(seed, 1_200) for seed in range(12)]

    assert [is_confirmed(one) for one in lives] == [False] * 12
    assert [named(one) for one in lives] == [[]] * 12


@pytest.mark.parametrize("flips", [0.01, 0.05, 0.2, 1.0])
def test_what_one_of_three_senders_flips_is_never_confirmed(flips: float) -> None:
    lives = [live(seed, 1_200, flips=flips) for seed in range(6)]

    assert [is_confirmed(one) for one in lives] == [False] * 6


def test_a_sender_that_flips_a_fifth_is_named_in_most_lives_and_nobody_else_is() -> None:
    found = [named(live(seed, 6_000, flips=0.2)) for seed in range(4)]

    # 19 of 20 lives of 8,000 rows.
    assert found.count(["a"]) >= 3
    assert found.count(["a"]) + found.count([]) == 4


def test_a_sender_that_flips_everything_is_named_at_once() -> None:
    assert [named(live(seed, 400, flips=1.0)) for seed in range(6)] == [["a"]] * 6


@few
@given(st.integers(0, 1_000))
def test_a_change_that_a_single_sender_tells_of_is_never_confirmed(seed: int) -> None:
    told = live(seed, 200, slope=-1.0, names=["only"])

    assert is_reached(told.everyone.concept, 2 / ALPHA)
    assert find_carriers(told, alpha=ALPHA, risk_counts=True) == ["only"]
    assert named(told) == []


@few
@given(st.integers(0, 1_000), st.permutations(THREE))
def test_what_the_senders_are_called_changes_nothing(seed: int, others: list[str]) -> None:
    one, other = (live(seed, 300, flips=0.5, names=names) for names in (THREE, others))
    renamed = {others[THREE.index(name)]: source for name, source in one.sources.items()}

    assert hearing_to_bytes(replace(one, sources=renamed)) == hearing_to_bytes(other)


# --- whose outcomes are looked at ---------------------------------------------------------------------------------


def test_each_sender_is_tested_alone_and_so_are_all_the_others() -> None:
    rng = np.random.default_rng(3)
    held_out, (probabilities, labels) = draw(rng, 614), draw(rng, 500)
    senders = np.where(rng.random(500) < 0.3, "late", "early")
    senders[:150] = "early"
    heard = hear(begin_hearing(*held_out), probabilities, labels, senders.tolist())
    is_late, begun = senders == "late", begin_concept(*held_out)

    late = heard.sources["late"]

    own, rest = (advance_concept(begun, probabilities[rows], labels[rows]) for rows in (is_late, ~is_late))
    assert concept_to_bytes(late.own.concept) == concept_to_bytes(own)
    assert concept_to_bytes(late.rest) == concept_to_bytes(rest)
    assert late.last == np.flatnonzero(is_late)[-1] + 1


def test_senders_beyond_the_first_twenty_count_as_one() -> None:
    rng = np.random.default_rng(4)
    begun = begin_hearing(*draw(rng, 614))
    senders = [f"s{place // 8:02}" for place in range(400)]

    heard = hear(begun, *draw(rng, 400), senders)

    assert list(heard.sources) == [*(f"s{number:02}" for number in range(MOST)), POOLED]
    assert heard.sources[POOLED].own.concept.n_rows == 400 - 8 * MOST


def test_only_senders_since_the_change_are_counted() -> None:
    rng = np.random.default_rng(5)
    heard = hear(begin_hearing(*draw(rng, 614)), *draw(rng, 200), ["gone"] * 100 + ["here"] * 100)

    assert (count_sources(heard, since=100), count_sources(heard, since=101)) == (2, 1)


def test_no_outcomes_change_nothing() -> None:
    begun = begin_hearing(*draw(np.random.default_rng(0), 614))

    assert hear(begun, np.empty(0), np.empty(0, dtype=np.int8), []) is begun


# --- kept ---------------------------------------------------------------------------------------------------------


def test_tests_that_are_stored_after_each_window_go_on_to_the_same_bits() -> None:
    rng = np.random.default_rng(6)
    begun = begin_hearing(*draw(rng, 614))
    probabilities, labels = draw(rng, 1_000, slope=-1.0)
    senders = rng.choice(list(THREE), 1_000).tolist()
    whole, stored = hear(begun, probabilities, labels, senders), begun

    for first in range(0, 1_000, WINDOW):
        part = slice(first, first + WINDOW)
        stored = hearing_from_bytes(hearing_to_bytes(stored))
        stored = hear(stored, probabilities[part], labels[part], senders[part])

    assert hearing_to_bytes(stored) == hearing_to_bytes(whole)


def test_a_state_of_another_version_is_refused() -> None:
    content = hearing_to_bytes(begin_hearing(*draw(np.random.default_rng(0), 614)))
    fields = msgspec.msgpack.decode(content)

    with pytest.raises(StateError, match="has version 99"):
        hearing_from_bytes(msgspec.msgpack.encode([99, *fields[1:]]))
