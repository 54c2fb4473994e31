"""A child that crashes, hangs or eats memory is a refusal at a named check; one that meets a full disk is not."""

import json
import os
import resource
import signal
import subprocess
import sys

import pytest

from homeostat.deployment.limits import MEGABYTE, OutOfTime, within
from homeostat.errors import ReleaseMissing, StorageFailed, TrainingFailed, error_to_json
from homeostat.retraining.attempt import Ended
from homeostat.retraining.confined import read_verdict

VERDICT = {"passed": True, "criteria": [{"name": "skill", "passed": True, "sentence": "-", "figures": {}}]}
# Each does one thing too much, under limits of its own.
CHILD = """
import os, resource, sys
from homeostat.deployment.limits import MEGABYTE, Limits, restrict
restrict(Limits(memory_bytes=64 * MEGABYTE, cpu_s=1, files=8))
{}
print("survived", resource.getrlimit(resource.RLIMIT_CORE))
"""


def run(what: str) -> Ended:
    done = subprocess.run([sys.executable, "-c", CHILD.format(what)], capture_output=True, text=True, check=False)
    return Ended(done.returncode, done.stdout, done.stderr)


def refusal(ended: Ended) -> tuple[str, str]:
    (criterion,) = read_verdict("judge", ended).criteria
    assert not criterion.passed
    return criterion.name, criterion.sentence


# --- real processes -----------------------------------------------------------------------------------------------


def test_a_child_that_eats_memory_is_refused_for_its_memory() -> None:
    assert refusal(run("hoard = bytearray(512 * MEGABYTE)"))[0] == "memory"


def test_a_child_that_never_ends_is_refused_for_its_latency() -> None:
    assert refusal(run("while True: pass")) == ("latency", "judging took more processor time than it may")


def test_a_child_whose_parser_crashes_is_refused_as_crashed() -> None:
    name, sentence = refusal(run("import ctypes; ctypes.string_at(0)"))

    assert (name, "SIGSEGV" in sentence) == ("crashed", True)


def test_a_child_that_opens_too_many_files_is_refused_as_crashed() -> None:
    name, sentence = refusal(run("kept = [open(os.devnull) for _ in range(50)]"))

    assert (name, "Too many open files" in sentence) == ("crashed", True)


def test_a_child_within_its_limits_leaves_no_file_of_a_crash_either() -> None:
    assert run("").printed == "survived (0, 0)\n"


def test_the_limits_are_the_childs_alone() -> None:
    before = resource.getrlimit(resource.RLIMIT_AS)

    run("")

    assert resource.getrlimit(resource.RLIMIT_AS) == before
    assert MEGABYTE == 1024 * 1024


# --- what an end means --------------------------------------------------------------------------------------------


def test_a_verdict_is_read_as_it_was_given() -> None:
    assert read_verdict("judge", Ended(0, json.dumps(VERDICT), "")).passed


def test_a_child_killed_for_want_of_memory_is_refused_for_its_memory() -> None:
    assert refusal(Ended(-signal.SIGKILL, "", ""))[0] == "memory"


@pytest.mark.parametrize("which", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_child_that_is_ended_with_the_program_says_nothing_of_the_release(which: signal.Signals) -> None:
    with pytest.raises(TrainingFailed):
        read_verdict("judge", Ended(-which, "", ""))


def test_a_disk_that_fails_is_no_refusal() -> None:
    with pytest.raises(StorageFailed):
        read_verdict("judge", Ended(os.EX_IOERR, "", "OSError: [Errno 28] No space left on device"))


def test_an_error_on_purpose_comes_back_as_what_it_was() -> None:
    error = ReleaseMissing(problem="gone", expected="there", action="restore it")

    with pytest.raises(ReleaseMissing, match="gone"):
        read_verdict("judge", Ended(1, json.dumps({"error": error_to_json(error)}), ""))


def test_time_by_the_clock_runs_out_while_the_rest_goes_on() -> None:
    looked: list[int] = []

    within(60, lambda: looked.append(1))()
    with pytest.raises(OutOfTime):
        within(-1, lambda: looked.append(2))()

    assert looked == [1, 2]
