"""Rows as streams of numbers, which can be ranked: numeric features as they are, categories by a hash of their text.

Not here: the ranks, and what they say (`monitoring.evidence`).
"""

from collections.abc import Mapping
from hashlib import blake2b

import numpy as np

from homeostat.errors import InputError
from homeostat.records import CategoricalProfile, Columns, FeatureProfile, Floats, Schema, Texts
from homeostat.validation.profiles import mask_numbers, mask_texts

# The stream of the model's scores. A name with a dot in front is no feature of a table.
SCORES = ".scores"


def number_columns(columns: Columns, schema: Schema) -> Mapping[str, Floats]:
    """Return each feature as numbers, NaN for missing; a category becomes a number that its text alone decides.

    So categories have an order that no data can influence, in which those never seen before fall everywhere between the
    known ones. A cell for "unseen" at the end would make its first row the largest value ever: false evidence.
    """
    return {
        f.name: mask_numbers(columns[f.name], f)
        if f.kind == "numeric"
        else number_texts(mask_texts(columns[f.name], f))
        for f in schema.features
    }


def number_texts(texts: Texts) -> Floats:
    """Return a number for each text, NaN for None."""
    cells = texts.tolist()
    numbers = {text: number_text(text) for text in set(cells)}
    return np.array([numbers[text] for text in cells], dtype=np.float64)


def number_text(text: str | None) -> float:
    """Return the first 53 bits of a text's hash, which a double holds exactly; NaN for None."""
    if text is None:
        return float("nan")
    return float(int.from_bytes(blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "big") >> 11)


def list_values(name: str, profile: FeatureProfile) -> Floats:
    """Return the values of the rows that a reference profile counts, in order, missing first."""
    if isinstance(profile, CategoricalProfile):
        values, at, elsewhere = (
            np.array([number_text(c) for c in profile.categories]),
            profile.counts[1:-1],
            profile.counts[-1:],
        )
    else:
        values, at, elsewhere = profile.edges, profile.counts[2::2], profile.counts[1::2]
    if elsewhere.any():
        raise InputError(
            problem=f"{elsewhere.sum()} rows of feature {name!r} lie between the values that the profile lists",
            expected="a reference profile, whose own values cut its cells",
            action="begin with the profile that build_profile returned",
        )
    return np.concatenate([np.full(profile.counts[0], np.nan), np.repeat(values, at)])
