"""The loop as a ring: its six stages, which of them a step of a cycle belongs to, and where each is drawn.

Not here: which step is next (`retraining.cycles`), or how the ring looks (`templates/board`). Pure.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

STAGES = ("data", "validation", "training", "deployment", "monitoring", "retraining")
# What is going on while a step is the next of an open cycle, by the step: the stages it belongs to, and in words.
STEPS: Mapping[str, tuple[frozenset[str], str]] = MappingProxyType(
    {
        "snapshot": (frozenset({"data", "validation"}), "Reading the data and checking every row"),
        "search": (frozenset({"training"}), "Training: searching for a model"),
        "fit": (frozenset({"training"}), "Training: fitting and packing the model that was found"),
        "track": (frozenset({"training"}), "Training: recording the run"),
        "gate": (frozenset({"deployment"}), "At the gate: is the challenger good enough?"),
        "shadow": (frozenset({"deployment"}), "In the shadow: the challenger answers live rows unheard"),
        "approve": (frozenset({"deployment"}), "The challenger has passed the gate"),
        "promote": (frozenset({"deployment"}), "Promoting the challenger"),
        "restore": (frozenset({"deployment"}), "Going back to the last good release"),
        "mirror": (frozenset({"deployment"}), "Telling the experiment manager who is in production"),
    }
)
WIDTH, HEIGHT = 400.0, 292.0
CENTRE, RADIUS, DOT = (200.0, 146.0), 104.0, 9.0
# What an arc leaves free around the dots, and the half width of an arrow head, in radians and in units.
FREE, HEAD = 0.2, 4.5


@dataclass(frozen=True, slots=True)
class Node:
    """A stage on the ring: where its dot is, and where its name stands, `anchor` being the end of it that is there."""

    stage: str
    x: float
    y: float
    name_x: float
    name_y: float
    anchor: str


def place_nodes() -> tuple[Node, ...]:
    """Return the stages on the ring, the first at its top, clockwise."""
    nodes = []
    for place, stage in enumerate(STAGES):
        turn = angle_of(place)
        (x, y), (name_x, name_y) = point_at(turn, RADIUS), point_at(turn, RADIUS + 22)
        anchor = "middle" if abs(math.cos(turn)) < FREE else "start" if math.cos(turn) > 0 else "end"
        nodes.append(Node(stage, x, y, name_x, name_y + 5, anchor))
    return tuple(nodes)


def draw_arcs() -> tuple[str, ...]:
    """Return the SVG paths from each stage to the next, each with its arrow head."""
    return tuple(draw_arc(angle_of(place) + FREE, angle_of(place + 1) - FREE) for place in range(len(STAGES)))


def draw_arc(begin: float, end: float) -> str:
    """Return an arc of the ring, clockwise, with an arrow head at its end."""
    (x1, y1), (x2, y2) = point_at(begin, RADIUS), point_at(end, RADIUS)
    behind = end - 2 * HEAD / RADIUS
    outer, inner = point_at(behind, RADIUS + HEAD), point_at(behind, RADIUS - HEAD)
    head = f"M{outer[0]:.1f} {outer[1]:.1f}L{x2:.1f} {y2:.1f}L{inner[0]:.1f} {inner[1]:.1f}"
    return f"M{x1:.1f} {y1:.1f}A{RADIUS:g} {RADIUS:g} 0 0 1 {x2:.1f} {y2:.1f}{head}"


def angle_of(place: float) -> float:
    """Return the angle of a place on the ring, in radians, clockwise from the right."""
    return 2 * math.pi * place / len(STAGES) - math.pi / 2


def point_at(angle: float, radius: float) -> tuple[float, float]:
    """Return a point around the centre."""
    return CENTRE[0] + radius * math.cos(angle), CENTRE[1] + radius * math.sin(angle)
