"""Whether the outcomes still follow the probabilities: two tests by betting that may be looked at after every row.

Not here: which rows have an outcome that counts (`monitoring.outcomes`), or what an alarm leads to. Pure. Each test's
e-value begins at 1 and, while the world is as the release was trained on, is a non-negative supermartingale: the chance
that it ever reaches c is at most 1/c (Ville 1939), however often it is looked at. Each is alarmed at 2/alpha, so that
both together stay below alpha.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

import msgspec
import numpy as np
from scipy import special

from homeostat.errors import DataInsufficient, StateError
from homeostat.monitoring.betting import CAP
from homeostat.monitoring.performance import CUT
from homeostat.records import Counts, Floats, Json
from homeostat.training.evaluation import Labels

# Small and large bets beside each other: whichever suits what happens carries the mean.
RISK_BETS = np.array([0.1, 0.3, 0.6, 0.9])
RESIDUAL_BETS = np.array([0.1, 0.25, 0.5, 0.8])
# What a residual bet bets on, and the sign that it gives to a residual in the low and in the high half of the scores.
SIGNS = {
    "outcomes are positive more often than predicted": (+1, +1),
    "outcomes are positive less often than predicted": (-1, -1),
    "high scores overstate, or low ones understate": (+1, -1),
    "high scores understate, or low ones overstate": (-1, +1),
}
N_RISK, N_RESIDUAL = len(RISK_BETS), len(SIGNS) * len(RESIDUAL_BETS)
# A loss of accuracy, and a mean residual, that are no reason for an alarm.
RISK_SLACK, RESIDUAL_SLACK = 0.02, 0.01
# One-sided confidence of the bound on the error; standard errors of the bound on each half's residuals (two halves).
CONFIDENCE, RESIDUAL_ERRORS = 0.975, 2.24
# After how many rows the wealth that is kept for a later start has begun to thin out.
PATIENCE = 50
VERSION = 1


@dataclass(frozen=True, slots=True)
class ConceptReference:
    """What held-out rows of the training say: `tau` bounds the share of wrong answers, `middle` parts the scores.

    `bounds` holds for residuals (outcome minus probability) of each half of the scores (low, high) and each sign
    (+, -) the largest mean that is still no news, shape (2, 2).
    """

    n_rows: int
    tau: float
    middle: float
    bounds: Floats


@dataclass(frozen=True, slots=True)
class Concept:
    """How far both tests have come: each bet's wealth, shape (20,), risk first, and what the rows were.

    `peaks` holds the highest e-value that risk and residual have ever had, shape (2,).
    """

    reference: ConceptReference
    n_rows: int
    n_wrong: int
    n_positive: int
    expected_positive: float
    wealth: Floats
    peaks: Floats


def begin_concept(probabilities: Floats, labels: Labels) -> Concept:
    """Return both tests before their first row.

    Parameters
    ----------
    probabilities, labels
        Of rows that the release was not fitted to: calibrated out-of-fold probabilities and outcomes (1 = positive),
        shape (n_reference,).

    Raises
    ------
    DataInsufficient
        There are no such rows.
    """
    if not len(labels):
        raise DataInsufficient(
            problem="the release has no out-of-fold rows",
            expected="at least one, to compare outcomes with",
            action="train and promote another release",
        )
    n_wrong = int(((probabilities >= CUT) != (labels == 1)).sum())
    tau = upper_bound(n_wrong, len(labels)) + RISK_SLACK
    middle = float(np.median(probabilities))
    reference = ConceptReference(len(labels), tau, middle, residual_bounds(probabilities, labels, middle=middle))
    return begin_with(reference)


def begin_with(reference: ConceptReference) -> Concept:
    """Return both tests before their first row."""
    return Concept(reference, 0, 0, 0, 0.0, np.zeros(N_RISK + N_RESIDUAL), np.ones(2))


def upper_bound(n_hits: int, n_rows: int) -> float:
    """Return the upper confidence bound of a share (Clopper, Pearson 1934, Biometrika 26)."""
    return 1.0 if n_hits == n_rows else float(special.betaincinv(n_hits + 1, n_rows - n_hits, CONFIDENCE))


def residual_bounds(probabilities: Floats, labels: Labels, *, middle: float) -> Floats:
    """Return the bounds of `ConceptReference`; a half with fewer than two rows has those of all rows."""
    residuals = labels - probabilities
    is_high = halves(probabilities, middle=middle) == 1
    parts = [part if len(part) > 1 else residuals for part in (residuals[~is_high], residuals[is_high])]
    means = np.array([part.mean() for part in parts])
    errors = np.array([part.std(ddof=1) / math.sqrt(len(part)) if len(part) > 1 else 1.0 for part in parts])
    signed = np.stack([means, -means], axis=1) + RESIDUAL_ERRORS * errors[:, np.newaxis]
    return np.maximum(0.0, signed) + RESIDUAL_SLACK


def halves(probabilities: Floats, *, middle: float) -> Counts:
    """Return the half of the scores that each row lies in: 0 low, 1 high."""
    return (probabilities >= middle).astype(np.int64)


def advance_concept(concept: Concept, probabilities: Floats, labels: Labels) -> Concept:
    """Return both tests after some more rows.

    However the rows are divided among calls, the result is the same to the last bit.

    Parameters
    ----------
    probabilities, labels
        Shape (n_rows,), in the order of the predictions. In the order of the outcomes the tests would be wrong:
        positives often become known before negatives.
    """
    if not len(labels):
        return concept
    wealth, peaks = concept.wealth, concept.peaks
    for wealth, values in bet(concept, probabilities, labels):  # noqa: B007  the last wealth is what remains
        peaks = np.maximum(peaks, values)
    is_wrong = (probabilities >= CUT) != (labels == 1)
    return replace(
        concept,
        n_rows=concept.n_rows + len(labels),
        n_wrong=concept.n_wrong + int(is_wrong.sum()),
        n_positive=concept.n_positive + int(labels.sum()),
        # One after the other, so that the rounding does not depend on where the rows were divided.
        expected_positive=float(np.cumsum(np.r_[concept.expected_positive, probabilities])[-1]),
        wealth=wealth,
        peaks=peaks,
    )


def bet(concept: Concept, probabilities: Floats, labels: Labels) -> Iterator[tuple[Floats, Floats]]:
    """Yield after each row the wealth of every bet, shape (20,), and the e-values of risk and residual, shape (2,).

    A bet's wealth follows S <- (S + w) f: what it has, and what is set aside to begin with this row, times the row's
    factor. The e-value is the mean wealth of a test's bets and what is still set aside. Mixing over the start, as
    over the bets, leaves a supermartingale one (Shin, Ramdas, Rinaldo 2022, E-detectors).
    """
    wealth = concept.wealth
    factors = row_factors(concept.reference, probabilities, labels)
    for number, row in enumerate(factors, start=concept.n_rows):
        left = set_aside(number + 1)
        wealth = np.minimum((wealth + (set_aside(number) - left)) * row, CAP)
        yield wealth, mean_wealth(wealth) + left


def mean_wealth(wealth: Floats) -> Floats:
    """Return the mean wealth of the bets of either test, shape (2,)."""
    return np.array([wealth[:N_RISK].sum() / N_RISK, wealth[N_RISK:].sum() / N_RESIDUAL])


def set_aside(n_rows: int) -> float:
    """Return the share of the capital that is kept after `n_rows` for bets that begin later."""
    return 1 / (1 + math.log1p(n_rows / PATIENCE))


def row_factors(reference: ConceptReference, probabilities: Floats, labels: Labels) -> Floats:
    """Return what each row multiplies each bet's wealth with, shape (n_rows, 20), all positive.

    Each has a mean of at most 1 if the world is as it was. Risk: 1 + b/tau (loss - tau), loss 1 for a wrong answer
    (Podkopaev, Ramdas 2022, Tracking the risk of a deployed model). Residual: 1 + b (signed residual - bound) over
    1 + the largest bound.
    """
    losses = ((probabilities >= CUT) != (labels == 1)).astype(np.float64)
    risk = 1 + (losses - reference.tau)[:, np.newaxis] * (RISK_BETS / reference.tau)
    half = halves(probabilities, middle=reference.middle)
    signs = np.array(list(SIGNS.values()), dtype=np.int64)[:, half].T
    bounds = np.where(signs > 0, reference.bounds[half, 0][:, np.newaxis], reference.bounds[half, 1][:, np.newaxis])
    gains = signs * (labels - probabilities)[:, np.newaxis] - bounds
    scaled = RESIDUAL_BETS / (1 + float(reference.bounds.max()))
    residual = 1 + gains[:, :, np.newaxis] * scaled
    return np.concatenate([risk, residual.reshape(len(labels), N_RESIDUAL)], axis=1)


def alarm_at(alpha: float) -> float:
    """Return the e-value from which on either test is alarmed, so that both together err with at most `alpha`."""
    return 2 / alpha


def current_values(concept: Concept) -> Floats:
    """Return the e-values of risk and residual now, shape (2,): below 1 the outcomes rather speak for the release."""
    return mean_wealth(concept.wealth) + set_aside(concept.n_rows)


def is_reached(concept: Concept, needed: float) -> bool:
    """Return whether one of the tests has ever reached a threshold."""
    return bool(concept.peaks.max() >= needed)


def still_contradicts(concept: Concept, needed: float, *, risk_counts: bool) -> bool:
    """Return whether a test has ever reached a threshold and now stands at 1 or more: what came since speaks so too.

    Without `risk_counts` only the residuals are asked: answers become wrong more often also where rows become harder,
    and every outcome is as likely as was said.
    """
    told = (concept.peaks >= needed) & (current_values(concept) >= 1)
    return bool(told[0 if risk_counts else 1 :].any())


def describe_concept(concept: Concept, *, alpha: float) -> dict[str, Json]:
    """Return where both tests stand, `risk` and `residual`, with the figures that a person compares."""
    values, needed = current_values(concept), alarm_at(alpha)
    tests = [
        {"value": float(value), "peak": float(peak), "needed": needed, "reached": bool(peak >= needed)}
        for value, peak in zip(values, concept.peaks, strict=True)
    ]
    rows = {"n_rows": concept.n_rows, "n_reference": concept.reference.n_rows}
    risk = {"n_wrong": concept.n_wrong, "tolerated": concept.reference.tau}
    residual = {"n_positive": concept.n_positive, "expected_positive": concept.expected_positive}
    components = concept.wealth[N_RISK:].reshape(len(SIGNS), len(RESIDUAL_BETS)).sum(axis=1)
    grown = list(SIGNS)[int(components.argmax())] if concept.n_rows else None
    return {"risk": {**tests[0], **rows, **risk}, "residual": {**tests[1], **rows, **residual, "grown": grown}}


def concept_to_bytes(concept: Concept) -> bytes:
    """Return both tests as bytes, exactly."""
    reference = concept.reference
    fields = [VERSION, reference.n_rows, reference.tau, reference.middle, reference.bounds.ravel().tolist()]
    rows = [concept.n_rows, concept.n_wrong, concept.n_positive, concept.expected_positive]
    return msgspec.msgpack.encode([*fields, *rows, concept.wealth.tolist(), concept.peaks.tolist()])


def concept_from_bytes(content: bytes) -> Concept:
    """Return the tests that `concept_to_bytes` wrote; StateError if another version did."""
    version, *fields = msgspec.msgpack.decode(content)
    if version != VERSION:
        raise StateError(
            problem=f"the state of the tests of outcomes has version {version}",
            expected=f"version {VERSION}",
            action="use the Homeostat that wrote it, or promote another release: tests then begin anew",
        )
    n_reference, tau, middle, bounds, n_rows, n_wrong, n_positive, expected, wealth, peaks = fields
    reference = ConceptReference(n_reference, tau, middle, np.array(bounds).reshape(2, 2))
    return Concept(reference, n_rows, n_wrong, n_positive, expected, np.array(wealth), np.array(peaks))
