"""How commands end: mistakes in three parts with the nearest name, quiet pipes, Ctrl-C, colours where they are seen."""

import json
import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest

from homeostat.cli import group
from homeostat.cli.endings import run
from homeostat.store.keys import SCOPES
from tests.cli.commands import homeostat, parts

COMMAND = [sys.executable, "-m", "homeostat"]
ESCAPE = b"\x1b["
PLAIN = {name: value for name, value in os.environ.items() if name not in {"NO_COLOR", "FORCE_COLOR"}}


@pytest.mark.parametrize(
    ("arguments", "problem", "near"),
    [
        (("trian",), "No such command 'trian'", "did you mean 'train'? `homeostat --help` explains it"),
        (("keys", "Lst"), "No such command 'Lst'", "did you mean 'list'? `homeostat keys --help` explains it"),
        (
            ("train", "--reasn", "x"),
            "No such option '--reasn'",
            "did you mean '--reason'? `homeostat train --help` explains it",
        ),
        (
            ("keys", "create", "--name", "x", "--scope", "redd"),
            f"Invalid value for '--scope': 'redd' is not one of {', '.join(map(repr, SCOPES))}",
            "did you mean 'read'? `homeostat keys create --help` explains it",
        ),
        (("zzzz",), "No such command 'zzzz'", "see `homeostat --help`"),
        (("check", "a", "b"), "Got unexpected extra argument (b)", "see `homeostat check --help`"),
    ],
)
def test_wrong_usage_is_told_in_three_parts_with_the_nearest_name(
    arguments: tuple[str, ...], problem: str, near: str, capsys: pytest.CaptureFixture[str]
) -> None:
    code = run(group, arguments)

    said = parts(subprocess.CompletedProcess(arguments, code, *capsys.readouterr()))
    assert (code, said[0], said[2]) == (2, problem, near)


def test_wrong_usage_is_told_as_json_where_the_result_would_have_been() -> None:
    done = homeostat("status", "--json", "--projet", "x")

    error = json.loads(done.stderr)["error"]
    assert (done.returncode, done.stdout) == (2, "")
    assert (error["code"], error["problem"]) == ("usage-invalid", "No such option '--projet'")
    assert set(error) == {"code", "problem", "expected", "action"}


def test_the_command_alone_shows_its_help_and_is_wrong_usage() -> None:
    done = homeostat()

    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("Usage: homeostat [OPTIONS] COMMAND")


MISTAKES = {
    "no project": (("status",), "there is no homeostat.toml in "),
    "a project that is not there": (("status", "--project", "nowhere"), "there is no homeostat.toml in "),
    "a folder as data": (("check", "."), "there is no such file"),
    "a folder as outcomes": (("label", "."), "there is no such file"),
    "no file to predict": (("predict", "nothing.csv", "-o", "out.csv"), "there is no homeostat.toml in "),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_of_a_person_is_told_in_three_parts_and_never_as_a_traceback(name: str, tmp_path: Path) -> None:
    arguments, problem = MISTAKES[name]
    if name.startswith("a folder"):
        (tmp_path / "homeostat.toml").write_text('[project]\nname = "x"\ndata = ["x"]\ntarget = "y"\n[features.a]\n')
    done = subprocess.run([*COMMAND, *arguments], capture_output=True, text=True, check=False, cwd=tmp_path)

    assert problem in parts(done)[0]
    assert done.returncode == 1


def test_broken_toml_is_told_with_its_line(tmp_path: Path) -> None:
    (tmp_path / "homeostat.toml").write_text('[project]\nname = "x"\ntarget = = 1\n')
    done = homeostat("status", "--project", tmp_path)

    problem, _, action = parts(done)
    assert "at line 3, column 10" in problem
    assert action == "mend the line, or run `homeostat init` again"


def test_a_settings_file_that_may_not_be_read_is_told(tmp_path: Path) -> None:
    (tmp_path / "homeostat.toml").symlink_to(tmp_path / "homeostat.toml")
    done = homeostat("status", "--project", tmp_path)

    assert done.returncode == 1
    assert "homeostat.toml" in parts(done)[0]


@pytest.mark.parametrize("arguments", [("events",), ("releases",)])
def test_a_reader_that_goes_away_ends_the_command_quietly(two_releases: Path, arguments: tuple[str, ...]) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    command = [*COMMAND, *arguments, "--project", str(two_releases)]
    with subprocess.Popen(command, stdout=writing, stderr=subprocess.PIPE) as child:
        os.close(writing)
        _, complaints = child.communicate(timeout=60)

    assert (child.returncode, complaints) == (141, b"")


def test_an_output_that_takes_nothing_is_told_and_one_that_was_closed_is_none(two_releases: Path) -> None:
    releases = f"{sys.executable} -m homeostat releases --project '{two_releases}'"
    full, closed = (
        subprocess.run(["sh", "-c", f"{releases} {where}"], capture_output=True, text=True, check=False)
        for where in ("--json > /dev/full", ">&-")
    )

    assert (full.returncode, json.loads(full.stderr)["error"]["code"]) == (1, "storage-failed")
    assert (closed.returncode, closed.stderr) == (0, "")


def on_terminal(*arguments: str | Path, environment: dict[str, str]) -> bytes:
    """Run the command on a terminal of its own and return what it wrote there."""
    ours, theirs = pty.openpty()
    command = [*COMMAND, *map(str, arguments)]
    with subprocess.Popen(command, stdout=theirs, stderr=theirs, env={"TERM": "xterm"} | environment) as child:
        os.close(theirs)
        written = b""
        while True:
            try:
                part = os.read(ours, 65536)
            except OSError:  # the terminal's end, on Linux
                break
            written += part
        child.wait(60)
    os.close(ours)
    return written


@pytest.mark.parametrize("arguments", [("releases",), ("verify", "no-such-release")])
def test_a_terminal_sees_colours_unless_they_are_refused(two_releases: Path, arguments: tuple[str, ...]) -> None:
    coloured = on_terminal(*arguments, "--project", two_releases, environment=PLAIN)
    refused = on_terminal(*arguments, "--project", two_releases, environment=PLAIN | {"NO_COLOR": "1"})

    assert ESCAPE in coloured
    assert ESCAPE not in refused


@pytest.mark.parametrize("arguments", [("releases",), ("verify", "no-such-release")])
def test_a_pipe_gets_no_escape_codes_unless_they_are_forced(two_releases: Path, arguments: tuple[str, ...]) -> None:
    def piped(environment: dict[str, str]) -> bytes:
        command = [*COMMAND, *arguments, "--project", str(two_releases)]
        done = subprocess.run(command, capture_output=True, check=False, env={"TERM": "xterm"} | environment)
        return done.stdout + done.stderr

    assert ESCAPE not in piped(PLAIN)
    assert ESCAPE in piped(PLAIN | {"FORCE_COLOR": "1"})
    assert ESCAPE not in piped(PLAIN | {"FORCE_COLOR": "1", "NO_COLOR": "1"})
