"""How often the gate lets an honest challenger in, which criterion refuses the others, and how often a sabotaged one.

Usage: bench/gate.py [CYCLES [FIRST_SEED]], by default 200 from 0, about 4 minutes on one core. Prints Markdown.

Each cycle is a clinic of its own with 768 rows like Pima's: a champion of before and a champion learn from its training
side, then 500 outcomes arrive, half of the times from the same population, half from an aged one. A challenger learns
from all that is not held out. The default margin and number of recent rows, all criteria that rest on labelled rows.
"""

import sys
from collections import Counter
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from homeostat.data.columns import join_columns, take_rows
from homeostat.deployment.criteria import HeldOut
from homeostat.deployment.gate import Rules, judge
from homeostat.records import Columns, Feature, GateResult, Target
from homeostat.settings import RetrainingSettings, TrainingSettings
from homeostat.simulation.cohort import PUBLISHED, Labels, draw_aged, draw_ordinary, fit_cohort, synthetic_table
from homeostat.training.boosting import LightGbm
from homeostat.training.scoring import Graph
from homeostat.training.train import TrainingRows, fit
from homeostat.validation.schema import freeze_schema

N_ROWS, N_LABELLED = 768, 500
FLIPPED_SHARE = 0.2
SCHEMA = freeze_schema(
    [Feature(name, "numeric", missing=(0.0,) if one.absent else ()) for name, one in PUBLISHED.items()],
    Target("Outcome", 0, 1),
)
DEFAULTS = RetrainingSettings()
RULES = Rules(DEFAULTS.margin, DEFAULTS.min_recent, DEFAULTS.min_recent_per_class, enforced=True, seed=0)
# Two folds: they only calibrate, and cost most of the time.
TRAINING = TrainingSettings(folds=2, repeats=1)
PRIOR = LightGbm().prior()
HONEST = ("honest, same population", "honest, aged population")
SHUFFLED, FLIPPED, FLIPPED_NEW = "all labels shuffled", "20 % of all labels flipped", "20 % of the new labels flipped"
SPOILED = (SHUFFLED, FLIPPED, FLIPPED_NEW)


@dataclass(frozen=True, slots=True)
class Rows:
    """Rows with their outcomes."""

    columns: Columns
    labels: Labels

    def take(self, chosen: NDArray[np.bool_]) -> "Rows":
        """Return the chosen rows."""
        return Rows(take_rows(self.columns, chosen), self.labels[chosen])


def learn(rows: Rows, *, seed: int) -> Graph:
    settings = TRAINING.model_copy(update={"seed": seed})
    halves = np.arange(0, len(rows.labels), 2), np.arange(1, len(rows.labels), 2)
    training = TrainingRows(rows.columns, rows.labels, folds=[halves, halves[::-1]])
    trained = fit(training, SCHEMA, settings, family="lightgbm", parameters=PRIOR)
    return Graph(trained.graph, SCHEMA)


def hold_out(rows: Rows, challenger: Graph, champion: Graph, past: Graph) -> HeldOut:
    ours, theirs, best = (one.score(rows.columns).astype(np.float64) for one in (challenger, champion, past))
    return HeldOut(rows.labels, ours, theirs, best, rows.columns)


def spoil(old: Labels, new: Labels, kind: str, rng: np.random.Generator) -> Labels:
    labels = np.concatenate([old, new])
    if kind == SHUFFLED:
        return rng.permutation(labels)
    turned = rng.random(len(labels)) < {FLIPPED: FLIPPED_SHARE, FLIPPED_NEW: FLIPPED_SHARE}.get(kind, 0)
    if kind == FLIPPED_NEW:
        turned[: len(old)] = False
    return np.where(turned, 1 - labels, labels).astype(np.int8)


def run_cycle(seed: int) -> dict[str, GateResult]:
    rng = np.random.default_rng(seed)
    old = Rows(*synthetic_table(N_ROWS, seed=seed))
    cohort = fit_cohort(old.columns, old.labels, SCHEMA)
    is_aged = seed % 2 == 1
    new = Rows(*(draw_aged if is_aged else draw_ordinary)(cohort, N_LABELLED, rng))
    is_anchor, is_recent = rng.random(N_ROWS) < TRAINING.anchor_share, np.arange(N_LABELLED) < RULES.min_recent
    training = old.take(~is_anchor)
    past, champion = (learn(training, seed=one) for one in (1, 2))
    columns = join_columns([training.columns, new.take(~is_recent).columns], SCHEMA)
    anchor, recent = old.take(is_anchor), new.take(is_recent)
    found = {}
    for kind in (HONEST[is_aged], *SPOILED):
        labels = spoil(training.labels, new.labels[~is_recent], kind, rng)
        challenger = learn(Rows(columns, labels), seed=3)
        on_anchor, on_recent = (hold_out(rows, challenger, champion, past) for rows in (anchor, recent))
        found[kind] = judge(on_anchor, on_recent, RULES, schema=SCHEMA)
    return found


def report(kind: str, verdicts: list[GateResult]) -> str:
    passed = sum(verdict.passed for verdict in verdicts)
    refused = Counter(one.name for verdict in verdicts for one in verdict.criteria if not one.passed)
    at = ", ".join(f"{name} {n}" for name, n in refused.most_common())
    return f"| {kind} | {passed} of {len(verdicts)} ({passed / max(1, len(verdicts)):.1%}) | {at} |"


def main(arguments: list[str]) -> None:
    n_cycles, first = (int(given) for given in (*arguments, *("200", "0")[len(arguments) :]))
    verdicts: dict[str, list[GateResult]] = {kind: [] for kind in (*HONEST, *SPOILED)}
    for seed in range(first, first + n_cycles):
        for kind, verdict in run_cycle(seed).items():
            verdicts[kind].append(verdict)
    print("| challenger | passed | refused at (a verdict may be at several) |\n|---|---|---|")
    for kind, found in verdicts.items():
        print(report(kind, found))


if __name__ == "__main__":
    main(sys.argv[1:])
