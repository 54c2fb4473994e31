"""Why a stored release answers a row as it does, and why another release answers it otherwise.

Not here: what a feature adds (`training.contributions`), the process that does this beside the service
(`deployment.explaining_process`), or the words (`deployment.explaining_words`).
"""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np

from homeostat.data.columns import stack_rows, take_rows
from homeostat.deployment.artifacts import NATIVE, PREPROCESSING, find_release, open_release, read_verified
from homeostat.deployment.explaining_words import describe_answer, describe_change
from homeostat.errors import HomeostatError, ReleaseUnexplained, error_to_json
from homeostat.records import Columns, Floats, Json, Release, Row, Schema, Violation
from homeostat.store.blobs import BlobStore
from homeostat.training.contributions import Contributions, Explainer, Parts
from homeostat.training.effects import missing_of
from homeostat.training.preprocessing import preprocessor_from_json
from homeostat.training.scoring import POSITIVE_FROM, Graph
from homeostat.validation.checks import check_row
from homeostat.validation.schema import class_label

# Releases that a process holds open: two that are compared, and the two before them.
HELD = 4
# Each unknown field is compared with every column: more of them are not named.
MAX_UNKNOWN_FIELDS = 20
# Broken rules that are told of one request; of each row after that it is the first alone.
MAX_TOLD = 1_000
NO_ANSWER = Violation("", None, "answer", "a row that the model has an answer to")

SentRow = Mapping[str, object]
NEEDED = (NATIVE, PREPROCESSING)


@dataclass(frozen=True, slots=True)
class Opened:
    """A stored release, ready to explain rows."""

    release: Release
    graph: Graph
    explainer: Explainer


@lru_cache(maxsize=HELD)
def open_explained(folder: Path) -> Opened:
    """Return a stored release ready to explain rows, every byte of it verified; once in each process.

    Raises
    ------
    ArtifactCorrupt
        The release is not what it is named by.
    ReleaseUnexplained
        It holds no native model that can be explained.
    """
    release, files = open_release(folder), read_verified(folder)
    calibration = release.metrics.get("calibration")
    if calibration is None or not all(name in files for name in NEEDED):
        raise ReleaseUnexplained(
            problem=f"release {release.digest[:12]} holds no native model, no preparation or no calibration",
            expected="a release that `homeostat train` has packed",
            action="explain another release",
        )
    parts = Parts(
        release.graph,
        str(release.lineage.get("family")),
        files[NATIVE].decode(),
        preprocessor_from_json(json.loads(files[PREPROCESSING])),
        calibration["slope"],
        calibration["offset"],
    )
    return Opened(release, Graph(release.graph, release.schema), Explainer(parts, release.schema))


def answer(question: Json, blobs: BlobStore) -> Json:
    """Return the explanations that a question asks for, or the error that keeps them back; see `explain`."""
    try:
        return {"explanations": explain(question, blobs)}
    except HomeostatError as error:
        return {"error": error_to_json(error)}


def explain(question: Json, blobs: BlobStore) -> list[Json]:
    """Return the explanation of each row that a question asks for.

    Parameters
    ----------
    question
        `rows`, as they were sent; `release`, a digest; and `compare`, null or the digest of another, with `change`,
        both digests in the order in which a change is told.
    blobs
        Where the releases are.

    Raises
    ------
    ReleaseMissing
        A release is not in the store.
    ReleaseUnexplained
        A release holds no native model that can be explained.
    ArtifactCorrupt
        A release is not what it is named by.
    """
    opened = open_explained(find_release(question["release"], blobs))
    if question["compare"] is None:
        return explain_rows(question["rows"], opened)
    other = open_explained(find_release(question["compare"], blobs))
    first, second = question["change"]
    return compare_rows(question["rows"], opened, other, change=(first, second))


def explain_rows(sent: Sequence[SentRow], opened: Opened) -> list[Json]:
    """Return why each row is answered as it is, in order; an impossible row has its reasons under `rejected`."""
    accepted, results = check_rows(sent, opened.release.schema)
    told = iter(explain_accepted(accepted, opened))
    return [next(told) if result is None else result for result in results]


def compare_rows(sent: Sequence[SentRow], opened: Opened, other: Opened, *, change: tuple[str, str]) -> list[Json]:
    """Return the same with what the other release says of each row, and why the answer has changed.

    Parameters
    ----------
    sent
        The rows: for the other release a column that it does not know is left out, one that is not there is missing.
    opened, other
        The release that is explained, and the one that it is compared with.
    change
        The digests of the two in the order in which the change is told.
    """
    names = [feature.name for feature in other.release.schema.features]
    theirs = explain_rows([{name: row.get(name) for name in names} for row in sent], other)
    both = zip(explain_rows(sent, opened), theirs, strict=True)
    return [compare(one, another, change=change) for one, another in both]


# --- the rules ----------------------------------------------------------------------------------------------------


def check_rows(sent: Sequence[SentRow], schema: Schema) -> tuple[list[Row], list[Json | None]]:
    """Return the accepted rows, and for every row None or what is wrong with it."""
    accepted: list[Row] = []
    results: list[Json | None] = []
    left = MAX_TOLD
    for row in sent:
        checked = check_row(bound_unknown(row, schema), schema)
        told = checked.violations if left > 0 else checked.violations[:1]
        left -= len(told)
        results.append({"rejected": [violation_to_json(violation) for violation in told]} if told else None)
        if not told:
            accepted.append(checked.row)
    return accepted, results


def bound_unknown(row: SentRow, schema: Schema) -> SentRow:
    """Return a row with no more unknown fields than are told."""
    names = {feature.name for feature in schema.features}
    unknown = [name for name in row if name not in names][:MAX_UNKNOWN_FIELDS]
    return {name: row[name] for name in (*(n for n in row if n in names), *unknown)}


def violation_to_json(violation: Violation) -> Json:
    """Return one broken rule without the value: whoever sent it knows it."""
    return {"column": violation.column, "rule": violation.rule, "expected": violation.expected}


# --- the answer ---------------------------------------------------------------------------------------------------


def explain_accepted(rows: Sequence[Row], opened: Opened) -> list[Json]:
    """Return why each accepted row is answered as it is."""
    if not rows:
        return []
    schema = opened.release.schema
    columns = stack_rows(rows, schema)
    told, answers = opened.explainer.explain(columns), opened.graph.score(columns).astype(np.float64)
    return [explain_one(place, columns, told, answers, opened.release) for place in range(len(rows))]


def explain_one(place: int, columns: Columns, told: Contributions, answers: Floats, release: Release) -> Json:
    """Return why one row is answered as it is."""
    values, probability = told.values[place].tolist(), float(answers[place])
    if not all(map(math.isfinite, [probability, *values])):
        return {"rejected": [violation_to_json(NO_ANSWER)]}
    parts = list_parts(take_rows(columns, np.array([place])), values, release.schema)
    answer = {
        "release": release.digest,
        "probability": probability,
        "label": class_label(release.schema.target, positive=probability >= POSITIVE_FROM),
        "base": told.base,
        "log_odds": told.base + sum(values),
        "contributions": parts,
    }
    return answer | {"sentence": describe_answer(answer)}


def list_parts(row: Columns, values: Sequence[float], schema: Schema) -> list[Json]:
    """Return what each feature of one row adds, largest first: `missing` says that its value counts as not measured."""
    parts = [
        {
            "feature": feature.name,
            "value": plain(row[feature.name].tolist()[0]),
            "missing": bool(missing_of(row[feature.name], feature)[0]),
            "contribution": value,
        }
        for feature, value in zip(schema.features, values, strict=True)
    ]
    return sorted(parts, key=lambda part: -abs(part["contribution"]))


def plain(cell: float | str | None) -> float | str | None:
    """Return a cell as JSON has it."""
    return None if cell != cell else cell  # noqa: PLR0124  only NaN differs from itself


def compare(ours: Json, theirs: Json, *, change: tuple[str, str]) -> Json:
    """Return an explanation with the other one, and what changes between them; what is rejected by either is so."""
    if "rejected" in ours:
        return ours
    if "rejected" in theirs:
        return theirs
    by_digest = {theirs["release"]: theirs, ours["release"]: ours}
    before, after = (by_digest[digest] for digest in change)
    told = {
        "from": before["release"],
        "to": after["release"],
        "log_odds": after["log_odds"] - before["log_odds"],
        "base": after["base"] - before["base"],
        "differences": list_differences(before, after),
    }
    return ours | {"compare": theirs, "change": told | {"sentence": describe_change(before, after, told)}}


def list_differences(before: Json, after: Json) -> list[Json]:
    """Return by how much the part of each feature differs, largest first; one that a release lacks adds nothing."""
    parts = [{part["feature"]: part for part in one["contributions"]} for one in (before, after)]
    found = []
    for name in {**parts[0], **parts[1]}:
        known = parts[1].get(name) or parts[0][name]
        was, now = (one[name]["contribution"] if name in one else 0.0 for one in parts)
        found.append(
            {
                "feature": name,
                "value": known["value"],
                "missing": known["missing"],
                "before": was,
                "after": now,
                "difference": now - was,
            }
        )
    return sorted(found, key=lambda one: -abs(one["difference"]))
