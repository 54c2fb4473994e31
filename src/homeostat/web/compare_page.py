"""Releases side by side: in what they differ, their figures with intervals, their curves laid over each other.

Not here: which differences there are (`deployment.differences`), or what the gate makes of them (`deployment.gate`).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain

from markupsafe import Markup
from sqlalchemy import Connection

from homeostat.deployment.differences import list_differences
from homeostat.deployment.model_card import FIGURES, SIDES, rank_importance
from homeostat.deployment.registry import resolve_release
from homeostat.errors import RequestInvalid
from homeostat.project import Project
from homeostat.records import Estimate, Json, Release
from homeostat.web.charts import MOST_SERIES, draw_reliability, draw_roc, span_of
from homeostat.web.contents import Content, to_estimate
from homeostat.web.effect_charts import Effect, draw_effect, find_top
from homeostat.web.release_facts import Facts, gather_facts
from homeostat.web.release_page import NAMES, reliability_of, roc_of

# Features with pictures: of the others the table says how important they are.
MOST_EFFECTS = 24


@dataclass(frozen=True, slots=True)
class Row:
    """One figure of one side for each release, None where it was not measured, and the scale that they share."""

    side: str
    name: str
    figures: tuple[Estimate | None, ...]
    span: tuple[float, float]


def compare_releases(connection: Connection, project: Project, names: Sequence[str]) -> Content:
    """Return the page of the releases that some names mean, each once.

    Raises
    ------
    RequestInvalid
        There are none, or more than a drawing tells apart.
    ReleaseMissing
        A name means no release, or several.
    """
    chosen = {one.digest: one for one in (resolve_release(connection, name) for name in names)}
    if not 0 < len(chosen) <= MOST_SERIES:
        raise RequestInvalid(
            problem=f"{len(chosen)} releases were asked for",
            expected=f"one to {MOST_SERIES} releases",
            action="choose them on /releases, or name each: /compare?release=1&release=2",
        )
    facts = [gather_facts(connection, project, one) for one in chosen.values()]
    read = {f"release {one.registered.number}": one.dossier.release for one in facts if one.dossier is not None}
    return Content(
        "compare.html.jinja",
        "/releases",
        {
            "facts": facts,
            "names": [f"release {one.registered.number}" for one in facts],
            "read": list(read),
            "differences": list_differences(list(read.values())),
            "rows": list(list_rows(facts)),
            "curves": list(draw_sides(read)),
            "importance": rank_together(read),
            "effects": draw_together(read),
        },
    )


def list_rows(facts: Sequence[Facts]) -> list[Row]:
    """Return every figure that any of the releases has."""
    found = []
    for side in SIDES:
        sides = [(one.dossier.release.metrics.get(side) or {}) if one.dossier else {} for one in facts]
        for key, name in FIGURES.items():
            figures = tuple(to_estimate(one.get(key)) for one in sides)
            known = [one for one in figures if one is not None]
            if known:
                found.append(Row(NAMES[side], name, figures, span_of(known)))
    return found


def draw_sides(read: Mapping[str, Release]) -> list[tuple[str, Markup, Markup]]:
    """Return for each side reliability and ROC of the releases that were measured on it."""
    found = []
    for side in SIDES:
        sides = {name: release.metrics.get(side) or {} for name, release in read.items()}
        # A release that was not measured keeps its place: the others are drawn as the key says.
        curves = {name: one for name, one in sides.items() if "reliability" in one}
        if curves:
            empty: Json = {"reliability": [], "roc": {"false_positive_rate": [], "true_positive_rate": []}}
            drawn = [(name, one if name in curves else empty) for name, one in sides.items()]
            found.append(
                (
                    NAMES[side],
                    draw_reliability([reliability_of(name, one) for name, one in drawn]),
                    draw_roc([roc_of(name, one) for name, one in drawn]),
                )
            )
    return found


def rank_together(read: Mapping[str, Release]) -> list[tuple[str, tuple[float | None, ...], float]]:
    """Return the importance of each feature in each release, and the largest; releases of different measures apart.

    Each release's own sum is 1 here: the measures of two families, or of a release of before, are not alike.
    """
    shares = [to_shares(rank_importance(release)["features"]) for release in read.values()]
    names = dict.fromkeys(chain.from_iterable(shares))
    rows = [(name, tuple(one.get(name) for one in shares)) for name in names]
    rows.sort(key=lambda row: -max(share or 0.0 for share in row[1]))
    most = max((share or 0.0 for _, row in rows for share in row), default=0.0)
    return [(name, row, most) for name, row in rows]


def to_shares(importance: Mapping[str, float]) -> dict[str, float]:
    """Return weights as shares of their sum."""
    total = sum(importance.values())
    return {name: weight / total for name, weight in importance.items()} if total else {}


def draw_together(read: Mapping[str, Release]) -> list[tuple[str, Markup]]:
    """Return the effects of the most important features, of all releases that carry effects."""
    found: dict[str, list[Effect]] = {}
    for name, release in read.items():
        carried: Json = release.effects or {"importance": {}, "effects": {}}
        for feature in carried["importance"]:
            if feature in carried["effects"]:
                found.setdefault(feature, []).append(Effect(name, carried["effects"][feature]))
    drawn = list(found.items())[:MOST_EFFECTS]
    top = find_top([one for _, effects in drawn for one in effects]) if drawn else 1.0
    return [(feature, draw_effect(feature, effects, top=top)) for feature, effects in drawn]
