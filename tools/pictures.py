"""Draw the pictures of docs/statistics.md with the code that decides: `make pictures` writes docs/pictures/.

Not here: what they mean. The same code gives the same bytes: every draw has its seed, and no file holds a date.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from homeostat.monitoring.drift import detect_drift
from homeostat.monitoring.evidence import advance_evidence, begin_evidence
from homeostat.monitoring.performance import estimate_performance, measure_performance
from homeostat.records import Floats
from homeostat.simulation.lives import WORLDS, draw_life, watch_by_the_book
from homeostat.training.evaluation import (
    Labels,
    calibration_error,
    compare_auc,
    reliability,
    replicate_weights,
    weighted_auc,
)
from homeostat.validation.profiles import build_profile, count_rows

FOLDER = Path(__file__).parents[1] / "docs" / "pictures"
# Of a medium brightness: they can be read on white and on black.
INK, BLUE, RED, GREEN = "#7a828b", "#2f8fb3", "#cc5a47", "#3f9464"
STYLE: Any = {  # Any: matplotlib types each key by its name
    "svg.hashsalt": "homeostat",
    "svg.fonttype": "none",
    "font.family": "sans-serif",
    "font.size": 9,
    "text.color": INK,
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "xtick.color": INK,
    "ytick.color": INK,
    "legend.frameon": False,
    "savefig.transparent": True,
    "path.simplify_threshold": 0.5,
}
LIVES, LIFE_ROWS, WINDOW = 60, 20_000, 200
NEEDED = 100.0


def draw_ks(axes: Axes) -> None:
    """Draw two distribution functions and the largest distance between them."""
    rng = np.random.default_rng(3)
    then, now = np.sort(rng.normal(117, 30, 400)), np.sort(rng.normal(133, 30, 120))
    for values, colour, name in ((then, BLUE, "baseline, 400 rows"), (now, RED, "window, 120 rows")):
        axes.step(values, np.arange(1, len(values) + 1) / len(values), where="post", color=colour, label=name)
    distances = np.searchsorted(then, now, side="right") / len(then) - np.arange(len(now)) / len(now)
    worst = int(distances.argmax())
    low, place = worst / len(now), float(now[worst])
    axes.plot([place, place], [low, low + distances[worst]], color=INK, linewidth=2)
    words, middle = f"D = {distances[worst]:.2f}", (place, low + distances[worst] / 2)
    axes.annotate(words, middle, (50, 0.6), arrowprops={"arrowstyle": "-", "color": INK})
    axes.set(xlabel="glucose, mg/dL", ylabel="share of rows up to here", ylim=(0, 1.02))
    axes.legend(loc="lower right")


def draw_repeated(axes: Axes) -> None:
    """Draw in how many lives without any drift the book's rule has fired so far."""
    windows = np.arange(1, LIFE_ROWS // WINDOW + 1)
    for name, colour in (("independent", BLUE), ("correlated .6", RED)):
        firsts = []
        for seed in range(LIVES):
            reference, stream = draw_life(WORLDS[name], np.random.default_rng(seed), n_rows=LIFE_ROWS)
            firsts.append(next(watch_by_the_book(reference, stream, WORLDS[name].schema), LIFE_ROWS + 1) / WINDOW)
        fired = np.searchsorted(np.sort(firsts), windows, side="right") / LIVES
        axes.step(windows, fired, where="post", color=colour, label=f"book's rule, 8 features, {name}")
    axes.axhline(0.05, color=GREEN, linestyle="--", label="bound of the guarded trigger, for ever: .05")
    axes.set(xlabel="windows of 200 rows, no drift in any", ylabel="share of lives with a false alarm", ylim=(0, 1))
    axes.legend(loc="center right")


def draw_evidence(axes: Axes) -> None:
    """Draw the evidence of one feature over time: without a change, and with two."""
    for shift, colour, name in (
        (0.0, BLUE, "no change"),
        (0.2, GREEN, "+.2 sd from row 2,000 on"),
        (0.6, RED, "+.6 sd from row 2,000 on"),
    ):
        rng = np.random.default_rng(5)
        evidence = begin_evidence({"x": rng.normal(size=768)})
        path = [1.0]
        for first in range(1, 6001, 100):
            rows = rng.normal(size=100) + shift * (first > 2000)  # noqa: PLR2004  where the change is
            evidence = advance_evidence(evidence, {"x": rows}, first_seq=first, seed=1)
            path.append(min(evidence.streams["x"].value, 1e7))
        axes.plot(np.arange(len(path)) * 100, path, color=colour, label=name)
    axes.axhline(NEEDED, color=INK, linestyle="--", linewidth=1)
    axes.annotate("without a change,\nat most 1 watch in 100\never comes up to here", (50, NEEDED * 1.6))
    axes.set(xlabel="rows since the promotion", ylabel="evidence (log scale)", yscale="log", ylim=(0.05, 1e7))
    axes.legend(loc="center right", bbox_to_anchor=(1, 0.72))


def draw_calibration(axes: Axes) -> None:
    """Draw the reliability of probabilities that are right, and of the same made too sure."""
    rng = np.random.default_rng(7)
    right = rng.beta(1.2, 2.0, 4000)
    labels: Labels = (rng.random(4000) < right).astype(np.int8)
    odds = np.log(right / (1 - right))
    axes.plot([0, 1], [0, 1], color=INK, linestyle="--", linewidth=1)
    for probabilities, colour, name in (
        (right, BLUE, "calibrated"),
        (np.asarray(1 / (1 + np.exp(-2 * odds)), dtype=np.float64), RED, "too sure of itself"),
    ):
        cells = reliability(labels, probabilities)
        label = f"{name}: error {calibration_error(labels, probabilities):.3f}"
        points = [[cell[key] for cell in cells] for key in ("probability", "positive_share")]
        axes.plot(*points, marker="o", markersize=4, color=colour, label=label)
    axes.set(xlabel="predicted probability", ylabel="share that was positive", xlim=(0, 1), ylim=(0, 1))
    axes.legend(loc="upper left")


def draw_gate(axes: Axes) -> None:
    """Draw the differences in AUC of 1,000 bootstrap samples, and the interval that the gate looks at."""
    labels, ours, theirs = draw_two_models()
    drawn = replicate_weights(labels, 0)
    replicates = [weighted_auc(labels, ours, one) - weighted_auc(labels, theirs, one) for one in drawn]
    found = compare_auc(labels, ours, theirs, seed=0)
    axes.hist(np.concatenate(replicates), bins=40, color=BLUE, alpha=0.5)
    top = axes.get_ylim()[1]
    axes.plot([found.low, found.high], [top * 1.04] * 2, color=INK, linewidth=2)
    words = f"{found.value:+.3f} [{found.low:+.3f}, {found.high:+.3f}]"
    axes.annotate(words, (found.value, top * 1.07), ha="center")
    axes.axvline(-0.05, color=RED, linestyle="--")
    axes.annotate("margin -.05: the lower\nend must not pass it", (-0.053, top * 0.75), color=RED, ha="right")
    axes.set(xlabel="AUC of the challenger minus AUC of the champion, same rows", ylabel="samples")
    axes.set(xlim=(-0.13, 0.13), ylim=(0, top * 1.2))


def draw_two_models() -> tuple[Labels, Floats, Floats]:
    """Return the outcomes of 200 rows and the scores that two similar models give them."""
    rng = np.random.default_rng(11)
    signal = rng.normal(size=200)
    labels: Labels = (rng.random(200) < 1 / (1 + np.exp(-1.5 * signal))).astype(np.int8)
    return labels, signal + 0.45 * rng.normal(size=200), signal + 0.6 * rng.normal(size=200)


def draw_cbpe(axes: Axes) -> None:
    """Draw what is expected of each window beside what is measured, before and after a change of concept."""
    rng = np.random.default_rng(2)
    windows = np.arange(1, 21)
    expected, measured = [], []
    for window in windows:
        probabilities = rng.beta(0.7, 1.1, 200)
        # From window 13 on the outcomes follow the features less: the probabilities do not know it.
        true = probabilities if window <= CHANGED_AFTER else 0.35 + 0.3 * probabilities
        labels: Labels = (rng.random(200) < true).astype(np.int8)
        expected.append(estimate_performance(probabilities, seed=0)["accuracy"])
        measured.append(measure_performance(labels, probabilities, seed=0)["accuracy"]["value"])
    low, high = ([figure[key] for figure in expected] for key in ("low", "high"))
    axes.fill_between(windows, low, high, color=BLUE, alpha=0.2, linewidth=0)
    axes.plot(windows, [figure["value"] for figure in expected], color=BLUE, label="expected, without outcomes")
    axes.plot(windows, measured, color=RED, marker="o", markersize=3, label="measured, once outcomes are there")
    axes.axvline(CHANGED_AFTER + 0.5, color=INK, linestyle="--", linewidth=1)
    axes.annotate("the rule changes,\nthe features do not", (CHANGED_AFTER + 0.7, 0.88))
    axes.set(xlabel="window of 200 rows", ylabel="accuracy", ylim=(0.4, 0.95), xticks=range(2, 21, 2))
    axes.legend(loc="lower left")


CHANGED_AFTER = 12


def draw_p_values(axes: Axes) -> None:
    """Draw the p-values of one feature in windows without a drift, and in windows with a small one."""
    world, bins = WORLDS["independent"], [edge / 20 for edge in range(21)]
    for shift, colour, name in ((0.0, BLUE, "no drift"), (0.2, RED, "+.2 sd")):
        p_values = []
        for seed in range(400):
            reference, stream = draw_life(world, np.random.default_rng(seed), n_rows=WINDOW)
            profile = build_profile(reference, world.schema)
            moved = {key: np.asarray(values, dtype=np.float64) + shift for key, values in stream.items()}
            report = detect_drift(profile, count_rows(moved, world.schema, profile), alpha=0.05, boundary=0.3)
            p_values.append(report.features[0].p_value)
        below = np.mean(np.array(p_values) < 0.05)  # noqa: PLR2004  alpha
        axes.hist(p_values, bins=bins, histtype="step", color=colour, label=f"{name}: {below:.0%} below .05")
    axes.axvline(0.05, color=INK, linestyle="--", linewidth=1)
    axes.set(xlabel="p-value of one feature", ylabel="windows of 400", xlim=(0, 1))
    axes.legend(loc="upper right")


PICTURES: Mapping[str, Callable[[Axes], None]] = MappingProxyType(
    {
        "ks": draw_ks,
        "p-values": draw_p_values,
        "repeated": draw_repeated,
        "evidence": draw_evidence,
        "calibration": draw_calibration,
        "gate": draw_gate,
        "cbpe": draw_cbpe,
    }
)


def draw(name: str, folder: Path) -> Path:
    """Draw one picture into a folder, and return its file."""
    path = folder / f"{name}.svg"
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(6.4, 3.2), layout="constrained")
        PICTURES[name](figure.subplots())
        figure.savefig(path, metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    return path


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    for picture in PICTURES:
        draw(picture, FOLDER)
