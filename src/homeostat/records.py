"""The frozen records that travel between stages, and nothing that computes.

Not here: how any of them is made. Each record names the module that makes it.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

Floats: TypeAlias = NDArray[np.float64]
Counts: TypeAlias = NDArray[np.int64]
Mask: TypeAlias = NDArray[np.bool_]
# An object array of `str` and `None`: a categorical column, None for missing.
Texts: TypeAlias = NDArray[np.object_]
# Accepted rows, one array of shape (n_rows,) per feature in schema order: float64 with NaN for missing (numeric), or
# Texts (categorical). Values are as they were sent: a missing marker is still the marker.
Columns: TypeAlias = Mapping[str, Floats | Texts]
Cell: TypeAlias = float | str | None
Row: TypeAlias = Mapping[str, Cell]
Label: TypeAlias = int | str
# A JSON object, as stored in the database and in a release.
Json: TypeAlias = dict[str, Any]  # Any: JSON has no narrower static type
Kind: TypeAlias = Literal["numeric", "categorical"]
Side: TypeAlias = Literal["training", "anchor", "recent"]


# --- data.dialects ------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Dialect:
    """How a CSV file is written; the defaults are those of RFC 4180 in UTF-8, a point before the decimals."""

    separator: str = ","
    decimal: str = "."
    thousands: str | None = None
    encoding: str = "utf-8"

    @property
    def has_plain_numbers(self) -> bool:
        """Whether numbers are written as programs write them."""
        return self.decimal == "." and self.thousands is None


# --- validation.schema --------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Feature:
    """One input column: what a value may be.

    `low` and `high` bound the possible values, both inclusive, in `unit`; None is unbounded. `missing` holds the
    markers that mean "not measured": they are imputed, never rejected. `booleans` is what false and true stand for;
    without it they are the categories "false" and "true", and no numbers.
    """

    name: str
    kind: Kind
    unit: str | None = None
    low: float | None = None
    high: float | None = None
    missing: tuple[float | str, ...] = ()
    booleans: tuple[Label, Label] | None = None


@dataclass(frozen=True, slots=True)
class Target:
    """The outcome column and its two values, as they are written in files and in labels."""

    name: str
    negative: Label
    positive: Label


@dataclass(frozen=True, slots=True)
class Schema:
    """What a row is; `digest` names the content (SHA-256, hexadecimal)."""

    features: tuple[Feature, ...]
    target: Target
    digest: str

    @property
    def numeric(self) -> tuple[Feature, ...]:
        """The numeric features, in schema order."""
        return tuple(f for f in self.features if f.kind == "numeric")

    @property
    def categorical(self) -> tuple[Feature, ...]:
        """The categorical features, in schema order."""
        return tuple(f for f in self.features if f.kind == "categorical")


# --- validation.checks --------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Violation:
    """One value that breaks one rule. `row` counts from 0; None when the row stands alone."""

    column: str
    value: object
    rule: str
    expected: str
    row: int | None = None


@dataclass(frozen=True, slots=True)
class CheckedRow:
    """One row after the rules: `row` is complete (every feature, None for missing) only if nothing was violated."""

    row: Row
    violations: tuple[Violation, ...]


@dataclass(frozen=True, slots=True)
class CheckedTable:
    """A table after the rules: `accepted` has shape (n_rows,); `columns` holds the accepted rows only."""

    columns: Columns
    accepted: Mask
    violations: tuple[Violation, ...]


# --- validation.profiles ------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class NumericProfile:
    """Exact counts of a numeric column in the cells cut by the distinct values of the reference.

    `edges` has shape (K,), ascending, finite. `counts` has shape (2K + 2,): cell 0 counts missing values, which sort
    below every measured one; then below edge 0, at edge 0, between edges 0 and 1, at edge 1, ..., above edge K - 1.
    """

    edges: Floats
    counts: Counts


@dataclass(frozen=True, slots=True)
class CategoricalProfile:
    """Exact counts of a categorical column.

    `categories` are those of the reference, sorted. `counts` has shape (len(categories) + 2,): cell 0 counts missing
    values, the last cell counts values that the reference does not hold.
    """

    categories: tuple[str, ...]
    counts: Counts


FeatureProfile: TypeAlias = NumericProfile | CategoricalProfile


@dataclass(frozen=True, slots=True)
class Profile:
    """The distribution of each feature in one set of rows, in the cells of one reference. Profiles add."""

    n_rows: int
    features: Mapping[str, FeatureProfile]


# --- data.snapshots -----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class LabelledRows:
    """Accepted rows with their outcomes.

    `ids`, `sides`, `origins` are object arrays of str and `labels` is int8 (1 = positive), all of shape (n_rows,).
    A row's side is for good: it follows from what the row is, or when it was. `seqs` holds the observed number of a
    prediction, 0 for a row of a file. `times` holds the moments of rows of files, NaN for predictions, which come after
    all of them; None if no column orders the rows in time (`training.time`).
    """

    ids: Texts
    columns: Columns
    labels: NDArray[np.int8]
    sides: Texts
    origins: Texts
    seqs: Counts
    times: Floats | None = None


@dataclass(frozen=True, slots=True)
class Snapshot:
    """An immutable training set. `baseline` holds the rows that drift will be measured against."""

    digest: str
    rows: LabelledRows
    baseline: Columns
    lineage: Json


# --- training -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Estimate:
    """A figure with its 95 % interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Golden:
    """Rows with the probabilities that the graph gave when it was packed: `expected` has shape (n_rows,), float32."""

    columns: Columns
    expected: NDArray[np.float32]


# --- deployment ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class OutOfFold:
    """What a release says of its training rows by models that had not seen them, and their outcomes.

    `probabilities` are calibrated; `labels` hold 1 for positive; shape (n_rows,).
    """

    probabilities: Floats
    labels: NDArray[np.int8]


@dataclass(frozen=True, slots=True)
class Release:
    """An immutable, digest-named release, every byte verified (`deployment.artifacts`).

    `held_out` holds the graph's scores of baseline rows that its training has not seen, shape (n_rows,), ascending:
    what the scores of production are measured against. It is empty, and `out_of_fold` None, in a release of before, as
    `effects` are: how much each feature counts, and how the answer moves with it (`training.effects`).
    """

    digest: str
    schema: Schema
    graph: bytes
    profile: Profile
    golden: Golden
    metrics: Json
    lineage: Json
    held_out: Floats = field(default_factory=lambda: np.empty(0))
    out_of_fold: OutOfFold | None = None
    effects: Json | None = None


@dataclass(frozen=True, slots=True)
class Criterion:
    """One question of the gate, its figures in a sentence, and the answer."""

    name: str
    passed: bool
    sentence: str
    figures: Json


@dataclass(frozen=True, slots=True)
class GateResult:
    """The gate's verdict: passed only if every criterion passed."""

    criteria: tuple[Criterion, ...]

    @property
    def passed(self) -> bool:
        """Whether the challenger may be promoted: every criterion passed, and there was one."""
        return bool(self.criteria) and all(c.passed for c in self.criteria)


@dataclass(frozen=True, slots=True)
class Promotion:
    """One line of the promotion log: from `decided_at` on, `release` is in production. `epoch` counts from 1."""

    epoch: int
    release: str
    previous: str | None
    decided_at: datetime
    actor: str
    reason: str


# --- monitoring ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class FeatureDrift:
    """The test of one feature: its name, statistic and p-value, and where the feature stood then and stands now.

    `adjusted_p_value` is the p-value after the report's correction: it decides `drifted`. `effect`, in 0-1, is the
    distance of the two distribution functions (numeric) or the total variation distance (categorical).
    `then` and `now` hold `median`, `quartiles` (numeric) or `mode`, `unseen_share` (categorical), and
    `missing_share`; `shift` says in one phrase what has changed between them.
    """

    name: str
    test: str
    method: str
    statistic: float
    p_value: float
    adjusted_p_value: float
    effect: float
    drifted: bool
    then: Json
    now: Json
    shift: str


@dataclass(frozen=True, slots=True)
class DriftReport:
    """One drift check: `score` = drifted features / features, in 0-1; it fires above `boundary`."""

    features: tuple[FeatureDrift, ...]
    score: float
    boundary: float
    correction: str
    n_reference: int
    n_current: int

    @property
    def fired(self) -> bool:
        """Whether the score exceeds the boundary."""
        return self.score > self.boundary

    @property
    def drifted(self) -> tuple[str, ...]:
        """The names of the drifted features."""
        return tuple(f.name for f in self.features if f.drifted)


@dataclass(frozen=True, slots=True)
class Alert:
    """Something that a person should look at, told once on each watch; it never retrains by itself.

    `kind` is the word that events use, `subject` the feature, or the column and rule, that it is about.
    """

    kind: str
    subject: str
    sentence: str
    figures: Json


@dataclass(frozen=True, slots=True)
class Breach:
    """Why the release in production must go: the alarm's name, its figures in a sentence, and the figures."""

    alarm: str
    sentence: str
    figures: Json


# --- retraining ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Change:
    """What has changed in the world on a watch, as far as it can be known.

    `kind` is "none", "data" (the features have moved; what was learned of their outcomes still holds) or "concept"
    (the outcomes no longer follow the features as they did). `since` is the observed number of its first row.
    `n_sources` have sent outcomes on this watch; `confirmed` is a concept that no single one of them could feign.
    """

    kind: Literal["none", "data", "concept"]
    since: int | None
    n_sources: int
    confirmed: bool
    sentence: str


@dataclass(frozen=True, slots=True)
class Recipe:
    """Which rows a candidate is trained on, and what each counts.

    `since`: only labelled predictions from this observed number on; None for all rows. `half_life`: the number of
    predictions after which a row counts half; None if all count alike.
    """

    name: str
    since: int | None = None
    half_life: int | None = None


@dataclass(frozen=True, slots=True)
class Proposal:
    """A trigger's wish to retrain, with its reason in a sentence."""

    trigger: str
    reason: str


@dataclass(frozen=True, slots=True)
class Decision:
    """What the policy made of the proposals: `sentence` carries the figures it rests on.

    `obstacle` is one word for what is waited for: probation, pause, budget, labels or judges.
    """

    action: Literal["retrain", "wait", "nothing"]
    trigger: str | None
    sentence: str
    obstacle: str | None = None
