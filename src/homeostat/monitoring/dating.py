"""Since when outcomes have contradicted a release: the bet that has been winning most, and the row its run began at.

Not here: the bets and their threshold (`monitoring.concept`), or whose outcomes are looked at (`monitoring.sources`).
Pure. For each bet it is Page's cumulative sum of the logarithms of its factors: while nothing changes a bet loses on
average and its runs are short; a change begins one that lasts.

References
----------
Page (1954), Continuous inspection schemes, Biometrika 41(1/2).
"""

from dataclasses import dataclass

import numpy as np

from homeostat.monitoring.concept import N_RESIDUAL, N_RISK, Concept, advance_concept, row_factors
from homeostat.monitoring.performance import CUT
from homeostat.records import Counts, Floats, Json, Mask
from homeostat.training.evaluation import Labels

N_BETS = N_RISK + N_RESIDUAL
# What is known of the row at which a run begins: its observed number, and what was counted before it.
N_MARKS = 6


@dataclass(frozen=True, slots=True)
class Outcomes:
    """Judged predictions with an outcome, in the order of the predictions, each array of shape (n_rows,).

    `numbers` are observed numbers, `places` count the judged outcomes of a watch, whoever sent them.
    """

    probabilities: Floats
    labels: Labels
    numbers: Counts
    places: Counts

    def chosen(self, mask: Mask) -> "Outcomes":
        """Return some of them."""
        return Outcomes(self.probabilities[mask], self.labels[mask], self.numbers[mask], self.places[mask])


@dataclass(frozen=True, slots=True)
class Run:
    """A run of luck of one bet: how far its wealth has grown (logarithm), the row it began at, what came before that.

    `since` is the observed number of its first row and `place` the row's place among all judged outcomes of the watch;
    the other four count the outcomes looked at before it.
    """

    bet: int
    gain: float
    since: int
    place: int
    n_rows: int
    n_wrong: int
    n_positive: int
    expected_positive: float


@dataclass(frozen=True, slots=True)
class Dated:
    """Both tests over some outcomes, and since when each bet has been winning.

    `gains`, shape (20,), are logarithms, 0 for a bet that has just lost; `marks`, shape (20, 6), say what `Run` does of
    where the run began, and nothing for such a bet. `run` is the longest in the newest window, and once the tests have
    reached their threshold, the longest since.
    """

    concept: Concept
    gains: Floats
    marks: Floats
    run: Run | None


def begin_dated(concept: Concept) -> Dated:
    """Return tests that have looked at some outcomes, and no bet of which has been winning."""
    return Dated(concept, np.zeros(N_BETS), np.zeros((N_BETS, N_MARKS)), None)


def advance_dated(dated: Dated, outcomes: Outcomes, *, needed: float) -> Dated:
    """Return the tests after some more outcomes; `needed` is the threshold from which on the date is kept."""
    if not len(outcomes.labels):
        return dated
    steps = np.log(row_factors(dated.concept.reference, outcomes.probabilities, outcomes.labels))
    paths = dated.gains + np.cumsum(steps, axis=0)
    runs = paths - np.minimum(np.minimum.accumulate(paths, axis=0), 0)
    facts = facts_of(dated.concept, outcomes)
    longest = longest_run(dated, runs, facts)
    is_kept = dated.concept.peaks.max() >= needed
    run = max(filter(None, [dated.run if is_kept else None, longest]), key=lambda one: one.gain, default=None)
    return Dated(
        advance_concept(dated.concept, outcomes.probabilities, outcomes.labels),
        runs[-1],
        np.stack([mark_of(dated, runs[:, bet], facts, bet) for bet in range(N_BETS)]),
        run,
    )


def facts_of(concept: Concept, outcomes: Outcomes) -> Floats:
    """Return for each row what `Run` says of a run that begins at it, shape (n_rows, 6)."""
    is_wrong = (outcomes.probabilities >= CUT) != (outcomes.labels == 1)
    counts = np.column_stack([np.ones(len(is_wrong)), is_wrong, outcomes.labels, outcomes.probabilities])
    so_far = np.array([concept.n_rows, concept.n_wrong, concept.n_positive, concept.expected_positive])
    before = so_far + np.cumsum(counts, axis=0) - counts
    return np.column_stack([outcomes.numbers, outcomes.places, before])


def longest_run(dated: Dated, runs: Floats, facts: Floats) -> Run | None:
    """Return the highest of all runs, shape (n_rows, 20), with where it began; None if no bet has won anything."""
    row, bet = (int(place) for place in np.unravel_index(int(runs.argmax()), runs.shape))
    if runs[row, bet] <= 0:
        return None
    since, place, n_rows, n_wrong, n_positive, expected = mark_of(dated, runs[: row + 1, bet], facts, bet).tolist()
    counted = (int(since), int(place), int(n_rows), int(n_wrong), int(n_positive))
    return Run(bet, float(runs[row, bet]), *counted, expected_positive=expected)


def mark_of(dated: Dated, runs: Floats, facts: Floats, bet: int) -> Floats:
    """Return what is known of the row at which a bet's run, that goes on behind these rows, has begun."""
    (lost,) = np.nonzero(runs == 0)
    if not len(lost):
        mark: Floats = dated.marks[bet] if dated.gains[bet] > 0 else facts[0]
    else:
        mark = facts[min(lost[-1] + 1, len(facts) - 1)]
    return mark


def count_since(dated: Dated) -> Json:
    """Return since when the outcomes contradict the release, and the figures from then on that a person compares.

    Without a run they are those of all outcomes.
    """
    concept, run = dated.concept, dated.run
    before = (0, 0, 0, 0.0) if run is None else (run.n_rows, run.n_wrong, run.n_positive, run.expected_positive)
    return {
        "since": None if run is None else run.since,
        "n_rows": concept.n_rows - before[0],
        "n_wrong": concept.n_wrong - before[1],
        "tolerated": concept.reference.tau,
        "n_positive": concept.n_positive - before[2],
        "expected_positive": concept.expected_positive - before[3],
    }


def describe_since(figures: Json) -> str:
    """Return these figures in words."""
    return (
        f"{figures['n_wrong']} of {figures['n_rows']} answers wrong, tolerated {figures['tolerated']:.0%}; "
        f"{figures['n_positive']} outcomes positive, predicted {figures['expected_positive']:.1f}"
    )
