"""What the tests of whole processes share: a source of chance that gives the same numbers in every run."""

from random import Random

import pytest


@pytest.fixture
def random() -> Random:
    """Chance for moments, places and bits."""
    return Random(0)  # noqa: S311  repeatable, and no secret
