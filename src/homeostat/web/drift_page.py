"""The page of a drift check: the verdict, the table, and each feature then and now.

Not here: what the words say (`monitoring.verdicts`), the shapes (`web.distributions`), counting the rows of the window
(`web.drift_facts`), or all checks (`web.drift_checks_page`).
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from homeostat.monitoring.verdicts import Reading, Standing, headline, list_readings, list_verdicts
from homeostat.records import CategoricalProfile, FeatureProfile, Json, Profile
from homeostat.web.contents import Content
from homeostat.web.distributions import Bar, Slot, compare_shares, draw_outline, figure, place_bars

# The drawing of a numeric feature, in units that are pixels at its usual size.
WIDTH, HEIGHT = 320.0, 116.0
ASIDE, GAP = 60.0, 5.0
# The width of a letter below the axis, on average.
LETTER = 6.0
# About as many numbers stand below an axis.
TICKS = 4
# Where the scale of evidence ends while no check says how much is needed.
SCALE_END = 1e3
# The class of the style sheet for the mark of a verdict.
MARKS: Mapping[str, str] = {"fired": "moved", "quiet": "calm", "gathering": "wait"}


@dataclass(frozen=True, slots=True)
class Tick:
    """A word below the axis: where, and which of its ends is there."""

    x: float
    text: str
    anchor: Literal["start", "middle", "end"]

    @property
    def left(self) -> float:
        """Where the word begins, a blank before it included."""
        return self.x - LETTER * (len(self.text) * {"start": 0.0, "middle": 0.5, "end": 1.0}[self.anchor] + 1)

    @property
    def right(self) -> float:
        """Where the word ends."""
        return self.left + LETTER * (len(self.text) + 1)


@dataclass(frozen=True, slots=True)
class Picture:
    """One feature then and now. `then` and `now` are SVG paths, empty for categories, whose bars are a table."""

    reading: Reading
    bars: tuple[Bar, ...]
    top: float
    then: str = ""
    now: str = ""
    ticks: tuple[Tick, ...] = ()


def describe_check(
    check: Json | None, *, alerts: Sequence[Json], profiles: tuple[Profile, Profile] | None, note: str
) -> Content:
    """Return the page of a check, or one that says that there is none yet.

    Parameters
    ----------
    check
        A stored check as `monitoring.drift_checks` returns it.
    alerts
        Payloads of the events of kind `alert` of this watch, oldest first.
    profiles
        The baseline and the window in the cells of the baseline, at least one row each; None leaves out the pictures.
    note
        A sentence about the pictures, or in place of them; empty if there is nothing to say.
    """
    readings = list_readings(check) if check else []
    return Content(
        "drift.html.jinja",
        "/drift",
        {
            "check": check,
            "headline": headline(check) if check else "No window has been checked yet",
            "verdicts": list_verdicts(check) if check else [],
            "marks": MARKS,
            "readings": readings,
            "corrected": any(reading.adjusted is not None for reading in readings),
            "evident": any(reading.evidence for reading in readings),
            "pictures": draw_pictures(readings, *profiles) if profiles else [],
            "alerts": alerts,
            "note": note,
            "size": (WIDTH, HEIGHT),
            "strength": strength,
        },
    )


def draw_pictures(readings: Iterable[Reading], reference: Profile, current: Profile) -> list[Picture]:
    """Return the pictures of the features in the order of the readings."""
    return [draw_picture(r, reference.features[r.name], current.features[r.name]) for r in readings]


def draw_picture(reading: Reading, reference: FeatureProfile, current: FeatureProfile) -> Picture:
    """Return the picture of one feature."""
    bars = compare_shares(reference, current)
    top = max(max(bar.then, bar.now) for bar in bars)
    if isinstance(reference, CategoricalProfile):
        return Picture(reading, bars, top)
    slots = place_bars(bars, width=WIDTH, aside=ASIDE, gap=GAP)
    then, now = (
        draw_outline(slots, [HEIGHT * share / top for share in shares], base=HEIGHT)
        for shares in ([bar.then for bar in bars], [bar.now for bar in bars])
    )
    return Picture(reading, bars, top, then, now, tuple(name_places(bars, slots)))


def name_places(bars: Sequence[Bar], slots: Sequence[Slot]) -> list[Tick]:
    """Return the words below an axis: of the bars beside it, and of some bins, where they begin and there is room."""
    ticks: list[Tick] = []
    for bar, slot in zip(bars, slots, strict=True):
        if bar.kind in ("missing", "unseen"):
            ticks.append(Tick(slot.x, bar.label, "start"))
        elif bar.kind == "below":
            ticks.append(Tick(slot.x, bar.label.replace("below", "<"), "start"))
        elif bar.kind == "above":
            words = (
                f"≥ {bar.label.removesuffix(' or more')}" if "or more" in bar.label else bar.label.replace("above", ">")
            )
            ticks.append(Tick(slot.x + slot.width, words, "end"))
    bins = [(bar, slot) for bar, slot in zip(bars, slots, strict=True) if bar.kind == "bin"]
    if len(bins) == 1:
        return [*ticks, Tick(bins[0][1].middle, bins[0][0].label, "middle")]
    every = max(math.ceil(len(bins) / TICKS), 1)
    for bar, slot in bins[::every]:
        tick = Tick(slot.x, figure(bar.low), "middle")
        if not any(overlap(tick, other) for other in ticks):
            ticks.append(tick)
    return ticks


def overlap(a: Tick, b: Tick) -> bool:
    """Return whether two words would touch."""
    return a.left < b.right and b.left < a.right


def strength(evidence: Standing) -> float:
    """Return how far evidence has come, in 0-1, on a logarithmic scale from none (1) to what is needed."""
    needed = evidence.needed or SCALE_END
    return min(max(math.log(max(evidence.value, 1.0)) / math.log(max(needed, 2.0)), 0.0), 1.0)
