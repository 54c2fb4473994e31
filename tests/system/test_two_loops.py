"""Two loops as real processes: one that sleeps past its lease finds, when it wakes, that it may write nothing.

A process is put to sleep by SIGSTOP at a failpoint, where it holds the lease and knows what to do; that the lease has
run out meanwhile is written into the database, which is what a minute would have done.
"""

import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path

import pytest

from homeostat.loop import ORDER, tick
from homeostat.project import open_project
from homeostat.store.failpoints import VARIABLE
from homeostat.store.leases import find_lease, take_lease
from tests.system.story import Scene, Story, copy_project, differences, end_lease, read_state

HOMEOSTAT = Path(sys.executable).parent / "homeostat"
pytestmark = pytest.mark.timeout(900)  # minutes where the machine is shared


def scene_of(story: Story, place: str) -> Scene:
    """Return the scene of the automatic retraining that passes a place."""
    return next(scene for scene in story.scenes if scene.act == "retraining" and place in scene.places)


@contextmanager
def asleep(project: Path, wish: str) -> Iterator["subprocess.Popen[str]"]:
    """Start a loop that is stopped at a failpoint; it is killed at the end of the block, if it has not ended."""
    command = [str(HOMEOSTAT), "tick", "--project", str(project)]
    environment = os.environ | {VARIABLE: wish}
    with subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True) as process:
        assert os.WIFSTOPPED(os.waitpid(process.pid, os.WUNTRACED)[1])
        yield process
        process.kill()


def wake(process: "subprocess.Popen[str]") -> str:
    """Let a stopped process go on, and return what it complained of in the end."""
    process.send_signal(signal.SIGCONT)
    return process.communicate(timeout=120)[1]


def act_to_the_end(project: Path) -> None:
    """Let another loop, this process, do what there is to do."""
    with open_project(project) as opened:
        for _ in range(2):
            list(tick(opened))


def count_promotions(project: Path) -> int:
    with closing(sqlite3.connect(project / ".homeostat" / "homeostat.db")) as connection:
        found: int = connection.execute("SELECT count(*) FROM promotions").fetchone()[0]
        return found


# Every turn but those that train, which are as the others and slow: the failpoint at which it is disturbed, outside of
# any transaction.
TURNS = {"decide.before_commit": "stamp.after_commit"} | {
    f"step_{step}.before_commit": f"step_{step}.before" for step in ("snapshot", *ORDER[ORDER.index("track") :])
}


@pytest.mark.parametrize("turn", TURNS)
def test_a_loop_that_was_stopped_past_its_lease_is_refused_when_it_goes_on(
    turn: str, story: Story, tmp_path: Path
) -> None:
    project = copy_project(scene_of(story, turn).before, tmp_path / "project")
    with asleep(project, f"{TURNS[turn]}=stop") as sleeper:
        end_lease(project)
        with open_project(project) as opened:
            next(tick(opened))
        left = read_state(project)
        complaint = wake(sleeper)

    assert "the lease was lost (fence " in complaint
    assert sleeper.returncode == 1
    assert differences(left, story.states_like(left)) == ""
    assert differences(read_state(project), [left]) == ""


def test_a_stale_promotion_is_refused_and_production_moves_once(story: Story, tmp_path: Path) -> None:
    project = copy_project(scene_of(story, "promote.before_commit").before, tmp_path / "project")
    with asleep(project, "step_promote.before=stop") as sleeper:
        end_lease(project)
        with open_project(project) as opened:
            take_lease(opened.database, now=datetime.now(UTC), holder="elsewhere:1")
        complaint = wake(sleeper)
    refused = count_promotions(project)
    end_lease(project)
    act_to_the_end(project)

    assert "the lease was lost (fence " in complaint
    assert (refused, count_promotions(project)) == (1, 2)
    assert differences(read_state(project), [story.ends["quiet again"]]) == ""


def test_a_loop_that_is_delayed_past_its_lease_writes_nothing(story: Story, tmp_path: Path) -> None:
    project = copy_project(scene_of(story, "promote.before_commit").before, tmp_path / "project")
    command = [str(HOMEOSTAT), "tick", "--project", str(project)]
    environment = os.environ | {VARIABLE: "step_promote.before=delay:3"}
    with subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True) as late:
        wait_for_holder(project, late.pid)
        end_lease(project)
        act_to_the_end(project)
        complaint = late.communicate(timeout=120)[1]

    assert "the lease was lost (fence " in complaint
    assert differences(read_state(project), [story.ends["quiet again"]]) == ""


def wait_for_holder(project: Path, pid: int) -> None:
    """Wait until a process holds the lease."""
    deadline = time.monotonic() + 60
    with open_project(project) as opened:
        while time.monotonic() < deadline:
            with opened.database.read() as connection:
                lease = find_lease(connection)
            if lease is not None and lease.holder.endswith(f":{pid}"):
                return
            time.sleep(0.01)
    pytest.fail("the loop never took the lease")


def test_a_loop_that_was_stopped_and_lost_nothing_goes_on(story: Story, tmp_path: Path) -> None:
    project = copy_project(scene_of(story, "promote.before_commit").before, tmp_path / "project")
    with asleep(project, "step_promote.before=stop") as sleeper:
        wake(sleeper)
        act_to_the_end(project)

    assert sleeper.returncode == 0
    assert differences(read_state(project), [story.ends["quiet again"]]) == ""
