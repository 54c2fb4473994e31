"""Is a challenger sound as a program? Its columns, size, latency and memory, each with its figures and its answer.

Not here: what its answers are worth (`deployment.criteria`), or the measuring (`retraining.comparison`). Pure.
"""

import numpy as np

from homeostat.records import Criterion, Floats, Schema

MAX_GRAPH_BYTES = 100 * 1024 * 1024
# A single row's 99th percentile: at most this, or so many times the champion's, measured side by side.
MAX_LATENCY_S, LATENCY_RATIO = 0.005, 3.0
PERCENTILE = 99
MEGABYTE = 1024 * 1024


def judge_size(size_bytes: int) -> Criterion:
    """Judge whether the graph is small enough to be loaded by every worker."""
    passed = size_bytes <= MAX_GRAPH_BYTES
    sentence = f"the graph has {size_bytes / MEGABYTE:.1f} MB, allowed are {MAX_GRAPH_BYTES // MEGABYTE}"
    return Criterion("size", passed, sentence, {"size_bytes": size_bytes, "allowed": MAX_GRAPH_BYTES})


def judge_columns(problem: str | None, schema: Schema) -> Criterion:
    """Judge whether the graph takes the columns of the schema; `problem` says what differs, None if nothing does."""
    names = [feature.name for feature in schema.features]
    sentence = problem or f"the graph takes the {len(names)} columns of the schema in its order"
    return Criterion("columns", problem is None, sentence, {"columns": names})


def find_column_problem(found: Schema, expected: Schema) -> str | None:
    """Return the first difference between a release's columns and those expected, in words, None if there is none."""
    theirs, ours = ([(feature.name, feature.kind) for feature in schema.features] for schema in (found, expected))
    for name, kind in ours:
        if (name, kind) not in theirs:
            other = dict(theirs).get(name)
            return f"column {name!r} is missing" if other is None else f"column {name!r} is {other}, expected {kind}"
    for name, _ in theirs:
        if name not in dict(ours):
            return f"column {name!r} is not in the schema"
    return None if theirs == ours else f"the columns stand in the order {[name for name, _ in theirs]}"


def allowed_latency(champion_s: Floats | None) -> float:
    """Return the most that the 99th percentile may be, in seconds; `champion_s` holds the champion's single rows."""
    if champion_s is None or not len(champion_s):
        return MAX_LATENCY_S
    return max(MAX_LATENCY_S, LATENCY_RATIO * float(np.percentile(champion_s, PERCENTILE)))


def judge_latency(challenger_s: Floats, champion_s: Floats | None) -> Criterion:
    """Judge whether single rows are answered fast enough: processor time of each, in seconds, shape (n_rows,)."""
    allowed = allowed_latency(champion_s)
    found = float(np.percentile(challenger_s, PERCENTILE))
    rival = None if champion_s is None else float(np.percentile(champion_s, PERCENTILE))
    beside = "" if rival is None else f", the champion's {1000 * rival:.2f} ms"
    sentence = f"99 % of single rows within {1000 * found:.2f} ms{beside}; allowed are {1000 * allowed:.2f} ms"
    figures = {"p99_s": found, "champion_p99_s": rival, "allowed_s": allowed, "n_rows": len(challenger_s)}
    return Criterion("latency", found <= allowed, sentence, figures)


def judge_memory(taken_bytes: int, allowed_bytes: int) -> Criterion:
    """Judge whether loading and answering stayed within the limit of the judging process."""
    sentence = f"judging took {taken_bytes / MEGABYTE:.0f} MB, allowed are {allowed_bytes // MEGABYTE}"
    figures = {"taken_bytes": taken_bytes, "allowed_bytes": allowed_bytes}
    return Criterion("memory", taken_bytes <= allowed_bytes, sentence, figures)
