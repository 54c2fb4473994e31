"""Does the challenger fail a group of rows? Each category, and each quarter of each number, judged for itself.

Not here: the rows as a whole (`deployment.criteria`). Pure. A group is refused only if it surely collapses: with dozens
of groups some differ by chance, so that every interval is widened for their number (Bonferroni).
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

from homeostat.deployment.criteria import HeldOut
from homeostat.records import Criterion, Feature, Floats, Json, Mask, Schema, Texts
from homeostat.training.contrasts import delong, mean_difference
from homeostat.validation.profiles import mask_missing

MIN_ROWS, MIN_PER_CLASS = 50, 10
# A loss of AUC, or a gain of Brier score, from which on a group counts as lost.
COLLAPSE = 0.1
ALPHA = 0.05
QUARTERS = (0.25, 0.5, 0.75)


@dataclass(frozen=True, slots=True)
class Slice:
    """A group of rows by name: `chosen` has shape (n_rows,)."""

    name: str
    chosen: Mask


def judge_slices(kind: str, rows: HeldOut, champion: Floats, schema: Schema) -> Criterion:
    """Judge whether any group of rows surely collapses under the challenger."""
    slices = [one for one in cut_slices(rows, schema) if is_large_enough(rows, one)]
    # Two questions a slice, each one-sided.
    z = NormalDist().inv_cdf(1 - ALPHA / (2 * max(1, len(slices))))
    found = [compare_slice(rows, champion, one, z=z) for one in slices]
    lost = [one for one in found if one["auc_high"] < -COLLAPSE or one["brier_low"] > COLLAPSE]
    worst = min(found, key=lambda one: one["auc_difference"], default=None)
    figures = {"n_slices": len(found), "collapse": COLLAPSE, "lost": lost, "worst": worst}
    if lost:
        told = "; ".join(describe_slice(one) for one in lost)
        return Criterion("slices", passed=False, sentence=f"lost on the {kind} rows: {told}", figures=figures)
    said = f"{len(found)} groups of {kind} rows, none lost" + (f"; lowest: {describe_slice(worst)}" if worst else "")
    return Criterion("slices", passed=True, sentence=said, figures=figures)


def describe_slice(one: Json) -> str:
    """Return a group's figures in words."""
    return (
        f"{one['slice']} ({one['n_rows']} rows): AUC {one['auc_difference']:+.3f} (at most {one['auc_high']:+.3f}), "
        f"Brier {one['brier_difference']:+.3f} (at least {one['brier_low']:+.3f})"
    )


def compare_slice(rows: HeldOut, champion: Floats, one: Slice, *, z: float) -> Json:
    """Return by how much challenger and champion differ on one group; `z` standard errors bound it."""
    labels, ours, theirs = rows.labels[one.chosen], rows.challenger[one.chosen], champion[one.chosen]
    auc, auc_error = delong(labels, ours, theirs)
    brier, brier_error = mean_difference((ours - labels) ** 2 - (theirs - labels) ** 2)
    return {
        "slice": one.name,
        "n_rows": len(labels),
        "auc_difference": auc,
        "auc_high": auc + z * auc_error,
        "brier_difference": brier,
        "brier_low": brier - z * brier_error,
    }


def is_large_enough(rows: HeldOut, one: Slice) -> bool:
    """Return whether a group has enough rows of both classes to be judged."""
    n_rows, n_positive = int(one.chosen.sum()), int(rows.labels[one.chosen].sum())
    return n_rows >= MIN_ROWS and min(n_positive, n_rows - n_positive) >= MIN_PER_CLASS


def cut_slices(rows: HeldOut, schema: Schema) -> Iterator[Slice]:
    """Yield the groups: each category, each quarter of the measured numbers, and the rows without a value."""
    for feature in schema.features:
        if feature.name in rows.columns:
            values = mask_missing(rows.columns[feature.name], feature)
            numeric = feature.kind == "numeric"
            yield from cut_numbers(feature, values.astype(np.float64)) if numeric else cut_texts(feature, values)


def cut_texts(feature: Feature, values: Floats | Texts) -> Iterator[Slice]:
    """Yield the rows of each category."""
    missing = np.array([value is None for value in values.tolist()], dtype=np.bool_)
    # Counted first: a mask for each of thousands of rare categories would take seconds.
    counts = Counter(value for value in values.tolist() if value is not None)
    for category in sorted(value for value, n_rows in counts.items() if n_rows >= MIN_ROWS):
        yield Slice(f"{feature.name} = {category}", np.asarray(values == category, dtype=np.bool_))
    yield Slice(f"{feature.name} missing", missing)


def cut_numbers(feature: Feature, values: Floats) -> Iterator[Slice]:
    """Yield the rows of each quarter."""
    missing = np.isnan(values)
    measured = values[~missing]
    edges = np.unique(np.quantile(measured, QUARTERS)) if len(measured) else np.empty(0)
    place = np.digitize(values, edges, right=True)
    bounds = ["", *(f"{edge:g}" for edge in edges), ""]
    for quarter in range(len(edges) + 1):
        low, high = bounds[quarter], bounds[quarter + 1]
        words = " and ".join(part for part in (f"> {low}" if low else "", f"<= {high}" if high else "") if part)
        yield Slice(f"{feature.name} {words or 'measured'}", (place == quarter) & ~missing)
    yield Slice(f"{feature.name} missing", missing)
