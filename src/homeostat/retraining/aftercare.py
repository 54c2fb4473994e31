"""Whether the release in production must go, by what its workers, its answers and the outcomes say.

Not here: the alarms (`monitoring.bake`), or putting the last good release back (`retraining.releasing`).
"""

from datetime import datetime

from sqlalchemy import Connection

from homeostat.project import Project
from homeostat.records import Breach, Promotion


def find_breach(project: Project, *, now: datetime) -> Breach | None:  # noqa: ARG001  joined later
    """Return why the release in production must go, None if it may stay."""
    return None


def on_probation(connection: Connection, project: Project, promotion: Promotion) -> str | None:  # noqa: ARG001
    """Return in words that the release in production is on probation, None if it is not."""
    return None
