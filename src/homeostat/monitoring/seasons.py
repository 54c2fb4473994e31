"""How far windows of the baseline itself lie from the whole of it: a season that it has seen is no drift.

Not here: whether a window has drifted (`monitoring.drift`), or when that may retrain (`monitoring.guard`). Pure.
"""

from collections.abc import Mapping

import numpy as np
from scipy import stats

from homeostat.data.columns import take_rows
from homeostat.monitoring.drift import detect_drift
from homeostat.records import Columns, FeatureDrift, Profile, Schema
from homeostat.validation.profiles import count_rows

# Windows that are looked at, evenly spread: of a large baseline not all, or packing a release would take minutes.
MOST_WINDOWS = 40
# Fewer windows than this tell no season from chance.
FEWEST_WINDOWS = 4
# So seldom do windows of independent rows differ as often as these do: only then is it called a season.
CHANCE = 0.001


def window_effects(
    baseline: Columns, schema: Schema, reference: Profile, *, window: int, alpha: float
) -> Mapping[str, float]:
    """Return for each feature the largest effect that a window of the baseline shows, 0 where chance explains it.

    Parameters
    ----------
    baseline
        The rows of the reference in the order in which they came.
    reference
        Their profile.
    window
        Rows of a window.
    alpha
        A window differs from the whole if its p-value is below this. Among independent rows at most so many do.
    """
    n_windows = reference.n_rows // window
    if n_windows < FEWEST_WINDOWS:
        return {feature.name: 0.0 for feature in schema.features}
    places = np.unique(np.linspace(0, n_windows - 1, min(n_windows, MOST_WINDOWS)).round().astype(np.int64))
    found: list[tuple[FeatureDrift, ...]] = []
    for place in places.tolist():
        rows = take_rows(baseline, np.arange(place * window, (place + 1) * window))
        found.append(detect_drift(reference, count_rows(rows, schema, reference), alpha=alpha, boundary=1.0).features)
    by_feature = dict(zip((f.name for f in schema.features), zip(*found, strict=True), strict=True))
    return {name: largest_effect(tests, alpha) for name, tests in by_feature.items()}


def largest_effect(tests: tuple[FeatureDrift, ...], alpha: float) -> float:
    """Return the largest effect of one feature's windows, 0 if chance lets so many of them differ."""
    n_differing = sum(test.p_value < alpha for test in tests)
    by_chance = stats.binom.sf(n_differing - 1, len(tests), alpha)
    return max(test.effect for test in tests) if by_chance < CHANCE else 0.0
