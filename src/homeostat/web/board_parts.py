"""The board as parts of HTML that are replaced one by one, each with a tag that tells it from what stood there before.

Not here: what they say (`web.board`, `templates/board`), or sending them (`web.live`). A part is the same for everybody
who looks: what only some may see or press is no part.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from types import MappingProxyType

from markupsafe import Markup

from homeostat.records import Json
from homeostat.web import drift_page, ring
from homeostat.web.board import Board
from homeostat.web.rendering import render_part

PARTS = (
    "ring",
    "standing",
    "production",
    "traffic",
    "rejected",
    "performance",
    "drift",
    "story",
    "alerts",
    "releases",
    "promotable",
)
DRAWING: Mapping[str, object] = MappingProxyType(
    {
        "nodes": ring.place_nodes(),
        "arcs": ring.draw_arcs(),
        "width": ring.WIDTH,
        "height": ring.HEIGHT,
        "dot": ring.DOT,
    }
)


@dataclass(frozen=True, slots=True)
class Part:
    """One part of the page: the `id` of its element, what stands in it, and its tag."""

    id: str
    html: Markup
    tag: str

    def to_json(self) -> Json:
        """Return what a browser is sent."""
        return {"id": self.id, "html": str(self.html), "tag": self.tag}


def render_parts(board: Board) -> dict[str, Part]:
    """Return every part of a board, by its id."""
    size = (drift_page.WIDTH, drift_page.HEIGHT)
    return {
        name: make_part(name, render_part(f"board/{name}.jinja", board=board, ring=DRAWING, size=size))
        for name in PARTS
    }


def make_part(name: str, html: str) -> Part:
    """Return a part that was rendered; our templates have escaped what is not theirs."""
    return Part(name, Markup(html), sha256(html.encode()).hexdigest()[:16])  # noqa: S704
