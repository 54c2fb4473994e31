"""Drift by the book: one two-sample test per feature, and the share of the features that it calls drifted.

Not here: the tests (`monitoring.significance`), or whether a drift is reason enough to retrain (`retraining.triggers`).
"""

from dataclasses import asdict, fields, replace

import numpy as np

from homeostat.errors import DataInsufficient
from homeostat.monitoring.corrections import CORRECTIONS, Correction
from homeostat.monitoring.shifts import describe_shift
from homeostat.monitoring.significance import DRIFT_TESTS
from homeostat.records import CategoricalProfile, DriftReport, FeatureDrift, FeatureProfile, Json, Profile
from homeostat.validation.profiles import describe_feature, require_same_cells


def detect_drift(
    reference: Profile, current: Profile, *, alpha: float, boundary: float, correction: Correction = "none"
) -> DriftReport:
    """Test every feature of `current` against `reference`.

    Parameters
    ----------
    reference, current
        Profiles in the same cells, at least one row each.
    alpha
        A feature has drifted if its adjusted p-value is below this, in (0, 1).
    boundary
        The report fires if its score, drifted features / features, exceeds this share.
    correction
        How p-values are adjusted for the number of features; the book's rule does not.

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
    raw = [
        compare_feature(name, then, current.features[name], alpha=alpha) for name, then in reference.features.items()
    ]
    adjusted = CORRECTIONS[correction](np.array([f.p_value for f in raw])).tolist()
    features = tuple(replace(f, adjusted_p_value=p, drifted=p < alpha) for f, p in zip(raw, adjusted, strict=True))
    return DriftReport(
        features=features,
        score=sum(f.drifted for f in features) / len(features),
        boundary=boundary,
        correction=correction,
        n_reference=reference.n_rows,
        n_current=current.n_rows,
    )


def compare_feature(name: str, then: FeatureProfile, now: FeatureProfile, *, alpha: float) -> FeatureDrift:
    """Return the test of one feature by itself, without a correction, both profiles in the same cells."""
    test = DRIFT_TESTS["categorical" if isinstance(then, CategoricalProfile) else "numeric"]
    found = test.compare(then.counts, now.counts)
    stood, stands = describe_feature(then), describe_feature(now)
    return FeatureDrift(
        name=name,
        test=test.name,
        method=found.method,
        statistic=found.statistic,
        p_value=found.p_value,
        adjusted_p_value=found.p_value,
        effect=found.effect,
        drifted=found.p_value < alpha,
        then=stood,
        now=stands,
        shift=describe_shift(then, now, stood=stood, stands=stands),
    )


def report_to_json(report: DriftReport) -> Json:
    """Return the report as JSON, exactly."""
    return asdict(report)


def report_from_json(data: Json) -> DriftReport:
    """Return the report that `report_to_json` wrote; what a stored check holds beside it is left out."""
    own = {field.name: data[field.name] for field in fields(DriftReport)}
    return DriftReport(**{**own, "features": tuple(FeatureDrift(**feature) for feature in data["features"])})


def require_rows(profile: Profile, side: str) -> None:
    """Refuse a profile without rows: no test says anything about it."""
    if profile.n_rows == 0 or not profile.features:
        raise DataInsufficient(
            problem=f"the {side} profile counts {profile.n_rows} rows of {len(profile.features)} features",
            expected="at least one row and one feature on either side",
            action="wait until rows have been accepted",
        )
