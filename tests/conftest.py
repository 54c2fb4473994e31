"""What several test files share: the genuine tables, a project trained once, and how often a crash is repeated."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

import pytest

from homeostat.cli.init import propose_project
from homeostat.cli.proposal import render_settings, write_project
from homeostat.loop import begin_by_hand, tick
from homeostat.project import open_project

# A search that is short but real: the tests look at the way, not at the last point of AUC.
SHORT_TRAINING = "\n[training]\ntrials = 3\nrepeats = 1\n[retraining]\nquarantine_s = 0\n"
Tell = Callable[[str], None]
COUNTED: pytest.StashKey[list[str]] = pytest.StashKey()


class Count(Protocol):
    """How often to repeat something: `short` times in every run of the tests, `soak` times with `--soak`."""

    def __call__(self, *, short: int, soak: int) -> int: ...


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--soak", action="store_true", help="repeat kills, power cuts and damages in their long form")


def pytest_configure(config: pytest.Config) -> None:
    config.stash[COUNTED] = []


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    if config.getoption("soak"):
        terminalreporter.section("counted")
        for line in config.stash[COUNTED]:
            terminalreporter.write_line(line)


@pytest.fixture(scope="session")
def count(pytestconfig: pytest.Config) -> Count:
    """Choose between the number of repetitions in CI and that of `make soak`."""

    def choose(*, short: int, soak: int) -> int:
        return soak if pytestconfig.getoption("soak") else short

    return choose


@pytest.fixture(scope="session")
def tell(pytestconfig: pytest.Config) -> Tell:
    """Note a line of counts, shown at the end of a run with `--soak`."""
    return pytestconfig.stash[COUNTED].append


def find_table(variable: str, name: str) -> Path:
    """Return a genuine table, which is not in the repository; on a machine of CI its absence is a failure."""
    location = os.environ.get(variable, "")
    if not Path(location).is_file():
        message = f"{variable} does not name the {name}"
        if os.environ.get("CI"):
            pytest.fail(message)
        pytest.skip(message)
    return Path(location)


@pytest.fixture(scope="session")
def pima_path() -> Path:
    """768 patients, all columns numeric."""
    return find_table("HOMEOSTAT_PIMA", "Pima table")


@pytest.fixture(scope="session")
def adult_path() -> Path:
    """48,842 people, with categories and missing text; compressed."""
    return find_table("HOMEOSTAT_ADULT", "Adult census")


def make_project(folder: Path, data: Path, *, extra: str = SHORT_TRAINING) -> Path:
    """Write the project that `homeostat init` would write, with short settings."""
    proposal = propose_project(data, "Outcome")
    write_project(folder / "homeostat.toml", render_settings("pima", str(data), proposal) + extra)
    return folder


def train_project(folder: Path) -> Path:
    """Train the first release of a project, as `homeostat train` does."""
    with open_project(folder) as project:
        begin_by_hand(project, reason="the first release of a test")
        outcomes = [advance.outcome for advance in tick(project)]
    assert outcomes[-1] == "promoted"
    return folder


@pytest.fixture(scope="session")
def trained_template(pima_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project on the Pima table with one release in production: read it, never change it."""
    return train_project(make_project(tmp_path_factory.mktemp("trained") / "project", pima_path))


@pytest.fixture
def trained_project(trained_template: Path, tmp_path: Path) -> Path:
    """A copy of the trained project that a test may change."""
    return Path(shutil.copytree(trained_template, tmp_path / "project"))
