"""What several test files share: the genuine table, and a project that is trained once and copied for each test."""

import os
import shutil
from pathlib import Path

import pytest

from homeostat.cli.project import guess_schema, render_settings, write_project
from homeostat.loop import begin_by_hand, tick
from homeostat.project import open_project

# A search that is short but real: the tests look at the way, not at the last point of AUC.
SHORT_TRAINING = "\n[training]\ntrials = 3\nrepeats = 1\n"


@pytest.fixture(scope="session")
def pima_path() -> Path:
    """The genuine Pima table, which is not in the repository; on a machine of CI its absence is a failure."""
    location = os.environ.get("HOMEOSTAT_PIMA", "")
    if not Path(location).is_file():
        message = "HOMEOSTAT_PIMA does not name the Pima table"
        if os.environ.get("CI"):
            pytest.fail(message)
        pytest.skip(message)
    return Path(location)


def make_project(folder: Path, data: Path, *, extra: str = SHORT_TRAINING) -> Path:
    """Write the project that `homeostat init` would write, with short settings."""
    guesses, target, reason = guess_schema(data, "Outcome")
    write_project(folder / "homeostat.toml", render_settings("pima", str(data), guesses, target, reason) + extra)
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
