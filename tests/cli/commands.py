"""Running the real command and reading what it printed, and a small table to run it on.

Not here: any test.
"""

import subprocess
import sys
from pathlib import Path

from homeostat.cli.init import propose_project
from homeostat.cli.proposal import render_settings, write_project

Done = subprocess.CompletedProcess[str]
HEADER = "age,city,outcome"
LINES = [f"{20 + number % 50},{'Bonn' if number % 3 else 'Ulm'},{number % 2}" for number in range(40)]


def homeostat(*arguments: str | Path) -> Done:
    """Run the real command and return what it printed."""
    command = [sys.executable, "-m", "homeostat", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=100)


def table(*lines: str, header: str = HEADER) -> bytes:
    """Return a CSV file."""
    return "\n".join([header, *lines, ""]).encode()


def parts(done: Done) -> tuple[str, str, str]:
    """Return the three parts of the error that a command printed and nothing else."""
    assert done.stdout == ""
    problem, expected, action = done.stderr.splitlines()
    assert (problem[:7], expected[:12], action[:12]) == ("Error: ", "  expected  ", "  to do     ")
    return problem[7:], expected[12:], action[12:]


def make_project(data: Path) -> Path:
    """Write the project that `homeostat init` would write beside a file, and return the folder."""
    proposal = propose_project(data, "outcome")
    write_project(data.parent / "homeostat.toml", render_settings("clinic", data.name, proposal))
    return data.parent
