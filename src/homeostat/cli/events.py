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
from homeostat.cli.completion import complete_kind
from homeostat.project import open_project
from homeostat.records import Json
from homeostat.store.database import Database
from homeostat.store.events import Event, read_events

POLL_S = 0.5
# Lines that are read in one transaction: a reader that is slow must not hold one open.
PART = 500
# Members of a payload that say what a line is about; those that say what happened, the best first; how much is shown.
ABOUT, TELLING, SHOWN = ("actor", "kind", "trigger", "release"), ("sentence", "reason", "problem"), 160
DIGEST_LENGTH = 64


@click.command("events")
@click.option("--after", type=click.IntRange(min=0), default=0, help="Only lines after this number.")
@click.option("--kind", shell_complete=complete_kind, help="Only lines of this kind, such as promoted.")
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
    about = [shorten(event.payload[word]) for word in ABOUT if event.payload.get(word)]
    told = next((str(event.payload[word]) for word in TELLING if event.payload.get(word)), "")
    if not told:
        plain = {k: v for k, v in event.payload.items() if k not in ABOUT and not isinstance(v, dict | list)}
        told = ", ".join(f"{name}: {shorten(value)}" for name, value in plain.items())
    text = ": ".join(filter(None, (" ".join(about), told)))
    # A category, say, is what somebody has sent: it must not move the cursor of who reads this.
    text = "".join(letter if letter.isprintable() else " " for letter in text)
    text = text if len(text) <= SHOWN else f"{text[:SHOWN]} ..."
    return f"{event.seq:>6}  {event.at:%Y-%m-%d %H:%M:%S}  {event.kind:<18}  {text}".rstrip()


def shorten(value: object) -> str:
    """Return a value of a payload; of a digest its beginning."""
    text = str(value)
    return text[:12] if len(text) == DIGEST_LENGTH else text


def leave(_signal: int, _frame: FrameType | None) -> None:
    """End quietly: whoever follows the log has to end it somehow."""
    sys.exit(0)
