"""Sending the event log to its receiver: at least once, in order, in a thread beside the loop.

Not here: what a message looks like and when it is tried again (`notifications.messages`). A line counts as delivered
once the receiver has answered and the cursor is committed: a process that is killed between the two sends it again,
under the same id.
"""

import hashlib
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime

import httpx
from sqlalchemy import Connection
from sqlalchemy.exc import SQLAlchemyError

from homeostat.errors import HomeostatError, LeaseHeld, SettingsInvalid
from homeostat.notifications.messages import (
    Message,
    Trouble,
    build_message,
    headers_of,
    is_due,
    judge_answer,
    read_secret,
)
from homeostat.notifications.outbox import Cursor, begin_at_end, find_cursor, move_on, next_event, try_later
from homeostat.settings import Settings
from homeostat.store.database import Database
from homeostat.store.events import Event
from homeostat.store.failpoints import failpoint
from homeostat.store.leases import find_lease, give_lease_back, require_lease, take_lease, this_process

LEASE = "notifications"
# All of them together are less than the lifetime of the lease.
TIMEOUT = httpx.Timeout(15.0, connect=5.0)
IDLE_S, AFTER_ERROR_S = 1.0, 10.0


@dataclass(frozen=True, slots=True)
class Receiver:
    """Who is told what. Its address may hold a token: neither it nor the key is ever shown."""

    project: str
    url: str = field(repr=False)
    key: bytes | None = field(repr=False)
    kinds: tuple[str, ...]

    @property
    def target(self) -> str:
        """The name under which the database knows the receiver."""
        return hashlib.sha256(self.url.encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class Attempt:
    """What became of one attempt, in a sentence; `problem` is None if the message was taken."""

    sentence: str
    problem: str | None


def find_receiver(settings: Settings) -> Receiver | None:
    """Return who is told of events, None if nobody is.

    Raises
    ------
    SettingsInvalid
        The address or the secret cannot be read.
    """
    wanted = settings.notifications
    if wanted.url is None:
        return None
    try:
        host = httpx.URL(wanted.url).host
    except httpx.InvalidURL:
        host = ""
    if not host:
        raise SettingsInvalid(
            problem="notifications.url cannot be read as an address",
            expected="https://HOST/PATH",
            action="correct it in homeostat.toml, or in HOMEOSTAT_NOTIFICATIONS__URL if that is set",
        )
    key = None if wanted.secret is None else read_secret(wanted.secret)
    return Receiver(settings.project.name, wanted.url, key, wanted.kinds)


def open_client() -> httpx.Client:
    """Return the client that sends: no redirects, certificates verified, everything within a time."""
    return httpx.Client(timeout=TIMEOUT, follow_redirects=False, headers={"user-agent": "homeostat"})


def post(http: httpx.Client, receiver: Receiver, message: Message, *, now: datetime) -> Trouble | None:
    """Send one message and return what went wrong, None if it was taken. What the answer says is not read."""
    headers = headers_of(message, receiver.key, now=now)
    try:
        with http.stream("POST", receiver.url, content=message.body, headers=headers) as response:
            return judge_answer(response.status_code, response.headers.get("retry-after"), now=now)
    except httpx.TimeoutException:
        return Trouble("it did not answer in time", is_refusal=False)
    except httpx.HTTPError as error:
        return Trouble(f"it could not be reached ({str(error) or type(error).__name__})", is_refusal=False)


def find_due(connection: Connection, receiver: Receiver, *, now: datetime) -> tuple[Cursor, Event] | None:
    """Return the receiver's place and the line that it is to be told now, None if there is nothing to tell yet."""
    cursor = find_cursor(connection, receiver.target)
    if cursor is None or not is_due(cursor.next_at, now=now):
        return None
    event = next_event(connection, cursor, receiver.kinds)
    return None if event is None else (cursor, event)


def deliver_next(database: Database, receiver: Receiver, http: httpx.Client, *, now: datetime) -> Attempt | None:
    """Make the attempt that is due; None if none is, or if another process makes them.

    Raises
    ------
    LeaseHeld
        Another process took over while the receiver was being asked: it sends the same message again.
    """
    with database.read() as connection:
        if find_due(connection, receiver, now=now) is None:
            return None
    try:
        lease = take_lease(database, name=LEASE, now=now)
    except LeaseHeld:
        return None
    # Only now: whoever held the lease before may have told it.
    with database.read() as connection:
        due = find_due(connection, receiver, now=now)
    if due is None:
        return None
    cursor, event = due
    failpoint("notify.before_post")
    trouble = post(http, receiver, build_message(event, receiver.project), now=now)
    failpoint("notify.after_post")
    name = f"event {event.seq} ({event.kind})"
    with database.write("notify") as connection:
        require_lease(connection, lease)
        if trouble is None:
            move_on(connection, cursor, event)
            return Attempt(f"The receiver of notifications was told of {name}.", None)
        again = try_later(connection, cursor, event, trouble, now=now)
    end = "It is tried again" if again else "It is left out"
    return Attempt(f"The receiver of notifications was not told of {name}: {trouble.problem}. {end}.", trouble.problem)


# --- beside the loop ----------------------------------------------------------------------------------------------


@contextmanager
def notifying(
    database: Database, settings: Settings, *, say: Callable[[str], None], patience_s: float
) -> Iterator[None]:
    """Send what the log holds and gets, in a thread, until the block ends; then what is due, for so long at most.

    The thread is no reason for the process to stay: what it has not told by then, the next one tells.
    """
    receiver = find_receiver(settings)
    if receiver is None:
        yield
        return
    with database.write("notify_begin") as connection:
        begin_at_end(connection, receiver.target)
    stop = threading.Event()
    thread = threading.Thread(target=notify, args=(database, receiver, stop, say), name=LEASE, daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join(patience_s)


def notify(database: Database, receiver: Receiver, stop: threading.Event, say: Callable[[str], None]) -> None:
    """Deliver until told to stop, then what is due; say what changes."""
    said: str | None = None
    with open_client() as http:
        while True:
            is_last = stop.is_set()
            try:
                while (attempt := deliver_next(database, receiver, http, now=datetime.now(UTC))) is not None:
                    if attempt.problem != said:
                        say(attempt.sentence)
                        said = attempt.problem
                wait_s = IDLE_S
            except (SQLAlchemyError, OSError, HomeostatError) as error:
                # Whatever is the matter with the database or its disk, the loop meets it too, and says more of it.
                say(f"Notifications stopped for {AFTER_ERROR_S:g} s: {error}")
                wait_s = AFTER_ERROR_S
            if is_last:
                break
            stop.wait(wait_s)
    give_back(database)


def give_back(database: Database) -> None:
    """Give the lease back if this process holds it."""
    with database.read() as connection:
        lease = find_lease(connection, name=LEASE)
    if lease is not None and lease.holder == this_process():
        give_lease_back(database, lease)
