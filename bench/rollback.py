"""How soon labelled outcomes undo a bad release, and how often they undo a sound one: simulated lives.

Not here: the test (`monitoring.succession`). `python -m bench.rollback` prints both.
"""

import sys
from collections.abc import Callable, Mapping

import numpy as np

from homeostat.monitoring.succession import Succession, advance_succession, judge_outcomes_since
from homeostat.records import Floats
from homeostat.training.evaluation import Labels

ALPHA = 0.05
WINDOW = 200
N_LIVES = 1_000
# Standard deviation of what two fits to samples of one world differ by, in log odds.
SPREAD = 0.35


def draw(rng: np.random.Generator, n_rows: int) -> tuple[Floats, Floats, Labels]:
    """Return the probabilities of two releases that are equally good, and outcomes."""
    log_odds = rng.normal(-0.9, 1.5, n_rows)
    labels = (rng.random(n_rows) < 1 / (1 + np.exp(-log_odds))).astype(np.int8)
    ours, theirs = (1 / (1 + np.exp(-(log_odds + rng.normal(0, SPREAD, n_rows)))) for _ in range(2))
    return ours, theirs, labels


def rows_until_undone(ours: Floats, theirs: Floats, labels: Labels, *, step: int) -> int | None:
    """Return after how many labelled rows the release goes, None if it stays."""
    state = Succession()
    for start in range(0, len(labels), step):
        part = slice(start, start + step)
        sources = ["clinic"] * len(labels[part])
        state = advance_succession(state, ours[part], theirs[part], labels[part], sources=sources, most=0.5)
        if judge_outcomes_since(state, alpha=ALPHA) is not None:
            return state.n_rows
    return None


def main(n_lives: int = N_LIVES) -> None:
    """Print the figures of the table in docs/retraining.md."""
    rng = np.random.default_rng(0)
    undone = sum(rows_until_undone(*draw(rng, 5_000), step=WINDOW) is not None for _ in range(n_lives))
    print(f"equal releases, 5,000 labelled rows each: {undone} of {n_lives} lives undone")
    kinds: Mapping[str, Callable[[Floats], Floats]] = {
        "labels turned round": lambda p: 1 - p,
        "one answer to all": lambda p: np.full_like(p, 0.5),
        "log odds halved": lambda p: 1 / (1 + ((1 - p) / p) ** 0.5),
        "log odds 1.5 higher": lambda p: 1 / (1 + (1 - p) / p * np.exp(-1.5)),
    }
    for name, spoil in kinds.items():
        found = []
        for _ in range(n_lives // 5):
            ours, theirs, labels = draw(rng, 2_000)
            found.append(rows_until_undone(spoil(ours), theirs, labels, step=1) or np.inf)
        low, middle, high = np.percentile(found, [5, 50, 95], method="higher")
        print(f"{name}: undone after {middle:g} labelled rows (median; 5 % to 95 %: {low:g} to {high:g})")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
