"""What a page shows, before it is a page: its template and content, for the service and for a file of its own.

Not here: how it is rendered (`web.rendering`), or answered (`web.pages`).
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from homeostat.records import Estimate, Json
from homeostat.web.charts import draw_bar, draw_interval, draw_sample
from homeostat.web.event_words import say
from homeostat.web.page_responses import Viewer
from homeostat.web.rendering import render_document, render_page


def is_flat(content: object) -> bool:
    """Return whether an object or a list of JSON holds no further one."""
    members = content.values() if isinstance(content, Mapping) else content
    return isinstance(members, Iterable) and not any(isinstance(one, (dict, list, tuple)) for one in members)


# What every template may call.
DRAWINGS: Mapping[str, Callable[..., object]] = {
    "draw_bar": draw_bar,
    "draw_interval": draw_interval,
    "draw_sample": draw_sample,
    "say": say,
    "is_flat": is_flat,
}


@dataclass(frozen=True, slots=True)
class Content:
    """What one page shows; `place` is the entry of `rendering.PLACES` that it belongs to."""

    template: str
    place: str
    values: Mapping[str, object]


def to_page(content: Content, *, project: str, viewer: Viewer) -> str:
    """Return a page of the service for whoever looks at it."""
    values = {**DRAWINGS, **content.values, "viewer": viewer}
    return render_page(content.template, project=project, place=content.place, **values)


def to_document(content: Content, *, project: str) -> str:
    """Return the same as one file that needs nothing else."""
    return render_document(content.template, project=project, **DRAWINGS, **content.values)


def to_estimate(figure: Json | None) -> Estimate | None:
    """Return a figure with its interval as a release or a check holds it; None where there is none."""
    return None if figure is None else Estimate(figure["value"], figure["low"], figure["high"])
