"""What preprocessing learns from the training rows: fills, missing indicators and category lists.

Not here: applying it. The learned values are compiled into the graph (`training.graph`), which is the only place where
a row is ever transformed, in training as in serving. Pure.
"""

from collections import Counter
from dataclasses import dataclass

import numpy as np

from homeostat.records import Columns, Feature, Floats, Json, Schema, Texts

# Rarer categories share the encoding of an unseen one: all zeros.
MAX_CATEGORIES = 50


@dataclass(frozen=True, slots=True)
class NumericStep:
    """How one numeric feature is prepared, all values float32: markers and NaN become `fill`.

    With `indicator`, a further column says 1 where that happened.
    """

    name: str
    markers: tuple[float, ...]
    fill: float
    indicator: bool


@dataclass(frozen=True, slots=True)
class CategoricalStep:
    """How one categorical feature is prepared: a 0/1 column for each category; "" stands for missing."""

    name: str
    markers: tuple[str, ...]
    categories: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Preprocessor:
    """The learned preparation of every feature, in schema order within each kind."""

    numeric: tuple[NumericStep, ...]
    categorical: tuple[CategoricalStep, ...]

    @property
    def design_names(self) -> tuple[str, ...]:
        """Return the names of the design matrix's columns: values, then indicators, then categories."""
        values = [step.name for step in self.numeric]
        indicators = [f"{step.name} is missing" for step in self.numeric if step.indicator]
        categories = [f"{step.name} = {c or 'missing'}" for step in self.categorical for c in step.categories]
        return (*values, *indicators, *categories)

    @property
    def design_features(self) -> tuple[str, ...]:
        """Return the name of the feature behind each of the design matrix's columns, in the same order."""
        values = [step.name for step in self.numeric]
        indicators = [step.name for step in self.numeric if step.indicator]
        categories = [step.name for step in self.categorical for _ in step.categories]
        return (*values, *indicators, *categories)


def fit_preprocessor(columns: Columns, schema: Schema) -> Preprocessor:
    """Return the preparation learned from training rows, columns of shape (n_rows,)."""
    return Preprocessor(
        tuple(fit_numeric(columns[f.name], f) for f in schema.numeric),
        tuple(fit_categorical(columns[f.name], f) for f in schema.categorical),
    )


def fit_numeric(values: Floats | Texts, feature: Feature) -> NumericStep:
    """Return the median of the measured values as fill; an indicator only if something was missing."""
    markers = tuple(float(np.float32(m)) for m in feature.missing if not isinstance(m, str))
    rounded = values.astype(np.float32)
    missing = np.isnan(rounded) | np.isin(rounded, np.array(markers, dtype=np.float32))
    measured = rounded[~missing]
    # In double: the mean of two float32 middles can be beyond float32 on the way.
    fill = float(np.float32(np.median(measured.astype(np.float64)))) if len(measured) else 0.0
    return NumericStep(feature.name, markers, fill, bool(missing.any()))


def fit_categorical(values: Floats | Texts, feature: Feature) -> CategoricalStep:
    """Return the most frequent categories, ties in alphabetical order."""
    markers = tuple(m for m in feature.missing if isinstance(m, str))
    counts = Counter("" if cell is None or cell in markers else cell for cell in values.tolist())
    ranked = sorted(counts, key=lambda category: (-counts[category], category))
    return CategoricalStep(feature.name, markers, tuple(sorted(ranked[:MAX_CATEGORIES])))


def preprocessor_to_json(preprocessor: Preprocessor) -> Json:
    """Return the learned values for people and tools to read; the graph is what computes."""
    return {
        "numeric": [
            {"name": s.name, "markers": list(s.markers), "fill": s.fill, "indicator": s.indicator}
            for s in preprocessor.numeric
        ],
        "categorical": [
            {"name": s.name, "markers": list(s.markers), "categories": list(s.categories)}
            for s in preprocessor.categorical
        ],
    }


def preprocessor_from_json(stored: Json) -> Preprocessor:
    """Return the preprocessor that `preprocessor_to_json` described."""
    return Preprocessor(
        tuple(NumericStep(s["name"], tuple(s["markers"]), s["fill"], s["indicator"]) for s in stored["numeric"]),
        tuple(CategoricalStep(s["name"], tuple(s["markers"]), tuple(s["categories"])) for s in stored["categorical"]),
    )
