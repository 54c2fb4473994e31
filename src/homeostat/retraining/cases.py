"""What a challenger is judged by: beside whom, on which rows, under which rules. Gathered from the database.

Not here: the judging (`retraining.comparison`).
"""

import json
from dataclasses import asdict, dataclass

from sqlalchemy import Connection, Select, func, select

from homeostat.deployment.gate import Rules
from homeostat.deployment.limits import Limits
from homeostat.deployment.registry import find_registered
from homeostat.monitoring.production import count_labels_ever
from homeostat.records import Criterion, Json, Promotion
from homeostat.store.tables import barred, predictions, promotions

# Champions of before that are asked again: those whose recorded AUC on the anchor was best.
MOST_PAST = 3


@dataclass(frozen=True, slots=True)
class Case:
    """A challenger before the gate.

    `champion` is None before the first promotion; `past` names champions of before. `recent_ids` are the labelled
    predictions that judge, None if they are not asked for. An anchor whose rows have the digest `old_world` describes
    a world that is gone: it is reported only.
    """

    challenger: str
    champion: str | None
    past: tuple[str, ...]
    recent_ids: frozenset[str] | None
    old_world: str | None
    rules: Rules
    limits: Limits

    def to_json(self) -> Json:
        """Return the case as a JSON object, to pass it between processes."""
        ids = None if self.recent_ids is None else sorted(self.recent_ids)
        return {**asdict(self), "past": list(self.past), "recent_ids": ids}


def case_from_json(data: Json) -> Case:
    """Return the case that `to_json` wrote."""
    return Case(
        challenger=data["challenger"],
        champion=data["champion"],
        past=tuple(data["past"]),
        recent_ids=None if data["recent_ids"] is None else frozenset(data["recent_ids"]),
        old_world=data["old_world"],
        rules=Rules(**data["rules"]),
        limits=Limits(**data["limits"]),
    )


@dataclass(frozen=True, slots=True)
class Shadow:
    """A challenger in the shadow of the champion: it answers the `n_rows` rows that came `after` this line of the log.

    `same_rule` is False if the challenger is to describe another world than the champion does.
    """

    challenger: str
    champion: str
    after: int
    n_rows: int
    same_rule: bool
    limits: Limits


def shadow_from_json(data: Json) -> Shadow:
    """Return the shadow that `dataclasses.asdict` wrote."""
    return Shadow(**{**data, "limits": Limits(**data["limits"])})


def last_logged(connection: Connection) -> int:
    """Return the number of the newest answered row in the log, 0 if there is none."""
    return connection.scalar(select(func.max(predictions.c.seq))) or 0


def count_answered(connection: Connection, shadow: Shadow) -> int:
    """Return how many of a shadow's rows the champion has answered."""
    return connection.scalar(select(func.count()).select_from(answered(shadow).subquery())) or 0


def read_answered(connection: Connection, shadow: Shadow) -> list[tuple[bytes, float]]:
    """Return a shadow's rows with the champion's answers, in the order of the log."""
    return [(line.row, line.probability) for line in connection.execute(answered(shadow))]


def answered(shadow: Shadow) -> Select[tuple[bytes, float]]:
    """Return the query for a shadow's rows."""
    query = select(predictions.c.row, predictions.c.probability)
    ours = (predictions.c.seq > shadow.after) & (predictions.c.release == shadow.champion)
    return query.where(ours).order_by(predictions.c.seq).limit(shadow.n_rows)


def judge_bar(connection: Connection, release: str) -> Criterion | None:
    """Judge whether labels have arrived since a release was rolled back; None if it never was."""
    row = connection.execute(select(barred).where(barred.c.release == release)).first()
    if row is None:
        return None
    n_new = count_labels_ever(connection) - row.labels
    said = f"it was rolled back on {row.at:%Y-%m-%d %H:%M} UTC ({row.reason}); {n_new} labels have arrived since"
    return Criterion("barred", n_new > 0, said, {"labels_then": row.labels, "labels_since": n_new})


def find_old_world(connection: Connection, champion: Promotion) -> str | None:
    """Return which anchor the champion's own verdict only reported, None if the anchor counted."""
    query = select(promotions.c.gate).where(promotions.c.release == champion.release)
    for gate in connection.scalars(query.order_by(promotions.c.epoch.desc())):
        for criterion in json.loads(gate or "{}").get("criteria", []):
            if criterion["name"] == "anchor" and "enforced" in criterion["figures"]:
                figures = criterion["figures"]
                return None if figures["enforced"] else str(figures["rows"])
    return None


def find_past(connection: Connection, champion: Promotion, *, challenger: str) -> tuple[str, ...]:
    """Return the champions of before that were best on the anchor, best first; one that was rolled back does not count.

    Their recorded figures only choose whom to ask again: the comparison is on the rows of today.
    """
    known = set(connection.scalars(select(promotions.c.release)))
    known -= {*connection.scalars(select(barred.c.release)), champion.release, challenger}
    found = {digest: recorded_auc(connection, digest) for digest in sorted(known)}
    return tuple(sorted(found, key=lambda digest: -found[digest])[:MOST_PAST])


def recorded_auc(connection: Connection, digest: str) -> float:
    """Return the AUC on the anchor that a release was registered with, 0 if none was."""
    registered = find_registered(connection, digest)
    anchor = (registered.metrics.get("anchor") if registered else None) or {}
    return float(anchor.get("auc", {}).get("value", 0.0))
