"""Sudden changes of what arrives, named at once: blocks of some 50 rows, accepted and rejected, against the baseline.

Not here: slow or small changes (`monitoring.drift`), reading the log (`monitoring.arrival_checks`), or a reason to
retrain. Pure.

An indicator is a share: of missing values, of values beyond those of the baseline, of rows that one rule rejects. If
nothing has changed, the rows of a block are exchangeable with those of the baseline, so each of its p-values is valid:
P(p <= a) <= a. Block b of a watch tests each of the m indicators at alpha_life * 6 / (pi^2 b^2) / m. The sum of 1 / b^2
is pi^2 / 6, so by the union bound a watch ever tells a false alert with a chance of at most alpha_life, whatever the
dependence between indicators and between blocks, which share one baseline. Rows that depend on each other, as those of
one sorted file that comes in many requests, are outside this guarantee.
"""

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from homeostat.data.columns import stack_rows
from homeostat.monitoring.rises import outer_values, p_of_rise, p_of_unseen
from homeostat.monitoring.units import describe_change
from homeostat.records import (
    Alert,
    CategoricalProfile,
    Feature,
    FeatureProfile,
    Floats,
    Json,
    Mask,
    NumericProfile,
    Profile,
    Row,
    Schema,
)
from homeostat.validation.checks import FLOAT32_MAX, describe_range
from homeostat.validation.profiles import describe_feature, mask_numbers, mask_texts

# Fewest arrivals that are judged together.
BLOCK = 50
# A smaller rise of a share is not sudden: the windows of the drift check see it.
SUDDEN = 0.3
# The share of the baseline's values that may lie beyond a bound: one slip of the pen must not widen it for good.
FRINGE = 0.01
# Fewest rows whose median or category may be told: an alert is no place for the value of a row.
ENOUGH = 20

# What is tested of each feature: shares of the accepted rows, and the rules that can reject one.
SHARES: Mapping[str, Sequence[str]] = {"numeric": ("missing", "below", "above"), "categorical": ("missing", "unseen")}
RULES: Mapping[str, Sequence[str]] = {
    "numeric": ("required", "number", "finite", "range"),
    "categorical": ("required", "text"),
}
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


@dataclass(frozen=True, slots=True)
class Baseline:
    """What arrivals are measured against: accepted rows, and how many of `n_arrived` rows the rules had rejected."""

    schema: Schema
    profile: Profile
    n_arrived: int
    n_rejected: int


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a watch is: blocks judged, and the kind and subject of each alert told."""

    n_blocks: int = 0
    told: frozenset[tuple[str, str]] = frozenset()


@dataclass(frozen=True, slots=True)
class Rise:
    """One indicator of a block: `hits` of `n_rows` rows, its share in the baseline, and the p-value of its rise.

    `words` say what the hits are. `where`, shape (n_arrivals,), says which arrivals they are, if it is the size of
    a number that has changed.
    """

    kind: str
    subject: str
    hits: int
    n_rows: int
    share_then: float
    p_value: float
    words: str
    feature: Feature | None
    where: Mask | None = None

    @property
    def size(self) -> float:
        """By how much the share has risen."""
        return self.hits / self.n_rows - self.share_then if self.n_rows else 0.0


def judge_block(
    baseline: Baseline, so_far: Progress, block: Sequence[Accepted | Rejected], *, alpha_life: float
) -> tuple[Progress, tuple[Alert, ...]]:
    """Return where the watch stands with this block, and the alerts that it has not told before.

    Parameters
    ----------
    baseline
        What the release was trained on; a feature that none of its rows measured has no bounds.
    so_far
        Where the watch stood.
    block
        Arrivals in their order, `BLOCK` of them or more; without any, nothing is judged.
    alpha_life
        Bound on the chance that the watch ever tells a false alert, in (0, 1).
    """
    if not block:
        return so_far, ()
    number = so_far.n_blocks + 1
    alpha = alpha_life * 6 / (math.pi * number) ** 2 / count_indicators(baseline.schema)
    told, alerts = set(so_far.told), []
    for rise in [*value_rises(baseline, block), *rejection_rises(baseline, block)]:
        # Which rule it is says more than that rows are rejected.
        known = rise.subject == ANY and any(kind == "rejected" for kind, _ in told)
        if rise.size >= SUDDEN and rise.p_value <= alpha and not known and (rise.kind, rise.subject) not in told:
            told.add((rise.kind, rise.subject))
            alerts.append(tell(rise, baseline, block))
    return Progress(number, frozenset(told)), tuple(alerts)


def count_indicators(schema: Schema) -> int:
    """Return how many shares each block of this schema tests."""
    return 2 + sum(len(SHARES[f.kind]) + len(RULES[f.kind]) for f in schema.features)


def value_rises(baseline: Baseline, block: Sequence[Accepted | Rejected]) -> Iterator[Rise]:
    """Yield the indicators of each feature, over the accepted rows of a block."""
    columns = stack_rows([arrival.row for arrival in block if isinstance(arrival, Accepted)], baseline.schema)
    for feature in baseline.schema.features:
        cells = baseline.profile.features[feature.name]
        impossible = count_impossible(feature, block)
        if isinstance(cells, NumericProfile):
            numbers = mask_numbers(columns[feature.name], feature)
            yield missing_rise(feature, int(np.isnan(numbers).sum()), numbers.size + impossible, cells)
            if cells.edges.size:
                yield from outer_rises(feature, cells, numbers[~np.isnan(numbers)], arrived_numbers(block, feature))
        else:
            tally = Counter(mask_texts(columns[feature.name], feature).tolist())
            yield missing_rise(feature, tally[None], tally.total() + impossible, cells)
            yield unseen_rise(feature, cells, tally)


def count_impossible(feature: Feature, block: Sequence[Accepted | Rejected]) -> int:
    """Return how many rows were rejected for the feature's value: impossible, but not missing."""
    rules = {(feature.name, rule) for rule in RULES[feature.kind] if rule != "required"}
    return sum(isinstance(arrival, Rejected) and not rules.isdisjoint(arrival.broken) for arrival in block)


def missing_rise(feature: Feature, hits: int, n_rows: int, cells: FeatureProfile) -> Rise:
    """Return the share of missing values. Only its rise: a value that is measured at last is no accident.

    `n_rows` counts impossible values too. Among the accepted rows alone the share would rise whenever a rule rejects
    what was measured in a wrong unit; more rows without a hit only make the test more conservative.
    """
    hits_then, n_then = int(cells.counts[0]), int(cells.counts.sum())
    p_value = p_of_rise(hits, n_rows, hits_then=hits_then, n_then=n_then)
    share_then = hits_then / max(n_then, 1)
    return Rise("missing", feature.name, hits, n_rows, share_then, p_value, "values are missing", feature)


def outer_rises(feature: Feature, cells: NumericProfile, measured: Floats, arrived: Floats) -> Iterator[Rise]:
    """Yield the shares of measured values below and above nearly all of the baseline's."""
    low, high, n_beyond = outer_values(cells, FRINGE)
    n_then = int(cells.counts[1:].sum())
    for kind, beyond, where in (("below", measured < low, arrived < low), ("above", measured > high, arrived > high)):
        hits = int(beyond.sum())
        p_value = p_of_rise(hits, measured.size, hits_then=n_beyond, n_then=n_then)
        words = f"values lie {kind} all or nearly all of the baseline's"
        yield Rise(kind, feature.name, hits, measured.size, n_beyond / n_then, p_value, words, feature, where)


def unseen_rise(feature: Feature, cells: CategoricalProfile, tally: Counter[str | None]) -> Rise:
    """Return the share of values in categories that the baseline does not hold."""
    known = {None, *cells.categories}
    unseen = Counter({text: n_rows for text, n_rows in tally.items() if text not in known})
    now = np.array([tally[category] for category in cells.categories], dtype=np.int64)
    p_value = p_of_unseen(cells.counts[1:-1], now, list(unseen.values()))
    words = "values are of categories that the baseline does not hold"
    if unseen and unseen.most_common(1)[0][1] >= ENOUGH:
        words += ", most often {!r} ({})".format(*unseen.most_common(1)[0])
    return Rise("unseen", feature.name, unseen.total(), tally.total() - tally[None], 0.0, p_value, words, feature)


def rejection_rises(baseline: Baseline, block: Sequence[Accepted | Rejected]) -> Iterator[Rise]:
    """Yield the shares of rows that each rule rejects, over all arrivals of a block.

    How many rows each rule had rejected before is not known: all rejected rows together are a bound on it.
    """
    broken = [arrival.broken if isinstance(arrival, Rejected) else frozenset() for arrival in block]
    found: list[tuple[str, str, Feature | None, list[bool]]] = [
        (f"{feature.name} {rule}", describe_rule(feature, rule), feature, [(feature.name, rule) in b for b in broken])
        for feature in baseline.schema.features
        for rule in RULES[feature.kind]
    ]
    unknown = [any(rule == UNKNOWN for _, rule in rules) for rules in broken]
    found.append((UNKNOWN, "rows hold fields that the schema does not name", None, unknown))
    found.append((ANY, "rows are rejected", None, [bool(rules) for rules in broken]))
    share_then = baseline.n_rejected / max(baseline.n_arrived, 1)
    for subject, words, feature, hit in found:
        hits = sum(hit)
        p_value = p_of_rise(hits, len(block), hits_then=baseline.n_rejected, n_then=baseline.n_arrived)
        where = np.array(hit) if subject.endswith((" finite", " range")) else None
        yield Rise("rejected", subject, hits, len(block), share_then, p_value, words, feature, where)


def describe_rule(feature: Feature, rule: str) -> str:
    """Return what the rows do that break a rule."""
    return {
        "required": "rows lack the field",
        "number": "rows hold something that is no number",
        "finite": "rows hold a number beyond float32",
        "range": f"rows hold an impossible value (possible: {describe_range(feature)})",
        "text": "rows hold something that is no category",
    }[rule]


def tell(rise: Rise, baseline: Baseline, block: Sequence[Accepted | Rejected]) -> Alert:
    """Return the alert of a rise, with the change of the median where that may show a change of unit."""
    about = f"{rise.feature.name}: " if rise.feature else ""
    against = "at most, of the rows before training" if rise.kind == "rejected" else "of the baseline"
    sentence = f"{about}{rise.hits} of the last {rise.n_rows} {rise.words}, against {rise.share_then:.1%} {against}"
    figures: Json = {
        "hits": rise.hits,
        "rows": rise.n_rows,
        "share": rise.hits / rise.n_rows,
        "share_then": rise.share_then,
        "p_value": rise.p_value,
    }
    medians = change_of_median(rise, baseline, block)
    if medians is not None:
        figures |= {"median_then": medians[0], "median": medians[1]}
        sentence += f"; {describe_change(*medians)}"
    return Alert(rise.kind, rise.subject, sentence, figures)


def change_of_median(
    rise: Rise, baseline: Baseline, block: Sequence[Accepted | Rejected]
) -> tuple[float, float] | None:
    """Return the median of the baseline, and that of what has arrived since the first hit, accepted or not.

    None if one of them has fewer than `ENOUGH` numbers, or if no number's size is what has changed.
    """
    if rise.where is None or rise.feature is None:
        return None
    cells = baseline.profile.features[rise.feature.name]
    arrived = arrived_numbers(block, rise.feature)[int(rise.where.argmax()) :]
    measured = arrived[~np.isnan(arrived)]
    if min(measured.size, int(cells.counts[1:].sum())) < ENOUGH:
        return None
    return float(describe_feature(cells)["median"]), float(np.median(measured))


def arrived_numbers(block: Sequence[Accepted | Rejected], feature: Feature) -> Floats:
    """Return the number that each arrival holds of a feature, shape (n_arrivals,); NaN for anything else."""
    numbers = [plain_number(arrival.row.get(feature.name)) for arrival in block]
    return mask_numbers(np.array(numbers, dtype=np.float64), feature)


def plain_number(cell: object) -> float:
    """Return a cell as a number that float32 can hold, NaN if it is none."""
    fits = isinstance(cell, int | float) and not isinstance(cell, bool) and abs(cell) <= FLOAT32_MAX
    return float(cell) if fits else math.nan  # type: ignore[arg-type]
