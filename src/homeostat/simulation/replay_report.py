"""What a replay comes to: figures with and without updating, and two policies on the same history compared.

Not here: how it is shown (`cli.replay`, `simulation.replay_page`). Figures are over the rows
that were answered and have an outcome, whenever that was known.
"""

from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from homeostat.records import Estimate, Floats, Json
from homeostat.simulation.history import NO_LABEL, History, as_datetime
from homeostat.simulation.replay import Replayed
from homeostat.simulation.replay_lines import Place
from homeostat.training.evaluation import FLOOR, auc, estimate_to_json, interval
from homeostat.training.scoring import POSITIVE_FROM

REPLICATES = 1_000
# What never updating is called among the policies.
NEVER = "never updating"
METRICS = ("accuracy", "auc", "brier", "log_loss")


def summarise(replayed: Replayed, history: History) -> Json:
    """Return the last line of a replay."""
    kinds = Counter(line["event"] for line in replayed.lines)
    decided = [line for line in replayed.lines if line["event"] == "retrain_decided"]
    place = Place(history.ids[-1], as_datetime(int(history.clock[-1])))
    return place.line(
        "summary",
        {
            "rows": len(history),
            "rejected": kinds["rejected"],
            "checks": kinds["drift_checked"],
            "retrainings": dict(Counter(line["trigger"] for line in decided)),
            "promotions": kinds["promoted"],
            "rollbacks": kinds["rolled_back"],
            "metrics": {
                "with_updating": measure(history.labels, replayed.answered),
                "without_updating": measure(history.labels, replayed.without),
                "releases": list_releases(replayed, history),
            },
        },
    )


def list_releases(replayed: Replayed, history: History) -> list[Json]:
    """Return for each release in production how it, and the first one, did on the rows that it answered."""
    found = []
    for place, release in enumerate(replayed.releases):
        rows = replayed.answered_by == place
        labels = history.labels[rows]
        found.append(
            {
                "release": release,
                "rows": int(rows.sum()),
                "with_updating": measure(labels, replayed.answered[rows]),
                "without_updating": measure(labels, replayed.without[rows]),
            }
        )
    return found


def measure(labels: NDArray[np.int8], probabilities: Floats) -> Json:
    """Return accuracy, AUC, Brier score and log loss over the rows with both; None where nothing can be said.

    Both of shape (n_rows,); a label of -1 and a probability that is NaN are none.
    """
    known = (labels != NO_LABEL) & ~np.isnan(probabilities)
    y, p = labels[known], probabilities[known]
    if not len(y):
        return {"n": 0, **dict.fromkeys(METRICS)}
    clipped = np.clip(p, FLOOR, 1 - FLOOR)
    losses = -np.where(y == 1, np.log(clipped), np.log1p(-clipped))
    return {
        "n": len(y),
        "accuracy": float(np.mean((p >= POSITIVE_FROM) == (y == 1))),
        "auc": auc(y, p) if 0 < y.sum() < len(y) else None,
        "brier": float(np.mean((p - y) ** 2)),
        "log_loss": float(losses.mean()),
    }


def find_wrong(labels: NDArray[np.int8], probabilities: Floats) -> Floats:
    """Return 1 for each row answered wrongly, 0 for each answered rightly, NaN where that is not known."""
    wrong = (probabilities >= POSITIVE_FROM) != (labels == 1)
    unknown = (labels == NO_LABEL) | np.isnan(probabilities)
    return np.where(unknown, np.nan, wrong)


def compare_wrong(labels: NDArray[np.int8], ours: Floats, theirs: Floats, *, block: int) -> Json | None:
    """Return how many more rows one series of answers has wrong than another, with its 95 % interval.

    None if no row has an outcome. The paired differences of whole blocks of consecutive rows are drawn, since
    neighbours in time are alike (Kuensch 1989, The jackknife and the bootstrap for general stationary observations).
    """
    difference = find_wrong(labels, ours) - find_wrong(labels, theirs)
    difference = difference[~np.isnan(difference)]
    if not len(difference):
        return None
    sums = np.add.reduceat(difference, np.arange(0, len(difference), block))
    drawn = np.random.default_rng(0).integers(len(sums), size=(REPLICATES, len(sums)))
    estimate: Estimate = interval(float(difference.sum()), sums[drawn].sum(axis=1))
    return estimate_to_json(estimate)


def compare(replays: Mapping[str, tuple[Replayed, Json]], history: History, *, block: int) -> Json:
    """Return the last line of a comparison: each policy beside the first, and never updating beside all.

    `replays` holds what each policy left, and its summary.
    """
    first = next(iter(replays.values()))[0]
    policies = [
        {
            "policy": name,
            "retrainings": sum(summary["retrainings"].values()),
            "promotions": summary["promotions"],
            "rollbacks": summary["rollbacks"],
            "metrics": summary["metrics"]["with_updating"],
            "more_wrong": compare_wrong(history.labels, replayed.answered, first.answered, block=block),
            "more_wrong_than_never": compare_wrong(history.labels, replayed.answered, first.without, block=block),
        }
        for name, (replayed, summary) in replays.items()
    ]
    never = {
        "policy": NEVER,
        **dict.fromkeys(("retrainings", "promotions", "rollbacks"), 0),
        "metrics": measure(history.labels, first.without),
        "more_wrong": compare_wrong(history.labels, first.without, first.answered, block=block),
        "more_wrong_than_never": None,
    }
    place = Place(history.ids[-1], as_datetime(int(history.clock[-1])))
    return place.line("comparison", {"policies": [*policies, never]})


def roll(values: Floats, n_rows: int) -> Floats:
    """Return the mean over each row and those before it, at most so many, NaN left out; shape (n_rows_of_values,)."""
    known = ~np.isnan(values)
    sums, counts = (np.concatenate([[0.0], np.cumsum(part)]) for part in (np.where(known, values, 0.0), known))
    ends = np.arange(1, len(values) + 1)
    starts = np.maximum(ends - n_rows, 0)
    found = counts[ends] - counts[starts]
    means = np.full(len(values), np.nan)
    np.divide(sums[ends] - sums[starts], found, out=means, where=found > 0)
    return means


def mark_lines(lines: Sequence[Json], rows: Mapping[object, int], event: str) -> list[int]:
    """Return the rows, counted from 0, after which an event happened."""
    return [rows[line["row"]] for line in lines if line["event"] == event]
