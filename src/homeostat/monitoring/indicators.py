"""The shares watched in a block of arrivals: of missing values, of values beyond the baseline's, of rejected rows.

Not here: when the rise of one is told (`monitoring.arrivals`), or how sure it is (`monitoring.rises`). Pure.
"""

import math
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TypeAlias

import numpy as np

from homeostat.data.columns import stack_rows
from homeostat.monitoring.rises import outer_values, p_of_rise, p_of_unseen
from homeostat.records import (
    CategoricalProfile,
    Feature,
    FeatureProfile,
    Floats,
    Mask,
    NumericProfile,
    Profile,
    Row,
    Schema,
)
from homeostat.validation.checks import FLOAT32_MAX, describe_range
from homeostat.validation.profiles import mask_numbers, mask_texts

# The share of the baseline's values that may lie beyond a bound: one slip of the pen must not widen it for good.
FRINGE = 0.01
# Fewest rows whose median or category may be told: an alert is no place for the value of a row.
ENOUGH = 20
# Most characters of a category that are told: a sender chooses them.
LONGEST = 40

# What is tested of each feature: shares of the accepted rows, and the rules that can reject one.
SHARES: Mapping[str, Sequence[str]] = {"numeric": ("missing", "below", "above"), "categorical": ("missing", "unseen")}
RULES: Mapping[str, Sequence[str]] = {
    "numeric": ("required", "number", "finite", "range"),
    "categorical": ("required", "text"),
}
# Of these, the rules about how large a number is.
SIZE_RULES = frozenset({"finite", "range"})
# And of whole rows. Unknown fields are one indicator: a sender may invent any number of names.
UNKNOWN, ANY = "unknown", "any rule"


@dataclass(frozen=True, slots=True)
class Accepted:
    """A row that was answered, with every feature of the schema."""

    row: Row


@dataclass(frozen=True, slots=True)
class Rejected:
    """A row that was refused, as it was sent, with each column and rule that it broke."""

    row: Mapping[str, object]
    broken: frozenset[tuple[str, str]]


# In the order in which they came.
Block: TypeAlias = Sequence[Accepted | Rejected]


@dataclass(frozen=True, slots=True)
class Baseline:
    """What arrivals are measured against: accepted rows, and how many of `n_arrived` rows the rules had rejected."""

    schema: Schema
    profile: Profile
    n_arrived: int
    n_rejected: int


@dataclass(frozen=True, slots=True)
class Rise:
    """One indicator of a block: `hits` of `n_rows` rows, its share in the baseline, and what tests its rise.

    `words` say what the hits are. `where` gives the arrivals that they are, shape (n_arrivals,), if it is the size of a
    number that has changed.
    """

    kind: str
    subject: str
    hits: int
    n_rows: int
    share_then: float
    test: Callable[[], float]
    words: str
    feature: Feature | None
    where: Callable[[], Mask] | None = None

    @property
    def size(self) -> float:
        """By how much the share has risen."""
        return self.hits / self.n_rows - self.share_then if self.n_rows else 0.0


def count_indicators(schema: Schema) -> int:
    """Return how many shares each block of this schema tests."""
    return 2 + sum(len(SHARES[f.kind]) + len(RULES[f.kind]) for f in schema.features)


def value_rises(baseline: Baseline, block: Block) -> Iterator[Rise]:
    """Yield the indicators of each feature, over the accepted rows of a block."""
    columns = stack_rows([arrival.row for arrival in block if isinstance(arrival, Accepted)], baseline.schema)
    for feature in baseline.schema.features:
        cells = baseline.profile.features[feature.name]
        impossible = count_impossible(feature, block)
        if isinstance(cells, NumericProfile):
            numbers = mask_numbers(columns[feature.name], feature)
            yield missing_rise(feature, int(np.isnan(numbers).sum()), numbers.size + impossible, cells)
            if cells.edges.size:
                yield from outer_rises(feature, cells, numbers[~np.isnan(numbers)], block)
        else:
            tally = Counter(mask_texts(columns[feature.name], feature).tolist())
            yield missing_rise(feature, tally[None], tally.total() + impossible, cells)
            yield unseen_rise(feature, cells, tally)


def count_impossible(feature: Feature, block: Block) -> int:
    """Return how many rows were rejected for the feature's value: impossible, but not missing."""
    rules = {(feature.name, rule) for rule in RULES[feature.kind] if rule != "required"}
    return sum(isinstance(arrival, Rejected) and not rules.isdisjoint(arrival.broken) for arrival in block)


def missing_rise(feature: Feature, hits: int, n_rows: int, cells: FeatureProfile) -> Rise:
    """Return the share of missing values. Only its rise: a value that is measured at last is no accident.

    `n_rows` counts impossible values too. Among the accepted rows alone the share would rise whenever a rule rejects
    what was measured in a wrong unit; more rows without a hit only make the test more conservative.
    """
    hits_then, n_then = int(cells.counts[0]), int(cells.counts.sum())
    test = partial(p_of_rise, hits, n_rows, hits_then=hits_then, n_then=n_then)
    return Rise("missing", feature.name, hits, n_rows, hits_then / max(n_then, 1), test, "values are missing", feature)


def outer_rises(feature: Feature, cells: NumericProfile, measured: Floats, block: Block) -> Iterator[Rise]:
    """Yield the shares of measured values below and above nearly all of the baseline's."""
    low, high, n_beyond = outer_values(cells, FRINGE)
    n_then = int(cells.counts[1:].sum())
    for kind, bound, is_beyond in (("below", low, np.less), ("above", high, np.greater)):
        hits = int(is_beyond(measured, bound).sum())
        test = partial(p_of_rise, hits, measured.size, hits_then=n_beyond, n_then=n_then)
        words = f"values lie {kind} all or nearly all of the baseline's"
        where = partial(find_beyond, block, feature, bound, is_beyond)
        yield Rise(kind, feature.name, hits, measured.size, n_beyond / n_then, test, words, feature, where)


def find_beyond(block: Block, feature: Feature, bound: float, is_beyond: Callable[[Floats, float], Mask]) -> Mask:
    """Return the arrivals, accepted or not, whose number lies beyond a bound."""
    return is_beyond(arrived_numbers(block, feature), bound)


def unseen_rise(feature: Feature, cells: CategoricalProfile, tally: Counter[str | None]) -> Rise:
    """Return the share of values in categories that the baseline does not hold."""
    known = set(cells.categories)
    unseen = Counter({text: n_rows for text, n_rows in tally.items() if text is not None and text not in known})
    now = np.array([tally[category] for category in cells.categories], dtype=np.int64)
    test = partial(p_of_unseen, cells.counts[1:-1], now, list(unseen.values()))
    words = "values are of categories that the baseline does not hold"
    for text, n_rows in unseen.most_common(1):
        if n_rows >= ENOUGH:
            words += f", most often {text[:LONGEST]!r} ({n_rows})"
    return Rise("unseen", feature.name, unseen.total(), tally.total() - tally[None], 0.0, test, words, feature)


def rejection_rises(baseline: Baseline, block: Block) -> Iterator[Rise]:
    """Yield the shares of rows that each rule rejects, over all arrivals of a block.

    How many rows each rule had rejected before is not known: all rejected rows together are a bound on it.
    """
    rejected = [arrival.broken for arrival in block if isinstance(arrival, Rejected)]
    tally = Counter(pair for broken in rejected for pair in broken)
    for feature in baseline.schema.features:
        for rule in RULES[feature.kind]:
            pair = (feature.name, rule)
            where = partial(find_broken, block, pair) if rule in SIZE_RULES else None
            words = describe_rule(feature, rule)
            yield rejection_rise(baseline, block, " ".join(pair), words, tally[pair], feature=feature, where=where)
    unknown = sum(any(rule == UNKNOWN for _, rule in broken) for broken in rejected)
    yield rejection_rise(baseline, block, UNKNOWN, "rows hold fields that the schema does not name", unknown)
    yield rejection_rise(baseline, block, ANY, "rows are rejected", len(rejected))


def rejection_rise(
    baseline: Baseline,
    block: Block,
    subject: str,
    words: str,
    hits: int,
    *,
    feature: Feature | None = None,
    where: Callable[[], Mask] | None = None,
) -> Rise:
    """Return the share of arrivals that were rejected for one reason."""
    test = partial(p_of_rise, hits, len(block), hits_then=baseline.n_rejected, n_then=baseline.n_arrived)
    share_then = baseline.n_rejected / max(baseline.n_arrived, 1)
    return Rise("rejected", subject, hits, len(block), share_then, test, words, feature, where)


def find_broken(block: Block, pair: tuple[str, str]) -> Mask:
    """Return the arrivals that broke the rule of a column."""
    return np.array([isinstance(arrival, Rejected) and pair in arrival.broken for arrival in block])


def describe_rule(feature: Feature, rule: str) -> str:
    """Return what the rows do that break a rule."""
    return {
        "required": "rows lack the field",
        "number": "rows hold something that is no number",
        "finite": "rows hold a number beyond float32",
        "range": f"rows hold an impossible value (possible: {describe_range(feature)})",
        "text": "rows hold something that is no category",
    }[rule]


def arrived_numbers(block: Block, feature: Feature) -> Floats:
    """Return the number that each arrival holds of a feature, shape (n_arrivals,); NaN for anything else."""
    numbers = [plain_number(arrival.row.get(feature.name)) for arrival in block]
    return mask_numbers(np.array(numbers, dtype=np.float64), feature)


def plain_number(cell: object) -> float:
    """Return a cell as a number that float32 can hold, NaN if it is none."""
    if not isinstance(cell, int | float) or isinstance(cell, bool) or not abs(cell) <= FLOAT32_MAX:
        return math.nan
    return float(cell)
