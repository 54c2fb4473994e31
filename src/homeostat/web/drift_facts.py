"""A drift check with the rows of its window counted again, for its page and for a file of its own.

Not here: how the page looks (`web.drift_page`), or who writes the file (`cli`).
"""

from sqlalchemy import Connection

from homeostat.deployment.artifacts import find_release, recall_release
from homeostat.errors import ArtifactError, ReleaseMissing
from homeostat.monitoring.alerts import list_alerts
from homeostat.monitoring.drift_checks import find_numbered_check
from homeostat.monitoring.observed import read_rows
from homeostat.project import Project
from homeostat.records import Json, Profile
from homeostat.validation.profiles import count_rows
from homeostat.web.contents import Content
from homeostat.web.drift_page import describe_check


def describe_drift(connection: Connection, project: Project, check: Json | None, *, alerts: list[Json]) -> Content:
    """Return the page of a check with its pictures, or the one that says that there is none yet.

    Raises
    ------
    ReleaseMissing, ArtifactCorrupt
        The release that holds the baseline is not in the store, or is damaged.
    """
    profiles, note = count_again(connection, project, check) if check else (None, "")
    return describe_check(check, alerts=alerts, profiles=profiles, note=note)


def describe_numbered(connection: Connection, project: Project, number: int) -> Content | None:
    """Return the page of the check of a number, None if there is none; without its baseline it has no pictures."""
    check = find_numbered_check(connection, number)
    if check is None:
        return None
    alerts = list_alerts(connection, epoch=check["epoch"])
    try:
        return describe_drift(connection, project, check, alerts=alerts)
    except (ReleaseMissing, ArtifactError) as error:
        return describe_check(check, alerts=alerts, profiles=None, note=f"Nothing can be drawn: {error.problem}.")


def count_again(connection: Connection, project: Project, check: Json) -> tuple[tuple[Profile, Profile] | None, str]:
    """Return the baseline and the window of a check, counted again from the log, and a note if rows have gone.

    Raises
    ------
    ReleaseMissing, ArtifactCorrupt
        The release that holds the baseline is not in the store, or is damaged.
    """
    judged = check["report"]["n_current"]
    if not judged:
        return None, "No row of this window is accepted by the release's schema."
    release = recall_release(find_release(check["release"], project.blobs))
    columns = read_rows(connection, release.schema, first=check["first_seq"], last=check["last_seq"])
    current = count_rows(columns, release.schema, release.profile)
    if not current.n_rows:
        return None, "The rows of this window have been deleted since, so there is nothing to draw."
    gone = judged - current.n_rows
    note = f"{gone} of the {judged} rows of this window have been deleted since; the others are drawn." if gone else ""
    return (release.profile, current), note
