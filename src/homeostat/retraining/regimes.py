"""What kind of change a watch has seen (joined later)."""

from datetime import datetime

from sqlalchemy import Connection

from homeostat.monitoring.drift_checks import date_change
from homeostat.project import Project
from homeostat.records import Change, Promotion


def judge_change(connection: Connection, project: Project, promotion: Promotion, *, now: datetime) -> Change:  # noqa: ARG001
    """Return what has changed on this watch."""
    since = date_change(connection, epoch=promotion.epoch, rule=project.settings.monitoring.trigger)
    return Change("none" if since is None else "data", since, 0, confirmed=False, sentence="")
