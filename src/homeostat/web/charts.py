"""Small drawings as SVG: a figure with its interval, a bar, curves in a square, one value after the other.

Not here: which figures are drawn (the pages), colours and strokes (the style sheet), or effects (`web.effect_charts`).
Pure: numbers and words in, one element out. Words of strangers are escaped. No element has a style of its own: what the
service sends forbids that.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from markupsafe import Markup

from homeostat.records import Estimate

# Where a value stands on an axis.
Scale: TypeAlias = Callable[[float], float]

# The plot of a curve, in units that are pixels at its usual size, and the room around it for words.
SIDE, LEFT, BELOW = 240.0, 30.0, 32.0
# A drawing tells as many apart, by hue, shade and dashes.
MOST_SERIES = 6
# More corners of a curve than this nobody can see.
MOST_POINTS = 200
WHISKER = 100.0
# The letters that a word in a drawing has room for.
LETTERS = 22


@dataclass(frozen=True, slots=True)
class Curve:
    """Points of one curve in 0-1 x 0-1, left to right; `weights`, if any, say how much each point rests on."""

    name: str
    points: Sequence[tuple[float, float]]
    weights: Sequence[float] = ()


def tag(name: str, *content: str, **attributes: object) -> Markup:
    """Return an SVG element; `class_` is class, and `text_anchor` text-anchor."""
    written = Markup("").join(
        Markup(' {}="{}"').format(key.rstrip("_").replace("_", "-"), show(value)) for key, value in attributes.items()
    )
    return Markup("<{0}{1}>{2}</{0}>").format(name, written, Markup("").join(content))


def show(value: object) -> object:
    """Return a coordinate in as many digits as can be seen; anything else as it is."""
    return f"{value:.2f}".rstrip("0").rstrip(".") if isinstance(value, float) else value


def shorten(text: str) -> str:
    """Return a word with as many letters as there is room for."""
    return text if len(text) <= LETTERS else f"{text[: LETTERS - 1]}…"


def scale(low: float, high: float, start: float, end: float) -> Scale:
    """Return where a value between `low` and `high` stands between `start` and `end`; beyond them at their ends."""
    span = high - low

    def place(value: float) -> float:
        share = (value - low) / span if span > 0 else 0.5
        return start + (end - start) * min(max(share, 0.0), 1.0)

    return place


def choose_ticks(low: float, high: float, *, about: int = 4) -> list[float]:
    """Return round numbers from `low` to `high`, both included where they are round; about so many."""
    span = high - low
    if not (span > 0 and math.isfinite(span)):
        return [low]
    power = 10.0 ** math.floor(math.log10(span / about))
    step = next(power * digit for digit in (1, 2, 5, 10) if span / (power * digit) <= about)
    # Rounded: 3 * 0.1 is not 0.3, and would be written as such.
    digits = max(0, 1 - math.floor(math.log10(step)))
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [round(number * step, digits) for number in range(first, last + 1)]


def span_of(estimates: Sequence[Estimate]) -> tuple[float, float]:
    """Return the ends of a scale on which all intervals lie."""
    if not estimates:
        return 0.0, 1.0
    return min(one.low for one in estimates), max(one.high for one in estimates)


def draw_interval(estimate: Estimate, low: float, high: float) -> Markup:
    """Return a figure as a dot on its interval, on a scale that several drawings share; the figures stand beside it."""
    place = scale(low, high, 3.0, WHISKER - 3)
    return tag(
        "svg",
        tag("line", class_="base", x1=0.0, x2=WHISKER, y1=5.0, y2=5.0),
        tag("line", class_="span", x1=place(estimate.low), x2=place(estimate.high), y1=5.0, y2=5.0),
        tag("circle", cx=place(estimate.value), cy=5.0, r=3.0),
        class_="whisker",
        viewBox=f"0 0 {WHISKER:g} 10",
        preserveAspectRatio="xMinYMid",
        aria_hidden="true",
    )


def draw_bar(share: float) -> Markup:
    """Return a horizontal bar that fills a share of its place; the figure stands beside it."""
    width = 100 * min(max(share, 0.0), 1.0)
    rect = tag("rect", class_="now", width=width, height=8.0, y=2.0)
    return tag("svg", rect, viewBox="0 0 100 12", preserveAspectRatio="none", aria_hidden="true")


def draw_reliability(curves: Sequence[Curve]) -> Markup:
    """Return reliability curves: the probability that was said against the share that came true.

    The diagonal is a model that says what comes true; the larger a point, the more rows it rests on.
    """
    words = ("predicted probability", "share of positives")
    return draw_square(curves, words, label=f"Reliability: {names_of(curves)}")


def draw_roc(curves: Sequence[Curve]) -> Markup:
    """Return ROC curves: which share of the positives is found at which share of false alarms."""
    words = ("false alarms among negatives", "positives found")
    return draw_square([thin(curve) for curve in curves], words, label=f"ROC: {names_of(curves)}")


def names_of(curves: Sequence[Curve]) -> str:
    """Return the names of curves, for who cannot see them."""
    return ", ".join(curve.name for curve in curves)


def thin(curve: Curve) -> Curve:
    """Return a curve with no more corners than can be seen, its ends among them."""
    n_points = len(curve.points)
    if n_points <= MOST_POINTS:
        return curve
    kept = [round(number * (n_points - 1) / (MOST_POINTS - 1)) for number in range(MOST_POINTS)]
    return Curve(curve.name, [curve.points[at] for at in kept])


def draw_square(curves: Sequence[Curve], words: tuple[str, str], *, label: str) -> Markup:
    """Return curves in a square from 0 to 1 with its diagonal; `words` name the axes."""
    across, up = scale(0, 1, 0, SIDE), scale(0, 1, SIDE, 0)
    parts = [
        *(
            tag("line", x1=across(at), x2=across(at), y1=0.0, y2=SIDE)
            + tag("line", x1=0.0, x2=SIDE, y1=up(at), y2=up(at))
            + tag("text", f"{at:g}", x=across(at), y=SIDE + 14, text_anchor="middle")
            + tag("text", f"{at:g}", x=-6.0, y=up(at) + 3.5, text_anchor="end")
            for at in (0, 0.25, 0.5, 0.75, 1)
        ),
        tag("line", class_="ideal", x1=0.0, x2=SIDE, y1=SIDE, y2=0.0),
        *(draw_curve(curve, number, across, up) for number, curve in enumerate(curves)),
        tag("text", words[0], x=SIDE / 2, y=SIDE + 28, text_anchor="middle"),
        tag("text", words[1], x=0.0, y=-8.0),
    ]
    view = f"{-LEFT:g} -20 {SIDE + LEFT + 8:g} {SIDE + BELOW + 20:g}"
    return tag("svg", *parts, class_="plot square", viewBox=view, role="img", aria_label=label)


def draw_curve(curve: Curve, number: int, across: Scale, up: Scale) -> Markup:
    """Return one curve of several, and its points if they have weights."""
    largest = max(curve.weights, default=0.0)
    corners = " ".join(f"{across(x):.1f},{up(y):.1f}" for x, y in curve.points)
    dots = [
        tag("circle", cx=across(x), cy=up(y), r=1.5 + 3.5 * math.sqrt(weight / largest))
        for (x, y), weight in zip(curve.points, curve.weights, strict=False)
        if weight > 0
    ]
    return tag("g", tag("polyline", points=corners), *dots, class_=series_class(number))


def series_class(number: int) -> str:
    """Return the class of the style sheet that tells one of several series from the others."""
    return f"series s{number % MOST_SERIES}"


def draw_sample(number: int) -> Markup:
    """Return the line of a key that shows how a series is drawn."""
    line = tag("polyline", points="0,6 26,6")
    group = tag("g", line, tag("circle", cx=13.0, cy=6.0, r=3.0), class_=series_class(number))
    return tag("svg", group, class_="plot sample", viewBox="0 0 26 12", aria_hidden="true")


def draw_scores(scores: Sequence[tuple[float, bool]], boundary: float, *, label: str) -> Markup:
    """Return drift scores in 0-1, oldest first, as columns below or above a boundary; those that fired stand out."""
    width, height = 1000.0, 90.0
    step = width / max(len(scores), 24)
    up = scale(0, max([boundary * 1.25, *(score for score, _ in scores)]), height, 0)
    columns = [
        tag(
            "rect",
            class_="fired" if fired else "calm",
            x=number * step,
            y=min(up(score), height - 1.5),
            width=step * 0.72,
            height=max(height - up(score), 1.5),
        )
        for number, (score, fired) in enumerate(scores)
    ]
    line = tag("line", class_="ideal", x1=0.0, x2=width, y1=up(boundary), y2=up(boundary))
    word = tag("text", f"boundary {boundary:g}", x=width, y=up(boundary) - 4, text_anchor="end")
    axis = tag("line", x1=0.0, x2=width, y1=height, y2=height)
    view = f"0 -14 {width:g} {height + 18:g}"
    return tag("svg", *columns, axis, line, word, class_="plot scores", viewBox=view, role="img", aria_label=label)
