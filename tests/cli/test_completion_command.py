"""Completion: a real bash completes commands, options, scopes, releases and kinds of events."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from homeostat.deployment.registry import list_releases
from homeostat.project import open_project
from homeostat.store.keys import SCOPES
from tests.cli.commands import homeostat


@pytest.fixture(scope="module")
def programs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the program under the name that the shell completes."""
    folder = tmp_path_factory.mktemp("programs")
    (folder / "homeostat").write_text(f'#!/bin/sh\nexec {sys.executable} -m homeostat "$@"\n')
    (folder / "homeostat").chmod(0o755)
    return folder


def complete(programs: Path, *words: str) -> list[str]:
    """Return what a shell offers for the last of these words, after `homeostat`."""
    line = " ".join(f"'{word}'" for word in ("homeostat", *words))
    code = (
        f'eval "$(homeostat completion bash)"; COMP_WORDS=({line}); COMP_CWORD={len(words)}\n'
        f"_homeostat_completion homeostat; printf '%s\\n' \"${{COMPREPLY[@]}}\""
    )
    environment = os.environ | {"PATH": f"{programs}{os.pathsep}{os.environ['PATH']}"}
    done = subprocess.run(["bash", "-c", code], capture_output=True, text=True, check=True, env=environment)
    assert done.stderr == ""
    return done.stdout.split()


def test_bash_completes_commands(programs: Path) -> None:
    assert complete(programs, "re") == ["releases", "report", "reproduce", "replay"]


def test_bash_completes_options_and_scopes(programs: Path) -> None:
    assert complete(programs, "keys", "create", "--n") == ["--name"]
    assert complete(programs, "keys", "create", "--scope", "") == list(SCOPES)


def test_bash_completes_releases_by_number_and_by_digest(programs: Path, two_releases: Path) -> None:
    with open_project(two_releases) as project, project.database.read() as connection:
        digest = list_releases(connection)[0].digest[:12]

    assert complete(programs, "verify", "--project", str(two_releases), "") == ["2", "1"]
    assert complete(programs, "promote", "--project", str(two_releases), digest[:5]) == [digest]


def test_bash_completes_the_kinds_of_events_that_there_are(programs: Path, two_releases: Path) -> None:
    assert complete(programs, "events", "--project", str(two_releases), "--kind", "prom") == ["promoted"]


def test_completing_where_no_project_is_offers_nothing_and_makes_nothing(programs: Path, tmp_path: Path) -> None:
    assert complete(programs, "verify", "--project", str(tmp_path), "") == []
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_there_is_a_script_for_each_shell(shell: str) -> None:
    done = homeostat("completion", shell)

    assert (done.returncode, done.stderr) == (0, "")
    assert f"_HOMEOSTAT_COMPLETE={shell}_complete" in done.stdout
