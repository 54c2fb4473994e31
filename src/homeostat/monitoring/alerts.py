"""Alerts as events: what a person should look at, told once.

Not here: what is worth an alert, which is for the module that judges it. No alert ever retrains by itself.
"""

from datetime import datetime

from sqlalchemy import Connection

from homeostat.records import Alert, Json
from homeostat.store.events import append_event, read_events

KIND = "alert"


def raise_alert(connection: Connection, alert: Alert, *, epoch: int, now: datetime) -> None:
    """Append an alert on the watch `epoch` to the event log, in the caller's transaction."""
    payload = {
        "kind": alert.kind,
        "subject": alert.subject,
        "sentence": alert.sentence,
        "figures": alert.figures,
        "epoch": epoch,
    }
    append_event(connection, KIND, payload, now=now)


def list_alerts(connection: Connection, *, epoch: int) -> list[Json]:
    """Return the alerts of one watch, oldest first, each with its moment."""
    found = read_events(connection, kind=KIND)
    return [{**event.payload, "at": event.at.isoformat()} for event in found if event.payload["epoch"] == epoch]
