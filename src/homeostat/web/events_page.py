"""The pages of the event log: its lines newest first, and one line with its payload and its place in the chain.

Not here: the log itself (`store.events`), or what a line says in words (`web.event_words`).
"""

from sqlalchemy import Connection

from homeostat.store.event_pages import find_event, is_as_written, leaf_through, list_kinds
from homeostat.store.events import GENESIS, find_last
from homeostat.web.contents import Content
from homeostat.web.event_words import list_links

PER_PAGE = 100


def describe_events(connection: Connection, *, before: int | None = None, kind: str = "") -> Content:
    """Return the page of the newest lines; of those before a number, and of one kind, if given."""
    found = leaf_through(connection, limit=PER_PAGE + 1, before=before, kind=kind)
    shown = found[:PER_PAGE]
    return Content(
        "events.html.jinja",
        "/events",
        {
            "events": shown,
            "kind": kind,
            "kinds": list_kinds(connection),
            "newer": before is not None,
            "older": shown[-1].seq if len(found) > PER_PAGE else None,
            "n_lines": find_last(connection)[0],
        },
    )


def describe_event(connection: Connection, number: int) -> Content | None:
    """Return the page of one line, None if there is none of this number."""
    event = find_event(connection, number)
    if event is None:
        return None
    before = find_event(connection, number - 1)
    follows = event.previous == (before.digest if before else GENESIS)
    return Content(
        "event.html.jinja",
        "/events",
        {
            "event": event,
            "links": list(list_links(connection, event)),
            "own": is_as_written(connection, event),
            "follows": follows or (before is None and number > 1),
            "last": find_last(connection)[0],
        },
    )
