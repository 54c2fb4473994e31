"""How pages are made: templates that escape whatever they are given, one style sheet, one form for the usual figures.

Not here: what a page says. A page is served with the style sheet beside it, or stands alone with the sheet inside.
"""

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import cache
from importlib.resources import files
from types import MappingProxyType

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

from homeostat.monitoring.verdicts import short

STYLE = "homeostat.css"
# What may be fetched, and as what.
STATIC: Mapping[str, str] = MappingProxyType(
    {STYLE: "text/css; charset=utf-8", "board.js": "text/javascript; charset=utf-8"}
)
# The pages that every page leads to, in the order of the story.
PLACES: Mapping[str, str] = MappingProxyType(
    {"/": "Loop", "/releases": "Releases", "/drift": "Drift", "/events": "Events"}
)


def render_page(template: str, *, project: str, place: str = "/", **content: object) -> str:
    """Return a page of the service; `place` is the entry of `PLACES` that it belongs to.

    `places={}` leaves out what leads to the others.
    """
    shared: dict[str, object] = {"project": project, "places": PLACES, "place": place, "style": None, "viewer": None}
    return environment().get_template(template).render({**shared, **content})


def render_document(template: str, *, project: str, **content: object) -> str:
    """Return a page as one file that needs nothing else and leads nowhere."""
    style = Markup(read_static(STYLE).decode())  # noqa: S704  our own file
    shared: dict[str, object] = {"project": project, "places": {}, "place": "", "style": style, "viewer": None}
    return environment().get_template(template).render({**shared, **content})


def render_part(template: str, **content: object) -> str:
    """Return a part of a page, such as one that replaces what stands there."""
    return environment().get_template(template).render(**content)


@cache
def environment() -> Environment:
    """Return the templates. The names of features, and whatever a person wrote as a reason, are texts of strangers."""
    made = Environment(
        loader=PackageLoader("homeostat.web"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=StrictUndefined,
    )
    made.filters |= {"short": short, "minute": minute, "percent": percent, "milliseconds": milliseconds}
    made.filters |= {"commands": mark_commands, "actor": name_actor}
    return made


@cache
def read_static(name: str) -> bytes:
    """Return a file of `STATIC`."""
    return (files("homeostat.web") / "static" / name).read_bytes()


def minute(moment: datetime | str) -> str:
    """Return a moment as it is read, in UTC to the minute."""
    parsed = datetime.fromisoformat(moment) if isinstance(moment, str) else moment
    return f"{parsed.astimezone(UTC):%Y-%m-%d %H:%M}"


def percent(share: float) -> str:
    """Return a share in 0-1 as a percentage."""
    return f"{share:.1%}" if share < 0.1 else f"{share:.0%}"  # noqa: PLR2004  two digits either way


def milliseconds(seconds: float) -> str:
    """Return how long something took, in milliseconds; infinite is what no bucket holds."""
    return "more than 20 s" if seconds == float("inf") else f"{short(1000 * seconds)} ms"


def mark_commands(text: str) -> Markup:
    """Return a sentence with what stands between backticks as code."""
    # As plain text: what `re.sub` puts into Markup is escaped once more, our own tags too.
    plain = str(escape(text))
    return Markup(re.sub("`([^`]+)`", r"<code>\1</code>", plain))  # noqa: S704  escaped, then our own tags


def name_actor(actor: str) -> str:
    """Return who asked for something; without keys, whoever is on the machine of the service is called http."""
    return "somebody on this machine" if actor == "http" else actor
