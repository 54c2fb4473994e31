"""The evidence is that of the formulas, starts at 1, and rarely grows while nothing changes, whatever the data."""

import math
from bisect import bisect_left
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from homeostat.errors import InputError
from homeostat.monitoring.betting import LINEAR, QUADRATIC
from homeostat.monitoring.evidence import (
    EDGE_ROWS,
    Evidence,
    advance_evidence,
    begin_evidence,
    begin_from_profile,
    begin_stream,
    evidence_to_json,
    find_cells,
    rank_rows,
    wait_for_reference,
)
from homeostat.monitoring.evidence_bytes import evidence_from_bytes, evidence_to_bytes
from homeostat.monitoring.streams import number_columns, number_texts
from homeostat.records import Feature, Floats, NumericProfile, Profile, Schema, Target
from homeostat.validation.profiles import build_profile

NAN = float("nan")
SCHEMA = Schema(
    (Feature("glucose", "numeric", missing=(0.0,)), Feature("smoker", "categorical", missing=("?",))),
    Target("outcome", 0, 1),
    "0" * 64,
)
Draw = Callable[[np.random.Generator, tuple[int, int]], Floats]

few = settings(max_examples=80, deadline=None)
# Few distinct values, so that most are tied, or any doubles.
values = st.sampled_from([NAN, 1.0, 2.0, 3.0]) | st.floats(allow_infinity=False)
rows_of_two = st.lists(st.tuples(values, values), max_size=30)


def table(rows: Sequence[tuple[float, float]]) -> Mapping[str, Floats]:
    array = np.array(rows, dtype=np.float64).reshape(-1, 2)
    return {"a": array[:, 0], "b": array[:, 1]}


def run(evidence: Evidence, windows: Sequence[Mapping[str, Floats]], *, seed: int = 7) -> Evidence:
    first_seq = 1
    for window in windows:
        evidence = advance_evidence(evidence, window, first_seq=first_seq, seed=seed)
        first_seq += len(next(iter(window.values())))
    return evidence


def by_the_formulas(
    reference: Mapping[str, Floats], windows: Sequence[Mapping[str, Floats]], *, seed: int = 7
) -> dict[str, tuple[float, float]]:
    """Return value and peak of each stream, row by row as DESIGN writes them."""
    found, first_seqs = {}, np.cumsum([1, *(len(window["a"]) for window in windows)])
    for j, (name, then) in enumerate(reference.items()):
        edges = sorted(set(then[~np.isnan(then)].tolist()))
        seen = [cell(value, edges) for value in then]
        bets = [*((1, t) for t in LINEAR), *((2, t) for t in QUADRATIC)]
        wealth, value, peak, t = [0.0] * 10, 1.0, 1.0, 0
        for window, first_seq in zip(windows, first_seqs, strict=False):
            n_rows = len(window["a"])
            rng = np.random.Generator(np.random.Philox(key=np.array([seed, first_seq], dtype=np.uint64)))
            order, ties = rng.permutation(n_rows), rng.random((2, n_rows))
            for i, row in enumerate(order):
                x = cell(window[name][row], edges)
                p = (sum(z < x for z in seen) + ties[j, i] * (seen.count(x) + 1)) / (len(seen) + 1)
                factors = [1 + b * (2 * p - 1 if kind == 1 else 6 * p**2 - 6 * p + 1) for kind, b in bets]
                wealth = [(s + g(t) - g(t + 1)) * f for s, f in zip(wealth, factors, strict=True)]
                value = sum(wealth[:6]) / 12 + sum(wealth[6:]) / 8 + g(t + 1)
                peak, t = max(peak, value), t + 1
                seen.append(x)
        found[name] = (value, peak)
    return found


def cell(value: float, edges: Sequence[float]) -> tuple[int, bool]:
    return (-1, False) if math.isnan(value) else (bisect_left(edges, value), value in edges)


def g(t: int) -> float:
    return 1 / (1 + math.log(1 + t / 200))


def lives(n_lives: int, draw: Draw, *, n_reference: int, n_windows: int, n_rows: int = 200) -> Evidence:
    """Return evidence whose streams are independent lives without a change."""
    rng = np.random.default_rng(5)
    evidence = begin_evidence(dict(enumerate_lives(draw(rng, (n_lives, n_reference)))))
    windows = [dict(enumerate_lives(draw(rng, (n_lives, n_rows)))) for _ in range(n_windows)]
    return run(evidence, windows)


def enumerate_lives(drawn: Floats) -> list[tuple[str, Floats]]:
    return [(str(i), life) for i, life in enumerate(drawn)]


def measured(rng: np.random.Generator, shape: tuple[int, int]) -> Floats:
    return rng.normal(size=shape)


def tied(rng: np.random.Generator, shape: tuple[int, int]) -> Floats:
    return np.round(rng.normal(size=shape))


def missing(rng: np.random.Generator, shape: tuple[int, int]) -> Floats:
    return np.where(rng.random(shape) < 0.6, NAN, rng.normal(size=shape))


def sorted_batches(rng: np.random.Generator, shape: tuple[int, int]) -> Floats:
    return np.sort(rng.normal(size=shape), axis=1)


def rare_categories(rng: np.random.Generator, shape: tuple[int, int]) -> Floats:
    # A third of the rows hold a category that the reference has never seen, at 60 reference rows.
    ranks = rng.zipf(1.3, size=shape)
    return number_texts(np.array([f"town {rank}" for rank in ranks.ravel()], dtype=object)).reshape(shape)


every_kind = pytest.mark.parametrize("draw", [measured, tied, missing, rare_categories])


@few
@given(rows_of_two, st.lists(rows_of_two, max_size=4))
def test_the_evidence_of_every_row_is_that_of_the_formulas(
    reference: list[tuple[float, float]], windows: list[list[tuple[float, float]]]
) -> None:
    expected = by_the_formulas(table(reference), [table(w) for w in windows])
    found = run(begin_evidence(table(reference)), [table(w) for w in windows])

    for name, stream in found.streams.items():
        assert (stream.value, stream.peak) == pytest.approx(expected[name], rel=1e-9)


def test_a_window_larger_than_the_block_that_is_ranked_at_once_follows_the_formulas_too() -> None:
    rng = np.random.default_rng(1)
    reference, window = table(rng.normal(size=(50, 2))), table(rng.normal(0.3, size=(600, 2)))  # type: ignore[arg-type]

    found = run(begin_evidence(reference), [window]).streams["b"]

    assert (found.value, found.peak) == pytest.approx(by_the_formulas(reference, [window])["b"], rel=1e-9)


@few
@given(rows_of_two | st.none(), st.lists(rows_of_two, max_size=4))
def test_a_run_that_is_kept_as_bytes_between_windows_is_the_uninterrupted_one_bit_for_bit(
    reference: list[tuple[float, float]] | None, windows: list[list[tuple[float, float]]]
) -> None:
    begun = wait_for_reference(("a", "b")) if reference is None else begin_evidence(table(reference))
    resumed, first_seq = begun, 1
    for window in windows:
        kept = evidence_from_bytes(evidence_to_bytes(resumed))
        resumed = advance_evidence(kept, table(window), first_seq=first_seq, seed=7)
        first_seq += len(window)

    assert evidence_to_bytes(resumed) == evidence_to_bytes(run(begun, [table(w) for w in windows]))


def test_bytes_of_something_else_are_refused() -> None:
    with pytest.raises(InputError, match="is no evidence"):
        evidence_from_bytes(b"something else")


@every_kind
def test_the_p_values_are_independent_and_uniform_while_nothing_changes(draw: Draw) -> None:
    rng, n_lives = np.random.default_rng(2), 1_500
    streams = [begin_stream(reference) for reference in draw(rng, (n_lives, 30))]
    cells = np.stack([find_cells(r, s.edges) for r, s in zip(draw(rng, (n_lives, 20)), streams, strict=True)])
    p_values = rank_rows(cells, [s.counts for s in streams], rng.random(cells.shape))

    assert stats.kstest(p_values[:, -1], "uniform").pvalue > 1e-4
    # Fisher's sum is chi-square only if they are independent as well.
    assert stats.kstest(-2 * np.log(p_values).sum(axis=1), stats.chi2(40).cdf).pvalue > 1e-4


@every_kind
def test_the_expected_evidence_stays_1_while_nothing_changes(draw: Draw) -> None:
    evidence = lives(3_000, draw, n_reference=30, n_windows=2, n_rows=10)

    found = np.array([stream.value for stream in evidence.streams.values()])

    assert abs(found.mean() - 1) < 4 * found.std() / math.sqrt(found.size)


@pytest.mark.parametrize("draw", [measured, tied, missing, rare_categories, sorted_batches])
@pytest.mark.parametrize("bound", [5, 20, 100])
def test_the_chance_that_the_evidence_ever_reaches_c_is_at_most_one_in_c(draw: Draw, bound: int) -> None:
    n_lives = 500
    evidence = lives(n_lives, draw, n_reference=60, n_windows=5)

    reached = sum(stream.peak >= bound for stream in evidence.streams.values())

    assert reached <= stats.binom.ppf(0.9999, n_lives, 1 / bound)


def test_evidence_begins_at_1_without_a_change_point() -> None:
    told = evidence_to_json(begin_evidence({"a": np.arange(5.0)}))

    assert told == {
        "n_reference": 5,
        "n_rows": 0,
        "gathering": False,
        "streams": {"a": {"value": 1.0, "peak": 1.0, "since": None}},
    }


@pytest.mark.parametrize("value", [1.0, NAN])
def test_a_column_that_is_constant_or_missing_throughout_gives_no_evidence(value: float) -> None:
    column = {str(i): np.full(300, value) for i in range(50)}

    reached = sum(s.peak >= 100 for s in run(begin_evidence(column), [column] * 3).streams.values())

    assert reached <= stats.binom.ppf(0.9999, 50, 1 / 100)


def test_a_column_that_becomes_constant_is_evidence_at_once() -> None:
    rng = np.random.default_rng(3)
    evidence = begin_evidence({"a": rng.normal(size=500)})

    evidence = run(evidence, [{"a": np.zeros(200)}])

    assert evidence.streams["a"].peak > 1_000
    assert evidence.streams["a"].since == 1


def test_an_empty_window_changes_nothing() -> None:
    evidence = run(begin_evidence({"a": np.arange(5.0)}), [{"a": np.arange(3.0)}])

    assert advance_evidence(evidence, {"a": np.empty(0)}, first_seq=4, seed=7) is evidence


def test_one_row_against_no_reference_is_no_evidence() -> None:
    evidence = run(begin_evidence({"a": np.empty(0)}), [{"a": np.array([3.0])}])

    assert evidence.n_rows == 1
    assert 0.5 < evidence.streams["a"].value < 1.5


def test_an_endless_change_overflows_nothing() -> None:
    # Each row is the largest ever: the strongest bet would grow by 1.8 a row to 1e1276.
    rising = np.arange(5_000.0)
    evidence = run(begin_evidence({"a": -rising}), [{"a": part} for part in np.split(rising, 5)])

    assert 1e98 < evidence.streams["a"].value <= 1e100


@pytest.mark.parametrize("direction", [-1, 1])
def test_the_change_point_of_half_a_standard_deviation_is_found_within_two_windows(direction: int) -> None:
    rng, n_lives = np.random.default_rng(4), 200
    windows = rng.normal(size=(14, n_lives, 200))
    windows[10:] += 0.5 * direction
    evidence = begin_evidence(dict(enumerate_lives(rng.normal(size=(n_lives, 768)))))
    found = run(evidence, [dict(enumerate_lives(window)) for window in windows])

    near = sum(s.since is not None and abs(s.since - 2_001) <= 400 for s in found.streams.values())

    assert near / n_lives >= 0.9


def test_a_change_of_spread_alone_is_found() -> None:
    rng = np.random.default_rng(6)
    evidence = begin_evidence({"wider": rng.normal(size=768), "narrower": rng.normal(size=768)})

    wider, narrower = rng.normal(0, 1.6, 1_000), rng.normal(0, 0.6, 1_000)
    evidence = run(evidence, [{"wider": wider, "narrower": narrower}])

    assert min(stream.peak for stream in evidence.streams.values()) > 1_000


def test_a_reference_that_is_gathered_from_whole_windows_is_that_of_the_same_rows_at_once() -> None:
    rng = np.random.default_rng(7)
    windows = [{"a": rng.normal(size=200)} for _ in range(4)]
    waiting = run(wait_for_reference(("a",)), windows[:2])
    complete = advance_evidence(waiting, windows[2], first_seq=401, seed=7)

    assert evidence_to_json(waiting)["gathering"]
    assert (waiting.n_reference, complete.n_reference, complete.n_rows) == (400, 600, 0)
    at_once = begin_evidence({"a": np.concatenate([w["a"] for w in windows[:3]])})
    assert evidence_to_bytes(complete) == evidence_to_bytes(at_once)


def test_a_large_reference_cuts_at_random_rows_and_counts_all() -> None:
    reference = np.random.default_rng(8).normal(size=10_000)

    stream = begin_evidence({"a": reference}, seed=3).streams["a"]

    assert stream.edges.size == EDGE_ROWS
    assert stream.counts.sum() == 10_000
    assert not np.array_equal(stream.edges, begin_evidence({"a": reference}, seed=4).streams["a"].edges)


def test_evidence_of_a_release_begins_with_the_rows_that_its_profile_counts() -> None:
    rng = np.random.default_rng(9)
    columns = {
        "glucose": np.round(rng.normal(size=300), 1),
        "smoker": np.array([*["yes", "no", "?", None, "rarely"] * 60], dtype=object),
    }
    scores = {".scores": rng.random(100)}

    begun = begin_from_profile(build_profile(columns, SCHEMA), scores)

    from_rows = begin_evidence({**number_columns(columns, SCHEMA), **scores})
    assert evidence_to_bytes(begun) == evidence_to_bytes(from_rows)


def test_a_profile_in_the_cells_of_another_is_refused_as_a_beginning() -> None:
    between = NumericProfile(np.array([1.0]), np.array([0, 0, 2, 1]))

    with pytest.raises(InputError, match="between the values"):
        begin_from_profile(Profile(3, {"glucose": between}))


def test_markers_and_missing_values_are_no_numbers_and_a_category_is_the_same_number_everywhere() -> None:
    columns = {"glucose": np.array([0.0, NAN, 5.0]), "smoker": np.array(["?", None, "yes"], dtype=object)}

    numbers = number_columns(columns, SCHEMA)

    assert np.isnan(numbers["glucose"]).tolist() == np.isnan(numbers["smoker"]).tolist() == [True, True, False]
    assert number_texts(np.array(["no", "yes"], dtype=object))[1] == numbers["smoker"][2]
    assert 0 <= numbers["smoker"][2] < 2**53


@pytest.mark.parametrize("value", [math.inf, -math.inf])
def test_an_infinite_value_is_refused(value: float) -> None:
    with pytest.raises(InputError, match=r"stream 'a' is -?inf in row 1"):
        run(begin_evidence({"a": np.empty(0)}), [{"a": np.array([1.0, value])}])


@pytest.mark.parametrize("window", [{"b": np.zeros(1)}, {"a": np.zeros(1), "b": np.zeros(2)}])
def test_a_window_with_other_streams_is_refused(window: Mapping[str, Floats]) -> None:
    with pytest.raises(InputError, match="the window has the streams"):
        run(begin_evidence({"a": np.zeros(1)}), [window])
