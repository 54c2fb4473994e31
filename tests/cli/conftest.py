"""A good file, the project that `homeostat init` would make of it, and a clinic that has releases."""

import shutil
from pathlib import Path

import pytest

from homeostat.project import open_project
from tests.cli.commands import LINES, make_project, table
from tests.retraining.clinic import put_in_production, register_another, write_project


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Return a good file: 40 rows of age, city and outcome."""
    path = tmp_path / "data.csv"
    path.write_bytes(table(*LINES))
    return path


@pytest.fixture
def project(data: Path) -> Path:
    """A project on a good file."""
    return make_project(data)


@pytest.fixture(scope="session")
def two_releases(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A clinic with one release in production and another that only exists: read it, never change it."""
    folder = write_project(tmp_path_factory.mktemp("clinic") / "project")
    with open_project(folder) as project:
        put_in_production(project)
        register_another(project, penalty=0.5)
    return folder


@pytest.fixture
def clinic(two_releases: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy that a test may change, without MLflow, which takes seconds."""
    monkeypatch.setenv("HOMEOSTAT_STORE__TRACKING", "none")
    return Path(shutil.copytree(two_releases, tmp_path / "project"))
