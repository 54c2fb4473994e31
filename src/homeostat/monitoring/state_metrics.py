"""What Prometheus is told of the stored state: the newest checks, the alerts of the watch, the loop, the last row.

Not here: what a process counts itself (`monitoring.metrics`), or when to raise an alarm (`deploy/prometheus`).

It is read from the database at each scrape and never put into the files that the workers share: a gauge there forgets
neither a feature nor a watch that has ended. Each figure costs one look at an index, however long the history is.
"""

import json
import math
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields

from prometheus_client.metrics_core import GaugeMetricFamily
from prometheus_client.registry import Collector
from sqlalchemy import Connection, func, select

from homeostat.monitoring.drift_checks import latest_drift_check
from homeostat.records import Json
from homeostat.store.leases import find_last_renewal
from homeostat.store.tables import events, outcome_checks, predictions

HELP = {
    "drift_score": "Drifted features / features at the newest check of the watch, 0 to 1.",
    "drift_fired": "Whether the score of the newest check is above the boundary: 1 or 0.",
    "drift_guarded": "Whether the guarded trigger fired at the newest check: 1 or 0.",
    "evidence": "How strongly a feature (or .scores) has moved: an e-value, 1 without a drift, in most lives.",
    "evidence_needed": "The evidence that a feature must have reached to count in the guarded trigger.",
    "evidence_alert_needed": "The evidence at which a feature is named by itself.",
    "alerts": "Alerts of the watch under way, by kind.",
    "loop_seen_timestamp_seconds": "When a loop last took or renewed its lease.",
    "last_prediction_timestamp_seconds": "When the newest kept row arrived.",
    "labels_mature_rows": "Rows of the newest check of outcomes: all old enough to have theirs.",
    "labels_missing_rows": "Rows of the newest check of outcomes that had none.",
}


@dataclass(frozen=True, slots=True)
class StoredState:
    """What the database says, each field under the name of its metric; NaN where it says nothing."""

    drift_score: float = math.nan
    drift_fired: float = math.nan
    drift_guarded: float = math.nan
    evidence: Mapping[str, float] = field(default_factory=dict)
    evidence_needed: float = math.nan
    evidence_alert_needed: float = math.nan
    alerts: Mapping[str, float] = field(default_factory=dict)
    loop_seen_timestamp_seconds: float = math.nan
    last_prediction_timestamp_seconds: float = math.nan
    labels_mature_rows: float = math.nan
    labels_missing_rows: float = math.nan


LABELS = {"evidence": "feature", "alerts": "kind"}


class StateCollector(Collector):
    """Tells the state that was last put into it."""

    def __init__(self) -> None:
        self.state = StoredState()

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """Yield a family for each field of the state."""
        for name in (one.name for one in fields(StoredState)):
            value: float | Mapping[str, float] = getattr(self.state, name)
            family = GaugeMetricFamily(f"homeostat_{name}", HELP[name], labels=[LABELS[name]] if name in LABELS else [])
            if isinstance(value, Mapping):
                for label, one in sorted(value.items()):
                    family.add_metric([label], one)
            else:
                family.add_metric([], value)
            yield family


def read_state(connection: Connection) -> StoredState:
    """Return what the database says now."""
    check = latest_drift_check(connection) or {}
    report = check.get("report", {})
    mature, known = read_outcomes(connection)
    seen = find_last_renewal(connection)
    newest = connection.scalar(select(predictions.c.received_at).order_by(predictions.c.seq.desc()).limit(1))
    return StoredState(
        drift_score=number_in(check, "score"),
        drift_fired=number_in(check, "fired"),
        drift_guarded=number_in(report, "guarded", "fired"),
        evidence=evidence_in(report),
        evidence_needed=number_in(report, "guarded", "evidence_needed"),
        evidence_alert_needed=number_in(report, "guarded", "alert_needed"),
        alerts=count_alerts(connection),
        loop_seen_timestamp_seconds=seen.timestamp() if seen else math.nan,
        last_prediction_timestamp_seconds=newest.timestamp() if newest else math.nan,
        labels_mature_rows=mature,
        labels_missing_rows=mature - known,
    )


def number_in(report: Json, *path: str) -> float:
    """Return the number or the verdict at a place in a report, NaN if there is none: older reports lack newer keys."""
    found: object = report
    for key in path:
        found = found.get(key) if isinstance(found, dict) else None
    return float(found) if isinstance(found, int | float) else math.nan


def evidence_in(report: Json) -> dict[str, float]:
    """Return the evidence of each feature, and of the model's scores as `.scores`."""
    streams = (report.get("evidence") or {}).get("streams") or {}
    return {name: number_in(stream, "value") for name, stream in streams.items()}


def count_alerts(connection: Connection) -> dict[str, float]:
    """Return how many alerts of each kind the log holds since the last promotion: few, for each is told once."""
    promoted = select(func.max(events.c.seq)).where(events.c.kind == "promoted").scalar_subquery()
    query = select(events.c.payload).where(events.c.kind == "alert", events.c.seq > promoted)
    return dict(Counter(json.loads(payload)["kind"] for payload in connection.scalars(query)))


def read_outcomes(connection: Connection) -> tuple[float, float]:
    """Return how many rows the newest check of outcomes looked at, and the outcomes of how many of them were known.

    Of any release and any watch: whoever sends the outcomes knows of neither, and a new watch has no check before its
    rows are old.
    """
    found = connection.scalar(select(outcome_checks.c.report).order_by(outcome_checks.c.id.desc()).limit(1))
    report = json.loads(found) if found else {}
    return number_in(report, "n_rows"), number_in(report, "n_outcomes")
