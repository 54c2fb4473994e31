"""Schemas and rows for the training tests: every kind of feature, marker, missing value and tie that a table can hold.

Not here: any expectation.
"""

from dataclasses import dataclass

import numpy as np
from hypothesis import strategies as st
from numpy.typing import NDArray

from homeostat.data.columns import texts
from homeostat.records import Columns, Feature, Floats, Schema, Target, Texts
from homeostat.validation.schema import freeze_schema

NAN = float("nan")
TARGET = Target("outcome", 0, 1)
numeric_markers = st.lists(st.sampled_from([0.0, -1.0, 999.0, 0.1]), max_size=3, unique=True)
text_markers = st.lists(st.sampled_from(["?", "NA"]), max_size=2, unique=True)
# Few values, so that markers and ties are frequent, or any double that float32 can hold.
numbers = st.sampled_from([NAN, 0.0, -1.0, 999.0, 0.1, 5.0]) | st.floats(-3e38, 3e38)
words = st.none() | st.sampled_from(["?", "NA", "a", "b", " a", "A", "a\0b", "ä"]) | st.text(min_size=1, max_size=3)


@dataclass(frozen=True, slots=True)
class Tables:
    """A schema with rows to learn from and rows to answer, which may hold what the first do not."""

    schema: Schema
    training: Columns
    fresh: Columns


@st.composite
def features(draw: st.DrawFn, name: str) -> Feature:
    """Return a feature of either kind, with up to three markers."""
    if draw(st.booleans()):
        return Feature(name, "numeric", missing=tuple(draw(numeric_markers)))
    return Feature(name, "categorical", missing=tuple(draw(text_markers)))


@st.composite
def columns_of(draw: st.DrawFn, schema: Schema, *, min_rows: int) -> Columns:
    """Return rows of a schema."""
    n_rows = draw(st.integers(min_rows, 12))
    found: dict[str, Floats | Texts] = {}
    for feature in schema.features:
        if feature.kind == "numeric":
            found[feature.name] = np.array(draw(st.lists(numbers, min_size=n_rows, max_size=n_rows)), dtype=np.float64)
        else:
            found[feature.name] = texts(draw(st.lists(words, min_size=n_rows, max_size=n_rows)))
    return found


@st.composite
def tables(draw: st.DrawFn) -> Tables:
    """Return a schema of up to four features, with training rows and fresh rows."""
    schema = freeze_schema([draw(features(f"f{place}")) for place in range(draw(st.integers(1, 4)))], TARGET)
    return Tables(schema, draw(columns_of(schema, min_rows=2)), draw(columns_of(schema, min_rows=1)))


def linear_table(n_rows: int, *, n_features: int, noise: float, seed: int) -> tuple[Schema, Columns, NDArray[np.int8]]:
    """Return normal columns and a label that is a noisy linear function of all of them."""
    rng = np.random.default_rng(seed)
    schema = freeze_schema([Feature(f"x{j}", "numeric", low=-10.0, high=10.0) for j in range(n_features)], TARGET)
    values = rng.normal(size=(n_rows, n_features))
    labels = values.sum(axis=1) + noise * rng.normal(size=n_rows) > 0
    return schema, {f.name: values[:, j] for j, f in enumerate(schema.features)}, labels.astype(np.int8)
