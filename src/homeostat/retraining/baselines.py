"""The rows that drift will be measured against.

Not here: the test (`monitoring.drift`), or the profile that a release carries of them (`retraining.packing`).
"""

import numpy as np

from homeostat.data.columns import join_columns, take_rows
from homeostat.data.snapshots import FILE, origin_part
from homeostat.monitoring.observed import read_rows
from homeostat.monitoring.production import watched_range
from homeostat.project import Project
from homeostat.records import Columns, LabelledRows, Promotion, Snapshot

# Cells of a baseline. Against 200 rows of a window, 10,000 rows tell a drift as well as a million (the scale of the KS
# statistic is 1 / 196 rows instead of 1 / 200), and a profile counts each of their values, in every release and every
# process that serves it: of 50,000 rows and a hundred columns a release had 53 MB.
MOST_CELLS = 1_000_000
FEWEST_ROWS = 10_000


def holds_same_files(rows: LabelledRows, old: Snapshot) -> bool:
    """Return whether the rows of files are those of an earlier training set."""
    return set(origin_part(rows, FILE).ids) == set(origin_part(old.rows, FILE).ids)


def thin_baseline(columns: Columns, *, run: int, seed: int) -> Columns:
    """Return the rows of a baseline, or so many of them, in runs of `run` neighbours, as drift can be told against."""
    n_rows = len(next(iter(columns.values())))
    most = max(FEWEST_ROWS, MOST_CELLS // len(columns))
    if n_rows <= most:
        return columns
    runs = np.random.default_rng(seed).choice(n_rows // run, most // run, replace=False)
    return take_rows(columns, (np.sort(runs)[:, None] * run + np.arange(run)).ravel())


def choose_baseline(
    project: Project, rows: LabelledRows, old: Snapshot | None, champion: Promotion | None, change_point: int | None
) -> Columns:
    """Return the rows that drift will be measured against, thinned if they are very many."""
    settings = project.settings
    # Whoever asks whether windows of the baseline differ needs whole ones.
    run = settings.monitoring.window if settings.monitoring.seasons == "baseline" else 1
    found = gather_baseline(project, rows, old, champion, change_point)
    return thin_baseline(found, run=run, seed=settings.training.seed)


def gather_baseline(
    project: Project, rows: LabelledRows, old: Snapshot | None, champion: Promotion | None, change_point: int | None
) -> Columns:
    """Return the rows that drift could be measured against.

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
