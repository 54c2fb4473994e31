"""What is to be explained: rows that were sent or a stored prediction, and the releases that were named.

Not here: explaining it (`deployment.explaining`). Nothing that trains is imported: the service asks this itself.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import msgspec
from sqlalchemy import Connection, select

from homeostat.deployment.registry import resolve_release
from homeostat.errors import PredictionMissing
from homeostat.records import Json
from homeostat.store.tables import predictions


@dataclass(frozen=True, slots=True)
class Subject:
    """What is explained: rows, the digests of the releases, and of a stored prediction what it was answered with.

    `change` holds both digests, that of the release that was registered first before the other.
    """

    rows: Sequence[Mapping[str, object]]
    release: str
    compare: str | None = None
    change: tuple[str, str] | None = None
    answered: Json | None = None

    def question(self) -> Json:
        """Return what `deployment.explaining.answer` is asked."""
        return {"rows": self.rows, "release": self.release, "compare": self.compare, "change": self.change}


def find_subject(
    connection: Connection,
    rows: Sequence[Mapping[str, object]],
    *,
    prediction: str | None,
    release: str | None,
    compare: str | None,
    live: str,
) -> Subject:
    """Return what is explained.

    Parameters
    ----------
    rows
        As they were sent; not used if a prediction is named.
    prediction
        The id of a stored one.
    release, compare
        Names of releases. Without the first, it is the one that answered the prediction, or `live`.
    live
        The digest of the release in production.

    Raises
    ------
    PredictionMissing
        No prediction has this id.
    ReleaseMissing
        No release, or more than one, has such a name.
    """
    answered = None
    if prediction is not None:
        line = connection.execute(select(predictions).where(predictions.c.id == prediction)).first()
        if line is None:
            raise prediction_missing(prediction)
        rows, live = [msgspec.json.decode(line.row)], line.release
        answered = {"release": line.release, "probability": line.probability, "at": line.received_at}
    chosen = live if release is None else resolve_release(connection, release).digest
    if compare is None:
        return Subject(rows, chosen, answered=answered)
    both = [resolve_release(connection, name) for name in (chosen, compare)]
    first, second = sorted(both, key=lambda one: one.number)
    return Subject(rows, chosen, both[1].digest, (first.digest, second.digest), answered)


def prediction_missing(prediction: str) -> PredictionMissing:
    """Return the three-part error for an id that no prediction has."""
    return PredictionMissing(
        problem=f"no prediction has the id {prediction!r}",
        expected="the id that a prediction was answered with, and that is still kept",
        action="correct it, or give the row itself",
    )
