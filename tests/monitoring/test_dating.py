"""The row at which outcomes began to contradict a release is found to a few rows, with what was counted before it."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from homeostat.monitoring.concept import advance_concept, alarm_at, begin_concept, row_factors
from homeostat.monitoring.dating import Dated, Outcomes, advance_dated, begin_dated, count_since
from homeostat.records import Floats
from homeostat.training.evaluation import Labels

few = settings(max_examples=30, deadline=None)
NEEDED = alarm_at(0.05)


def to_probability(log_odds: Floats) -> Floats:
    return np.asarray(1 / (1 + np.exp(-log_odds)), dtype=np.float64)


def draw(seed: int, n_rows: int, *, shift: float = 0.0, slope: float = 1.0) -> tuple[Floats, Labels]:
    """Return what a calibrated release says of rows, and outcomes of a world whose log-odds are others."""
    rng = np.random.default_rng(seed)
    log_odds = rng.normal(-0.9, 1.8, size=n_rows)
    return to_probability(log_odds), (rng.random(n_rows) < to_probability(slope * log_odds + shift)).astype(np.int8)


def outcomes_of(probabilities: Floats, labels: Labels, *, first: int = 1) -> Outcomes:
    places = np.arange(len(labels))
    return Outcomes(probabilities, labels, 2 * places + first, places)


def begun(seed: int = 1_000) -> Dated:
    return begin_dated(begin_concept(*draw(seed, 614)))


def in_windows(dated: Dated, outcomes: Outcomes, cuts: list[int]) -> Dated:
    ends = [*sorted(cuts), len(outcomes.labels)]
    for first, last in zip([0, *ends], ends, strict=False):
        places = np.arange(len(outcomes.labels))
        dated = advance_dated(dated, outcomes.chosen((first <= places) & (places < last)), needed=NEEDED)
    return dated


def changed_life(seed: int, n_before: int, n_after: int, *, shift: float = 0.0, slope: float = 1.0) -> Outcomes:
    """Return outcomes that follow the probabilities at first."""
    (before, quiet), (after, moved) = draw(seed, n_before), draw(seed + 500, n_after, shift=shift, slope=slope)
    return outcomes_of(np.r_[before, after], np.r_[quiet, moved].astype(np.int8))


@few
@given(st.integers(0, 200), st.integers(1, 300), st.lists(st.integers(0, 300), max_size=4))
def test_the_date_is_a_row_that_was_looked_at_and_counts_what_came_before_it(
    seed: int, n_rows: int, cuts: list[int]
) -> None:
    outcomes = outcomes_of(*draw(seed, n_rows, shift=1.0))

    dated = in_windows(begun(), outcomes, [min(cut, n_rows) for cut in cuts])

    assert dated.run is None or dated.run.gain > 0
    if dated.run is not None:
        place = dated.run.place
        before = advance_concept(begun().concept, outcomes.probabilities[:place], outcomes.labels[:place])
        assert dated.run.since == outcomes.numbers[dated.run.place]
        assert (dated.run.n_rows, dated.run.n_wrong) == (dated.run.place, before.n_wrong)
        assert dated.run.n_positive == before.n_positive
        assert dated.run.expected_positive == pytest.approx(before.expected_positive)


@few
@given(st.integers(0, 200), st.lists(st.integers(0, 120), max_size=4))
def test_the_runs_are_pages_cumulative_sums_wherever_the_rows_are_divided(seed: int, cuts: list[int]) -> None:
    probabilities, labels = draw(seed, 120, slope=-1.0)
    factors = row_factors(begun().concept.reference, probabilities, labels)
    sums, starts = np.zeros(20), np.zeros(20, dtype=np.int64)
    for place, row in enumerate(factors):
        starts = np.where(sums > 0, starts, place)
        sums = np.maximum(sums + np.log(row), 0.0)

    dated = in_windows(begun(), outcomes_of(probabilities, labels), cuts)

    going_on = sums > 1e-9
    assert dated.gains == pytest.approx(sums)
    assert dated.marks[going_on, 1].tolist() == starts[going_on].tolist()


@pytest.mark.parametrize(("shift", "slope"), [(0.0, -1.0), (1.5, 1.0), (-1.5, 1.0)])
def test_a_change_is_dated_to_a_few_rows(shift: float, slope: float) -> None:
    errors = []
    for seed in range(12):
        outcomes = changed_life(seed, 1_000, 600, shift=shift, slope=slope)
        run = in_windows(begun(seed + 2_000), outcomes, list(range(200, 1_600, 200))).run
        assert run is not None
        errors.append(abs(run.place - 1_000))

    assert np.median(errors) <= 15
    assert max(errors) <= 100


def test_before_the_threshold_only_the_newest_window_is_dated() -> None:
    lucky, quiet = draw(3, 30, slope=-1.0), draw(4, 200)
    outcomes = outcomes_of(np.r_[lucky[0][:10], quiet[0]], np.r_[lucky[1][:10], quiet[1]].astype(np.int8))

    first, second = (in_windows(begun(), outcomes.chosen(np.arange(210) < end), [10]) for end in (10, 210))

    assert first.run is not None
    assert second.run is not None
    assert second.concept.peaks.max() < NEEDED
    assert second.run.gain < first.run.gain


def test_once_the_threshold_is_reached_a_world_that_has_gone_back_keeps_the_date() -> None:
    turned = in_windows(begun(), outcomes_of(*draw(4, 200, slope=-1.0)), [])
    later = outcomes_of(*draw(5, 2_000), first=1_001)

    back = in_windows(turned, later, [500, 1_000])

    assert turned.run is not None
    assert back.run is not None
    assert turned.concept.peaks.max() >= NEEDED
    assert back.run.since == turned.run.since < 1_000


def test_the_figures_are_those_since_the_change() -> None:
    outcomes = changed_life(0, 1_000, 300, slope=-1.0)
    dated = in_windows(begun(), outcomes, [200, 400, 600, 800, 1_000, 1_200])

    figures = count_since(dated)

    assert dated.run is not None
    place = dated.run.place
    wrong = (outcomes.probabilities[place:] >= 0.5) != outcomes.labels[place:]
    assert (figures["n_rows"], figures["n_wrong"]) == (1_300 - place, wrong.sum())
    assert figures["expected_positive"] == pytest.approx(outcomes.probabilities[place:].sum())


def test_no_outcomes_change_nothing() -> None:
    dated = begun()

    assert advance_dated(dated, outcomes_of(np.empty(0), np.empty(0, dtype=np.int8)), needed=NEEDED) is dated
