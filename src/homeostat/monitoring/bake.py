"""Whether a release on probation must go: one alarm for each way in which a new release can be bad.

Not here: where the figures come from (`retraining.aftercare`), or what labelled outcomes say (`monitoring.succession`).
Pure. A breach undoes a promotion with nobody looking, so each alarm asks for an effect that matters and for evidence
that chance does not bring, although it is asked again every second of a probation.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from scipy import special

from homeostat.monitoring.latencies import count_slower, upper_quantile
from homeostat.monitoring.significance import KolmogorovSmirnov
from homeostat.records import Breach, Counts, Floats

# How improbable failed or slow requests must be in a release whose share of them is the tolerated one.
CHANCE = 1e-5
# Fewer failures than this are no reason, however few requests there were.
LEAST_FAILED = 3
# What a 99th percentile is, how many requests one needs, and the latency that is no reason whatever went before.
TAIL_SHARE, LEAST_TIMED, FLOOR_S = 0.01, 100, 0.05
# The limit where the predecessor has not answered `LEAST_TIMED` requests.
FLOOR_ALONE_S = 0.5
# Answers are compared when so many distinct rows have one, and at each doubling, each time with half of the chance
# before; and only a distance from which on they are another distribution is a reason.
LEAST_SCORED, SCORES_CHANCE, LEAST_DISTANCE = 100, 1e-3, 0.3


@dataclass(frozen=True, slots=True)
class Served:
    """What its workers say of a release: requests answered, requests failed, and durations of the answered ones.

    `latency` has shape (`latencies.N_BUCKETS`,).
    """

    answered: int
    failed: int
    latency: Counts


def improbable(n_hits: int, n_rows: int, share: float) -> bool:
    """Return whether so many hits are improbable where each row is one with a chance of `share` (binomial tail)."""
    return n_hits > 0 and float(special.betainc(n_hits, n_rows - n_hits + 1, share)) < CHANCE


def judge_errors(served: Served, *, share: float) -> Breach | None:
    """Return a breach if certainly more than `share` of the requests failed."""
    n_requests = served.answered + served.failed
    if served.failed < LEAST_FAILED or not improbable(served.failed, n_requests, share):
        return None
    sentence = (
        f"{served.failed} of {n_requests} requests failed ({served.failed / n_requests:.0%}; allowed {share:.0%})"
    )
    return Breach("errors", sentence, {"failed": served.failed, "requests": n_requests, "allowed": share})


def judge_latency(served: Served, before: Served | None, *, ratio: float) -> Breach | None:
    """Return a breach if the 99th percentile is certainly above `ratio` times that of the predecessor, and 50 ms.

    Without a predecessor that has answered enough requests the limit is half a second.
    """
    n_timed = int(served.latency.sum())
    if n_timed < LEAST_TIMED:
        return None
    earlier = None
    if before is not None and before.latency.sum() >= LEAST_TIMED:
        earlier = upper_quantile(before.latency, 1 - TAIL_SHARE)
    limit = FLOOR_ALONE_S if earlier is None else max(FLOOR_S, ratio * earlier)
    n_slow = count_slower(served.latency, limit)
    if not improbable(n_slow, n_timed, TAIL_SHARE):
        return None
    than = "" if earlier is None else f", {ratio:g} times its predecessor's or 50 ms"
    sentence = (
        f"{n_slow} of {n_timed} requests took more than {limit * 1000:.0f} ms ({than.lstrip(', ') or 'the limit'})"
    )
    return Breach("latency", sentence, {"slow": n_slow, "requests": n_timed, "limit_s": limit, "before_s": earlier})


def judge_output(scores: Floats, held_out: Floats) -> Breach | None:
    """Return a breach if the answers are another distribution than the release gave to rows that it was not fitted to.

    Parameters
    ----------
    scores
        The answered probabilities of distinct rows, in the order of the answers, shape (n_rows,). A row that is sent
        again and again says nothing of a distribution.
    held_out
        The release's own scores of held-out rows of its baseline, shape (n_held_out,).
    """
    n_looks = (len(scores) // LEAST_SCORED).bit_length()
    if not n_looks:
        return None
    seen = scores[: LEAST_SCORED * 2 ** (n_looks - 1)]
    if seen.min() == seen.max() and (not len(held_out) or held_out.min() < held_out.max()):
        sentence = f"{len(seen)} different rows were all answered with {seen[0]:.3f}"
        return Breach("output", sentence, {"rows": len(seen), "constant": float(seen[0])})
    if not len(held_out):
        return None
    edges = np.unique(np.concatenate([seen, held_out]))
    counts = [np.bincount(np.searchsorted(edges, part), minlength=len(edges)) for part in (held_out, seen)]
    found = KolmogorovSmirnov().compare(*counts)
    if found.statistic < LEAST_DISTANCE or found.p_value >= SCORES_CHANCE / 2**n_looks:
        return None
    sentence = (
        f"the answers to {len(seen)} rows are another distribution than the release gave to its {len(held_out)} "
        f"held-out rows (D = {found.statistic:.2f}, p = {found.p_value:.1g})"
    )
    figures = {"rows": len(seen), "held_out": len(held_out), "distance": found.statistic, "p_value": found.p_value}
    return Breach("output", sentence, figures)


def judge_silence(silent_s: Mapping[str, float], *, limit_s: float) -> Breach | None:
    """Return a breach if a live worker that answers with the release has not reported for longer than the limit.

    Negative is a report from the future, of which nobody knows the age; beyond the limit it counts as silence too.
    """
    if not silent_s:
        return None
    worker = max(silent_s, key=lambda name: abs(silent_s[name]))
    age_s = silent_s[worker]
    if abs(age_s) <= limit_s:
        return None
    sentence = f"worker {worker} has not reported for {age_s:.0f} s"
    if age_s < 0:
        sentence = f"worker {worker} does not report; its last report is {-age_s:.0f} s ahead of a clock that was set"
    return Breach("silence", sentence, {"worker": worker, "silent_s": age_s, "limit_s": limit_s})
