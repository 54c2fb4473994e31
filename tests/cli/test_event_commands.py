"""`homeostat events` through the real command: lines for people and for programs, also as they are written."""

import json
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from homeostat.cli.events import describe_event
from homeostat.project import open_project
from homeostat.store.events import Event, append_event
from tests.cli.commands import homeostat

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
Follow = Callable[..., "subprocess.Popen[str]"]


def write(project: Path, *kinds: str) -> None:
    with open_project(project) as opened, opened.database.write() as connection:
        for kind in kinds:
            append_event(connection, kind, {"sentence": f"It was {kind}.", "release": "a" * 64}, now=NOW)


@pytest.fixture
def follow(project: Path) -> Iterator[Follow]:
    """Follow the log in a process of its own."""
    started: list[subprocess.Popen[str]] = []

    def start(*options: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "homeostat", "events", "--follow", "--project", str(project), *options]
        started.append(subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True))
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.communicate()


def next_line(process: "subprocess.Popen[str]") -> str:
    assert process.stdout is not None
    return process.stdout.readline()


def test_lines_are_printed_with_number_moment_kind_and_sentence(project: Path) -> None:
    write(project, "gate", "promoted", "gate")

    done = homeostat("events", "--after", "1", "--kind", "gate", "--project", project)

    assert done.stdout == f"     3  2026-03-01 12:00:00  gate                {'a' * 12}: It was gate.\n"


def test_what_somebody_has_sent_cannot_move_the_cursor() -> None:
    payload = {"kind": "unseen", "sentence": "a new category: \x1b[2J\n", "figures": {"rows": 20}}

    line = describe_event(Event(7, NOW, "alert", payload, "", ""))

    assert line == "     7  2026-03-01 12:00:00  alert               unseen: a new category:  [2J"


def test_without_a_sentence_the_first_members_are_told_and_long_lines_are_cut() -> None:
    short = describe_event(Event(8, NOW, "gate", {"release": "b" * 64, "passed": True, "criteria": [1]}, "", ""))
    long = describe_event(Event(9, NOW, "decision", {"sentence": "x" * 999}, "", ""))

    assert short.endswith(f"gate                {'b' * 12}: passed: True")
    assert long.endswith(f" {'x' * 160} ...")


def test_each_line_is_an_object_as_the_service_answers_it(project: Path) -> None:
    write(project, "gate", "promoted")

    lines = homeostat("events", "--json", "--project", project).stdout.splitlines()

    assert [json.loads(line)["kind"] for line in lines] == ["gate", "promoted"]
    assert set(json.loads(lines[0])) == {"seq", "at", "kind", "payload", "previous", "digest"}


def test_a_log_without_such_a_line_says_so_apart_from_the_output(project: Path) -> None:
    done = homeostat("events", "--kind", "unheard", "--project", project)

    assert (done.returncode, done.stdout, done.stderr) == (0, "", "No such line in the event log.\n")


@pytest.mark.parametrize("end", [signal.SIGINT, signal.SIGTERM])
def test_new_lines_are_followed_until_a_signal(project: Path, follow: Follow, end: signal.Signals) -> None:
    write(project, "old")
    process = follow("--json")
    first = next_line(process)
    write(project, "new")
    second = next_line(process)
    process.send_signal(end)

    assert [json.loads(line)["kind"] for line in (first, second)] == ["old", "new"]
    assert process.wait(timeout=30) == 0
    assert process.stderr is not None
    assert process.stderr.read() == ""


def test_a_follower_ends_quietly_when_its_reader_has_gone(project: Path, follow: Follow) -> None:
    write(project, "old")
    process = follow()
    next_line(process)
    assert process.stdout is not None
    process.stdout.close()

    assert process.wait(timeout=30) == 0
    assert process.stderr is not None
    assert process.stderr.read() == ""
