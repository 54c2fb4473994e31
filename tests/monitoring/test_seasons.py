"""How far the baseline's own windows lie from it: nothing for rows in no order, the height of a season otherwise."""

import numpy as np

from homeostat.monitoring.seasons import FEWEST_WINDOWS, window_effects
from homeostat.records import Columns, Feature, Target
from homeostat.validation.profiles import build_profile
from homeostat.validation.schema import freeze_schema

SCHEMA = freeze_schema(
    [Feature("x", "numeric"), Feature("y", "numeric"), Feature("z", "categorical")], Target("o", 0, 1)
)


def draw(n_rows: int, *, seed: int = 0, height: float = 0.0, period: int = 2_000) -> Columns:
    """Return rows of which x has a season."""
    rng = np.random.default_rng(seed)
    season = height * np.sin(2 * np.pi * np.arange(n_rows) / period)
    texts = np.array(["A", "B"], dtype=object)[rng.integers(2, size=n_rows)]
    return {"x": rng.normal(size=n_rows) + season, "y": rng.normal(size=n_rows), "z": texts}


def usual(rows: Columns, *, window: int = 200) -> dict[str, float]:
    return dict(window_effects(rows, SCHEMA, build_profile(rows, SCHEMA), window=window, alpha=0.05))


def test_rows_without_a_season_have_no_usual_effect() -> None:
    found = [usual(draw(4_000, seed=seed)) for seed in range(10)]

    assert all(effect == 0 for effects in found for effect in effects.values())


def test_a_season_shows_in_the_feature_that_has_it_and_in_no_other() -> None:
    found = usual(draw(4_000, height=1.0))

    assert 0.3 < found["x"] < 0.5
    assert (found["y"], found["z"]) == (0, 0)


def test_a_baseline_of_few_windows_tells_of_no_season() -> None:
    assert usual(draw(FEWEST_WINDOWS * 200 - 1, height=3.0)) == {"x": 0, "y": 0, "z": 0}


def test_a_long_baseline_is_looked_at_in_some_windows_that_span_it() -> None:
    assert usual(draw(40_000, height=1.0, period=40_000))["x"] > 0.3


def test_a_baseline_in_which_nothing_was_measured_is_no_season() -> None:
    rows = {**draw(2_000), "x": np.full(2_000, np.nan)}

    assert usual(rows)["x"] == 0
