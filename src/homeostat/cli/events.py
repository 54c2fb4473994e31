"""`homeostat events`: the event log, line by line, also as it grows.

Not here: what is written there (`store.events`), or whether it is whole (`homeostat verify`).
"""

import json
import select
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from types import FrameType

import click

from homeostat.cli import project_option
from homeostat.project import open_project
from homeostat.records import Json
from homeostat.store.database import Database
from homeostat.store.events import Event, read_events

POLL_S = 0.5
# Lines that are read in one transaction: a reader that is slow must not hold one open.
PART = 500
# Words of a payload that say what happened, the best first, and how much of others is shown.
TELLING, SHOWN = ("sentence", "reason", "problem"), 140
DIGEST_LENGTH = 64


@click.command("events")
@click.option("--after", type=click.IntRange(min=0), default=0, help="Only lines after this number.")
@click.option("--kind", help="Only lines of this kind, such as promoted.")
@click.option("--follow", is_flag=True, help="Go on with each new line, until Ctrl-C.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object on each line, for programs.")
@project_option
def events_command(after: int, kind: str | None, folder: Path, *, follow: bool, as_json: bool) -> None:
    """Print the event log, oldest line first: every decision and every change of production.

    Example: homeostat events --kind promoted
    """
    if follow:
        signal.signal(signal.SIGINT, leave)
        signal.signal(signal.SIGTERM, leave)
    with open_project(folder) as project:
        found = 0
        for part in read_parts(project.database, after=after, kind=kind, follow=follow):
            for event in part:
                click.echo(json.dumps(event_to_json(event)) if as_json else describe_event(event))
            found += len(part)
    if not found and not as_json:
        click.echo("No such line in the event log.", err=True)


def read_parts(database: Database, *, after: int, kind: str | None, follow: bool) -> Iterator[Sequence[Event]]:
    """Yield the lines in parts; to follow, go on until nobody reads them any more."""
    while True:
        with database.read() as connection:
            part = list(islice(read_events(connection, after=after, kind=kind), PART))
        if part:
            yield part
            after = part[-1].seq
        elif not follow or is_unread():
            return
        else:
            time.sleep(POLL_S)


def is_unread() -> bool:
    """Return whether the reader of a pipe has gone: with nothing to write, nothing else would tell."""
    poll = select.poll()
    poll.register(sys.stdout.fileno(), 0)
    return any(state & (select.POLLERR | select.POLLHUP) for _, state in poll.poll(0))


def event_to_json(event: Event) -> Json:
    """Return a line as GET /v1/events answers it."""
    return {
        "seq": event.seq,
        "at": event.at.isoformat(),
        "kind": event.kind,
        "payload": event.payload,
        "previous": event.previous,
        "digest": event.digest,
    }


def describe_event(event: Event) -> str:
    """Return a line for a person: its number, when, what, and the sentence in it, or its first members."""
    payload = event.payload
    text = next((str(payload[word]) for word in TELLING if payload.get(word)), "")
    if not text:
        plain = (f"{name}: {shorten(value)}" for name, value in payload.items() if not isinstance(value, dict | list))
        text = ", ".join(plain)
    elif isinstance(payload.get("release"), str):
        text = f"{shorten(payload['release'])}: {text}"
    text = text if len(text) <= SHOWN else f"{text[:SHOWN]} ..."
    return f"{event.seq:>6}  {event.at:%Y-%m-%d %H:%M:%S}  {event.kind:<18}  {text}".rstrip()


def shorten(value: object) -> str:
    """Return a value of a payload; of a digest its beginning."""
    text = str(value)
    return text[:12] if len(text) == DIGEST_LENGTH else text


def leave(_signal: int, _frame: FrameType | None) -> None:
    """End quietly: whoever follows the log has to end it somehow."""
    sys.exit(0)
