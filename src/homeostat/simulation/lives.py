"""Lives of a watched model: rows that arrive for months, without a change or with one, and when a trigger fires.

Not here: what counts as a drift (`monitoring.drift`, `monitoring.guard`), or how often a life must go well (the tests,
`bench/lives.py`).
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from homeostat.data.columns import take_rows
from homeostat.monitoring.drift import detect_drift
from homeostat.monitoring.evidence import Evidence, advance_evidence, begin_evidence, wait_for_reference
from homeostat.monitoring.guard import Guarded, judge_evidence
from homeostat.monitoring.seasons import window_effects
from homeostat.monitoring.streams import number_columns
from homeostat.records import Columns, Feature, Floats, Kind, Profile, Schema, Target
from homeostat.settings import MonitoringSettings
from homeostat.validation.profiles import build_profile, count_rows

N_FEATURES = 8
REFERENCE_ROWS = 768
SETTINGS = MonitoringSettings(window=200)
# How strongly the features of `correlated` go together.
CORRELATION = 0.6
RETRIED_SHARE = 0.05
Draw: TypeAlias = Callable[[np.random.Generator, int], Columns]
Arrive: TypeAlias = Callable[[np.random.Generator, int], NDArray[np.int64]]


@dataclass(frozen=True, slots=True)
class World:
    """A population that never changes, and how its rows arrive.

    `draw` returns so many independent rows. `arrive` returns which of them arrives as the first, the second, ...
    """

    schema: Schema
    draw: Draw
    arrive: Arrive


@dataclass(frozen=True, slots=True)
class Retraining:
    """The guarded trigger has fired after so many rows of the stream, for a drift since row `since`, counted from 1."""

    n_rows: int
    since: int | None


def draw_life(world: World, rng: np.random.Generator, *, n_rows: int) -> tuple[Columns, Columns]:
    """Return a reference of 768 rows, and the stream of rows that arrive after it."""
    rows = world.draw(rng, n_rows)
    return world.draw(rng, REFERENCE_ROWS), take_rows(rows, world.arrive(rng, n_rows)[:n_rows])


def watch_guarded(
    reference: Columns, stream: Columns, schema: Schema, *, seed: int, window: int = SETTINGS.window
) -> Iterator[Retraining]:
    """Watch a stream with the guarded trigger, and yield each retraining that it asks for.

    After a retraining the watch begins anew: the rows since the change point are the baseline, the next 500 those that
    evidence begins with. One whose beginning cannot be told takes the last window.
    """
    profile, numbers = build_profile(reference, schema), number_columns(stream, schema)
    usual = window_effects(reference, schema, profile, window=window, alpha=SETTINGS.alpha)
    evidence = begin_evidence(number_columns(reference, schema), seed=seed)
    for first, last in windows(stream, window):
        rows = {name: values[first:last] for name, values in numbers.items()}
        evidence = advance_evidence(evidence, rows, first_seq=first + 1, seed=seed)
        current = take_rows(stream, np.arange(first, last))
        verdict = judge_window(current, evidence, profile, schema, usual)
        if verdict.fired:
            yield Retraining(last, verdict.since)
            begin = first if verdict.since is None else verdict.since - 1
            baseline = take_rows(stream, np.arange(begin, last))
            profile = build_profile(baseline, schema)
            usual = window_effects(baseline, schema, profile, window=window, alpha=SETTINGS.alpha)
            evidence = wait_for_reference(tuple(numbers))


def watch_by_the_book(reference: Columns, stream: Columns, schema: Schema) -> Iterator[int]:
    """Watch a stream with the book's rule, and yield after how many rows it fires; its baseline stays."""
    profile = build_profile(reference, schema)
    for first, last in windows(stream, SETTINGS.window):
        current = count_rows(take_rows(stream, np.arange(first, last)), schema, profile)
        if detect_drift(profile, current, alpha=SETTINGS.alpha, boundary=SETTINGS.boundary).fired:
            yield last


def windows(stream: Columns, window: int) -> Iterator[tuple[int, int]]:
    """Yield the row that each complete window begins with, and the one behind it."""
    n_rows = len(next(iter(stream.values())))
    for first in range(0, n_rows - window + 1, window):
        yield first, first + window


def judge_window(
    rows: Columns, evidence: Evidence, profile: Profile, schema: Schema, usual: Mapping[str, float]
) -> Guarded:
    """Return the guarded trigger's verdict on the rows of one window."""
    # Most windows lack the evidence whatever their tests say, and an exact p-value takes longer than the evidence.
    names = tuple(profile.features)
    verdict = judge(dict.fromkeys(names, 0.0), dict.fromkeys(names, 1.0), evidence, {})
    if not verdict.fired:
        return verdict
    current = count_rows(rows, schema, profile)
    report = detect_drift(profile, current, alpha=SETTINGS.alpha, boundary=SETTINGS.boundary)
    p_values, effects = {f.name: f.p_value for f in report.features}, {f.name: f.effect for f in report.features}
    return judge(p_values, effects, evidence, usual)


def judge(
    p_values: Mapping[str, float], effects: Mapping[str, float], evidence: Evidence, usual: Mapping[str, float]
) -> Guarded:
    """Return the verdict at the default settings."""
    return judge_evidence(
        p_values,
        effects,
        evidence,
        alpha=SETTINGS.alpha,
        boundary=SETTINGS.boundary,
        alpha_life=SETTINGS.alpha_life,
        effect_floor=SETTINGS.effect_floor,
        usual=usual,
    )


def draw_season(
    rng: np.random.Generator, *, n_cycles: int, period: int, n_features: int, height: float
) -> tuple[Columns, Columns]:
    """Return a reference that spans one cycle, in order, and a stream of several cycles of so many rows each."""
    world = WORLDS["independent"]
    reference, stream = (world.draw(rng, n_rows) for n_rows in (max(period, REFERENCE_ROWS), n_cycles * period))
    return (
        add_season(reference, period=period, n_features=n_features, height=height),
        add_season(stream, period=period, n_features=n_features, height=height),
    )


def shift_rows(stream: Columns, *, n_features: int, by: float, after: int) -> Columns:
    """Return the stream with the first `n_features` higher by so much in every row after the first `after`."""
    shifted = dict(stream)
    for name in list(stream)[:n_features]:
        shifted[name] = stream[name] + by * (np.arange(len(stream[name])) >= after)
    return shifted


def add_season(rows: Columns, *, period: int, n_features: int, height: float) -> Columns:
    """Return the rows with the first `n_features` higher by `height` times the sine of its place in the cycle."""
    seasonal = dict(rows)
    for name in list(rows)[:n_features]:
        seasonal[name] = rows[name] + height * np.sin(2 * np.pi * np.arange(len(rows[name])) / period)
    return seasonal


def describe_features(kinds: Sequence[Kind]) -> Schema:
    """Return the schema of features x0, x1, ... of these kinds."""
    features = tuple(Feature(f"x{i}", kind) for i, kind in enumerate(kinds))
    return Schema(features, Target("outcome", 0, 1), "0" * 64)


def name_columns(values: Floats) -> Columns:
    """Return the columns of an array of shape (n_rows, n_features)."""
    return {f"x{i}": column for i, column in enumerate(values.T)}


def draw_independent(rng: np.random.Generator, n_rows: int) -> Columns:
    """Draw features that know nothing of each other, each of standard deviation 1."""
    return name_columns(rng.normal(size=(n_rows, N_FEATURES)))


def draw_correlated(rng: np.random.Generator, n_rows: int) -> Columns:
    """Draw features of which any two have correlation .6."""
    shared, own = rng.normal(size=(n_rows, 1)), rng.normal(size=(n_rows, N_FEATURES))
    return name_columns(np.sqrt(CORRELATION) * shared + np.sqrt(1 - CORRELATION) * own)


def draw_tied(rng: np.random.Generator, n_rows: int) -> Columns:
    """Draw features of about seven different values each."""
    return name_columns(np.round(rng.normal(size=(n_rows, N_FEATURES))))


def draw_with_categories(rng: np.random.Generator, n_rows: int) -> Columns:
    """Draw three features of thousands of rare categories, few of which a reference holds, and five measured ones."""
    towns = rng.zipf(1.5, size=(n_rows, 3))
    rare = {f"x{i}": np.array([f"town {town}" for town in column], dtype=object) for i, column in enumerate(towns.T)}
    measured = rng.normal(size=(n_rows, N_FEATURES - 3))
    return {**rare, **{f"x{i + 3}": column for i, column in enumerate(measured.T)}}


def arrive_as_drawn(_: np.random.Generator, n_rows: int) -> NDArray[np.int64]:
    """Let every row arrive once, in the order in which it was drawn."""
    return np.arange(n_rows)


def arrive_twice(rng: np.random.Generator, n_rows: int) -> NDArray[np.int64]:
    """Let 5 % of the rows arrive again one to five rows later."""
    again = np.flatnonzero(rng.random(n_rows) < RETRIED_SHARE)
    places = np.concatenate([np.arange(n_rows), again + rng.integers(1, 6, again.size) + 0.5])
    return np.concatenate([np.arange(n_rows), again])[np.argsort(places, kind="stable")]


def arrive_twice_with_one_id(rng: np.random.Generator, n_rows: int) -> NDArray[np.int64]:
    """Let 5 % of the rows be sent again; the log knows their ids and drops the second of each."""
    sent = arrive_twice(rng, n_rows)
    _, first_places = np.unique(sent, return_index=True)
    return sent[np.sort(first_places)]


def sort_batches(draw: Draw, smallest: int, largest: int) -> Draw:
    """Return a draw whose rows come in batches of random sizes, each sorted by the first feature."""

    def draw_sorted(rng: np.random.Generator, n_rows: int) -> Columns:
        rows = draw(rng, n_rows)
        ends = np.cumsum(rng.integers(smallest, largest + 1, n_rows // smallest + 1))
        # By batch, and within it by value.
        order = np.lexsort((rows["x0"], np.searchsorted(ends, np.arange(n_rows), side="right")))
        return take_rows(rows, order)

    return draw_sorted


NUMERIC = describe_features(["numeric" for _ in range(N_FEATURES)])
# Worlds without a change for which the guarded trigger keeps its promise.
WORLDS: Mapping[str, World] = MappingProxyType(
    {
        "independent": World(NUMERIC, draw_independent, arrive_as_drawn),
        "correlated .6": World(NUMERIC, draw_correlated, arrive_as_drawn),
        "tied": World(NUMERIC, draw_tied, arrive_as_drawn),
        "sorted batches, one a window": World(NUMERIC, sort_batches(draw_correlated, 200, 200), arrive_as_drawn),
        "retried rows, dropped by id": World(NUMERIC, draw_independent, arrive_twice_with_one_id),
        "retried rows, new ids": World(NUMERIC, draw_independent, arrive_twice),
        "categories, many unseen": World(
            describe_features((*("categorical",) * 3, *("numeric",) * 5)), draw_with_categories, arrive_as_drawn
        ),
    }
)
# Worlds beyond the promise: a window's end cuts a sorted batch, so that each side holds a slice of it, not a sample.
CUT_BATCHES: Mapping[str, World] = MappingProxyType(
    {
        f"sorted batches of {low}-{high} rows": World(
            NUMERIC, sort_batches(draw_correlated, low, high), arrive_as_drawn
        )
        for low, high in ((10, 40), (50, 100), (50, 200), (600, 1_000))
    }
)
