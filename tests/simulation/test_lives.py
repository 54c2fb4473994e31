"""The guarded trigger keeps its promise over simulated lives, and finds what it is there for.

The long form is `bench/lives.py`; here fewer and shorter lives, with marks that follow from the binomial distribution.
"""

import numpy as np
import pytest
from scipy import stats

from homeostat.records import Columns
from homeostat.simulation.lives import (
    CUT_BATCHES,
    REFERENCE_ROWS,
    RETRIED_SHARE,
    SETTINGS,
    WORLDS,
    Retraining,
    arrive_twice,
    arrive_twice_with_one_id,
    draw_life,
    draw_season,
    shift_rows,
    watch_by_the_book,
    watch_guarded,
)

INDEPENDENT = WORLDS["independent"]
CLEAN_ROWS = 2_000
N_LIVES = 12
# Lives of which at most so many retrain falsely: one test in a thousand fails if alpha_life is exactly kept.
ALLOWED = stats.binom.ppf(0.999, N_LIVES, SETTINGS.alpha_life)


def quiet_life(name: str, seed: int, *, n_rows: int) -> tuple[Columns, Columns]:
    return draw_life({**WORLDS, **CUT_BATCHES}[name], np.random.default_rng(seed), n_rows=n_rows)


def shifted_life(seed: int, *, n_windows: int) -> list[Retraining]:
    """Return the retrainings of a life in which 3 of 8 features rise by .5 sd after 2,000 clean rows."""
    n_rows = CLEAN_ROWS + n_windows * SETTINGS.window
    reference, stream = draw_life(INDEPENDENT, np.random.default_rng(seed), n_rows=n_rows)
    stream = shift_rows(stream, n_features=3, by=0.5, after=CLEAN_ROWS)
    return list(watch_guarded(reference, stream, INDEPENDENT.schema, seed=seed))


def season(seed: int, *, period: int) -> int:
    """Return how often five cycles of a season that the baseline spans retrain."""
    rng = np.random.default_rng(seed)
    reference, stream = draw_season(rng, n_cycles=5, period=period, n_features=3, height=0.5)
    return len(list(watch_guarded(reference, stream, INDEPENDENT.schema, seed=seed)))


@pytest.mark.parametrize("name", WORLDS)
def test_a_life_without_a_change_seldom_retrains(name: str) -> None:
    lives = [quiet_life(name, seed, n_rows=5_000) for seed in range(N_LIVES)]

    retrained = sum(bool(list(watch_guarded(*life, WORLDS[name].schema, seed=seed))) for seed, life in enumerate(lives))

    assert retrained <= ALLOWED


def test_the_books_rule_retrains_such_lives_often() -> None:
    lives = [quiet_life("correlated .6", seed, n_rows=4_000) for seed in range(4)]

    assert sum(next(watch_by_the_book(*life, INDEPENDENT.schema), None) is not None for life in lives) >= 2


def test_half_a_standard_deviation_in_three_of_eight_features_is_found_within_600_rows() -> None:
    lives = [shifted_life(seed, n_windows=3) for seed in range(40)]

    found = sum(bool(life) and life[0].n_rows > CLEAN_ROWS for life in lives)

    assert found >= 0.95 * len(lives)


def test_a_found_shift_is_dated_to_the_window_in_which_it_began() -> None:
    dated = [life[0].since for seed in range(10) if (life := shifted_life(seed, n_windows=3))]

    assert sum(since is not None and abs(since - CLEAN_ROWS - 1) <= SETTINGS.window for since in dated) >= 9


def test_twenty_windows_after_one_shift_and_its_retraining_are_quiet() -> None:
    lives = [shifted_life(seed, n_windows=23) for seed in range(N_LIVES)]

    assert all(lives)
    assert sum(len(life) > 1 for life in lives) <= ALLOWED


@pytest.mark.parametrize("period", [100, 1_000, 4_000])
def test_a_season_that_the_baseline_has_seen_in_full_retrains_at_most_once_in_five_cycles(period: int) -> None:
    assert max(season(seed, period=period) for seed in range(4)) <= 1


def test_a_season_that_the_baseline_has_not_seen_is_a_change_and_beyond_the_promise() -> None:
    _, stream = draw_season(np.random.default_rng(0), n_cycles=5, period=4_000, n_features=3, height=0.5)
    reference = INDEPENDENT.draw(np.random.default_rng(1), 4_000)

    assert len(list(watch_guarded(reference, stream, INDEPENDENT.schema, seed=0))) > 1


def test_sorted_batches_that_windows_cut_into_slices_are_beyond_the_promise() -> None:
    life = quiet_life("sorted batches of 600-1000 rows", 0, n_rows=5_000)

    assert list(watch_guarded(*life, INDEPENDENT.schema, seed=0))


def test_a_verdict_without_the_evidence_needs_no_test_of_the_window() -> None:
    # The shortcut of the simulation against the tests of every feature in the window that fired.
    reference, stream = draw_life(INDEPENDENT, np.random.default_rng(1), n_rows=600)
    stream = shift_rows(stream, n_features=3, by=1.0, after=0)

    fired = next(watch_guarded(reference, stream, INDEPENDENT.schema, seed=1))

    assert fired == Retraining(n_rows=200, since=1)
    assert next(watch_by_the_book(reference, stream, INDEPENDENT.schema)) == 200


def test_a_life_is_a_reference_and_the_rows_after_it() -> None:
    for name in (*WORLDS, *CUT_BATCHES):
        reference, stream = quiet_life(name, 3, n_rows=1_000)

        assert {len(column) for column in reference.values()} == {REFERENCE_ROWS}
        assert {len(column) for column in stream.values()} == {1_000}


def test_retried_rows_come_again_soon_and_go_when_the_log_knows_their_ids() -> None:
    rng = np.random.default_rng(4)
    sent = arrive_twice(rng, 10_000)
    places = np.split(np.argsort(sent, kind="stable"), np.cumsum(np.bincount(sent))[:-1])

    apart = [place[1] - place[0] for place in places if len(place) == 2]
    assert len(apart) / 10_000 == pytest.approx(RETRIED_SHARE, abs=0.01)
    assert max(apart) <= 8
    assert arrive_twice_with_one_id(rng, 10_000).tolist() == list(range(10_000))


def test_sorted_batches_ascend_within_and_begin_anew() -> None:
    _, stream = quiet_life("sorted batches, one a window", 5, n_rows=1_000)

    falls = np.flatnonzero(np.diff(stream["x0"]) < 0) + 1
    assert falls.tolist() == [200, 400, 600, 800]
