"""The page of one release: its model card, figures, calibration, effects, verdict, differences, lineage and files.

Not here: gathering what is known (`web.release_facts`), or the words of the card (`deployment.model_card`).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from markupsafe import Markup
from sqlalchemy import Connection

from homeostat.data.columns import unstack_rows
from homeostat.deployment.differences import Difference, list_differences
from homeostat.deployment.dossiers import open_dossier
from homeostat.deployment.model_card import FIGURES, SIDES, describe_model
from homeostat.deployment.registry import RegisteredRelease, current_promotion, find_registered
from homeostat.errors import ArtifactError, ReleaseMissing
from homeostat.project import Project
from homeostat.records import Estimate, Json, Release
from homeostat.web.charts import Curve, draw_reliability, draw_roc, span_of
from homeostat.web.contents import Content, to_estimate
from homeostat.web.effect_charts import Effect, draw_effect, find_top
from homeostat.web.release_facts import Facts, gather_facts, know

NAMES: Mapping[str, str] = {"cross_validation": "cross-validation", "anchor": "anchor", "recent": "recent"}
# Features with a picture of their effect, and golden rows that are shown: of the others the page only says how many.
MOST_EFFECTS, MOST_GOLDEN = 100, 20


@dataclass(frozen=True, slots=True)
class Measured:
    """One figure on every side, None where it was not measured, and the ends of the scale that they share."""

    name: str
    figures: tuple[Estimate | None, ...]
    span: tuple[float, float]


def describe_release(connection: Connection, project: Project, registered: RegisteredRelease) -> Content:
    """Return the page of a release."""
    facts = gather_facts(connection, project, registered)
    values: dict[str, object] = {
        "facts": facts,
        "release": registered,
        "standing": facts.standing,
        "note": facts.trouble,
        "gate": facts.verdict,
    }
    if facts.dossier is None:
        return Content("release.html.jinja", "/releases", {**values, "card": None})
    release = facts.dossier.release
    rival = find_rival(connection, facts)
    return Content(
        "release.html.jinja",
        "/releases",
        {
            **values,
            "card": describe_model(release, know(connection, project, facts)),
            "sides": {side: NAMES[side] for side in SIDES if release.metrics.get(side)},
            "measured": measure_sides(release.metrics),
            "curves": draw_curves(release.metrics),
            "effects": draw_effects(release),
            "effects_of": release.effects,
            "rival": rival,
            "differences": compare_with(rival, release, project),
            "golden": sample_golden(release),
            "n_golden": len(release.golden.expected),
        },
    )


def find_rival(connection: Connection, facts: Facts) -> RegisteredRelease | None:
    """Return what a release is compared with: the champion; for the champion itself the one before it."""
    current = current_promotion(connection)
    if current is None:
        return None
    digest = current.previous if facts.live is not None else current.release
    return find_registered(connection, digest) if digest else None


def compare_with(rival: RegisteredRelease | None, release: Release, project: Project) -> list[Difference]:
    """Return in what a release differs from a rival, nothing if the rival's files cannot be read."""
    if rival is None:
        return []
    try:
        return list_differences([release, open_dossier(rival.digest, project.blobs).release])
    except (ReleaseMissing, ArtifactError):
        return []


def measure_sides(metrics: Json) -> list[Measured]:
    """Return each figure on the sides on which the release was measured, in their order."""
    sides = [metrics[side] for side in SIDES if metrics.get(side)]
    found = []
    for key, name in FIGURES.items():
        figures = tuple(to_estimate(side.get(key)) for side in sides)
        found.append(Measured(name, figures, span_of([one for one in figures if one is not None])))
    return [one for one in found if any(one.figures)]


def draw_curves(metrics: Json) -> dict[str, Markup]:
    """Return reliability and ROC of all sides, laid over each other."""
    sides = {NAMES[side]: metrics[side] for side in SIDES if "reliability" in (metrics.get(side) or {})}
    if not sides:
        return {}
    return {
        "reliability": draw_reliability([reliability_of(name, side) for name, side in sides.items()]),
        "roc": draw_roc([roc_of(name, side) for name, side in sides.items()]),
    }


def reliability_of(name: str, side: Json) -> Curve:
    """Return the reliability curve of one side."""
    bins = side["reliability"]
    points = [(cell["probability"], cell["positive_share"]) for cell in bins]
    return Curve(name, points, [cell["n_rows"] for cell in bins])


def roc_of(name: str, side: Json) -> Curve:
    """Return the ROC curve of one side."""
    roc = side["roc"]
    return Curve(name, list(zip(roc["false_positive_rate"], roc["true_positive_rate"], strict=True)))


def draw_effects(release: Release) -> list[tuple[str, Markup]]:
    """Return the effect of each feature as a picture, the most important first; none for a release of before."""
    found = release.effects
    if found is None:
        return []
    effects = {name: [Effect("this release", effect)] for name, effect in found["effects"].items()}
    ranked = [name for name in found["importance"] if name in effects][:MOST_EFFECTS]
    top = find_top([one for name in ranked for one in effects[name]])
    return [(name, draw_effect(name, effects[name], top=top)) for name in ranked]


def sample_golden(release: Release) -> Sequence[Json]:
    """Return some golden rows with the answers that were given when it was packed. They are synthetic, nobody's own."""
    n_rows = min(MOST_GOLDEN, len(release.golden.expected))
    step = max(len(release.golden.expected) // max(n_rows, 1), 1)
    chosen = list(range(0, n_rows * step, step))
    rows = unstack_rows({name: values[chosen] for name, values in release.golden.columns.items()})
    expected = release.golden.expected[chosen].tolist()
    return [{"row": row, "expected": value} for row, value in zip(rows, expected, strict=True)]
