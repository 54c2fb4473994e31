"""One history under several policies: each in a scratch project of its own, all beginning with the same release.

Not here: one run (`simulation.replay`), what it comes to (`simulation.replay_report`), how it is told (`cli.replay`).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias

from homeostat.deployment.registry import current_promotion, list_promotions, require_production
from homeostat.project import Project, open_project
from homeostat.records import Json, Promotion
from homeostat.settings import Settings
from homeostat.simulation.history import History, as_datetime
from homeostat.simulation.replay import Approvals, Replayed, replay
from homeostat.simulation.replay_lines import Place
from homeostat.simulation.replay_report import summarise
from homeostat.simulation.scratch import bring_release, open_original, open_scratch, scratch_settings, train_first

# What the project's own settings are called among the policies.
OWN = "project"
TellPolicy: TypeAlias = Callable[[str, Json], None]


@dataclass(frozen=True, slots=True)
class Backtest:
    """What one policy came to: its settings, what the replay left, and its last line."""

    settings: Settings
    replayed: Replayed
    summary: Json


def run_backtest(
    folder: Path,
    history: History,
    policies: Mapping[str, Mapping[str, Any]],
    scratch: Path,
    *,
    approvals: Approvals,
    tell: TellPolicy,
    progress: Callable[[int], None],
) -> dict[str, Backtest]:
    """Run a history under a project's own settings and then under each policy, and return what each came to.

    Parameters
    ----------
    folder
        The project; it is only read.
    policies
        By name, the tables that are put over the project's settings.
    scratch
        An empty folder for the scratch projects.
    tell
        Told the name of the policy and each line, the summary last.
    progress
        Told how many rows of the policy at hand have been lived through.
    """
    wishes = {name: scratch_settings(folder, policy) for name, policy in {OWN: {}, **policies}.items()}
    found: dict[str, Backtest] = {}
    with open_original(folder) as original:
        for name, settings in wishes.items():
            with open_scratch(scratch / name, settings) as project:
                begun = put_first(project, original, scratch / OWN, history)
                tell(name, begun)
                done = replay(
                    project,
                    history,
                    approvals=approvals,
                    tell=partial(tell, name),
                    progress=progress,
                )
            summary = summarise(done, history)
            tell(name, summary)
            found[name] = Backtest(settings, done, summary)
    return found


def put_first(project: Project, original: Project | None, own: Path, history: History) -> Json:
    """Put the release in production with which every policy begins, and return the line that tells of it.

    It is the project's; of a project without one, the one that the first run trains from the project's own data.
    """
    now = as_datetime(int(history.clock[0]))
    promotion = find_production(original)
    if original is not None and promotion is not None:
        bring_release(original, promotion, project, now=now)
    elif project.folder == own.resolve():
        train_first(project, now=now)
    else:
        with open_project(own) as first, first.database.read() as connection:
            bring_release(first, list_promotions(connection)[0], project, now=now)
    with project.database.read() as connection:
        release = require_production(connection).release
    return Place(None, now).line("begun", {"release": release, "trained": promotion is None, "rows": len(history)})


def find_production(original: Project | None) -> Promotion | None:
    """Return what the project has in production, None if nothing."""
    if original is None:
        return None
    with original.database.read() as connection:
        return current_promotion(connection)
