"""The demonstration's report: one self-contained HTML file with plots.

Not here: what is in it (`simulation.demo`).
"""

import io
import itertools
from importlib.metadata import version
from pathlib import Path

import numpy as np
from jinja2 import Environment, PackageLoader
from markupsafe import Markup
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, NullFormatter

from homeostat.deployment.registry import list_promotions, list_releases
from homeostat.records import Floats
from homeostat.simulation.cohort import AGED
from homeostat.simulation.demo import Story

BLUE, ORANGE, GREY = "#1f6f8b", "#d1603d", "#8a8f98"
BINS = 30


def write_report(story: Story, path: Path, *, origin: str, seed: int) -> Path:
    """Write the report of a finished story and return its path."""
    loader = PackageLoader("homeostat.simulation")
    environment = Environment(loader=loader, autoescape=True, trim_blocks=True, lstrip_blocks=True)
    with story.project.database.read() as connection:
        releases, promotions = list_releases(connection), list_promotions(connection)
    plots = {"score": draw_scores(story), "shift": draw_shift(story), "latency": draw_latency(story)}
    text = environment.get_template("report.html.jinja").render(
        claims=story.claims,
        origin=origin,
        seed=seed,
        version=version("homeostat"),
        releases=releases,
        promotions=promotions,
        first_fired=next((check for check in story.facts["checks"] if check["fired"]), None),
        auc=story.facts["auc"],
        plots={name: Markup(as_svg(figure)) for name, figure in plots.items()},  # noqa: S704  drawn here, from numbers
    )
    path.write_text(text, encoding="utf-8")
    return path


def as_svg(figure: Figure) -> str:
    """Return a figure as an SVG element, its text as text."""
    buffer = io.StringIO()
    with rc_context({"svg.fonttype": "none"}):
        figure.savefig(buffer, format="svg", transparent=True)
    text = buffer.getvalue()
    return text[text.index("<svg") :]


def draw_scores(story: Story) -> Figure:
    """Draw the drift score of each window, by watch, with the boundary."""
    checks = story.facts["checks"]
    figure, axes = new_figure(7.5, 2.6)
    colours = [ORANGE if check["fired"] else BLUE for check in checks]
    axes.bar(range(1, len(checks) + 1), [max(check["score"], 0.005) for check in checks], color=colours)
    axes.axhline(checks[-1]["report"]["boundary"], color=GREY, linestyle="--", linewidth=1)
    swaps = [n for n, (a, b) in enumerate(itertools.pairwise(checks), 1) if a["epoch"] != b["epoch"]]
    for place in swaps:
        axes.axvline(place + 0.5, color=GREY, linewidth=1)
        axes.text(place + 0.6, 0.92, "release 2", color=GREY, fontsize=8)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set(xlabel="window of 200 accepted rows", ylabel="drift score", ylim=(0, 1))
    return figure


def draw_shift(story: Story) -> Figure:
    """Draw the three features that moved, before and after."""
    figure = Figure(figsize=(7.5, 2.4), layout="constrained")
    for axes, name in zip(figure.subplots(1, len(AGED)), AGED, strict=True):
        before, after = measured(story, "ordinary", name), measured(story, "aged", name)
        edges = np.linspace(min(before.min(), after.min()), max(before.max(), after.max()), BINS)
        axes.hist(before, edges, density=True, color=BLUE, alpha=0.6, label="ordinary month")
        axes.hist(after, edges, density=True, color=ORANGE, alpha=0.6, label="aged population")
        tidy(axes)
        axes.set(title=name, yticks=[])
    figure.axes[0].legend(fontsize=7, frameon=False)
    return figure


def measured(story: Story, population: str, name: str) -> Floats:
    """Return the measured values of a feature in one population."""
    values = np.asarray(story.facts[population][name], dtype=np.float64)
    return values[values > 0]


def draw_latency(story: Story) -> Figure:
    """Draw the latency of each request around the swap."""
    sent = story.facts["stream"]
    figure, axes = new_figure(7.5, 2.4)
    latencies = 1000 * np.array(sent.latencies_s)
    new = np.array([release != sent.releases[0] for release in sent.releases])
    order = np.arange(len(latencies))
    axes.scatter(order[~new], latencies[~new], s=4, color=BLUE, label="answered by release 1")
    axes.scatter(order[new], latencies[new], s=4, color=ORANGE, label="answered by release 2")
    axes.set(xlabel="request, in order", ylabel="latency (ms)", yscale="log")
    axes.yaxis.set_major_formatter("{x:g}")
    axes.yaxis.set_minor_formatter(NullFormatter())
    axes.legend(fontsize=7, frameon=False)
    return figure


def new_figure(width: float, height: float) -> tuple[Figure, Axes]:
    """Return a figure with one plot in the report's style."""
    figure = Figure(figsize=(width, height), layout="constrained")
    axes = figure.subplots()
    tidy(axes)
    return figure, axes


def tidy(axes: Axes) -> None:
    """Take away what carries no information."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(labelsize=8)
