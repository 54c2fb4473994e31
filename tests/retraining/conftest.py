"""The clinic with a release in production, made once and copied for each test."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from homeostat.deployment.registry import require_production
from homeostat.project import Project, open_project
from homeostat.records import Promotion
from tests.retraining.clinic import put_in_production, write_project


@pytest.fixture(scope="session")
def clinic_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The clinic with one release in production: read it, never change it."""
    folder = write_project(tmp_path_factory.mktemp("clinic") / "project")
    with open_project(folder) as project:
        put_in_production(project)
    return folder


@pytest.fixture
def clinic(clinic_template: Path, tmp_path: Path) -> Iterator[Project]:
    """A copy of the clinic that a test may change."""
    with open_project(Path(shutil.copytree(clinic_template, tmp_path / "project"))) as project:
        yield project


@pytest.fixture
def champion(clinic: Project) -> Promotion:
    """What is in production in the clinic."""
    with clinic.database.read() as connection:
        return require_production(connection)
