"""Calibration and groups of rows: a challenger that is looked at closely and passes, and one that is refused."""

import numpy as np
from numpy.typing import NDArray

from homeostat.deployment.criteria import HeldOut, judge_calibration
from homeostat.deployment.slices import judge_slices
from homeostat.records import Columns, Criterion, Feature, Floats, Target
from homeostat.training.contrasts import contrast
from homeostat.validation.schema import freeze_schema

SCHEMA = freeze_schema([Feature("age", "numeric", missing=(-1.0,)), Feature("city", "categorical")], Target("y", 0, 1))
LABELS = np.tile((np.arange(100) < 40).astype(np.int8), 8)
CITY = np.repeat(np.array(list("ABCDEFGH"), dtype=object), 100)
AGE = np.where(np.arange(800) % 10 == 0, -1.0, np.arange(800) * 37 % 101)


# --- calibration --------------------------------------------------------------------------------------------------


def certain(labels: NDArray[np.int8], wrong_share: float) -> Floats:
    """Return answers without a doubt, of which a share is wrong."""
    rng = np.random.default_rng(2)
    said = np.where(rng.random(len(labels)) < wrong_share, 1 - labels, labels)
    return np.asarray(np.where(said == 1, 0.97, 0.03) + 0.01 * rng.random(len(labels)))


CERTAIN = certain(LABELS, 0.25)
DOUBTING = 0.5 + 0.55 * (CERTAIN - 0.5)


def calibration(challenger: Floats, champion: Floats) -> Criterion:
    found = contrast(LABELS, challenger, champion, seed=0)
    return judge_calibration("recent", HeldOut(LABELS, challenger, champion), found)


def test_probabilities_that_are_surely_further_off_are_refused_with_their_reliability() -> None:
    found = calibration(CERTAIN, DOUBTING)

    assert not found.passed
    assert found.figures["difference"]["low"] > found.figures["margin"]
    assert sum(cell["n_rows"] for cell in found.figures["reliability"]) == len(LABELS)


def test_better_calibration_passes() -> None:
    assert calibration(DOUBTING, CERTAIN).passed


# --- groups of rows -----------------------------------------------------------------------------------------------


def slices(*, lost: str | None = None, kept: NDArray[np.int64] | None = None, only_city: bool = False) -> Criterion:
    """Judge rows of which the challenger turns the answers round where `lost` lives, if it names a city."""
    chosen = np.arange(800) if kept is None else kept
    champion = certain(LABELS, 0.1)
    challenger = np.where(lost == CITY, 1 - champion, champion)[chosen]
    columns: Columns = {"city": CITY[chosen]} | ({} if only_city else {"age": AGE[chosen]})
    rows = HeldOut(LABELS[chosen], challenger, champion[chosen], columns=columns)
    return judge_slices("anchor", rows, champion[chosen], SCHEMA)


def test_a_group_that_collapses_is_refused_by_name() -> None:
    found = slices(lost="C")

    assert not found.passed
    assert [one["slice"] for one in found.figures["lost"]] == ["city = C"]
    assert found.sentence.startswith("lost on the anchor rows: city = C (100 rows): AUC -")


def test_groups_are_categories_quarters_and_the_rows_without_a_value() -> None:
    found = slices()

    assert found.passed
    assert found.figures["n_slices"] == 8 + 4 + 1


def test_a_group_of_too_few_rows_is_not_judged() -> None:
    assert slices(lost="C", kept=np.r_[0:200, 255:800], only_city=True).passed
