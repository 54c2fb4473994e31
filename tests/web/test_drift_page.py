"""The page of a drift check: whole, self-contained, readable without eyes or mouse, and deaf to what names say."""

from itertools import combinations

import numpy as np
import pytest

from homeostat.monitoring.drift import detect_drift, report_to_json
from homeostat.records import Columns, Feature, Json, Profile, Target
from homeostat.validation.profiles import build_profile, count_rows
from homeostat.validation.schema import freeze_schema
from homeostat.web.contents import to_document
from homeostat.web.distributions import compare_shares, place_bars
from homeostat.web.drift_page import describe_check, name_places, overlap
from tests.web.html_page import Page

HOSTILE = "<script>alert(1)</script>\"'&{{ 7 * 7 }}"
SCHEMA = freeze_schema([Feature(HOSTILE, "numeric"), Feature("city", "categorical")], Target("y", 0, 1))


def columns(n_rows: int, *, shift: float = 0.0, city: str = "Bonn") -> Columns:
    numbers = np.random.default_rng(n_rows).normal(100 + shift, 10, n_rows)
    return {HOSTILE: numbers, "city": np.array([city, None] * (n_rows // 2), dtype=np.object_)}


def judged(reference: Columns, current: Columns) -> tuple[Json, tuple[Profile, Profile]]:
    """Return the check of a window as it is stored, and the two profiles."""
    then = build_profile(reference, SCHEMA)
    now = count_rows(current, SCHEMA, then)
    report = report_to_json(detect_drift(then, now, alpha=0.05, boundary=0.3))
    check = {"first_seq": 1, "last_seq": now.n_rows, "checked_at": "2026-03-01T12:30:00+00:00", "release": "a" * 64}
    fired = report["score"] > report["boundary"]
    return {**check, "score": report["score"], "fired": fired, "report": report}, (then, now)


def render(current: Columns, *, alerts: tuple[Json, ...] = (), note: str = "", **report: object) -> str:
    check, profiles = judged(columns(400), current)
    check["report"] |= report
    return to_document(describe_check(check, alerts=alerts, profiles=profiles, note=note), project=HOSTILE)


def test_every_element_is_closed_and_every_name_of_an_element_is_its_own() -> None:
    page = Page(render(columns(100, shift=8, city=HOSTILE)))

    names = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    assert page.open == []
    assert len(names) == len(set(names))


def test_names_categories_and_sentences_of_strangers_stay_text() -> None:
    alert = {"kind": "unseen", "subject": HOSTILE, "sentence": f"{HOSTILE} is new", "figures": {}, "epoch": 1}

    page = Page(render(columns(100, shift=8, city=HOSTILE), alerts=(alert,), note=HOSTILE))

    assert page.of("script") == []
    assert "49" not in "".join(page.texts)
    assert page.texts.count(HOSTILE) == 4  # the note, the row of the table, the picture and its shares
    assert f"{HOSTILE} is new" in page.texts


def test_the_page_asks_nobody_for_anything() -> None:
    html = render(columns(100, shift=8))

    assert Page(html).asks() == []
    assert "url(" not in html
    assert "@import" not in html
    assert "default-src 'none'" in html


def test_every_picture_is_told_to_who_cannot_see_it() -> None:
    page = Page(render(columns(100, shift=8)))

    drawings = [drawing for drawing in page.of("svg") if drawing.get("aria-hidden") != "true"]
    assert [drawing["role"] for drawing in drawings] == ["img"]
    assert f"Distribution of {HOSTILE} in the baseline" in str(drawings[0]["aria-label"])
    assert all(heading["scope"] in ("col", "row") for heading in page.of("th"))
    assert page.of("html") == [{"lang": "en"}]


def test_a_table_that_may_scroll_can_be_reached_with_the_keyboard() -> None:
    region = next(box for box in Page(render(columns(100))).of("div") if box.get("role") == "region")

    assert (region["tabindex"], region["aria-labelledby"]) == ("0", "features")


def test_the_shares_of_a_category_stand_beside_its_bars() -> None:
    page = Page(render(columns(100, city="Ulm")))

    assert {"50 → 0 %", "0 → 50 %", "50 → 50 %"} <= set(page.texts)


def test_evidence_and_adjusted_p_values_have_columns_if_there_are_any() -> None:
    stream = {"value": 12345.0, "peak": 12345.0, "since": 7}
    evidence = {"n_reference": 500, "n_rows": 100, "gathering": False, "streams": {"city": stream}}

    check, _ = judged(columns(400), columns(100))
    adjusted = [{**feature, "adjusted_p_value": 0.75} for feature in check["report"]["features"]]

    plain = Page(render(columns(100)))
    full = Page(render(columns(100), features=adjusted, evidence=evidence, correction="holm"))

    assert {"evidence", "p, adjusted"} & set(plain.texts) == set()
    assert {"evidence", "p, adjusted", "0.75", "1.2e4", "since row", "7"} <= set(full.texts)


@pytest.mark.parametrize("value", [1.0, 1e5, 1e100])
def test_a_meter_of_evidence_stays_within_its_frame(value: float) -> None:
    stream = {"value": value, "peak": value, "since": None}
    evidence = {"n_reference": 500, "n_rows": 100, "gathering": False, "streams": {"city": stream}}

    page = Page(render(columns(100, city="Bonn"), evidence=evidence))

    widths = [float(str(rect["width"])) for rect in page.of("rect") if rect.get("height") == "1"]
    assert widths == [min(max(value - 1, 0), 1)]


@pytest.mark.parametrize(
    ("then", "now", "words"),
    [
        ([np.nan, np.nan], [1.0, np.nan], ["missing", "measured"]),
        ([5.0, 5.0], [6.0, 4.0], ["< 5", "> 5", "5"]),
        ([np.nan, 70.0, 80.0, 90.0], [3.9], ["missing", "< 70", "70", "80", "90"]),
        ([*map(float, range(100)), 1e6], [50.0], ["≥ 100", "0", "30", "60", "90"]),
    ],
)
def test_the_axis_names_the_bars_beside_it_and_some_bins_none_over_another(
    then: list[float], now: list[float], words: list[str]
) -> None:
    schema = freeze_schema([Feature("x", "numeric")], Target("y", 0, 1))
    reference = build_profile({"x": np.array(then)}, schema)
    current = count_rows({"x": np.array(now)}, schema, reference)
    bars = compare_shares(reference.features["x"], current.features["x"])

    ticks = name_places(bars, place_bars(bars, width=320, aside=60, gap=5))

    assert [tick.text for tick in ticks] == words
    assert not any(overlap(a, b) for a, b in combinations(ticks, 2))


def test_where_there_is_nothing_to_draw_the_note_says_so() -> None:
    check, _ = judged(columns(400), columns(100))

    page = Page(
        to_document(describe_check(check, alerts=[], profiles=None, note="The rows are deleted."), project="clinic")
    )

    assert "The rows are deleted." in page.texts
    assert page.of("figure") == []


def test_before_the_first_check_the_page_says_that_there_is_none() -> None:
    page = Page(to_document(describe_check(None, alerts=[], profiles=None, note=""), project="clinic"))

    assert page.texts.count("No window has been checked yet") == 1
    assert page.of("table") == []


def test_a_window_of_which_no_row_was_tested_has_no_table() -> None:
    check, _ = judged(columns(400), columns(100))
    check["report"]["features"] = []

    page = Page(
        to_document(describe_check(check, alerts=[], profiles=None, note="None is accepted."), project="clinic")
    )

    assert "No row of this window could be tested" in page.texts
    assert page.of("table") == []
