"""The effect of one feature on the probability as SVG: a line in a band, or a dot on a bar for each category.

Not here: computing effects (a release carries them), or the drawing of other figures (`web.charts`). Pure. Several
releases are laid over each other.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain

from markupsafe import Markup

from homeostat.records import Json
from homeostat.web.charts import Scale, choose_ticks, scale, series_class, shorten, tag

WIDTH, HEIGHT = 320.0, 130.0
# Room for the numbers of the axis, and for the dot of missing values, which stands apart.
LEFT, ASIDE = 34.0, 46.0
# The room of one category, and how many have one.
ROW, MOST_CATEGORIES = 20.0, 12
WORD = 128.0


@dataclass(frozen=True, slots=True)
class Effect:
    """What one release says of one feature: `effect` is an entry of `effects` in `effects.json`."""

    release: str
    effect: Json


def find_top(effects: Sequence[Effect]) -> float:
    """Return the end of an axis from 0 on which all effects lie, so that features can be compared by eye."""
    highs = (one.effect["high"] for one in effects)
    missing: list[float] = [one.effect["missing"] for one in effects if one.effect.get("missing") is not None]
    top: float = max([0.05, *chain.from_iterable(highs), *missing])
    return min(top * 1.05, 1.0)


def draw_effect(name: str, effects: Sequence[Effect], *, top: float) -> Markup:
    """Return the effects of one feature, of one kind, by several releases."""
    numeric = [one for one in effects if one.effect["kind"] == "numeric" and one.effect["at"]]
    if numeric:
        return draw_numeric(name, numeric, top=top)
    return draw_categories(name, [one for one in effects if one.effect["kind"] == "categorical"], top=top)


def draw_numeric(name: str, effects: Sequence[Effect], *, top: float) -> Markup:
    """Return lines over the values of a number, each in its band; the effect of a missing value is a dot beside."""
    values = [at for one in effects for at in one.effect["at"]]
    apart = any(one.effect.get("missing") is not None for one in effects)
    begin = LEFT + ASIDE if apart else LEFT
    across, up = scale(min(values), max(values), begin, WIDTH - 6), scale(0, top, HEIGHT, 0)
    parts = [draw_axis(begin, up, top)]
    parts += [draw_line(one.effect, number, across, up) for number, one in enumerate(effects)]
    for at in choose_ticks(min(values), max(values)):
        parts.append(tag("text", f"{at:g}", x=across(at), y=HEIGHT + 14, text_anchor="middle"))
    if apart:
        parts.append(tag("text", "missing", x=LEFT + ASIDE / 2, y=HEIGHT + 14, text_anchor="middle"))
    view = f"0 -8 {WIDTH:g} {HEIGHT + 26:g}"
    label = f"Probability by {name}, as {', '.join(one.release for one in effects)}"
    return tag("svg", *parts, class_="plot", viewBox=view, role="img", aria_label=label)


def draw_line(found: Json, number: int, across: Scale, up: Scale) -> Markup:
    """Return one line in its band, and the dot of missing values."""
    upper, lower, line = (
        [f"{across(x):.1f},{up(y):.1f}" for x, y in zip(found["at"], found[name], strict=True)]
        for name in ("high", "low", "mean")
    )
    shapes = [
        tag("polygon", class_="band", points=" ".join([*upper, *reversed(lower)])),
        tag("polyline", points=" ".join(line)),
    ]
    if len(line) == 1:
        shapes.append(tag("circle", cx=across(found["at"][0]), cy=up(found["mean"][0]), r=3.0))
    if found.get("missing") is not None:
        shapes.append(tag("circle", cx=LEFT + ASIDE / 2, cy=up(found["missing"]), r=3.5))
    return tag("g", *shapes, class_=series_class(number))


def draw_axis(begin: float, up: Scale, top: float) -> Markup:
    """Return the horizontal lines of probabilities, with their figures."""
    return Markup("").join(
        tag("line", x1=begin, x2=WIDTH, y1=up(at), y2=up(at))
        + tag("text", f"{100 * at:.3g} %", x=LEFT - 5, y=up(at) + 3.5, text_anchor="end")
        for at in choose_ticks(0.0, top, about=5)
    )


def draw_categories(name: str, effects: Sequence[Effect], *, top: float) -> Markup:
    """Return a dot on a bar for each category, in the order of the first release; the rarest are left out."""
    rows = list(dict.fromkeys(chain.from_iterable(one.effect["at"] for one in effects)))[:MOST_CATEGORIES]
    apart = ["missing"] if any(one.effect.get("missing") is not None for one in effects) else []
    across = scale(0, top, WORD, WIDTH - 8)
    end = ROW * (len(rows) + len(apart))
    parts = [
        tag("line", x1=across(at), x2=across(at), y1=0.0, y2=end)
        + tag("text", f"{100 * at:.3g} %", x=across(at), y=end + 14, text_anchor="middle")
        for at in choose_ticks(0.0, top, about=5)
    ]
    for place, category in enumerate([*rows, *apart]):
        words = tag("title", category), shorten(category)
        parts.append(tag("text", *words, x=WORD - 8, y=ROW * (place + 0.68), text_anchor="end"))
    for number, one in enumerate(effects):
        parts.append(draw_dots(one.effect, number, rows, across))
    view = f"0 -4 {WIDTH:g} {end + 22:g}"
    label = f"Probability by {name}, as {', '.join(one.release for one in effects)}"
    return tag("svg", *parts, class_="plot", viewBox=view, role="img", aria_label=label)


def draw_dots(found: Json, number: int, rows: Sequence[str], across: Scale) -> Markup:
    """Return one release's dot and bar in each row of a drawing of categories; several stand a little apart."""
    aside = 3.0 * number
    shapes = []
    for category, mean, low, high in zip(found["at"], found["mean"], found["low"], found["high"], strict=True):
        if category in rows:
            y = ROW * (rows.index(category) + 0.4) + aside
            shapes.append(tag("line", class_="span", x1=across(low), x2=across(high), y1=y, y2=y))
            shapes.append(tag("circle", cx=across(mean), cy=y, r=3.5))
    if found.get("missing") is not None:
        shapes.append(tag("circle", cx=across(found["missing"]), cy=ROW * (len(rows) + 0.4) + aside, r=3.5))
    return tag("g", *shapes, class_=series_class(number))
