"""The families that ship hold to the Protocol, and the settings name exactly these."""

from typing import get_args

import pytest

from homeostat.settings import TrainingSettings
from homeostat.training.models import BASELINE, FAMILIES, ModelFamily
from tests.conformance.model_family import ModelFamilyConformance


class TestLightGbm(ModelFamilyConformance):
    @pytest.fixture
    def family(self) -> ModelFamily:
        return FAMILIES["lightgbm"]


class TestLogistic(ModelFamilyConformance):
    @pytest.fixture
    def family(self) -> ModelFamily:
        return FAMILIES["logistic"]


def test_every_family_is_found_by_its_own_name() -> None:
    assert {name: family.name for name, family in FAMILIES.items()} == {name: name for name in FAMILIES}


def test_the_baseline_is_a_family() -> None:
    assert BASELINE in FAMILIES


def test_the_settings_offer_every_family_and_auto() -> None:
    offered = get_args(TrainingSettings.model_fields["family"].annotation)

    assert set(offered) == {"auto", *FAMILIES}
