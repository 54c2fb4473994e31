"""Drawings: within their frame, told to who cannot see them, and deaf to what names say."""

import math
import re
from xml.etree import ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st

from homeostat.records import Estimate, Json
from homeostat.web.charts import (
    MOST_POINTS,
    Curve,
    choose_ticks,
    draw_bar,
    draw_interval,
    draw_reliability,
    draw_roc,
    draw_sample,
    draw_scores,
    span_of,
    thin,
)
from homeostat.web.effect_charts import MOST_CATEGORIES, Effect, draw_effect, find_top

HOSTILE = "<script>alert(1)</script>\"'&{{ 7 * 7 }}"
AGE = {"kind": "numeric", "at": [20, 40, 60], "mean": [0.1, 0.2, 0.4], "low": [0, 0.1, 0.2], "high": [0.2, 0.4, 0.6]}
CITY = {"kind": "categorical", "at": ["Ulm", HOSTILE], "mean": [0.3, 0.5], "low": [0.2, 0.4], "high": [0.4, 0.6]}
shares = st.floats(0, 1)


def parse(drawing: str) -> ET.Element:
    """Return a drawing as XML: what is not well formed is no drawing."""
    return ET.fromstring(drawing)  # noqa: S314  our own drawing


def coordinates(drawing: ET.Element) -> list[float]:
    """Return every coordinate in a drawing."""
    names = ("x", "y", "x1", "x2", "y1", "y2", "cx", "cy", "r", "width", "height")
    found = [float(one.attrib[name]) for one in drawing.iter() for name in names if name in one.attrib]
    corners = " ".join(one.attrib["points"] for one in drawing.iter() if "points" in one.attrib)
    return [*found, *(float(number) for number in re.split(r"[ ,]+", corners) if number)]


@given(st.tuples(shares, shares, shares), st.tuples(shares, shares))
def test_an_interval_stays_within_its_frame(figures: tuple[float, float, float], ends: tuple[float, float]) -> None:
    low, value, high = sorted(figures)

    drawing = parse(draw_interval(Estimate(value, low, high), *ends))

    assert all(0 <= at <= 100 for at in coordinates(drawing))


def test_intervals_that_share_a_scale_can_be_compared() -> None:
    estimates = [Estimate(0.8, 0.7, 0.9), Estimate(0.9, 0.85, 0.95)]
    span = span_of(estimates)

    places = [float(parse(draw_interval(one, *span)).findall("circle")[0].attrib["cx"]) for one in estimates]

    assert span == (0.7, 0.95)
    assert places[0] < places[1]


@given(st.lists(st.tuples(shares, shares), max_size=30).map(sorted), st.lists(shares, max_size=30))
def test_curves_stay_within_their_square_whatever_they_rest_on(
    points: list[tuple[float, float]], weights: list[float]
) -> None:
    drawing = parse(draw_reliability([Curve("a", points, weights), Curve("b", points)]))

    numbers = coordinates(drawing)
    assert all(math.isfinite(number) for number in numbers)
    assert all(0 <= number <= 240 for line in drawing.iter("polyline") for number in coordinates(line))


def test_a_long_curve_is_thinned_and_keeps_its_ends() -> None:
    points = [(number / 5000, math.sqrt(number / 5000)) for number in range(5001)]

    kept = thin(Curve("long", points)).points

    assert len(kept) == MOST_POINTS
    assert (kept[0], kept[-1]) == ((0, 0), (1, 1))
    assert len(draw_roc([Curve("long", points)])) < 10_000


@given(st.floats(-1e9, 1e9), st.floats(1e-9, 1e9))
def test_the_numbers_of_an_axis_are_few_round_and_on_it(low: float, span: float) -> None:
    ticks = choose_ticks(low, low + span)

    assert len(ticks) <= 5
    assert all(low - 1e-6 * span <= tick <= low + span * (1 + 1e-6) or span < abs(low) * 1e-9 for tick in ticks)


def test_an_axis_of_one_value_has_one_number() -> None:
    assert choose_ticks(3.0, 3.0) == [3.0]


@pytest.mark.parametrize("share", [-1.0, 0.0, 0.5, 7.0])
def test_a_bar_is_never_longer_than_its_place(share: float) -> None:
    assert 0 <= float(parse(draw_bar(share))[0].attrib["width"]) <= 100


def test_scores_that_fired_stand_out_and_the_boundary_is_named() -> None:
    drawing = parse(draw_scores([(0.0, False), (0.5, True)], 0.3, label="Scores"))

    columns = {one.attrib["class"]: float(one.attrib["height"]) for one in drawing.iter("rect")}
    assert columns["fired"] > columns["calm"]
    assert [one.text for one in drawing.iter("text")] == ["boundary 0.3"]
    assert drawing.attrib["aria-label"] == "Scores"


@pytest.mark.parametrize("effect", [AGE, {**AGE, "missing": 0.9}, CITY, {**CITY, "missing": 0.1}])
def test_an_effect_is_drawn_within_its_frame_with_what_is_missing_beside_it(effect: Json) -> None:
    effects = [Effect("release 1", effect), Effect("release 2", effect)]

    drawing = parse(draw_effect("age", effects, top=find_top(effects)))

    words = [one.text or "" for one in drawing.iter("text")]
    assert ("missing" in "".join(drawing.itertext())) == ("missing" in effect)
    assert words
    assert all(-20 <= number <= 330 for number in coordinates(drawing))
    assert drawing.attrib["aria-label"] == "Probability by age, as release 1, release 2"


def test_an_effect_of_one_value_is_a_dot() -> None:
    effect = {"kind": "numeric", "at": [5], "mean": [0.5], "low": [0.4], "high": [0.6], "missing": None}

    drawing = parse(draw_effect("age", [Effect("release 1", effect)], top=1.0))

    assert len(list(drawing.iter("circle"))) == 1


def test_of_many_categories_the_first_are_drawn() -> None:
    names = [f"c{number}" for number in range(100)]
    effect = {"kind": "categorical", "at": names, "mean": [0.5] * 100, "low": [0.5] * 100, "high": [0.5] * 100}

    drawing = parse(draw_effect("city", [Effect("release 1", effect)], top=1.0))

    assert len(list(drawing.iter("circle"))) == MOST_CATEGORIES


def test_words_of_strangers_stay_text() -> None:
    drawings = [
        draw_effect(HOSTILE, [Effect(HOSTILE, CITY)], top=1.0),
        draw_reliability([Curve(HOSTILE, [(0.1, 0.2)], [1])]),
        draw_scores([(0.1, False)], 0.3, label=HOSTILE),
    ]

    for drawing in drawings:
        elements = list(parse(drawing).iter())
        assert not [one for one in elements if "script" in one.tag]
        assert any(HOSTILE in (one.attrib.get("aria-label") or "") for one in elements)


def test_no_drawing_has_a_style_of_its_own_or_a_script() -> None:
    effects = [Effect("release 1", AGE)]
    drawings = [draw_effect("age", effects, top=1.0), draw_sample(0), draw_bar(0.5), draw_roc([Curve("a", [(0, 0)])])]

    for drawing in drawings:
        assert not [one for one in parse(drawing).iter() if "style" in one.attrib or one.tag in ("script", "style")]
