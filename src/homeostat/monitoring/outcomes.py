"""Judging what came of the predictions: each window once, as soon as all its outcomes are there or have had their time.

Not here: the tests (`monitoring.concept`, `monitoring.sources`), the figures (`monitoring.performance`), what is worth
an alert (`monitoring.outcome_alerts`), or what is shown (`monitoring.outcome_checks`). An outcome that comes after its
window was judged counts for no test: if positives become known sooner than negatives, taking outcomes as they come
would alarm a world that has not changed.
"""

from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Connection, exists, select

from homeostat.errors import StateError
from homeostat.monitoring.alerts import raise_alert
from homeostat.monitoring.concept import describe_concept
from homeostat.monitoring.dating import Outcomes
from homeostat.monitoring.entries import label_from_text
from homeostat.monitoring.outcome_alerts import find_alerts
from homeostat.monitoring.outcome_checks import append_outcome_check, last_judged
from homeostat.monitoring.performance import describe_labels, measure_performance
from homeostat.monitoring.production import WINDOWS_PER_CALL, window_after
from homeostat.monitoring.retention import LONGEST
from homeostat.monitoring.sources import (
    Hearing,
    advance_hearing,
    begin_hearing,
    hearing_from_bytes,
    hearing_to_bytes,
)
from homeostat.monitoring.watch_states import find_state, store_state
from homeostat.records import Alert, Counts, Floats, Json, Mask, Promotion, Release, Target
from homeostat.settings import MonitoringSettings
from homeostat.store.database import Database
from homeostat.store.events import append_event
from homeostat.store.leases import Lease, require_lease
from homeostat.store.tables import EPOCH, labels, predictions
from homeostat.validation.schema import is_label

STATE = "concept"
# Fewer outcomes than this say nothing: a check then carries no metrics.
MIN_LABELLED = 30


@dataclass(frozen=True, slots=True)
class JudgedRows:
    """The predictions of a window in the order in which they were made, each array of shape (n_rows,).

    `is_ours` marks what the release in production has answered: the first rows of a watch can be its predecessor's.
    `labels` holds 1 for positive and -1 where there is no outcome that the schema accepts. Moments are seconds since
    1970; where nothing has arrived, `labelled_s` is NaN and `senders` is empty.
    """

    numbers: Counts
    probabilities: Floats
    labels: NDArray[np.int8]
    is_ours: Mask
    predicted_s: Floats
    labelled_s: Floats
    senders: NDArray[np.str_]

    @property
    def known(self) -> Mask:
        """Which rows count: answered by the release in production, with an outcome that the schema accepts."""
        return self.is_ours & (self.labels >= 0)


def judge_outcomes(
    database: Database,
    release: Release,
    promotion: Promotion,
    settings: MonitoringSettings,
    *,
    lease: Lease,
    now: datetime,
) -> list[Alert]:
    """Judge the outcomes of every complete window that is old enough, and return the alerts that this has raised.

    The windows are those of the drift checks; rows must be stamped before. Each check is stored with the state of the
    tests in one transaction: a loop that is killed goes on where it was.

    Raises
    ------
    LeaseHeld
        Another loop took the lease meanwhile; what was judged until then stays.
    """
    alerts: list[Alert] = []
    for _ in range(WINDOWS_PER_CALL):
        with database.read() as connection:
            window = next_judged_window(connection, promotion, settings, now=now)
            if window is None:
                break
            rows = read_outcomes(connection, release, first=window[0], last=window[1])
            before = restore_hearing(connection, release, epoch=promotion.epoch)
        after = advance_over(before, rows, alpha=settings.alpha_life)
        raised = find_alerts(before, after, release.schema.target, alpha=settings.alpha_life)
        report = report_outcomes(rows, after, settings, seed=window[0], now=now)
        with database.write("judge_outcomes") as connection:
            require_lease(connection, lease)
            store_check(connection, report, after, promotion, window, now=now)
            for alert in raised:
                raise_alert(connection, alert, epoch=promotion.epoch, now=now)
        alerts.extend(raised)
    return alerts


def outcomes_wait(database: Database, promotion: Promotion, settings: MonitoringSettings, *, now: datetime) -> bool:
    """Return whether a window is left to judge: after a long pause one call does not take all of them."""
    with database.read() as connection:
        return next_judged_window(connection, promotion, settings, now=now) is not None


# --- which rows ---------------------------------------------------------------------------------------------------


def next_judged_window(
    connection: Connection, promotion: Promotion, settings: MonitoringSettings, *, now: datetime
) -> tuple[int, int] | None:
    """Return the first and last observed number of the next window to judge, None if it must wait for its outcomes.

    One that has them all need not wait until it is old enough: the same rows would be judged then.
    """
    done = last_judged(connection, epoch=promotion.epoch)
    window = window_after(connection, epoch=promotion.epoch, done=done, n_rows=settings.window)
    age = timedelta(seconds=min(settings.maturity_s, LONGEST.total_seconds()))
    if window is None:
        return None
    return window if is_complete(connection, *window) or is_mature(connection, *window, age, now=now) else None


def is_complete(connection: Connection, first: int, last: int) -> bool:
    """Return whether every prediction of a window has its outcome: the first without one ends the search."""
    joined = predictions.outerjoin(labels, labels.c.prediction == predictions.c.id)
    awaited = select(predictions.c.seq).select_from(joined)
    awaited = awaited.where(predictions.c.observed_seq.between(first, last), labels.c.prediction.is_(None))
    return not connection.scalar(select(exists(awaited)))


def is_mature(connection: Connection, first: int, last: int, age: timedelta, *, now: datetime) -> bool:
    """Return whether all predictions of a window are at least so old.

    A prediction from the future, of a clock that was wrong, is as old as the next one that is not: it must not keep
    those behind it for years.
    """
    seq, at = predictions.c.observed_seq, predictions.c.received_at
    young = select(predictions.c.seq).where(seq.between(first, last), at > now - age, at <= now)
    if connection.scalar(select(exists(young))):
        return False
    later = select(at).where(seq >= last, at <= now).order_by(seq).limit(1)
    moment = connection.scalar(later)
    return moment is not None and moment <= now - age


def read_outcomes(connection: Connection, release: Release, *, first: int, last: int) -> JudgedRows:
    """Return the predictions from one observed number to another, both included, with what has come of them."""
    query = (
        select(
            predictions.c.observed_seq,
            predictions.c.probability,
            predictions.c.release,
            predictions.c.received_at,
            labels.c.label,
            labels.c.received_at.label("labelled_at"),
            labels.c.source,
        )
        .outerjoin(labels, labels.c.prediction == predictions.c.id)
        .where(predictions.c.observed_seq.between(first, last))
        .order_by(predictions.c.observed_seq)
    )
    rows = connection.execute(query).all()
    return JudgedRows(
        np.array([row.observed_seq for row in rows], dtype=np.int64),
        np.array([row.probability for row in rows], dtype=np.float64),
        np.array([to_class(row.label, release.schema.target) for row in rows], dtype=np.int8),
        np.array([row.release == release.digest for row in rows], dtype=np.bool_),
        np.array([to_seconds(row.received_at) for row in rows], dtype=np.float64),
        np.array([to_seconds(row.labelled_at) for row in rows], dtype=np.float64),
        np.array([row.source or "" for row in rows], dtype=np.str_),
    )


def to_class(text: str | None, target: Target) -> int:
    """Return 1 for a stored outcome that is positive, 0 for a negative one, -1 for none that the schema accepts."""
    label = None if text is None else label_from_text(text)
    return int(label == target.positive) if is_label(label, target) else -1


def to_seconds(moment: datetime | None) -> float:
    """Return a moment in seconds since 1970, NaN for none."""
    return float("nan") if moment is None else (moment - EPOCH).total_seconds()


# --- judging ------------------------------------------------------------------------------------------------------


def restore_hearing(connection: Connection, release: Release, *, epoch: int) -> Hearing | None:
    """Return the tests as the last judged window of this watch left them, new ones before the first.

    None if the release has no out-of-fold rows. What another version of the tests has left is begun anew.
    """
    with suppress(StateError):
        found = find_hearing(connection, epoch=epoch)
        if found is not None:
            return found
    held_out = release.out_of_fold
    if held_out is None or not len(held_out.labels):
        return None
    return begin_hearing(held_out.probabilities, held_out.labels)


def find_hearing(connection: Connection, *, epoch: int) -> Hearing | None:
    """Return the tests as the last judged window of a watch left them, None before the first.

    Raises
    ------
    StateError
        Another version of the tests has left them.
    """
    found = find_state(connection, epoch=epoch, kind=STATE)
    return None if found is None else hearing_from_bytes(found[1])


def advance_over(hearing: Hearing | None, rows: JudgedRows, *, alpha: float) -> Hearing | None:
    """Return the tests after the labelled rows of a window that the release in production has answered."""
    if hearing is None:
        return None
    known = rows.known
    places = hearing.everyone.concept.n_rows + np.arange(int(known.sum()))
    outcomes = Outcomes(rows.probabilities[known], rows.labels[known], rows.numbers[known], places)
    return advance_hearing(hearing, outcomes, rows.senders[known].tolist(), alpha=alpha)


def report_outcomes(
    rows: JudgedRows, hearing: Hearing | None, settings: MonitoringSettings, *, seed: int, now: datetime
) -> Json:
    """Return what came of one window as a JSON object.

    `n_other` rows were answered by another release and count for nothing here; `n_outcomes` counts all that arrived.
    """
    ours, known = rows.is_ours, rows.known
    n_labelled = int(known.sum())
    measured = n_labelled >= MIN_LABELLED
    tests: dict[str, Json | None] = {"risk": None, "residual": None}
    if hearing is not None:
        tests |= describe_concept(hearing.everyone.concept, alpha=settings.alpha_life)
    return {
        "n_rows": len(ours),
        "n_other": int((~ours).sum()),
        "n_outcomes": int((~np.isnan(rows.labelled_s)).sum()),
        "n_labelled": n_labelled,
        "realised": measure_performance(rows.labels[known], rows.probabilities[known], seed=seed) if measured else None,
        **tests,
        "delay": describe_labels(rows.predicted_s[ours], rows.labelled_s[ours], now_s=to_seconds(now)),
    }


def store_check(
    connection: Connection,
    report: Json,
    hearing: Hearing | None,
    promotion: Promotion,
    window: tuple[int, int],
    *,
    now: datetime,
) -> None:
    """Store a check, what the tests have come to, and the event that tells it."""
    append_outcome_check(connection, report, epoch=promotion.epoch, window=window, release=promotion.release, now=now)
    if hearing is not None:
        state = hearing_to_bytes(hearing)
        store_state(connection, epoch=promotion.epoch, kind=STATE, last_seq=window[1], state=state)
    realised = report["realised"] or {}
    payload = {
        "window": window,
        "n_rows": report["n_rows"],
        "n_labelled": report["n_labelled"],
        **{name: figure["value"] for name, figure in realised.items() if isinstance(figure, dict)},
        **{test: report[test]["value"] for test in ("risk", "residual") if report[test]},
    }
    append_event(connection, "outcomes_checked", payload, now=now)
