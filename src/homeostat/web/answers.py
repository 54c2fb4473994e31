"""What becomes of the rows of one request: judged, scored in one call of the graph, numbered, ready for the log.

Not here: the form of a request or of its answer (`web.predict`, `web.open_inference`, `web.mlflow_scoring`), or the
rules (`validation.checks`).
"""

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from itertools import islice
from typing import NamedTuple, TypeAlias

import msgspec

from homeostat.deployment.serving import LiveRelease
from homeostat.monitoring.entries import Line, label_to_text, new_prediction_ids
from homeostat.records import Json, Label, Schema, Violation
from homeostat.training.scoring import POSITIVE_FROM
from homeostat.validation.checks import check_row
from homeostat.validation.decoding import Cells
from homeostat.web.bodies import show

# Each unknown field is compared with every column: more of them are not named.
MAX_UNKNOWN_FIELDS = 20
# Broken rules that are told of one request. Of each impossible row after that it is the first alone: 30 kB of empty
# rows would be answered with 8 MB.
MAX_TOLD = 1_000
# An accepted row that the graph has no number for: a model that overflows must not stop the log.
NO_ANSWER = Violation("", None, "answer", "a row that the model has an answer to")

SentRow: TypeAlias = Mapping[str, object]


class Answer(msgspec.Struct, gc=False, frozen=True):
    """One answered row: the probability is that of the positive class."""

    id: str
    probability: float
    label: Label
    release: str


class Refused(msgspec.Struct, gc=False, frozen=True):
    """One impossible row, with every rule it breaks."""

    rejected: list[Json]


class Judged(NamedTuple):
    """What became of the rows of one request: one result for each, in order, and the lines they leave in the log."""

    results: Sequence[Answer | Refused]
    predicted: Sequence[Line]
    rejected: Sequence[Line]

    def count_labels(self) -> Mapping[Label, int]:
        """Return how many rows were answered with each label."""
        labels = [one.label for one in self.results if isinstance(one, Answer)]
        return Counter(labels) if len(labels) > 1 else dict.fromkeys(labels, 1)

    def count_violations(self) -> Mapping[tuple[str, str], int]:
        """Return how often each rule was broken, by column and rule."""
        refused = (one for one in self.results if isinstance(one, Refused))
        return Counter((violation["column"], violation["rule"]) for one in refused for violation in one.rejected)

    @property
    def lacks_answers(self) -> bool:
        """Whether the release had no number for a row that keeps every rule."""
        return (NO_ANSWER.column, NO_ANSWER.rule) in self.count_violations()

    def without_answers(self) -> "Judged":
        """Return the same with the refused rows alone: what a request leaves that is refused as a whole."""
        return self._replace(results=[r for r in self.results if isinstance(r, Refused)], predicted=())


def judge_rows(rows: Sequence[SentRow], live: LiveRelease, *, received_at: int) -> Judged:
    """Return what becomes of rows, each a mapping of column names to plain values; see `judge_cells`."""
    return judge_cells([live.decoder.convert_row(row) for row in rows], rows.__getitem__, live, received_at=received_at)


def judge_cells(
    found: Sequence[Cells | None], sent: Callable[[int], SentRow], live: LiveRelease, *, received_at: int
) -> Judged:
    """Return what becomes of decoded rows.

    Parameters
    ----------
    found
        The cells of each row, None where the rules must say what is wrong.
    sent
        Returns the row at a place as it was sent; called for the rows without cells or without an answer only.
    live
        The release that answers.
    received_at
        When they came in, in microseconds since 1970 UTC.
    """
    if None in found:
        cells, reasons = ask_rules(found, sent, live.schema)
    else:
        cells, reasons = found, {}
    answered = [row for row in cells if row is not None]
    probabilities = score(answered, live)
    if not all(map(math.isfinite, probabilities)):
        places = [place for place, row in enumerate(cells) if row is not None]
        reasons |= {at: [NO_ANSWER] for at, p in zip(places, probabilities, strict=True) if not math.isfinite(p)}
        answered = [row for row, p in zip(answered, probabilities, strict=True) if math.isfinite(p)]
        probabilities = [p for p in probabilities if math.isfinite(p)]
    results, predicted = answer_rows(answered, probabilities, live, received_at=received_at)
    if not reasons:
        return Judged(results, predicted, ())
    return merge(results, predicted, reasons, sent, n_rows=len(cells), received_at=received_at)


def ask_rules(
    found: Sequence[Cells | None], sent: Callable[[int], SentRow], schema: Schema
) -> tuple[Sequence[Cells | None], dict[int, Sequence[Violation]]]:
    """Return the cells of each row, None for the impossible ones, and by place what is wrong with these."""
    reasons: dict[int, Sequence[Violation]] = {}
    cells = list(found)
    left = MAX_TOLD
    for place in [place for place, one in enumerate(found) if one is None]:
        checked = check_row(bound_unknown(sent(place), schema, at_most=MAX_UNKNOWN_FIELDS if left > 0 else 1), schema)
        if checked.violations:
            reasons[place] = checked.violations if left > 0 else checked.violations[:1]
            left -= len(checked.violations)
        else:
            cells[place] = tuple(checked.row[feature.name] for feature in schema.features)
    return cells, reasons


def score(rows: Sequence[Cells], live: LiveRelease) -> list[float]:
    """Return the probability of the positive class for each accepted row."""
    probabilities: list[float] = live.graph.score_arrays(*live.decoder.stack(rows)).tolist() if rows else []
    return probabilities


def answer_rows(
    rows: Sequence[Cells], probabilities: Sequence[float], live: LiveRelease, *, received_at: int
) -> tuple[list[Answer | Refused], list[Line]]:
    """Return the answer and the line of each accepted row."""
    labels = live.schema.target.negative, live.schema.target.positive
    texts = label_to_text(labels[0]), label_to_text(labels[1])
    release, encode = live.digest, live.decoder.encode_row
    results: list[Answer | Refused] = []
    lines: list[Line] = []
    ids = new_prediction_ids(len(rows), received_at)
    for id_, row, probability in zip(ids, rows, probabilities, strict=True):
        positive = probability >= POSITIVE_FROM
        results.append(Answer(id_, probability, labels[positive], release))
        lines.append((id_, received_at, release, encode(row), probability, texts[positive]))
    return results, lines


def merge(
    answers: Sequence[Answer | Refused],
    predicted: Sequence[Line],
    reasons: Mapping[int, Sequence[Violation]],
    sent: Callable[[int], SentRow],
    *,
    n_rows: int,
    received_at: int,
) -> Judged:
    """Return the answers with the refused rows in their places."""
    refused = {at: [violation_to_json(violation) for violation in found] for at, found in reasons.items()}
    rest = iter(answers)
    results = [Refused(refused[place]) if place in refused else next(rest) for place in range(n_rows)]
    lines = [
        (received_at, msgspec.json.encode(sent(place)), msgspec.json.encode(violations))
        for place, violations in sorted(refused.items())
    ]
    return Judged(results, predicted, lines)


def bound_unknown(row: SentRow, schema: Schema, *, at_most: int) -> SentRow:
    """Return a row without all but its first unknown fields, if it may have more of them."""
    if len(row) <= at_most:
        return row
    names = [feature.name for feature in schema.features]
    known = [name for name in names if name in row]
    if len(row) - len(known) <= at_most:
        return row
    unknown = islice((key for key in row if key not in names), at_most)
    return {key: row[key] for key in (*known, *unknown)}


def violation_to_json(violation: Violation) -> Json:
    """Return one broken rule as it is answered and stored."""
    return {
        "column": show(violation.column),
        "value": show(violation.value),
        "rule": violation.rule,
        "expected": violation.expected,
    }
