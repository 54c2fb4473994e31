"""`kill -9` of `homeostat train` at any step: the next command goes on, and nothing is done twice or otherwise."""

import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from homeostat.deployment.registry import list_promotions, list_releases
from homeostat.loop import ORDER
from homeostat.project import Project, open_project
from homeostat.retraining.cycles import find_open_cycle, list_cycles
from homeostat.store.events import find_break, read_events
from homeostat.store.leases import find_lease
from homeostat.training.tracking import ALIAS, list_runs, open_client
from tests.conftest import make_project

HOMEOSTAT = Path(sys.executable).parent / "homeostat"
pytestmark = pytest.mark.filterwarnings("ignore::sqlalchemy.exc.SADeprecationWarning")  # MLflow's own queries


def step_reached(project: Project, step: str) -> bool:
    with project.database.read() as connection:
        cycle = find_open_cycle(connection)
    return cycle is not None and ORDER.index(str(cycle.step)) >= ORDER.index(step)


def acts(project: Project, process: subprocess.Popen[bytes]) -> bool:
    with project.database.read() as connection:
        lease = find_lease(connection)
    return lease is not None and lease.holder.endswith(f":{process.pid}")


def is_recording(project: Project) -> bool:
    """Return whether MLflow holds a run that has begun and not ended."""
    path = project.folder / ".homeostat" / "tracking.db"
    try:
        with sqlite3.connect(f"file:{path}?mode=ro", uri=True) as connection:
            return bool(connection.execute("SELECT 1 FROM runs WHERE status = 'RUNNING'").fetchone())
    except sqlite3.OperationalError:  # not there yet, or its tables are not
        return False


def is_creating(project: Project) -> bool:
    """Return whether MLflow's store is being built."""
    return any((project.folder / ".homeostat").glob(".incomplete-*/tracking.db"))


def has_a_child(project: Project) -> bool:
    """Return whether the step has started its own process."""
    return any(is_part(path, project) for path in Path("/proc").glob("[0-9]*/cmdline"))


def is_training(project: Project) -> bool:
    """Return whether that process has opened the project's database, and so is past its imports."""
    found = [path.parent for path in Path("/proc").glob("[0-9]*/cmdline") if is_part(path, project)]
    return any(link.resolve().name == "homeostat.db" for process in found for link in open_files(process))


def is_part(path: Path, project: Project) -> bool:
    try:
        command = path.read_bytes()
    except OSError:  # it has just ended
        return False
    return b"retraining.attempt" in command and str(project.folder).encode() in command


def open_files(process: Path) -> list[Path]:
    try:
        return list((process / "fd").iterdir())
    except OSError:  # as above
        return []


def at_once(_: Project) -> bool:
    return True


# When a command is killed: the step that it is at, or past, and what must be under way there.
KILLS: tuple[tuple[str, Callable[[Project], bool]], ...] = (
    ("snapshot", at_once),
    ("search", is_creating),
    ("search", is_training),
    ("fit", has_a_child),
    ("track", is_recording),
    ("gate", at_once),
    ("promote", at_once),
    ("mirror", has_a_child),
)


def kill_at(project: Project, step: str, under_way: Callable[[Project], bool], *, command: str) -> None:
    """Start a command, wait until it is where it shall be killed, and kill it with every process it started."""
    process = subprocess.Popen(
        [str(HOMEOSTAT), command, "--project", str(project.folder)],
        start_new_session=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    wait_while(process, lambda: not (acts(project, process) and step_reached(project, step)))
    wait_while(process, lambda: not under_way(project))
    os.killpg(process.pid, signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL


def wait_while(process: subprocess.Popen[bytes], condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while condition() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.01)


@pytest.fixture(scope="module")
def survivor(pima_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    """A project whose first training was killed at each of its steps, and completed by one tick."""
    with open_project(make_project(tmp_path_factory.mktemp("kills") / "project", pima_path)) as project:
        for number, (step, under_way) in enumerate(KILLS):
            kill_at(project, step, under_way, command="tick" if number else "train")
        tick = [str(HOMEOSTAT), "tick", "--project", str(project.folder)]
        assert subprocess.run(tick, check=False).returncode == 0
        yield project


def test_the_cycle_is_completed_and_it_is_the_only_one(survivor: Project) -> None:
    with survivor.database.read() as connection:
        assert [(cycle.trigger, cycle.outcome) for cycle in list_cycles(connection)] == [("hand", "promoted")]


def test_there_is_one_release_the_same_as_without_any_kill(survivor: Project, trained_template: Path) -> None:
    with open_project(trained_template) as undisturbed, undisturbed.database.read() as connection:
        expected = [release.digest for release in list_releases(connection)]

    with survivor.database.read() as connection:
        assert [release.digest for release in list_releases(connection)] == expected


def test_there_is_one_promotion(survivor: Project) -> None:
    with survivor.database.read() as connection:
        (promotion,) = list_promotions(connection)
        assert promotion.release == list_releases(connection)[0].digest


def test_each_event_is_there_once_in_an_unbroken_log(survivor: Project) -> None:
    with survivor.database.read() as connection:
        kinds = [event.kind for event in read_events(connection) if event.kind != "decision"]
        assert find_break(connection) is None

    assert kinds == ["retrain_decided", "release_registered", "gate", "promoted", "cycle_promoted"]


def test_there_is_one_finished_run_and_what_was_killed_is_marked(survivor: Project) -> None:
    statuses = [run.info.status for run in list_runs(open_client(survivor.tracking_url), "pima")]

    assert statuses.count("FINISHED") == 1
    assert set(statuses) <= {"FINISHED", "KILLED"}


def test_mlflows_alias_names_the_release_in_production(survivor: Project) -> None:
    version = open_client(survivor.tracking_url).get_model_version_by_alias("pima", ALIAS)

    with survivor.database.read() as connection:
        assert version.tags["homeostat.release"] == list_promotions(connection)[-1].release


def test_the_training_left_no_process_behind(survivor: Project) -> None:
    assert not has_a_child(survivor)


def test_every_step_was_killed_at() -> None:
    assert {step for step, _ in KILLS} == set(ORDER)
