"""The rows that drift will be measured against.

Not here: the test (`monitoring.drift`), or the profile that a release carries of them (`retraining.packing`).
"""

from homeostat.data.columns import join_columns
from homeostat.data.snapshots import FILE, origin_part
from homeostat.monitoring.observed import read_rows
from homeostat.monitoring.production import watched_range
from homeostat.project import Project
from homeostat.records import Columns, LabelledRows, Promotion, Snapshot


def holds_same_files(rows: LabelledRows, old: Snapshot) -> bool:
    """Return whether the rows of files are those of an earlier training set."""
    return set(origin_part(rows, FILE).ids) == set(origin_part(old.rows, FILE).ids)


def choose_baseline(
    project: Project, rows: LabelledRows, old: Snapshot | None, champion: Promotion | None, change_point: int | None
) -> Columns:
    """Return the rows that drift will be measured against.

    The first release: every accepted row of its snapshot. After a drift: the accepted rows since the change point,
    labelled or not; against the union, a world that has moved once keeps looking drifted. Without one: the champion's
    baseline and what its watch has seen since, or, if the files hold another table now, that table.
    """
    if old is None or champion is None or project.settings.monitoring.reference == "snapshot":
        return rows.columns
    if not holds_same_files(rows, old):
        return origin_part(rows, FILE).columns
    with project.database.read() as connection:
        watched = watched_range(connection, epoch=champion.epoch)
        if watched is None:
            return old.baseline
        first = change_point if change_point is not None else watched[0]
        seen = read_rows(connection, project.schema, first=first, last=watched[1])
    return seen if change_point is not None else join_columns([old.baseline, seen], project.schema)
