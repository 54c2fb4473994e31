"""Drift by the book: one two-sample test per feature, and the share of the features that it calls drifted.

Not here: counting rows (`validation.profiles`), or whether a drift is reason enough to retrain (`retraining.triggers`).
"""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import ClassVar, Protocol

import numpy as np
from scipy import special, stats

from homeostat.errors import DataInsufficient
from homeostat.records import (
    CategoricalProfile,
    Counts,
    DriftReport,
    FeatureDrift,
    FeatureProfile,
    Json,
    Kind,
    Profile,
)
from homeostat.validation.profiles import describe_feature, require_same_cells

# Largest n_reference * n_current whose p-value is counted exactly, for example 20,000 rows against a window of 200.
# Counting takes 3 ms for 768 x 200, 11 ms for 10,000 x 200, 20 ms for 20,000 x 200 and 50 ms for 2,000 x 2,000.
EXACT_UP_TO = 4_000_000


@dataclass(frozen=True, slots=True)
class Significance:
    """What one test says: its statistic, the p-value in 0-1, and how that was computed."""

    statistic: float
    p_value: float
    method: str


class DriftTest(Protocol):
    """A two-sample test on the counts of two samples in the same cells."""

    @property
    def name(self) -> str:
        """The test's name in reports."""
        ...

    def compare(self, reference: Counts, current: Counts) -> Significance:
        """Test whether two samples come from one distribution.

        Parameters
        ----------
        reference, current
            Rows per cell, shape (n_cells,), at least one row each. Cell 0 counts missing values. The cells of a
            numeric feature ascend; those of a categorical one have no order. Many may be empty in both.
        """
        ...


class KolmogorovSmirnov:
    """The two-sided two-sample Kolmogorov-Smirnov test. Missing values count as below every measured one."""

    name: ClassVar[str] = "kolmogorov-smirnov"

    def compare(self, reference: Counts, current: Counts) -> Significance:
        """Return the largest distance between the two distribution functions, exactly, and its p-value."""
        n_reference, n_current = int(reference.sum()), int(current.sum())
        # In whole numbers, so that the distance is rounded once and equal shares differ by exactly zero.
        distances = np.cumsum(reference) * n_current - np.cumsum(current) * n_reference
        statistic = int(np.abs(distances).max()) / (n_reference * n_current)
        p_value, method = ks_p_value(statistic, n_reference, n_current)
        return Significance(statistic, p_value, method)


class ChiSquare:
    """Pearson's chi-square test of homogeneity, without a continuity correction. Missing is a category."""

    name: ClassVar[str] = "chi-square"

    def compare(self, reference: Counts, current: Counts) -> Significance:
        """Return the chi-square statistic of the 2 x C table of the C cells that hold rows, and its p-value."""
        table = np.stack([reference, current])[:, (reference + current) > 0].astype(np.float64)
        expected = table.sum(axis=1, keepdims=True) * table.sum(axis=0, keepdims=True) / table.sum()
        statistic = float(((table - expected) ** 2 / expected).sum())
        freedom = table.shape[1] - 1
        p_value = float(special.chdtrc(freedom, statistic)) if freedom else 1.0
        return Significance(statistic, p_value, "asymptotic")


# The test of each kind of feature; `DriftTestConformance` in the tests says what one must hold to.
DRIFT_TESTS: Mapping[Kind, DriftTest] = {
    "numeric": KolmogorovSmirnov(),
    "categorical": ChiSquare(),
}


def detect_drift(reference: Profile, current: Profile, *, alpha: float, boundary: float) -> DriftReport:
    """Test every feature of `current` against `reference`.

    Parameters
    ----------
    reference, current
        Profiles in the same cells, at least one row each.
    alpha
        A feature has drifted if its p-value is below this, in (0, 1). There is no correction for several features.
    boundary
        The report fires if its score, drifted features / features, exceeds this share.

    Raises
    ------
    DataInsufficient
        One of the profiles has no rows.
    InputError
        The profiles were not counted in the same cells.
    """
    require_rows(reference, "reference")
    require_rows(current, "current")
    require_same_cells(reference, current)
    features = tuple(
        compare_feature(name, then, current.features[name], alpha=alpha) for name, then in reference.features.items()
    )
    return DriftReport(
        features=features,
        score=sum(f.drifted for f in features) / len(features),
        boundary=boundary,
        n_reference=reference.n_rows,
        n_current=current.n_rows,
    )


def compare_feature(name: str, then: FeatureProfile, now: FeatureProfile, *, alpha: float) -> FeatureDrift:
    """Return the test of one feature, both profiles in the same cells."""
    test = DRIFT_TESTS["categorical" if isinstance(then, CategoricalProfile) else "numeric"]
    found = test.compare(then.counts, now.counts)
    return FeatureDrift(
        name=name,
        test=test.name,
        method=found.method,
        statistic=found.statistic,
        p_value=found.p_value,
        drifted=found.p_value < alpha,
        then=describe_feature(then),
        now=describe_feature(now),
    )


def ks_p_value(statistic: float, n_reference: int, n_current: int) -> tuple[float, str]:
    """Return the p-value of a two-sided two-sample Kolmogorov-Smirnov statistic, and how it was computed.

    `exact` while n_reference * n_current is at most `EXACT_UP_TO`: the probability, for samples without ties, of a
    distance of at least `statistic`; with ties the true probability is smaller, so the test is conservative.
    `asymptotic` beyond: the distribution of the one-sample statistic at the effective sample size.

    Parameters
    ----------
    statistic
        The distance of the two distribution functions, in 0-1.
    n_reference, n_current
        Rows of the two samples, missing values included; at least 1.

    References
    ----------
    Hodges (1958), The significance probability of the Smirnov two-sample test, Arkiv for Matematik 3(43).
    Simard, L'Ecuyer (2011), Computing the two-sided Kolmogorov-Smirnov distribution, J. Statistical Software 39(11).
    """
    if n_reference * n_current <= EXACT_UP_TO:
        height = round(statistic * math.lcm(n_reference, n_current))
        return share_of_paths_outside(height, *sorted((n_reference, n_current))), "exact"
    effective = round(n_reference * n_current / (n_reference + n_current))
    return float(np.clip(stats.kstwo.sf(statistic, effective), 0.0, 1.0)), "asymptotic"


def share_of_paths_outside(height: int, m: int, n: int) -> float:
    """Return the share of the lattice paths from (0, 0) to (m, n) that ever have lcm(m, n) |x/m - y/n| >= height.

    A path takes a step right for each value of one sample and a step up for each of the other, in ascending order:
    without ties all paths are equally likely (Hodges 1958). Counted column by column: `every` and `outside`, shape
    (n + 1,), hold the paths that reach (x, y) and those of them that have been outside, times one power of two.
    Requires 1 <= m <= n and m n <= `EXACT_UP_TO`: the counts then stay within the range of a double.
    """
    step_x, step_y = n // math.gcd(m, n), m // math.gcd(m, n)
    # A random walk with the drift of the diagonal visits (x, y) with probability C(x + y, x) a^x b^y <= 1, a = m/(m+n).
    # Columns are scaled by a^x, so they span b^-n <= 2^2000: from 2^-1000 on, both ends of the span are doubles. As
    # powers of two the factors round nothing (a itself would, in every column).
    every, outside = np.zeros(n + 1), np.zeros(n + 1)
    every[0] = math.ldexp(1.0, -round(n * math.log2(1 + m / n) / 2))
    shrink = math.log2(1 + n / m)
    for x in range(m + 1):
        factor = math.ldexp(1.0, round((x - 1) * shrink) - round(x * shrink))
        every *= factor
        np.cumsum(every, out=every)
        low = max(0, (x * step_x - height) // step_y + 1)
        high = min(n + 1, -(-(x * step_x + height) // step_y))
        inside = outside[low:high]
        inside *= factor
        np.cumsum(inside, out=inside)
        inside += every[low - 1] if low else 0.0
        # What lies below `low` is not read again: the band only moves up.
        outside[high:] = every[high:]
    # The two sums round apart even where every path has been outside.
    return min(1.0, float(outside[n] / every[n]))


def report_to_json(report: DriftReport) -> Json:
    """Return the report as JSON, exactly."""
    return asdict(report)


def report_from_json(data: Json) -> DriftReport:
    """Return the report that `report_to_json` wrote."""
    return DriftReport(**{**data, "features": tuple(FeatureDrift(**feature) for feature in data["features"])})


def require_rows(profile: Profile, side: str) -> None:
    """Refuse a profile without rows: no test says anything about it."""
    if profile.n_rows == 0 or not profile.features:
        raise DataInsufficient(
            problem=f"the {side} profile counts {profile.n_rows} rows of {len(profile.features)} features",
            expected="at least one row and one feature on either side",
            action="wait until rows have been accepted",
        )
