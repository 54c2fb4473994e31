"""`--json`: every command that prints a result prints one as JSON, and nothing else, on standard output."""

import json
from pathlib import Path

import click
import pytest

from homeostat.cli import MODULES, group
from homeostat.cli.endings import run
from tests.cli.test_help import COMMANDS

# What has no result: it goes on until it is ended, or prints a script.
NO_RESULT = {"up", "serve", "loop", "completion"}
# Read, and done within a moment, on a project with releases.
READING = [
    ("status",),
    ("doctor",),
    ("drift",),
    ("performance",),
    ("releases",),
    ("history",),
    ("verify",),
    ("check",),
    ("tick",),
    ("keys", "list"),
    ("keys", "create", "--name", "ward", "--scope", "read"),
    ("promote", "2", "--reason", "a test"),
]


def test_every_command_that_prints_a_result_takes_json() -> None:
    lacking = {
        name
        for name, command in COMMANDS.items()
        if not isinstance(command, click.Group) and "--json" not in [o for p in command.params for o in p.opts]
    }

    assert lacking == NO_RESULT
    assert set(MODULES) >= NO_RESULT


@pytest.mark.parametrize("arguments", READING, ids=" ".join)
def test_with_json_standard_output_holds_one_document(
    clinic: Path, arguments: tuple[str, ...], capfd: pytest.CaptureFixture[str]
) -> None:
    code = run(group, [*arguments, "--json", "--project", str(clinic)])
    printed = capfd.readouterr().out

    assert code == 0
    assert isinstance(json.loads(printed), dict | list)


def test_events_are_one_document_on_each_line(clinic: Path, capfd: pytest.CaptureFixture[str]) -> None:
    code = run(group, ["events", "--json", "--project", str(clinic)])
    lines = capfd.readouterr().out.splitlines()

    assert code == 0
    assert [json.loads(line)["seq"] for line in lines] == list(range(1, len(lines) + 1))


@pytest.mark.parametrize("arguments", READING, ids=" ".join)
def test_with_json_a_refusal_is_one_document_on_standard_error(
    tmp_path: Path, arguments: tuple[str, ...], capfd: pytest.CaptureFixture[str]
) -> None:
    code = run(group, [*arguments, "--json", "--project", str(tmp_path)])
    printed, complaints = capfd.readouterr()

    assert code == 1
    if arguments != ("doctor",):  # which finds that
        assert printed == ""
        assert set(json.loads(complaints)["error"]) == {"code", "problem", "expected", "action"}
