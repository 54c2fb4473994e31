"""Training happens in a process of its own: what it meets comes back as an error, and its death takes nothing along."""

import json
import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from types import FrameType

import pytest

from homeostat.errors import DataInsufficient, ReleaseMissing, TrainingFailed, error_to_json
from homeostat.project import Project
from homeostat.retraining.attempt import read_answer, run_part
from homeostat.retraining.parts import LIBRARIES, PARTS, code_version
from homeostat.retraining.training_data import take_snapshot
from tests.retraining.clinic import FOUND

PART = "homeostat.retraining.attempt"
SEARCHES = [{"recipe": {"name": "union", "since": None, "half_life": None}, "found": FOUND}]
FIT = {"searches": SEARCHES, "change": None, "cycle": 1, "trigger": "hand"}


def children() -> list[int]:
    """Return the processes that this one has started and that still live."""
    found = Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()
    return [int(child) for child in found if PART in Path(f"/proc/{child}/cmdline").read_text()]


def kill_it() -> None:
    for child in children():
        os.kill(child, signal.SIGKILL)


class Interrupted(Exception):
    """What a loop that loses its lease meets while it waits."""


def interrupt() -> None:
    if children():
        raise Interrupted


@pytest.fixture
def held_back(clinic: Project) -> Iterator[Project]:
    """The clinic with its database locked: a part that opens it waits there for half a minute."""
    clinic.database.close()
    with closing(sqlite3.connect(str(clinic.database.engine.url.database), isolation_level=None)) as holder:
        holder.execute("PRAGMA locking_mode=EXCLUSIVE")
        holder.execute("BEGIN EXCLUSIVE")
        yield clinic


def fit_on(project: Project, snapshot: str, while_waiting: Callable[[], None] = lambda: None) -> str:
    return str(run_part("fit", project, {**FIT, "snapshot": snapshot}, while_waiting=while_waiting)["release"])


# --- real processes -----------------------------------------------------------------------------------------------


def test_a_part_answers_what_it_left(clinic: Project) -> None:
    snapshot = take_snapshot(clinic, champion=None, reload_files=True, change_point=None)

    release = fit_on(clinic, snapshot.digest)

    assert clinic.blobs.folder("releases", release) is not None


def test_an_error_on_purpose_comes_back_with_its_three_parts(clinic: Project) -> None:
    with pytest.raises(ReleaseMissing) as refused:
        fit_on(clinic, "f" * 64)

    assert refused.value.problem == "there is no snapshot ffffffffffff"
    assert refused.value.action == "run `homeostat train`"


def test_a_part_that_is_killed_is_a_failed_training_with_its_code(held_back: Project) -> None:
    with pytest.raises(TrainingFailed, match="the fit process ended with code -9: it said nothing"):
        fit_on(held_back, "f" * 64, kill_it)


def test_whoever_stops_waiting_takes_the_process_along_at_once(held_back: Project) -> None:
    started = time.monotonic()

    with pytest.raises(Interrupted):
        fit_on(held_back, "f" * 64, interrupt)

    assert children() == []
    assert time.monotonic() - started < 10


@contextmanager
def interrupted_after(delay_s: float) -> Iterator[None]:
    """Let a signal's handler raise in whatever this process does by then."""

    def leave(_signal: int, _frame: FrameType | None) -> None:
        raise Interrupted

    before = signal.signal(signal.SIGALRM, leave)
    signal.setitimer(signal.ITIMER_REAL, delay_s)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


# Files and processes of the interpreter that the signal met half built say so when they are collected.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("delay_ms", [0.2 * step for step in range(1, 41)])
def test_a_signal_at_any_moment_of_the_start_ends_the_waiting_in_order(held_back: Project, delay_ms: float) -> None:
    with pytest.raises(Interrupted), interrupted_after(delay_ms / 1000):
        fit_on(held_back, "f" * 64)

    assert [thread.name for thread in threading.enumerate()] == ["MainThread"]


ORPHAN = """
import os, subprocess, sys
command = [sys.executable, "-m", "homeostat.retraining.attempt", "fit", sys.argv[1], str(os.getpid())]
child = subprocess.Popen(command, stdin=subprocess.PIPE, text=True)
child.stdin.write(sys.argv[2])
child.stdin.close()
print(child.pid, flush=True)
sys.stdin.readline()
"""


def is_running(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def test_a_part_ends_soon_after_the_loop_that_started_it(held_back: Project) -> None:
    command = [sys.executable, "-c", ORPHAN, str(held_back.folder), json.dumps(FIT)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        assert is_running(child)
        parent.kill()

    deadline = time.monotonic() + 15
    while is_running(child) and time.monotonic() < deadline:
        time.sleep(0.05)

    assert not is_running(child)


# --- what it says -------------------------------------------------------------------------------------------------


def test_the_answer_is_the_last_line_whatever_libraries_print() -> None:
    assert read_answer("fit", 0, 'Training until ...\n{"a": 1}\n\n{"release": "b"}\n', "") == {"release": "b"}


def test_an_error_in_the_answer_is_raised_as_what_it_was() -> None:
    error = DataInsufficient(problem="2 rows", expected="more", action="give more")

    with pytest.raises(DataInsufficient, match="2 rows; expected more; give more"):
        read_answer("search", 1, json.dumps({"error": error_to_json(error)}), "")


@pytest.mark.parametrize(
    ("printed", "complaints", "said"),
    [
        ("", "", "it said nothing"),
        ("", "Traceback ...\nMemoryError: no room\n", "MemoryError: no room"),
        ("no json", "Segmentation fault", "Segmentation fault"),
        ("3", "", "it said nothing"),
        ("[]", "warned", "warned"),
    ],
)
def test_any_other_end_is_a_failed_training_with_its_last_complaint(printed: str, complaints: str, said: str) -> None:
    with pytest.raises(TrainingFailed) as failed:
        read_answer("search", 139, printed, complaints)

    assert failed.value.problem == f"the search process ended with code 139: {said}"
    assert failed.value.expected
    assert "homeostat train" in failed.value.action


def test_the_code_version_names_every_library_that_can_change_a_model() -> None:
    found = code_version()

    assert set(found) == {"homeostat", "python", *LIBRARIES}
    assert all(found.values())


def test_the_parts_are_those_that_the_loop_and_reproduce_ask_for() -> None:
    attempt = ["prepare", "snapshot", "search", "fit", "track", "judge", "shadow", "mirror"]

    assert list(PARTS) == [*attempt, "tell", "alias", "reproduce"]
