"""The page of all releases: how good each is, what the gate said of it, and where it stands.

Not here: one release (`web.release_page`), or several beside each other (`web.compare_page`).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import Connection

from homeostat.deployment.registry import RegisteredRelease, current_promotion, leaf_through_releases, list_promotions
from homeostat.deployment.restoring import list_barred
from homeostat.records import Estimate, Json
from homeostat.store.event_pages import leaf_through
from homeostat.web.charts import span_of
from homeostat.web.contents import Content, to_estimate
from homeostat.web.release_facts import name_standing

SIDES: Mapping[str, str] = {"cross_validation": "cross-validation", "anchor": "anchor", "recent": "recent"}
PER_PAGE = 50
# Verdicts that are looked through for those on the releases of a page: a release may be judged more than once.
MOST_VERDICTS = 200


@dataclass(frozen=True, slots=True)
class Line:
    """One release of the list: its AUC by side, None where it was not measured, and the verdict on it, if any."""

    release: RegisteredRelease
    auc: Mapping[str, Estimate | None]
    gate: Json | None
    standing: tuple[str, str]


def describe_releases(connection: Connection, *, before: int | None = None) -> Content:
    """Return the page of the newest releases; those before a number if given."""
    found = leaf_through_releases(connection, limit=PER_PAGE + 1, before=before)
    shown = found[:PER_PAGE]
    lines = describe_lines(connection, shown)
    sides = {side: [one for line in lines if (one := line.auc[side])] for side in SIDES}
    return Content(
        "releases.html.jinja",
        "/releases",
        {
            "lines": lines,
            "sides": SIDES,
            "spans": {side: span_of(estimates) for side, estimates in sides.items()},
            "newer": before is not None,
            "older": shown[-1].number if len(found) > PER_PAGE else None,
        },
    )


def describe_lines(connection: Connection, found: Sequence[RegisteredRelease]) -> list[Line]:
    """Return a line for each release."""
    live, barred = current_promotion(connection), list_barred(connection)
    promoted = {promotion.release for promotion in list_promotions(connection)}
    verdicts: dict[str, Json] = {}
    for event in leaf_through(connection, kind="gate", limit=MOST_VERDICTS):
        verdicts.setdefault(event.payload["release"], event.payload)
    return [
        Line(
            one,
            {side: to_estimate((one.metrics.get(side) or {}).get("auc")) for side in SIDES},
            gate=verdicts.get(one.digest),
            standing=name_standing(
                is_live=live is not None and live.release == one.digest,
                was_live=one.digest in promoted,
                is_barred=one.digest in barred,
                passed=verdicts[one.digest]["passed"] if one.digest in verdicts else None,
            ),
        )
        for one in found
    ]
