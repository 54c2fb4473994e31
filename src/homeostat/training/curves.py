"""The curves of a release as images.

Not here: the figures that are drawn (`training.evaluation`).
"""

from matplotlib.figure import Figure

from homeostat.records import Json


def draw_curves(metrics: Json) -> dict[str, Figure]:
    """Return the ROC curve and the reliability curve on the anchor."""
    anchor = metrics["anchor"]
    roc = draw_square("ROC on the anchor", "false positive rate", "true positive rate")
    roc.axes[0].plot(anchor["roc"]["false_positive_rate"], anchor["roc"]["true_positive_rate"], color="#1f6f8b")
    reliability = draw_square("Reliability on the anchor", "predicted probability", "share of positives")
    cells = anchor["reliability"]
    reliability.axes[0].plot(
        [c["probability"] for c in cells], [c["positive_share"] for c in cells], marker="o", color="#1f6f8b"
    )
    return {"roc": roc, "reliability": reliability}


def draw_square(title: str, across: str, upward: str) -> Figure:
    """Return an empty plot of the unit square with its diagonal."""
    figure = Figure(figsize=(4.5, 4.5), layout="constrained")
    axes = figure.subplots()
    axes.plot([0, 1], [0, 1], color="#999999", linewidth=0.8, linestyle="--")
    axes.set(title=title, xlabel=across, ylabel=upward, xlim=(0, 1), ylim=(0, 1), aspect="equal")
    return figure
