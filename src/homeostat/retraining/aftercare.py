"""Whether the release in production must go, by what its workers, its answers and the outcomes say.

Not here: the alarms (`monitoring.bake`), or putting the last good release back (`retraining.releasing`).
"""

from datetime import datetime

from homeostat.project import Project
from homeostat.records import Breach


def find_breach(project: Project, *, now: datetime) -> Breach | None:  # noqa: ARG001  joined later
    """Return why the release in production must go, None if it may stay."""
    return None
