"""Evidence that the world has changed: per stream of values a number that rarely grows large while nothing changes.

Not here: how rows become streams of numbers (`monitoring.streams`), the bets that evidence grows by
(`monitoring.betting`), how it is kept (`monitoring.evidence_bytes`), or what follows from it (`monitoring.guard`).

A row's p-value is its rank among the reference and all rows before it, ties broken at random. If the rows come from one
distribution, whatever it is, these are independent and uniform. Counts of the rows in cells that reference values
cut suffice for that, so the state does not grow with the traffic.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from homeostat.errors import InputError
from homeostat.monitoring.betting import N_BETS, Purses, bet_factors, follow_runs, play
from homeostat.monitoring.streams import list_values
from homeostat.records import Counts, Floats, Json, Profile

# Rows that evidence begins with after a promotion, taken from the traffic itself.
REFERENCE_ROWS = 500
# Reference rows whose values cut the cells. More sharpen no rank noticeably and make the state larger.
EDGE_ROWS = 2_048
# Rows that are ranked at once, by comparing each with each: their number must fit into a byte.
BLOCK_ROWS = 255
# A change point is named once the evidence has reached this: while nothing changes 1 stream in 20 ever does.
SINCE_FROM = 20.0
NO_STREAMS: Mapping[str, Floats] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Stream:
    """The evidence in one stream of values: a feature, or the model's scores.

    `edges` has shape (K,), ascending. `counts` has shape (2K + 2,): reference and all rows since in the cells of
    `NumericProfile`. `wealth` is the money of each bet, shape (10,). `value` is the evidence now, `peak` the most that
    it has been after any row. `runs` and `starts`, shape (10,), are each bet's run of luck and its first row.
    """

    edges: Floats
    counts: Counts
    wealth: Floats
    value: float
    peak: float
    runs: Floats
    starts: Counts

    @property
    def since(self) -> int | None:
        """The number of the first row of the window in which the change began, None while there is no sign of one."""
        best = int(self.runs.argmax())
        stands = self.peak >= SINCE_FROM and self.value >= 1 and self.runs[best] > 0
        return int(self.starts[best]) if stands else None


@dataclass(frozen=True, slots=True)
class Evidence:
    """The evidence of one watch.

    `n_reference` is the size of the reference, the largest where streams have references of their own; `n_rows` counts
    the rows judged since. `gathering` holds the rows of a reference that is not complete yet, None once it is; until
    then each stream is empty.
    """

    n_reference: int
    n_rows: int
    gathering: Mapping[str, Floats] | None
    streams: Mapping[str, Stream]


def begin_evidence(reference: Mapping[str, Floats], *, seed: int = 0) -> Evidence:
    """Return evidence that has not judged a row yet: 1 in every stream.

    Parameters
    ----------
    reference
        The values of each stream before the watch, NaN for missing; streams may differ in length. Of more than 2,048
        rows a random choice cuts the cells, the others are counted in them.
    seed
        Of that choice.

    Raises
    ------
    InputError
        A value is infinite.
    """
    require_finite(reference)
    # The second number is none that a row has: those count from 1.
    rng = np.random.Generator(np.random.Philox(key=np.array([seed, 0], dtype=np.uint64)))
    streams = {name: begin_stream(values, rng) for name, values in reference.items()}
    return Evidence(max(map(len, reference.values()), default=0), 0, None, streams)


def begin_from_profile(profile: Profile, extra: Mapping[str, Floats] = NO_STREAMS, *, seed: int = 0) -> Evidence:
    """Return `begin_evidence` of the rows that a reference profile counts, and of further streams.

    Raises
    ------
    InputError
        The profile was counted in the cells of another, so that its values are not known, or a value is infinite.
    """
    return begin_evidence({**{n: list_values(n, f) for n, f in profile.features.items()}, **extra}, seed=seed)


def wait_for_reference(names: tuple[str, ...]) -> Evidence:
    """Return evidence whose reference the next windows are, until at least 500 rows have come."""
    return Evidence(0, 0, {name: np.empty(0) for name in names}, {name: begin_stream(np.empty(0)) for name in names})


def advance_evidence(evidence: Evidence, rows: Mapping[str, Floats], *, first_seq: int, seed: int) -> Evidence:
    """Return the evidence after one more window, or the larger reference if that is still being gathered.

    The rows are judged in a random order, for batches may arrive sorted. The order and the random part of the ranks
    follow from `seed` and `first_seq` alone: the same windows give the same evidence, bit for bit.

    Parameters
    ----------
    rows
        The values of the evidence's streams, each of shape (n_rows,), any number of rows; NaN for missing.
    first_seq
        The number of the window's first row, not the same for two windows; at least 1.

    Raises
    ------
    InputError
        The streams are not those of the evidence, differ in length, or hold an infinite value.
    """
    require_streams(evidence, rows)
    require_finite(rows)
    n_rows = len(next(iter(rows.values()), ()))
    if evidence.gathering is not None:
        return gather(evidence.gathering, rows, seed=seed)
    if n_rows == 0:
        return evidence
    rng = np.random.Generator(np.random.Philox(key=np.array([seed, first_seq], dtype=np.uint64)))
    order, ties = rng.permutation(n_rows), rng.random((len(rows), n_rows))
    cells = np.stack([find_cells(rows[name][order], s.edges) for name, s in evidence.streams.items()])
    streams = judge_rows(list(evidence.streams.values()), cells, ties, n_before=evidence.n_rows, first_seq=first_seq)
    return Evidence(
        evidence.n_reference, evidence.n_rows + n_rows, None, dict(zip(evidence.streams, streams, strict=True))
    )


def evidence_to_json(evidence: Evidence) -> Json:
    """Return what a report says of the evidence."""
    streams = {n: {"value": s.value, "peak": s.peak, "since": s.since} for n, s in evidence.streams.items()}
    gathering = evidence.gathering is not None
    return {
        "n_reference": evidence.n_reference,
        "n_rows": evidence.n_rows,
        "gathering": gathering,
        "streams": streams,
    }


def gather(gathered: Mapping[str, Floats], rows: Mapping[str, Floats], *, seed: int) -> Evidence:
    """Return the evidence with whole windows more in its reference; with 500 rows that is complete."""
    reference = {name: np.concatenate([values, rows[name]]) for name, values in gathered.items()}
    n_reference = max(map(len, reference.values()), default=0)
    if n_reference >= REFERENCE_ROWS:
        return begin_evidence(reference, seed=seed)
    return Evidence(n_reference, 0, reference, {name: begin_stream(np.empty(0)) for name in reference})


def begin_stream(values: Floats, rng: np.random.Generator | None = None) -> Stream:
    """Return a stream that has seen only its reference; only more than 2,048 values need random numbers."""
    chosen = values if rng is None or values.size <= EDGE_ROWS else rng.choice(values, EDGE_ROWS, replace=False)
    edges = np.unique(chosen[~np.isnan(chosen)])
    counts = np.bincount(find_cells(values, edges), minlength=2 * edges.size + 2).astype(np.int64)
    return Stream(edges, counts, np.zeros(N_BETS), 1.0, 1.0, np.zeros(N_BETS), np.zeros(N_BETS, dtype=np.int64))


def find_cells(values: Floats, edges: Floats) -> NDArray[np.int16]:
    """Return the cell of each value, counted as in `NumericProfile`: 0 is missing, even numbers are at an edge."""
    # Of 2,048 edges the cells are 0 to 4,097; small integers are compared several at a time.
    below = np.searchsorted(edges, values, side="left")
    at_edge = edges[np.minimum(below, edges.size - 1)] == values if edges.size else np.zeros(values.size, dtype=bool)
    return np.where(np.isnan(values), 0, 1 + 2 * below + at_edge).astype(np.int16)


def stack(parts: Iterable[Floats | Counts | float]) -> NDArray[Any]:
    """Return one column per stream, shape (..., n_streams)."""
    return np.stack([np.asarray(part) for part in parts], axis=-1)


def judge_rows(
    streams: list[Stream], cells: NDArray[np.int16], ties: Floats, *, n_before: int, first_seq: int
) -> list[Stream]:
    """Return the streams after the rows, in the order given; `cells` and `ties` have shape (n_streams, n_rows)."""
    counts = [stream.counts.copy() for stream in streams]
    purses = Purses(stack(s.wealth for s in streams), stack(s.value for s in streams), stack(s.peak for s in streams))
    gains = np.zeros_like(purses.wealth)
    for start in range(0, cells.shape[1], BLOCK_ROWS):
        block = cells[:, start : start + BLOCK_ROWS]
        factors = bet_factors(rank_rows(block, counts, ties[:, start : start + BLOCK_ROWS]).T)
        purses = play(purses, factors, n_before=n_before + start)
        gains += np.log(factors.prod(axis=0))
        for count, new in zip(counts, block, strict=True):
            np.add.at(count, new, 1)
    runs, starts = stack(s.runs for s in streams), stack(s.starts for s in streams)
    runs, starts = follow_runs(runs, starts, gains, first_seq=first_seq)
    return [
        Stream(
            s.edges,
            counts[j],
            purses.wealth[:, j],
            float(purses.value[j]),
            float(purses.peak[j]),
            runs[:, j],
            starts[:, j],
        )
        for j, s in enumerate(streams)
    ]


def rank_rows(cells: NDArray[np.int16], counts: list[Counts], ties: Floats) -> Floats:
    """Return p = (#{z < x} + U (#{z = x} + 1)) / (N + 1) of each row x, z over all N rows counted or before it.

    Parameters
    ----------
    cells, ties
        The rows' cells and the random numbers U in [0, 1), shape (n_streams, n), n <= 255.
    counts
        The rows per cell before the block, per stream.

    References
    ----------
    Vovk, Gammerman, Shafer (2005), Algorithmic Learning in a Random World, section 2.
    """
    n_rows = cells.shape[1]
    is_earlier = np.triu(np.ones((n_rows, n_rows), dtype=np.bool_), k=1)
    earlier, row = cells[:, :, None], cells[:, None, :]
    below = count_true(np.less(earlier, row), is_earlier)
    equal = count_true(np.equal(earlier, row), is_earlier)
    for j, count in enumerate(counts):
        equal[j] += count[cells[j]]
        below[j] += (np.cumsum(count) - count)[cells[j]]
    n_counted = np.array([[count.sum()] for count in counts]) + np.arange(n_rows)
    p_values: Floats = (below + ties * (equal + 1)) / (n_counted + 1)
    return p_values


def count_true(holds: NDArray[np.bool_], is_earlier: NDArray[np.bool_]) -> Floats:
    """Return for how many earlier rows of the block it holds, shape (n_streams, n); `holds` is used up."""
    holds &= is_earlier
    earlier: Floats = holds.view(np.uint8).sum(axis=1, dtype=np.uint8).astype(np.float64)
    return earlier


def require_streams(evidence: Evidence, rows: Mapping[str, Floats]) -> None:
    """Refuse rows that are not of the evidence's streams, or whose streams differ in length."""
    sizes = {name: len(values) for name, values in rows.items()}
    if sizes.keys() != evidence.streams.keys() or len(set(sizes.values())) > 1:
        raise InputError(
            problem=f"the window has the streams {sizes or 'none'} (name: rows)",
            expected=f"the same number of rows of each of {', '.join(evidence.streams) or 'none'}",
            action="give each window the streams that the evidence began with",
        )


def require_finite(values: Mapping[str, Floats]) -> None:
    """Refuse infinite values: no accepted row holds one."""
    for name, numbers in values.items():
        infinite = np.flatnonzero(np.isinf(numbers))
        if infinite.size:
            raise InputError(
                problem=f"stream {name!r} is {numbers[infinite[0]]} in row {infinite[0]}",
                expected="finite numbers, NaN for missing: accepted rows hold no infinity",
                action="judge only rows that the checks accepted",
            )
