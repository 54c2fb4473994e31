"""What the tests of whole processes share: chance that gives the same numbers in every run, and a recorded story."""

from random import Random

import pytest

from tests.system.story import Story, record_story


@pytest.fixture
def random() -> Random:
    """Chance for moments, places and bits."""
    return Random(0)  # noqa: S311  repeatable, and no secret


@pytest.fixture(scope="session")
def story(tmp_path_factory: pytest.TempPathFactory) -> Story:
    """A training and a retraining, with a copy of the project before each turn of the loop: never change those."""
    return record_story(tmp_path_factory.mktemp("story"))
