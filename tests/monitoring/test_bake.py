"""Each alarm of a probation is raised by what it is for, and by nothing that chance brings."""

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from homeostat.monitoring.bake import (
    LEAST_SCORED,
    Served,
    judge_errors,
    judge_latency,
    judge_output,
    judge_silence,
)
from homeostat.monitoring.latencies import EDGES_S, N_BUCKETS, bucket_of, count_slower, upper_quantile
from homeostat.records import Counts, Floats

durations = st.lists(st.floats(1e-6, 60), min_size=1, max_size=300)


def served(answered: int = 0, *, failed: int = 0, seconds: Sequence[float] | Floats = ()) -> Served:
    return Served(answered, failed, histogram(seconds))


def histogram(seconds: Sequence[float] | Floats) -> Counts:
    return np.bincount([bucket_of(one) for one in seconds], minlength=N_BUCKETS).astype(np.int64)


def draw_scores(n_rows: int, *, seed: int, shift: float = 0.0) -> Floats:
    """Return probabilities as a release gives them."""
    return 1 / (1 + np.exp(-np.random.default_rng(seed).normal(shift - 0.9, 1.8, size=n_rows)))


# --- durations ----------------------------------------------------------------------------------------------------


@given(durations, st.floats(0.01, 0.99))
def test_a_quantile_of_the_buckets_is_at_most_a_quarter_above_the_true_one(seconds: list[float], share: float) -> None:
    true = float(np.quantile(seconds, share, method="inverted_cdf"))

    found = upper_quantile(histogram(seconds), share)

    assert true <= found * (1 + 1e-9)
    assert found <= max(EDGES_S[0], true * 1.25 * (1 + 1e-9)) or true > EDGES_S[-1]


@given(durations, st.floats(1e-5, 30))
def test_no_duration_counts_as_slower_that_is_not(seconds: list[float], limit: float) -> None:
    assert count_slower(histogram(seconds), limit) <= sum(one > limit for one in seconds)


@given(durations, durations)
def test_durations_of_two_workers_add_up(one: list[float], other: list[float]) -> None:
    assert (histogram(one) + histogram(other)).tolist() == histogram(one + other).tolist()


# --- errors -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("failed", "answered"), [(3, 0), (6, 40), (30, 970)])
def test_a_share_of_failed_requests_that_is_no_chance_is_a_breach(failed: int, answered: int) -> None:
    breach = judge_errors(served(answered, failed=failed), share=0.01)

    assert breach is not None
    assert f"{failed} of {failed + answered} requests failed" in breach.sentence


@pytest.mark.parametrize(("failed", "answered"), [(0, 0), (1, 0), (2, 0), (1, 19), (3, 197), (10, 990)])
def test_a_few_failed_requests_are_none(failed: int, answered: int) -> None:
    assert judge_errors(served(answered, failed=failed), share=0.01) is None


@given(st.integers(0, 500), st.integers(0, 60))
def test_one_more_failure_never_ends_a_breach(answered: int, failed: int) -> None:
    if judge_errors(served(answered, failed=failed), share=0.01) is not None:
        assert judge_errors(served(answered, failed=failed + 1), share=0.01) is not None


# --- latency ------------------------------------------------------------------------------------------------------


def test_a_release_that_answers_ten_times_as_slowly_is_a_breach() -> None:
    before, after = served(seconds=[0.02] * 1000), served(seconds=[0.2] * LEAST_SCORED)

    breach = judge_latency(after, before, ratio=3)

    assert breach is not None
    assert "100 of 100 requests took more than 6" in breach.sentence


@pytest.mark.parametrize(
    ("slow", "usual"), [(0.045, 0.001), (0.2, 0.1), (0.4, None)], ids=["below 50 ms", "twice", "nobody before"]
)
def test_a_release_that_is_somewhat_slower_is_none(slow: float, usual: float | None) -> None:
    before = None if usual is None else served(seconds=[usual] * 1000)

    assert judge_latency(served(seconds=[slow] * 1000), before, ratio=3) is None


@pytest.mark.parametrize(("slow", "fast"), [(99, 0), (4, 96), (15, 985)])
def test_a_few_slow_requests_are_none(slow: int, fast: int) -> None:
    after = served(seconds=[1.0] * slow + [0.001] * fast)

    assert judge_latency(after, served(seconds=[0.001] * 1000), ratio=3) is None


def test_a_release_whose_predecessor_was_hardly_asked_is_measured_by_half_a_second() -> None:
    breach = judge_latency(served(seconds=[0.7] * 100), served(seconds=[0.001] * 99), ratio=3)

    assert breach is not None
    assert breach.figures["limit_s"] == 0.5


# --- output -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shift", [-3.0, 3.0])
def test_answers_from_another_distribution_are_a_breach_within_a_hundred_rows(shift: float) -> None:
    breach = judge_output(draw_scores(100, seed=1, shift=shift), draw_scores(154, seed=2))

    assert breach is not None
    assert "the answers to 100 rows are another distribution" in breach.sentence


def test_answers_turned_round_are_a_breach() -> None:
    assert judge_output(1 - draw_scores(200, seed=1), draw_scores(154, seed=2)) is not None


@pytest.mark.parametrize("held_out", [draw_scores(154, seed=1), np.empty(0)], ids=["held out", "nothing held out"])
def test_one_answer_to_every_row_is_a_breach(held_out: Floats) -> None:
    breach = judge_output(np.full(100, 0.4), held_out)

    assert breach is not None
    assert "100 different rows were all answered with 0.400" in breach.sentence


def test_a_release_that_has_always_given_one_answer_may_go_on() -> None:
    assert judge_output(np.full(400, 0.4), np.full(100, 0.4)) is None


def test_fewer_rows_than_a_hundred_say_nothing() -> None:
    assert judge_output(np.full(LEAST_SCORED - 1, 0.4), draw_scores(154, seed=1)) is None


@settings(max_examples=30)
@given(st.integers(100, 1000))
def test_answers_are_looked_at_only_when_their_number_has_doubled(n_rows: int) -> None:
    scores, held_out = draw_scores(1000, seed=1, shift=2), draw_scores(154, seed=2)
    looked_at = 100 * 2 ** int(np.log2(n_rows / 100))

    assert judge_output(scores[:n_rows], held_out) == judge_output(scores[:looked_at], held_out)


# --- silence ------------------------------------------------------------------------------------------------------


def test_the_worker_that_is_silent_longest_is_named() -> None:
    breach = judge_silence({"a:1": 11.0, "b:2": 30.0, "c:3": 1.0}, limit_s=10)

    assert breach is not None
    assert breach.sentence == "worker b:2 has not reported for 30 s"


def test_a_report_from_the_future_is_of_unknown_age() -> None:
    breach = judge_silence({"a:1": 1.0, "b:2": -3600.0}, limit_s=10)

    assert breach is not None
    assert breach.sentence == "worker b:2 does not report; its last report is 3600 s ahead of a clock that was set"


@pytest.mark.parametrize("silent_s", [{}, {"a:1": 10.0}, {"a:1": -5.0}])
def test_workers_that_have_reported_lately_are_none(silent_s: dict[str, float]) -> None:
    assert judge_silence(silent_s, limit_s=10) is None


# --- chance -------------------------------------------------------------------------------------------------------


def test_of_two_hundred_probations_of_a_sound_release_none_is_ended() -> None:
    """Failures at a tenth of what is allowed, durations and answers from the distributions of before, 1,000 rows."""
    rng = np.random.default_rng(0)
    before = served(seconds=rng.lognormal(-6, 1, size=5000))
    for seed in range(200):
        scores, held_out = draw_scores(1000, seed=2 * seed), draw_scores(120, seed=2 * seed + 1)
        failures, seconds = rng.random(1000) < 0.001, rng.lognormal(-6, 1, size=1000)
        for n_rows in (100, 200, 400, 800, 1000):
            n_failed = int(failures[:n_rows].sum())
            now = served(n_rows - n_failed, failed=n_failed, seconds=seconds[:n_rows])

            assert judge_errors(now, share=0.01) is None
            assert judge_latency(now, before, ratio=3) is None
            assert judge_output(scores[:n_rows], held_out) is None
