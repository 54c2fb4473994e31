"""What one row leaves in the log: its columns, its id, and its label as text.

Not here: writing them (`monitoring.predictions`). Lines are plain tuples of database values, made where a request is
answered: no layer looks at each of them again on its way to the disk.
"""

import os
from collections.abc import Sequence
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Any, NamedTuple, TypeAlias

import msgspec

from homeostat.monitoring.idempotency import Answered, Claim
from homeostat.records import Label
from homeostat.store.tables import EPOCH

Line: TypeAlias = tuple[Any, ...]  # Any: each column has its own type
# Moments are microseconds since 1970, `row` and `violations` JSON, `label` is `label_to_text`.
PREDICTION_COLUMNS = ("id", "received_at", "release", "row", "probability", "label")
REJECTION_COLUMNS = ("received_at", "row", "violations")
# The two bits that say which kind of UUID it is, above two random ones: 8, 9, a or b.
VARIANTS = dict(zip("0123456789abcdef", "89ab" * 4, strict=True))


class Entries(NamedTuple):
    """What one request leaves in the log: lines of answered and of rejected rows.

    `claimed` is its claim and what it will be answered with, if it came with an Idempotency-Key.
    """

    predicted: Sequence[Line]
    rejected: Sequence[Line] = ()
    claimed: tuple[Claim, Answered] | None = None

    @property
    def n_rows(self) -> int:
        """How many rows these are."""
        return len(self.predicted) + len(self.rejected)


def new_prediction_ids(n_rows: int, microseconds: int) -> list[str]:
    """Return ids that sort by their millisecond and cannot be guessed: UUIDs of version 7, 74 bits of each random.

    `microseconds` is the moment of the request, as `to_microseconds` has it.

    References
    ----------
    RFC 9562, section 5.7. https://www.rfc-editor.org/rfc/rfc9562#section-5.7
    """
    millis = f"{microseconds // 1000:012x}"
    start = f"{millis[:8]}-{millis[8:]}-7"
    # 20 digits for each row, of which 19 are used. Not uuid.UUID: it takes three times as long.
    digits = os.urandom(10 * n_rows).hex()
    return [
        f"{start}{digits[at : at + 3]}-{VARIANTS[digits[at + 3]]}{digits[at + 4 : at + 7]}-{digits[at + 7 : at + 19]}"
        for at in range(0, 20 * n_rows, 20)
    ]


def to_microseconds(moment: datetime) -> int:
    """Return a moment as the database keeps it."""
    return (moment - EPOCH) // timedelta(microseconds=1)


@lru_cache(maxsize=64, typed=True)
def label_to_text(label: Label) -> str:
    """Return a label as the database keeps it: JSON, so that 1 and "1" stay two things."""
    return msgspec.json.encode(label).decode()


def label_from_text(text: str) -> Label:
    """Return the label that `label_to_text` wrote."""
    label: Label = msgspec.json.decode(text, type=int | str)
    return label
