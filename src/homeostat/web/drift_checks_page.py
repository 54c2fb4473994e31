"""The page of all drift checks, newest first, with their scores as a drawing.

Not here: one check (`web.drift_page`), or judging (`monitoring.drift`).
"""

from sqlalchemy import Connection

from homeostat.monitoring.drift_checks import leaf_through_checks
from homeostat.monitoring.verdicts import headline
from homeostat.records import Json
from homeostat.web.charts import draw_scores
from homeostat.web.contents import Content

PER_PAGE = 50


def describe_checks(connection: Connection, *, before: int | None = None) -> Content:
    """Return the page of the newest checks; of those before a number if given."""
    found = leaf_through_checks(connection, limit=PER_PAGE + 1, before=before)
    shown = found[:PER_PAGE]
    return Content(
        "drift_checks.html.jinja",
        "/drift",
        {
            "lines": [{**check, "headline": headline(check), "moved": list_moved(check)} for check in shown],
            "drawing": draw_checks(shown) if shown else None,
            "newer": before is not None,
            "older": shown[-1]["id"] if len(found) > PER_PAGE else None,
        },
    )


def list_moved(check: Json) -> list[str]:
    """Return the features that drifted in a check."""
    return [feature["name"] for feature in check["report"]["features"] if feature["drifted"]]


def draw_checks(newest_first: list[Json]) -> str:
    """Return the scores of checks, oldest first."""
    scores = [(check["score"], check["fired"]) for check in reversed(newest_first)]
    label = f"Drift scores of checks {newest_first[-1]['id']} to {newest_first[0]['id']}"
    return draw_scores(scores, newest_first[0]["report"]["boundary"], label=label)
