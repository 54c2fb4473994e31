"""Killed at any place, or let down by the disk there, the loop goes on and ends where it would have ended.

The places are those that a recorded story passes (`story.py`), so that a new durable effect is disturbed from the day
on which it is made. From the scene of each place the real command is run and disturbed; a restart with no arguments
goes on to the end of the scene, where the whole project, every row and blob of it, must be what the undisturbed one
was: what follows from there is then the same too. Random pairs of kills (500 with `--soak`) go on to the end.
"""

import json
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from queue import Queue
from random import Random
from tempfile import mkdtemp

import pytest

from homeostat.loop import ORDER
from homeostat.store.failpoints import VARIABLE
from tests.conftest import Count, Tell
from tests.system import warm_homeostat
from tests.system.story import Scene, State, Story, copy_project, differences, read_state

# Ends a command after its first turn of the loop.
ONE_TURN = [f"{name}.after_commit=kill-all" for name in ("decide", *(f"step_{step}" for step in ORDER))]
pytestmark = pytest.mark.timeout(900)  # minutes where the machine is shared
# Where nothing was begun that a tick could go on with: the command has to be given again.
NOT_BEGUN = {"migrate.before_commit", "migrate.after_commit", "begin_by_hand.before_commit"}
KILLED, N_SIDES = -9, 2
# Where a process that trains has given its whole answer: an error then harms nobody, and the turn is completed.
TOO_LATE = {"answer.after"}
ERRORS = ("eio", "enospc")


class Warm:
    """A process that runs commands in forks of itself (`warm_homeostat.py`)."""

    def __init__(self) -> None:
        command = [sys.executable, str(warm_homeostat.__file__)]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def run(self, command: str, project: Path, *wishes: str) -> int:
        """Run a command on a project with failpoints, and return its exit code."""
        arguments = [command, "--project", str(project)]
        output = str(project.parent / f"{project.name} said")
        order = {"arguments": arguments, "environment": {VARIABLE: ",".join(wishes)}, "output": output}
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()
        return int(self._process.stdout.readline())

    def close(self) -> None:
        """End it."""
        self._process.communicate()


@dataclass(frozen=True)
class Case:
    """Places of one scene of the story, and what happens there: each start of the command is disturbed at the next."""

    scene: Scene
    places: tuple[str, ...]
    action: str

    def __str__(self) -> str:
        return f"{self.action} at {', '.join(self.places)} in the {self.scene.act}"


Attempt = Callable[[Warm, Case, Path], str]


@dataclass(frozen=True)
class Stage:
    """The recorded story, the processes that disturb it side by side, and a folder for copies of its scenes."""

    story: Story
    warm: "Queue[Warm]"
    folder: Path

    def try_all(self, cases: Sequence[Case], attempt: Attempt) -> list[str]:
        """Try every case in a copy of its scene, and return what was wrong, in words."""
        with ThreadPoolExecutor(N_SIDES) as pool:
            return [wrong for wrong in pool.map(lambda case: self.try_one(case, attempt), cases) if wrong]

    def try_one(self, case: Case, attempt: Attempt) -> str:
        """Try a case, and return what was wrong."""
        home = Path(mkdtemp(dir=self.folder))
        copy, one = copy_project(case.scene.before, home / "project"), self.warm.get()
        try:
            wrong = attempt(one, case, copy)
        finally:
            self.warm.put(one)
        shutil.rmtree(home)
        return f"{case}: {wrong}" if wrong else ""


@pytest.fixture(scope="module")
def everyone() -> Iterator["Queue[Warm]"]:
    """The processes that disturb the story side by side."""
    queue: Queue[Warm] = Queue()
    started = [Warm() for _ in range(N_SIDES)]
    for one in started:
        queue.put(one)
    yield queue
    for one in started:
        one.close()


@pytest.fixture
def stage(story: Story, everyone: "Queue[Warm]", tmp_path: Path) -> Stage:
    return Stage(story, everyone, tmp_path)


def first_passes(story: Story) -> Iterator[tuple[Scene, str]]:
    """Yield each place of each act with the scene in which the act passes it first."""
    seen: set[tuple[str, str]] = set()
    for scene in story.scenes:
        for place in dict.fromkeys(scene.places):
            if (scene.act, place) not in seen:
                seen.add((scene.act, place))
                yield scene, place


# --- the story ------------------------------------------------------------------------------------------------------


def kinds(state: State) -> list[str]:
    """Return the kinds of the events in order."""
    return [event[1] for event in state["events"]]


def test_the_story_is_one_training_by_hand_and_one_that_a_drift_asked_for(story: Story) -> None:
    end = story.ends["quiet again"]

    assert [(cycle[1], cycle[4]) for cycle in end["cycles"]] == [("hand", "promoted"), ("drift", "promoted")]
    assert [len(end[table]) for table in ("releases", "promotions", "drift_checks")] == [2, 2, 2]
    assert kinds(end).count("drift_checked") == 2
    assert end["break"] is None
    assert end["unfinished"] == []


def test_its_last_act_puts_the_first_release_back(story: Story) -> None:
    end = story.ends["going back"]

    assert kinds(end).count("rolled_back") == 1
    assert end["promotions"][-1][1] == end["promotions"][0][1] != end["promotions"][1][1]


def test_every_step_of_a_cycle_is_passed_in_both_of_them(story: Story) -> None:
    for act in ("training", "retraining"):
        passed = {place for scene in story.scenes if scene.act == act for place in scene.places}
        assert {f"step_{step}.{end}_commit" for step in ORDER for end in ("before", "after")} <= passed


# --- kills ----------------------------------------------------------------------------------------------------------


def each_alone(passes: Iterable[tuple[Scene, str]], action: str) -> list[Case]:
    """Return a case for each place."""
    return [Case(scene, (place,), action) for scene, place in passes]


def one_after_the_other(passes: Iterable[tuple[Scene, str]], action: str) -> list[Case]:
    """Return a case for each scene: half as many starts, but what one place leaves a later one may put right."""
    scenes = groupby(passes, key=lambda one: one[0].before)
    grouped = [list(group) for _, group in scenes]
    return [Case(group[0][0], tuple(place for _, place in group), action) for group in grouped]


def disturb(one: Warm, case: Case, project: Path, *, expected: int) -> str:
    """Start the command once for each place, disturbed there, and return what was wrong."""
    command = case.scene.command
    for place in case.places:
        code = one.run(command, project, f"{place}={case.action}", *(ONE_TURN if place in TOO_LATE else ()))
        if code != expected:
            return f"exit code {code} at {place}"
        command = "train" if place in NOT_BEGUN else "tick"
    return ""


def go_on(one: Warm, case: Case, project: Path, story: Story) -> str:
    """Restart with no arguments, for one turn of the loop, and return how the project differs from the undisturbed."""
    if one.run("train" if case.places[-1] in NOT_BEGUN else "tick", project, *ONE_TURN) not in {0, KILLED}:
        return "the restart failed"
    state = read_state(project)
    return differences(state, story.states_like(state))


def test_killed_at_any_place_the_next_command_goes_on_to_the_same_state(stage: Stage, count: Count, tell: Tell) -> None:
    passes = list(first_passes(stage.story))
    before = [(scene, place) for scene, place in passes if scene.act in {"training", "quiet"}]
    last = [one for one in passes if one not in before]
    # The retraining and what follows, place by place; what comes before, with fewer starts unless --soak.
    kills = each_alone(last, "kill-all")
    kills += each_alone(before, "kill-all") if count(short=0, soak=1) else one_after_the_other(before, "kill-all")
    tears = each_alone([one for one in last if one[1].endswith(".write")], "torn")

    def attempt(one: Warm, case: Case, project: Path) -> str:
        return disturb(one, case, project, expected=KILLED) or go_on(one, case, project, stage.story)

    wrong = stage.try_all([*kills, *tears], attempt)

    tell(f"kills at {len(passes)} places of the loop, {len(tears)} torn files: {len(wrong)} ended otherwise")
    assert wrong == []
    assert len(passes) > 100
    assert len(tears) > 1


def test_killed_twice_anywhere_the_third_command_goes_on_to_the_end_of_the_story(
    stage: Stage, random: Random, count: Count, tell: Tell
) -> None:
    passes = {act: list(numbered_passes(stage.story, act)) for act in ("training", "retraining")}
    begin = {act: next(scene for scene in stage.story.scenes if scene.act == act) for act in passes}
    acts = [random.choice(list(passes)) for _ in range(count(short=1, soak=500))]
    cases = [Case(begin[act], tuple(random.choices(passes[act], k=2)), "kill-all") for act in acts]

    def attempt(one: Warm, case: Case, project: Path) -> str:
        first, second = (f"{place}=kill-all@{turn}" for place, _, turn in (p.partition("@") for p in case.places))
        one.run(case.scene.command, project, first)
        one.run("tick", project, second)
        # The second one looks at the world, if there was still a cycle to complete for the first.
        codes = [one.run("tick", project) for _ in range(2)]
        state = read_state(project)
        return differences(state, stage.story.states_like(state)[-1:]) if codes == [0, 0] else f"exit codes {codes}"

    wrong = stage.try_all(cases, attempt)

    tell(f"pairs of kills of the loop: {len(cases)}, {len(wrong)} ended otherwise")
    assert wrong == []


def numbered_passes(story: Story, act: str) -> Iterator[str]:
    """Yield every pass of an act at which something is begun already: PLACE@N."""
    turns: Counter[str] = Counter()
    for scene in story.scenes:
        for place in scene.places if scene.act == act else []:
            turns[place] += 1
            if place not in NOT_BEGUN:
                yield f"{place}@{turns[place]}"


# --- a disk that fails ----------------------------------------------------------------------------------------------


def test_a_disk_that_fails_at_any_place_neither_loses_the_cycle_nor_fails_it(
    stage: Stage, count: Count, tell: Tell
) -> None:
    passes = list(first_passes(stage.story))
    # Each place meets one of the errors, in the act that passes it last; with --soak both, in every act, alone.
    last = {place: scene for scene, place in passes}
    chosen = [(scene, place) for scene, place in passes if last[place] is scene and place not in TOO_LATE]
    by_error = {error: [one for one in chosen if len(one[1]) % 2 == n] for n, error in enumerate(ERRORS)}
    cases = [case for error in ERRORS for case in one_after_the_other(by_error[error], error)]
    cases += each_alone([(last[place], place) for place in TOO_LATE], "eio")
    if count(short=0, soak=1):
        cases = [case for error in ERRORS for case in each_alone(passes, error)]

    def attempt(one: Warm, case: Case, project: Path) -> str:
        expected = KILLED if case.places[0] in TOO_LATE else 1
        return disturb(one, case, project, expected=expected) or go_on(one, case, project, stage.story)

    wrong = stage.try_all(cases, attempt)

    tell(f"EIO or ENOSPC at {sum(len(case.places) for case in cases)} places of the loop: {len(wrong)} ended otherwise")
    assert wrong == []
    assert {place for case in cases for place in case.places} == {place for _, place in passes}
