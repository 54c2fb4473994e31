"""A good file, and the project that `homeostat init` would make of it."""

from pathlib import Path

import pytest

from tests.cli.commands import LINES, make_project, table


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
