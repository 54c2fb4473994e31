"""A database of its own for each test, and a receiver."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from homeostat.store.database import Database
from tests.notifications.receiver import Received, receiving


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    with Database(f"sqlite:///{tmp_path / 'homeostat.db'}") as opened:
        yield opened


@pytest.fixture
def receiver() -> Iterator[Received]:
    with receiving(Received()) as listening:
        yield listening
