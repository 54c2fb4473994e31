"""`kill -9` of a training that is tracked in MLflow: the next command goes on, and MLflow too holds everything once.

Not here: the other places at which the loop can be killed (`test_failpoints.py`). MLflow's store is built and changed
by child processes; a loop is killed with its children, as a machine that goes down does it.
"""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from itertools import repeat
from pathlib import Path

import pytest

from homeostat.deployment.registry import list_promotions, list_releases
from homeostat.project import Project, open_project
from homeostat.retraining.cycles import list_cycles
from homeostat.store.events import find_break, read_events
from homeostat.store.failpoints import VARIABLE
from homeostat.store.scratch import PREFIX
from homeostat.training.mirroring import ALIAS
from homeostat.training.tracking import list_runs, open_client
from tests.conftest import Count
from tests.retraining.clinic import write_project
from tests.system.story import Story, write_settings

HOMEOSTAT = Path(sys.executable).parent / "homeostat"
pytestmark = [
    pytest.mark.filterwarnings("ignore::sqlalchemy.exc.SADeprecationWarning"),  # MLflow's own queries
    pytest.mark.timeout(900),  # minutes where the machine is shared
]

# Before and after each change of MLflow's store, in order; a run of its own is killed at each.
CHANGES = (
    *("store", "experiment", "run", "figures", "inputs", "trial", "trial_figures", "trial_end", "curves", "files"),
    *("model_files", "end", "model", "version", "outcome", "alias", "mirrored"),
)
PLACES = tuple(f"mlflow_{change}.{end}" for change in CHANGES for end in ("before", "after"))
# Without --soak: where something is left behind that the next run has to do with.
SOME = ("mlflow_store.before", "mlflow_store.after", "mlflow_trial.after", "mlflow_version.after", "mlflow_alias.after")


def run(project: Path, command: str, **environment: str) -> int:
    """Run a command in a process group of its own, and return its exit code."""
    return subprocess.run(
        [str(HOMEOSTAT), command, "--project", str(project)],
        env=os.environ | environment,
        start_new_session=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        check=False,
    ).returncode


@pytest.fixture(scope="module")
def survivor(tmp_path_factory: pytest.TempPathFactory, count: Count) -> Iterator[Project]:
    """A project whose first training was killed at one place of MLflow after the other, and completed by one tick."""
    folder = write_project(tmp_path_factory.mktemp("kills") / "project", settings=write_settings(tracked=True))
    places = PLACES if count(short=0, soak=1) else SOME
    for place, command in zip(places, ["train", *repeat("tick", len(places) - 1)], strict=True):
        assert run(folder, command, **{VARIABLE: f"{place}=kill-all"}) == -signal.SIGKILL, place
    assert run(folder, "tick") == 0
    with open_project(folder) as project:
        yield project


def test_the_cycle_is_completed_and_it_is_the_only_one(survivor: Project) -> None:
    with survivor.database.read() as connection:
        assert [(cycle.trigger, cycle.outcome) for cycle in list_cycles(connection)] == [("hand", "promoted")]


def test_there_is_one_release_the_same_as_without_any_kill(survivor: Project, story: Story) -> None:
    (undisturbed,) = (row[1] for row in story.ends["training"]["releases"])

    with survivor.database.read() as connection:
        assert [release.digest for release in list_releases(connection)] == [undisturbed]
        assert [promotion.release for promotion in list_promotions(connection)] == [undisturbed]


def test_nothing_was_told_to_have_failed_in_an_unbroken_log(survivor: Project) -> None:
    with survivor.database.read() as connection:
        kinds = [event.kind for event in read_events(connection)]
        assert find_break(connection) is None

    assert "tracking_failed" not in kinds
    assert kinds.count("release_registered") == kinds.count("promoted") == 1


def test_there_is_one_finished_run_and_what_was_killed_is_marked(survivor: Project) -> None:
    statuses = [run.info.status for run in list_runs(open_client(survivor.tracking_url), "clinic")]

    assert statuses.count("FINISHED") == 1
    assert set(statuses) == {"FINISHED", "KILLED"}


def test_mlflows_alias_names_the_one_version_which_is_the_release_in_production(survivor: Project) -> None:
    client = open_client(survivor.tracking_url)
    version = client.get_model_version_by_alias("clinic", ALIAS)

    assert len(client.search_model_versions("name = 'clinic'")) == 1
    with survivor.database.read() as connection:
        assert version.tags["homeostat.release"] == list_promotions(connection)[-1].release


def test_the_training_left_no_process_and_nothing_unfinished_behind(survivor: Project) -> None:
    commands = [read_command(path) for path in Path("/proc").glob("[0-9]*/cmdline")]

    assert [command for command in commands if str(survivor.folder).encode() in command] == []
    assert list((survivor.folder / ".homeostat").rglob(f"{PREFIX}*")) == []


def read_command(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:  # it has just ended
        return b""
