"""Two distributions of one feature as bars in the same places: the baseline's, and a window's laid over it.

Not here: counting rows (`validation.profiles`), or the page that the shapes are part of (`web.drift_page`).
"""

import itertools
import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from homeostat.records import CategoricalProfile, Counts, FeatureProfile, Floats, NumericProfile
from homeostat.validation.profiles import quantiles

# A window of 200 rows in more bins than this shows its own noise.
MOST_BINS = 20
# Categories with a bar of their own; the others share one.
MOST_CATEGORIES = 8
# Tukey's outer fences: rows further than three interquartile ranges from the quartiles share a bar at each end.
FENCE = 3.0


@dataclass(frozen=True, slots=True)
class Bar:
    """The share of the rows of each side, in 0-1, that have one value, or one of a range of values.

    `low` is where a `bin` begins on the axis; the other kinds stand beside the axis.
    """

    kind: Literal["missing", "below", "bin", "above", "category", "rest", "unseen"]
    label: str
    then: float
    now: float
    low: float = math.nan


def compare_shares(reference: FeatureProfile, current: FeatureProfile) -> tuple[Bar, ...]:
    """Return the bars of two profiles in the same cells, at least one row each; the shares of a side add up to 1.

    Numeric: bins of equal width within the fences of the reference, then what lies beyond them. A row between two
    reference values counts as their midpoint. Categorical: the largest categories on either side, the others pooled.
    Bars that are empty on both sides are left out, bins excepted.
    """
    if isinstance(reference, CategoricalProfile):
        return compare_categories(reference, current.counts)
    return compare_numbers(reference, current.counts)


def compare_numbers(reference: NumericProfile, current: Counts) -> tuple[Bar, ...]:
    """Return the bars of a numeric feature."""
    then, now = reference.counts / reference.counts.sum(), current / current.sum()
    bars = [Bar("missing", "missing", float(then[0]), float(now[0]))]
    if not reference.edges.size:
        bars.append(Bar("unseen", "measured", float(then[1:].sum()), float(now[1:].sum())))
        return tuple(bar for bar in bars if bar.then or bar.now)
    cuts = choose_cuts(reference)
    # Place 0 is below the first cut, place i in the bin that begins at cut i - 1, the last at the last cut or above.
    places = np.searchsorted(cuts, cell_middles(reference.edges), side="right")
    shares = [np.bincount(places, weights=side[1:], minlength=cuts.size + 1).tolist() for side in (then, now)]
    first, last = float(reference.edges[0]), float(reference.edges[-1])
    names = [f"{figure(low)} to {figure(high)}" for low, high in itertools.pairwise(cuts)]
    # Beyond the baseline's own values a row is known by no more than that.
    labels = [
        f"below {figure(max(cuts[0], first))}",
        *([figure(first)] if first == last else names),
        f"above {figure(last)}" if last < cuts[-1] else f"{figure(cuts[-1])} or more",
    ]
    for place, (label, a, b) in enumerate(zip(labels, *shares, strict=True)):
        kind: Literal["below", "bin", "above"] = "below" if place == 0 else "above" if place == cuts.size else "bin"
        bars.append(Bar(kind, label, a, b, float(cuts[place - 1]) if kind == "bin" else math.nan))
    return tuple(bar for bar in bars if bar.kind == "bin" or bar.then or bar.now)


def cell_middles(edges: Floats) -> Floats:
    """Return the value that stands for each measured cell of a numeric profile, shape (2K + 1,)."""
    middles = np.empty(2 * edges.size + 1)
    middles[0], middles[-1] = -np.inf, np.inf
    middles[1::2] = edges
    middles[2:-1:2] = edges[:-1] / 2 + edges[1:] / 2
    return middles


def choose_cuts(reference: NumericProfile) -> Floats:
    """Return where the bins begin and the last ends, shape (n_bins + 1,), ascending; one row measured at least."""
    lower, upper = quantiles(reference, (0.25, 0.75))
    # Twice the halves: a range of doubles may be larger than any double.
    reach = 2 * FENCE * (upper / 2 - lower / 2)
    if not reach:  # half of the rows have one value: everything else would be beyond the fences
        lower, upper = quantiles(reference, (0.01, 0.99))
    inside = reference.edges[(reference.edges >= lower - reach) & (reference.edges <= upper + reach)]
    low, high = float(inside[0]), float(inside[-1])
    half = high / 2 - low / 2
    if half > 0:
        spacing = min(float(np.diff(inside / 2).min()) * 2, sys.float_info.max)
        step = choose_step(half / (MOST_BINS - 1) * 2, spacing)
        starts = [step * number for number in range(math.floor(low / step), math.floor(high / step) + 2)]
        # Rounded, so that a cut is the same double as the decimal that a file holds: 3 * 0.1 is not 0.3.
        cuts = np.unique([round(start, 1 - math.floor(math.log10(step))) for start in starts])
        if cuts.size > 1 and np.isfinite(cuts).all():
            return cuts
    return np.array([low, math.nextafter(high, math.inf)])


def choose_step(least: float, spacing: float) -> float:
    """Return the smallest 1, 2 or 5 times a power of ten from `least` on, or a larger one that parts all values."""
    smallest = min(step for step in nice_numbers(least) if step >= least)
    return max(smallest, *(step for step in nice_numbers(spacing) if step <= spacing)) if spacing > least else smallest


def nice_numbers(near: float) -> list[float]:
    """Return 1, 2 and 5 times powers of ten, some below and some above a number."""
    power = math.floor(math.log10(near))
    return [float(f"{digit}e{power + more}") for more in (-1, 0, 1) for digit in (1, 2, 5)]


def compare_categories(reference: CategoricalProfile, current: Counts) -> tuple[Bar, ...]:
    """Return the bars of a categorical feature, the largest of the reference first."""
    then, now = (reference.counts / reference.counts.sum()).tolist(), (current / current.sum()).tolist()
    known = [Bar("category", *bar) for bar in zip(reference.categories, then[1:-1], now[1:-1], strict=True)]
    largest = sorted(known, key=lambda bar: -max(bar.then, bar.now))
    chosen, others = largest[:MOST_CATEGORIES], largest[MOST_CATEGORIES:]
    bars = [
        *sorted(chosen, key=lambda bar: -bar.then),
        Bar("rest", f"{len(others)} others", sum(bar.then for bar in others), sum(bar.now for bar in others)),
        Bar("unseen", "not in the baseline", then[-1], now[-1]),
        Bar("missing", "missing", then[0], now[0]),
    ]
    return tuple(bar for bar in bars if bar.then or bar.now)


@dataclass(frozen=True, slots=True)
class Slot:
    """Where a bar stands: its left end and its width, in units of the drawing."""

    x: float
    width: float

    @property
    def middle(self) -> float:
        """The middle of the slot."""
        return self.x + self.width / 2


def place_bars(bars: Sequence[Bar], *, width: float, aside: float, gap: float) -> list[Slot]:
    """Return a slot for each bar of a numeric feature, all equally wide.

    The bar of missing values stands at the left end, alone in the first `aside` units, the bins touch each other in the
    rest, and the bars of what lies beyond them are `gap` away.
    """
    kinds = [bar.kind for bar in bars]
    begin = aside if "missing" in kinds else 0.0
    n_gaps = ("below" in kinds) + ("above" in kinds)
    n_slots = len(bars) - ("missing" in kinds)
    slot = min((width - begin - n_gaps * gap) / max(n_slots, 1), aside)
    slots, x = [], begin
    for kind in kinds:
        if kind == "missing":
            slots.append(Slot(0.0, slot))
            continue
        x += gap if kind == "above" else 0.0
        slots.append(Slot(x, slot))
        x += slot + (gap if kind == "below" else 0.0)
    return slots


def draw_outline(slots: Sequence[Slot], heights: Sequence[float], *, base: float) -> str:
    """Return the SVG path around bars that stand on `base`; those that touch share one outline, empty ones have none.

    The area within it is the sum of width times height: with heights in proportion to shares, that of the shares.
    """
    path, end = "", math.nan
    for slot, height in zip(slots, heights, strict=True):
        if not height:
            continue
        if not abs(slot.x - end) < 1e-6:  # noqa: PLR2004  what the sums of widths are rounded by
            path += f"V{base:g}" if path else ""
            path += f"M{slot.x:.3f} {base:g}"
        end = slot.x + slot.width
        path += f"V{base - height:.3f}H{end:.3f}"
    return f"{path}V{base:g}" if path else ""


def figure(number: float) -> str:
    """Return a number of an axis in a few letters."""
    return f"{number:.6g}"
