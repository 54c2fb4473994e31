"""What a receiver is sent for one line of the event log, and when it is tried again.

Not here: sending it (`notifications.delivery`), or how far a receiver has come (`notifications.outbox`). A message is
a CloudEvent in structured mode, signed as Standard Webhooks has it.
https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/spec.md
https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md
"""

import base64
import binascii
import hashlib
import hmac
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from email.utils import parsedate_to_datetime

from homeostat.errors import SettingsInvalid
from homeostat.records import Json
from homeostat.store.events import Event

SECRET_PREFIX = "whsec_"  # noqa: S105  how a secret begins, not one
MEDIA_TYPE = "application/cloudevents+json"
# The next attempt follows after about half the time that the receiver has been in trouble, at most this.
GROWTH, MAX_WAIT_S = 1.5, 300.0
# A receiver may ask for more, and is granted this much: a date that is wrong by years must not end its notifications.
MAX_RETRY_AFTER_S = 3600.0
# From this many attempts on the wait is at its longest.
LONGEST_FROM = 16
# Refusals in a row of one message, about a day of them, after which it is left out: it must not hold up all others.
MAX_REFUSALS = 400
OK_STATUS, REFUSED_STATUS, BROKEN_STATUS = 200, 300, 500
# The receiver is there, but cannot take anything now: Request Timeout, Too Early, Too Many Requests.
LATER_STATUS = frozenset({408, 425, 429})


@dataclass(frozen=True, slots=True)
class Message:
    """What is sent of one event. `id` is the same in every attempt, so that a receiver can tell a repetition."""

    id: str
    body: bytes


@dataclass(frozen=True, slots=True)
class Trouble:
    """Why an attempt failed. `is_refusal`: the receiver was there, and would not have this message."""

    problem: str
    is_refusal: bool
    retry_after_s: float = 0.0


def build_message(event: Event, project: str) -> Message:
    """Return the CloudEvent of one line of the log; its data is the line as `GET /v1/events` tells it."""
    at = to_rfc3339(event.at)
    content = {
        "specversion": "1.0",
        "id": event.digest,
        "source": f"/homeostat/{project}",
        "type": f"homeostat.{event.kind}",
        "time": at,
        "datacontenttype": "application/json",
        "data": {**asdict(event), "at": at},
    }
    return Message(event.digest, to_bytes(content))


def build_trial(project: str, *, number: str, now: datetime) -> Message:
    """Return a message that tells of no event: to try a receiver."""
    content = {
        "specversion": "1.0",
        "id": number,
        "source": f"/homeostat/{project}",
        "type": "homeostat.trial",
        "time": to_rfc3339(now),
        "datacontenttype": "application/json",
        "data": {"sentence": "This is a trial: nothing has happened."},
    }
    return Message(number, to_bytes(content))


def to_rfc3339(moment: datetime) -> str:
    """Return an aware UTC moment as text."""
    return moment.isoformat().replace("+00:00", "Z")


def to_bytes(content: Json) -> bytes:
    """Return compact JSON."""
    return json.dumps(content, separators=(",", ":")).encode()


# --- signing ------------------------------------------------------------------------------------------------------


def read_secret(secret: str) -> bytes:
    """Return the key that a secret stands for: base64 after `whsec_`, as the specification has it, or its own bytes.

    Raises
    ------
    SettingsInvalid
        What follows `whsec_` is not base64. The secret is not repeated.
    """
    if not secret.startswith(SECRET_PREFIX):
        return secret.encode()
    try:
        return base64.b64decode(secret.removeprefix(SECRET_PREFIX), validate=True)
    except binascii.Error as error:
        raise SettingsInvalid(
            problem=f"what follows {SECRET_PREFIX} in notifications.secret is not base64",
            expected=f"{SECRET_PREFIX} and the base64 of 24 to 64 random bytes, or any other text of 16 characters",
            action="correct it in the variable HOMEOSTAT_NOTIFICATIONS__SECRET, or where it is set",
        ) from error


def headers_of(message: Message, key: bytes | None, *, now: datetime) -> Mapping[str, str]:
    """Return the headers of one attempt; without a key it is not signed."""
    timestamp = str(int(now.timestamp()))
    headers = {"content-type": MEDIA_TYPE, "webhook-id": message.id, "webhook-timestamp": timestamp}
    if key is None:
        return headers
    return {**headers, "webhook-signature": sign(message, key, timestamp=timestamp)}


def sign(message: Message, key: bytes, *, timestamp: str) -> str:
    """Return the symmetric signature of an attempt: HMAC-SHA256 over its id, its time and its body."""
    content = f"{message.id}.{timestamp}.".encode() + message.body
    return "v1," + base64.b64encode(hmac.digest(key, content, hashlib.sha256)).decode()


# --- what an answer means -----------------------------------------------------------------------------------------


def judge_answer(status: int, retry_after: str | None, *, now: datetime) -> Trouble | None:
    """Return what is wrong with an answer, None if the message was taken.

    Redirects are refusals: a receiver that has moved is a setting to correct, and a signed message is for nobody else.
    """
    if OK_STATUS <= status < REFUSED_STATUS:
        return None
    is_refusal = status < BROKEN_STATUS and status not in LATER_STATUS
    return Trouble(f"it answered {status}", is_refusal, read_retry_after(retry_after, now=now))


def read_retry_after(text: str | None, *, now: datetime) -> float:
    """Return the seconds that a Retry-After asks for, as number or date, within bounds; 0 if it asks for nothing."""
    if text is None:
        return 0.0
    try:
        wished = float(text) if text.strip().isdigit() else (parsedate_to_datetime(text) - now).total_seconds()
    except (ValueError, TypeError):  # no date, or one without a zone
        return 0.0
    return min(max(wished, 0.0), MAX_RETRY_AFTER_S)


def count_attempts(attempts: int, trouble: Trouble) -> int:
    """Return how many attempts count after one more that failed.

    A receiver that is out of reach is waited for without end, and what was refused before that begins anew.
    """
    return attempts + 1 if trouble.is_refusal else min(attempts + 1, LONGEST_FROM)


def choose_wait(message_id: str, attempts: int, trouble: Trouble) -> timedelta:
    """Return how long to wait after so many failed attempts: growing, spread, and never less than was asked for.

    The spread, between half and all of the wait, follows from the message and the attempt: nothing random is needed
    for the projects that share a receiver not to come back to it in the same moment.
    """
    longest = min(GROWTH ** min(attempts, LONGEST_FROM), MAX_WAIT_S)
    place = int.from_bytes(hashlib.sha256(f"{message_id}.{attempts}".encode()).digest()[:8]) / 2**64
    return timedelta(seconds=max(longest * (0.5 + place / 2), trouble.retry_after_s))


def is_due(next_at: datetime | None, *, now: datetime) -> bool:
    """Return whether an attempt may be made; also when the clock has been put back by more than any wait."""
    return next_at is None or now >= next_at or next_at - now > timedelta(seconds=MAX_RETRY_AFTER_S)
