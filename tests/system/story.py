"""A whole story of a small clinic, recorded so that it can be gone on with anywhere: what the crash tests disturb.

A first training by hand; a quiet look; rows that have drifted, with their outcomes; the retraining that follows by
itself; another quiet look; the first release again, because a person asks for it. Before each turn of the loop the
project's folder is copied, and every failpoint that the turn passes is noted. Here is also what two projects are
compared by.
"""

import os
import re
import sqlite3
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeAlias

from sqlalchemy import select

from homeostat.loop import begin_by_hand, tick
from homeostat.project import open_project
from homeostat.retraining.cycles import list_cycles
from homeostat.retraining.requests import ask
from homeostat.store.events import find_break
from homeostat.store.failpoints import LOG
from homeostat.store.scratch import PREFIX
from homeostat.store.tables import Instant, metadata
from tests.production_log import answer, label
from tests.retraining.clinic import SETTINGS, draw_patients, write_project

# Small and quick, but whole: one configuration of one family, a rule that needs two windows to fire.
QUICK = {
    "[training]": '[training]\nfamily = "logistic"',
    "window = 50": 'window = 50\ntrigger = "book"\nmaturity_s = 0',
    "[retraining]": "[retraining]\ncooldown_s = 0",
}
UNTRACKED = '[store]\ntracking = "none"\n'
# Who holds the lease, and when something was: whatever else a database holds is what must be alike.
VOLATILE_TABLES = {"leases", "versions"}
MOMENT = r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d[.\d]*(?:Z|\+00:00)?"
# How long an answer took and how much memory it needed, in the gate's figures and sentences.
MEASURED = r"(?<=p99_s\": )[^,}]+|(?<=taken_bytes\": )[^,}]+|[\d.]+ ms|(?<=judging took )[\d.]+ MB"
VARYING = re.compile(f"{MOMENT}|{MEASURED}")
CHAIN = {"digest", "previous"}

State: TypeAlias = dict[str, Any]  # by table: lists of rows, whose cells are of any kind


@dataclass
class Scene:
    """One turn of the loop: the project as it was before it, the command that makes it, and the places it passes."""

    act: str
    command: str
    before: Path
    places: list[str] = field(default_factory=list)


@dataclass
class Story:
    """Every scene in order, the states at which a turn of the loop may leave a project, and how each act ends."""

    scenes: list[Scene]
    states: list[tuple[str, State]]
    ends: dict[str, State] = field(default_factory=dict)

    def states_like(self, state: State) -> list[State]:
        """Return the recorded states with as many cycles, at the same step."""
        return [known for key, known in self.states if key == where(state)]


def write_settings(*, tracked: bool = False) -> str:
    """Return the settings of the clinic."""
    text = SETTINGS if tracked else SETTINGS + UNTRACKED
    for old, new in QUICK.items():
        text = text.replace(old, new, 1)
    return text


def send_drifted(folder: Path, n_rows: int = 120) -> None:
    """Put rows of an older population into the log, with their outcomes."""
    rows, outcomes = draw_patients(n_rows, seed=1, older=20)
    with open_project(folder) as project:
        label(project.database, list(zip(answer(project.database, rows), outcomes, strict=True)))


def ask_to_go_back(folder: Path) -> None:
    """Ask for the release before, as a person does."""
    with open_project(folder) as project, project.database.write("ask") as connection:
        ask(connection, "rollback", reason="a test", actor="tester", now=datetime.now(UTC))


def record_story(home: Path) -> Story:
    """Let the story happen once, undisturbed, and record it."""
    project, story = write_project(home / "project", settings=write_settings()), Story([], [])
    log = home / "places"
    with logged(log):
        play(project, story, act="training", command="train", log=log)
        play(project, story, act="quiet", command="tick", log=log)
    send_drifted(project)
    with logged(log):
        play(project, story, act="retraining", command="tick", log=log)
        play(project, story, act="quiet again", command="tick", log=log)
    ask_to_go_back(project)
    with logged(log):
        play(project, story, act="going back", command="tick", log=log)
        play(project, story, act="quiet at last", command="tick", log=log)
    return story


@contextmanager
def logged(log: Path) -> Iterator[None]:
    """Write down every place that this process and its children pass."""
    os.environ[LOG] = str(log)
    try:
        yield
    finally:
        del os.environ[LOG]


def play(folder: Path, story: Story, *, act: str, command: str, log: Path) -> None:
    """Run one command, as the command line does, scene by scene."""

    def begin_scene() -> None:
        number = len(story.scenes)
        before = copy_project(folder, folder.parent / f"scene {number}")
        # Whatever is begun is gone on with by a tick.
        begun = bool(story.scenes) and story.scenes[-1].act == act
        end_lease(before)
        story.scenes.append(Scene(act, "tick" if begun else command, before))

    def end_scene() -> None:
        story.scenes[-1].places += log.read_text().split()
        log.write_text("")
        state = read_state(folder)
        log.write_text("")  # reading opens the project, which is no part of the story
        story.states.append((where(state), state))
        story.ends[act] = state

    begin_scene()
    with open_project(folder) as project:
        if command == "train":
            begin_by_hand(project, reason="asked for by hand")
        for _ in tick(project):
            end_scene()
            begin_scene()
    end_scene()  # what came after the last turn: the lease is given back


def copy_project(folder: Path, target: Path) -> Path:
    """Copy a project and return the copy."""
    # By a process of its own: one that has a SQLite file open loses its locks when it closes the file a second time.
    # https://www.sqlite.org/howtocorrupt.html#_posix_advisory_locks_canceled_by_a_separate_thread_doing_close_
    subprocess.run(["cp", "-a", str(folder), str(target)], check=True)
    return target


def end_lease(project: Path) -> None:
    """Let the lease have run out whose holder, this process, lives on and has nothing to do with the copy."""
    if (project / ".homeostat").exists():
        with closing(sqlite3.connect(project / ".homeostat" / "homeostat.db")) as connection, connection:
            connection.execute("UPDATE leases SET expires_at = 0")


# --- comparing ----------------------------------------------------------------------------------------------------


def read_state(folder: Path) -> State:
    """Return everything that must be alike in two projects with the same story: rows but for moments, blobs, chain."""
    with open_project(folder) as project, project.database.read() as connection:
        state: State = {"break": find_break(connection), "cycles": [], "cycle": None}
        for cycle in list_cycles(connection):
            state["cycle"] = [cycle.id, cycle.step]
        for table in metadata.sorted_tables:
            if table.name in VOLATILE_TABLES:
                continue
            skipped = CHAIN if table.name in {"events", "event_head"} else set()
            columns = [c for c in table.columns if not isinstance(c.type, Instant) and c.name not in skipped]
            query = select(*columns).order_by(*table.primary_key.columns)
            state[table.name] = [tuple(map(steady, row)) for row in connection.execute(query)]
    state["blobs"] = sorted(str(path.relative_to(folder)) for path in (folder / ".homeostat" / "blobs").glob("*/*"))
    state["unfinished"] = [path.name for path in (folder / ".homeostat").rglob(f"{PREFIX}*")]
    return state


def steady(cell: object) -> object:
    """Return a cell with every moment and every measured time in its text made alike."""
    text = cell.decode("latin-1") if isinstance(cell, bytes) else cell
    return VARYING.sub("(varies)", text) if isinstance(text, str) else text


def where(state: State) -> str:
    """Return where the loop stands: the number of the newest cycle, and its next step."""
    return str(state["cycle"])


def differences(state: State, known: Sequence[State]) -> str:
    """Return what a state has unlike the recorded one it is most like, in words; nothing if it equals one."""
    if not known:
        return f"no such state in the story: {where(state)}"
    unlike = [[name for name in state if state[name] != other[name]] for other in known]
    fewest = min(range(len(known)), key=lambda at: len(unlike[at]))
    return "; ".join(f"{name}: {first_difference(state[name], known[fewest][name])}" for name in unlike[fewest])


def first_difference(found: object, expected: object) -> str:
    """Return the first lines in which two tables differ."""
    if not isinstance(found, list) or not isinstance(expected, list):
        return f"{found} instead of {expected}"
    pairs = zip([*found, None], [*expected, None], strict=False)
    return next((differing_part(str(a), str(b)) for a, b in pairs if a != b), f"{len(found)} lines")


def differing_part(found: str, expected: str) -> str:
    """Return what stands where two texts begin to differ."""
    differ = (n for n, (a, b) in enumerate(zip(found, expected, strict=False)) if a != b)
    at = max(next(differ, 0) - 80, 0)
    return f"...{found[at : at + 200]} instead of ...{expected[at : at + 200]}"
