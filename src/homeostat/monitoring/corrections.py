"""Corrections for testing many features at once: p-values adjusted so that each may be held against alpha itself.

Not here: the tests that gave them (`monitoring.significance`). The book's rule corrects nothing.
"""

from collections.abc import Callable, Mapping
from typing import Literal, TypeAlias

import numpy as np

from homeostat.records import Floats

Correction: TypeAlias = Literal["none", "bonferroni", "holm", "benjamini-hochberg"]


def leave_raw(p_values: Floats) -> Floats:
    """Return the p-values as they are: each feature alone is wrong with probability alpha at most."""
    return p_values


def adjust_bonferroni(p_values: Floats) -> Floats:
    """Return Bonferroni's adjusted p-values: the chance that any feature is wrong is alpha at most.

    `p_values` has shape (n,), in any order, each in 0-1.

    References
    ----------
    Dunn (1961), Multiple comparisons among means, J. American Statistical Association 56(293).
    """
    return np.minimum(p_values * p_values.size, 1.0)


def adjust_holm(p_values: Floats) -> Floats:
    """Return Holm's adjusted p-values: the same promise as Bonferroni's, and never less power.

    `p_values` has shape (n,), in any order, each in 0-1.

    References
    ----------
    Holm (1979), A simple sequentially rejective multiple test procedure, Scandinavian J. Statistics 6(2).
    """
    order = np.argsort(p_values)
    # The smallest is held against all n, the next against the n - 1 that are left, ...
    scaled = p_values[order] * np.arange(p_values.size, 0, -1)
    return put_back(np.minimum(np.maximum.accumulate(scaled), 1.0), order)


def adjust_benjamini_hochberg(p_values: Floats) -> Floats:
    """Return Benjamini and Hochberg's adjusted p-values: of those called drifted a share of alpha at most is wrong.

    `p_values` has shape (n,), in any order, each in 0-1. The promise holds for independent or positively dependent
    features.

    References
    ----------
    Benjamini, Hochberg (1995), Controlling the false discovery rate, J. Royal Statistical Society B 57(1).
    """
    order = np.argsort(p_values)
    scaled = p_values[order] * (p_values.size / np.arange(1, p_values.size + 1))
    return put_back(np.minimum(np.minimum.accumulate(scaled[::-1])[::-1], 1.0), order)


# What each choice of the setting `monitoring.correction` does.
CORRECTIONS: Mapping[Correction, Callable[[Floats], Floats]] = {
    "none": leave_raw,
    "bonferroni": adjust_bonferroni,
    "holm": adjust_holm,
    "benjamini-hochberg": adjust_benjamini_hochberg,
}


def put_back(ascending: Floats, order: np.ndarray[tuple[int], np.dtype[np.intp]]) -> Floats:
    """Return values that were computed in `order` where they came from."""
    values = np.empty_like(ascending)
    values[order] = ascending
    return values
