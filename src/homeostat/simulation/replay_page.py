"""A backtest as one HTML file that needs nothing else: how often each policy was wrong over time, and what it did when.

Not here: the figures (`simulation.replay_report`), or who writes the file (`cli.replay`).
"""

import io
from collections.abc import Mapping, Sequence
from importlib.metadata import version

import matplotlib as mpl
import numpy as np
from jinja2 import Environment, PackageLoader
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from homeostat.records import Floats, Json
from homeostat.simulation.backtest import OWN, Backtest
from homeostat.simulation.history import History, as_datetime
from homeostat.simulation.replay_report import NEVER, find_wrong, roll

COLOURS = ("#1f6f8b", "#d1603d", "#6a4c93", "#2b7a4b", "#b8860b")
GREY = "#8a8f98"
# A rolling mean is over so many rows, or a share of the history if that is more; and drawn at so many places.
ROLL_ROWS, ROLL_SHARE, PLACES = 200, 0.02, 800
# What is marked below the lines: the event, its sign, and what it is called.
MARKS: Mapping[str, tuple[str, str]] = {
    "drift_alert": ("|", "drift"),
    "concept_alert": ("x", "concept"),
    "retrain_decided": (".", "retraining"),
    "promoted": ("^", "promotion"),
    "rolled_back": ("v", "rollback"),
}


def render_replay_page(found: Mapping[str, Backtest], compared: Json, history: History, *, project: str) -> str:
    """Return the page of a backtest.

    Parameters
    ----------
    found
        What each policy came to, the project's own settings first.
    compared
        The comparison of them (`simulation.replay_report.compare`).
    history
        The rows that all of them lived through.
    project
        What the project is called.
    """
    n_rolled = max(ROLL_ROWS, round(ROLL_SHARE * len(history)))
    loader = PackageLoader("homeostat.simulation")
    environment = Environment(loader=loader, autoescape=True, trim_blocks=True, lstrip_blocks=True)
    return environment.get_template("replay.html.jinja").render(
        project=project,
        version=version("homeostat"),
        n_rows=len(history),
        begin=as_datetime(int(history.clock[0])),
        end=as_datetime(int(history.clock[-1])),
        compared=compared["policies"],
        first=OWN,
        n_rolled=n_rolled,
        plot=Markup(draw(found, history, n_rolled)),  # noqa: S704  drawn here; names are escaped by matplotlib
        found=found,
        marked=[kind for kind in MARKS if any(kind in kinds_of(one) for one in found.values())],
        told=("retrain_decided", "promoted", "refused", "held", "failed", "rolled_back"),
    )


def kinds_of(one: Backtest) -> set[str]:
    """Return the kinds of events that a policy has led to."""
    return {str(line["event"]) for line in one.replayed.lines}


def draw(found: Mapping[str, Backtest], history: History, n_rolled: int) -> str:
    """Return the plot as an SVG element: rolling error above, marks of what happened below."""
    names = list(found)
    figure = Figure(figsize=(9, 3.4 + 0.75 * len(names)), layout="constrained")
    heights = [3.4, *[0.75] * len(names)]
    above, *below = figure.subplots(len(heights), 1, sharex=True, height_ratios=heights, squeeze=True)
    colours = dict(zip(names, COLOURS * len(names), strict=False))
    first = found[names[0]].replayed
    never = roll(find_wrong(history.labels, first.without), n_rolled)
    draw_line(above, never, colour=GREY, label=NEVER)
    for name, one in found.items():
        label = "updating" if len(found) == 1 else name
        line = roll(find_wrong(history.labels, one.replayed.answered), n_rolled)
        draw_line(above, line, colour=colours[name], label=label)
    above.set(ylabel=f"share wrong, last {n_rolled} rows", xlim=(0, len(history)))
    above.set_ylim(bottom=0)
    above.legend(fontsize=8, frameon=False)
    rows = {row: place for place, row in enumerate(history.ids)}
    for axes, (name, one) in zip(below, found.items(), strict=True):
        draw_marks(axes, one.replayed.lines, rows, colour=colours[name])
        axes.set_title("what happened" if len(found) == 1 else name, loc="left", fontsize=8)
    below[-1].set_xlabel("row of the stream")
    for axes in (above, *below):
        axes.spines[["top", "right"]].set_visible(False)
        axes.tick_params(labelsize=8)
    return as_svg(figure)


def draw_line(axes: Axes, values: Floats, *, colour: str, label: str) -> None:
    """Draw a rolling mean at some places."""
    places = np.unique(np.linspace(0, len(values) - 1, min(PLACES, len(values))).astype(np.int64))
    axes.plot(places, values[places], color=colour, linewidth=1.4, label=label)


def draw_marks(axes: Axes, lines: Sequence[Json], rows: Mapping[int | str, int], *, colour: str) -> None:
    """Draw a row of marks for each kind of event."""
    kinds = [kind for kind in MARKS if any(line["event"] == kind for line in lines)]
    for height, kind in enumerate(kinds):
        places = [rows[line["row"]] for line in lines if line["event"] == kind]
        axes.plot(places, [height] * len(places), MARKS[kind][0], color=colour, markersize=5, linestyle="none")
    axes.set_yticks(range(len(kinds)), [MARKS[kind][1] for kind in kinds])
    axes.set_ylim(-0.6, max(len(kinds), 1) - 0.4)


def as_svg(figure: Figure) -> str:
    """Return a figure as an SVG element, its text as text; the same figure gives the same bytes."""
    buffer = io.StringIO()
    nobody = dict.fromkeys(("Creator", "Date", "Format", "Type"))
    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": "homeostat"}):
        figure.savefig(buffer, format="svg", transparent=True, metadata=nobody)
    text = buffer.getvalue()
    return text[text.index("<svg") :]
