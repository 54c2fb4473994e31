"""What has changed in a feature, in one phrase: median and quartiles, shares of categories, the share missing.

Not here: whether the change is more than chance (`monitoring.significance`).
"""

import numpy as np

from homeostat.records import CategoricalProfile, FeatureProfile, Json

# A phrase names this many categories at most.
MOST_CATEGORIES = 3
# Whole numbers are written out below this.
LARGE = 1e6
UNCHANGED = "unchanged"


def describe_shift(then: FeatureProfile, now: FeatureProfile, *, stood: Json, stands: Json) -> str:
    """Return what has changed, in a phrase such as "median 117 -> 140 (+23), missing 5 % -> 20 %".

    `then` and `now` are in the same cells, at least one row each; `stood` and `stands` are what `describe_feature`
    says of them. What reads the same on both sides is left out; if everything does, the phrase is "unchanged". Shares
    of categories are of all rows, those of missing values included.
    """
    if isinstance(then, CategoricalProfile) and isinstance(now, CategoricalProfile):
        parts = changed_shares(then, now)
    else:
        parts = [changed_median(stood, stands), change("quartiles", quartiles(stood), quartiles(stands))]
    missing = change("missing", percent(stood["missing_share"]), percent(stands["missing_share"]))
    phrases = [", ".join(part for part in [*parts, missing] if part)]
    if stands.get("unseen_share"):
        phrases.append(f"{percent(stands['unseen_share'])} in categories never seen before")
    return "; ".join(phrase for phrase in phrases if phrase) or UNCHANGED


def changed_median(stood: Json, stands: Json) -> str:
    """Return the two medians and their difference, nothing if they read the same."""
    phrase = change("median", figure(stood["median"]), figure(stands["median"]))
    if not phrase or stood["median"] is None or stands["median"] is None:
        return phrase
    difference = stands["median"] - stood["median"]
    return f"{phrase} ({'+' if difference > 0 else ''}{figure(difference)})"


def changed_shares(then: CategoricalProfile, now: CategoricalProfile) -> list[str]:
    """Return the known categories whose shares of all rows moved most, the largest move first."""
    shares = [profile.counts[1:-1] / int(profile.counts.sum()) for profile in (then, now)]
    order = np.argsort(-np.abs(shares[1] - shares[0]), kind="stable")[:MOST_CATEGORIES].tolist()
    return [change(then.categories[i], percent(shares[0][i]), percent(shares[1][i])) for i in order]


def change(what: str, before: str, after: str) -> str:
    """Return "what before -> after", nothing if both read the same."""
    return f"{what} {before} -> {after}" if before != after else ""


def quartiles(stands: Json) -> str:
    """Return the two quartiles as a range."""
    if stands["quartiles"] is None:
        return "none"
    lower, upper = stands["quartiles"]
    return f"{figure(lower)}{' to ' if lower < 0 else '-'}{figure(upper)}"


def figure(value: float | None) -> str:
    """Return a number to four figures, whole numbers up to a million in full."""
    if value is None:
        return "none"
    return f"{value:.0f}" if value.is_integer() and abs(value) < LARGE else f"{value:.4g}"


def percent(share: float) -> str:
    """Return a share in percent: whole, with one decimal below 1 %."""
    if 0 < share < 0.001:  # noqa: PLR2004  a tenth of a percent
        return "<0.1 %"
    return f"{100 * share:.1f} %" if 0 < share < 0.01 else f"{100 * share:.0f} %"  # noqa: PLR2004  one percent
