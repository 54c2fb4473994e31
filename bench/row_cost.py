"""What a row on a watch costs: counting it, the tests, the evidence and its state, a window of 200 rows at a time.

Not here: the lines of the report (`bench.monitoring`), or reading the window and writing the check (`bench.history`).
"""

import statistics
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import numpy as np

from homeostat.data.columns import take_rows
from homeostat.monitoring.drift import detect_drift
from homeostat.monitoring.evidence import Evidence, advance_evidence, begin_from_profile
from homeostat.monitoring.evidence_bytes import evidence_from_bytes, evidence_to_bytes
from homeostat.monitoring.streams import number_columns
from homeostat.records import Columns, Feature, Floats, Json, Kind, Profile, Schema, Target, Texts
from homeostat.validation.profiles import build_profile, count_rows
from homeostat.validation.schema import freeze_schema

N_FEATURES = (8, 20)
REFERENCES = (1_000, 100_000)
WINDOW = 200
CATEGORICAL_EVERY = 5
CATEGORIES = np.array(list("abcdefgh"), dtype=np.object_)
ALPHA, BOUNDARY = 0.05, 0.3
# What each window goes through, in order.
PARTS = {
    "count": "counting",
    "test": "the book's tests",
    "evidence": "evidence",
    "state": "its state, read and written",
}
WARM_UP = 3


def make_schema(n_features: int) -> Schema:
    """Return a schema in which every fifth feature is categorical."""
    places = range(1, n_features + 1)
    kinds: list[Kind] = ["numeric" if place % CATEGORICAL_EVERY else "categorical" for place in places]
    features = [Feature(f"{kind[0]}{place:02}", kind) for place, kind in enumerate(kinds)]
    return freeze_schema(features, Target("y", 0, 1))


def draw_rows(schema: Schema, n_rows: int, rng: np.random.Generator) -> Columns:
    """Return rows of one distribution: nothing drifts, and every value of a numeric feature is distinct."""
    columns: dict[str, Floats | Texts] = {f.name: rng.normal(size=n_rows) for f in schema.numeric}
    columns |= {f.name: rng.choice(CATEGORIES, n_rows) for f in schema.categorical}
    return {f.name: columns[f.name] for f in schema.features}


def measure_row_costs(*, n_windows: int) -> list[Json]:
    """Return a line for each number of features and size of the reference."""
    return [
        {"features": n_features, "reference": n_reference, "us": measure_watch(n_features, n_reference, n_windows)}
        for n_features in N_FEATURES
        for n_reference in REFERENCES
    ]


def measure_watch(n_features: int, n_reference: int, n_windows: int) -> Mapping[str, float]:
    """Return the median microseconds of each part, for a row."""
    rng = np.random.default_rng(n_features)
    schema = make_schema(n_features)
    profile = build_profile(draw_rows(schema, n_reference, rng), schema)
    state = evidence_to_bytes(begin_from_profile(profile))
    rows = draw_rows(schema, (WARM_UP + n_windows) * WINDOW, rng)
    taken: list[Mapping[str, float]] = []
    for place in range(WARM_UP + n_windows):
        first = place * WINDOW
        window = take_rows(rows, np.arange(first, first + WINDOW))
        state, seconds = judge(window, schema, profile, state, first_seq=first + 1)
        taken.append(seconds)
    return {part: 1e6 / WINDOW * statistics.median(one[part] for one in taken[WARM_UP:]) for part in PARTS}


def judge(
    window: Columns, schema: Schema, profile: Profile, state: bytes, *, first_seq: int
) -> tuple[bytes, Mapping[str, float]]:
    """Return the state of the evidence after a window, and the seconds of processor time that each part took."""
    seconds = dict.fromkeys(PARTS, 0.0)

    @contextmanager
    def timed(part: str) -> Iterator[None]:
        started = time.process_time()
        yield
        seconds[part] += time.process_time() - started

    with timed("count"):
        current = count_rows(window, schema, profile)
    with timed("test"):
        detect_drift(profile, current, alpha=ALPHA, boundary=BOUNDARY)
    with timed("state"):
        evidence: Evidence = evidence_from_bytes(state)
    with timed("evidence"):
        evidence = advance_evidence(evidence, number_columns(window, schema), first_seq=first_seq, seed=1)
    with timed("state"):
        state = evidence_to_bytes(evidence)
    return state, seconds
