"""Whether a release is worse than its predecessor on the same labelled rows: a test by betting, looked at for ever.

Not here: which rows have an outcome by now (`monitoring.succession_checks`), or what an alarm leads to
(`retraining.rollback`). Pure. The e-value begins at 1 and, while the release's squared errors are on average at most
`MARGIN` above its predecessor's, is a non-negative supermartingale: the chance that it ever reaches 1/alpha is at most
alpha (Ville 1939), in whatever order and however late the outcomes come.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import msgspec
import numpy as np

from homeostat.errors import StateError
from homeostat.monitoring.betting import CAP
from homeostat.monitoring.concept import set_aside
from homeostat.records import Breach, Floats, Mask
from homeostat.training.evaluation import Labels

# A loss of the mean squared error (Brier) that is no reason to go back.
MARGIN = 0.02
# Small and large bets beside each other: whichever suits what happens carries the mean.
BETS = np.array([0.1, 0.25, 0.5, 0.9])
VERSION = 1


@dataclass(frozen=True, slots=True)
class Succession:
    """How far the comparison has come: each bet's wealth, shape (4,), the highest e-value, and what the rows were.

    `error` and `error_before` add up squared errors of the release and of its predecessor. `sources` says how many of
    the rows each source has sent the outcome of; `n_left_out` had one, but from a source that had sent enough.
    """

    n_rows: int = 0
    error: float = 0.0
    error_before: float = 0.0
    peak: float = 1.0
    n_left_out: int = 0
    sources: Mapping[str, int] = field(default_factory=dict)
    wealth: Floats = field(default_factory=lambda: np.zeros(len(BETS)))


def choose_rows(sources: Sequence[str], counted: Mapping[str, int], *, most: float) -> Mask:
    """Return which of some more rows count, so that no source has sent more than its part of all that do.

    What the outcomes are has no say in it, or the test would be wrong. One source alone counts for all; of several,
    outcomes that one of them has sent ahead of the others wait for nobody: they do not count.

    Parameters
    ----------
    sources
        Who has sent the outcome of each row, in the order of the predictions, shape (n_rows,).
    counted
        How many rows of each source have counted so far.
    most
        The largest part of one among several sources, in (0, 1]; never less than its equal part.
    """
    known = {*sources, *counted}
    part = max(most, 1 / len(known)) if len(known) > 1 else 1.0
    so_far, total = dict(counted), sum(counted.values())
    chosen = np.zeros(len(sources), dtype=np.bool_)
    for place, source in enumerate(sources):
        # One more than its part, or nobody could ever begin.
        if so_far.get(source, 0) <= part * total + (part < 1):
            chosen[place] = True
            so_far[source] = so_far.get(source, 0) + 1
            total += 1
    return chosen


def advance_succession(
    succession: Succession,
    probabilities: Floats,
    before: Floats,
    labels: Labels,
    *,
    sources: Sequence[str],
    most: float,
) -> Succession:
    """Return the comparison after some more rows.

    Parameters
    ----------
    probabilities, before
        What the release has answered, and what its predecessor says to the same rows, shape (n_rows,).
    labels
        1 for positive, shape (n_rows,), in the order of the predictions.
    sources, most
        See `choose_rows`.
    """
    chosen = choose_rows(sources, succession.sources, most=most)
    errors, errors_before = (probabilities - labels)[chosen] ** 2, (before - labels)[chosen] ** 2
    wealth, peak = succession.wealth, succession.peak
    for number, worse in enumerate(errors - errors_before, start=succession.n_rows):
        left = set_aside(number + 1)
        factor = 1 + BETS * (worse - MARGIN) / (1 + MARGIN)
        wealth = np.minimum((wealth + (set_aside(number) - left)) * factor, CAP)
        peak = max(peak, float(wealth.mean()) + left)
    counted = dict(succession.sources)
    for source in np.array(sources, dtype=object)[chosen]:
        counted[source] = counted.get(source, 0) + 1
    return replace(
        succession,
        n_rows=succession.n_rows + int(chosen.sum()),
        # One after the other, so that the rounding does not depend on where the rows were divided.
        error=float(np.cumsum(np.r_[succession.error, errors])[-1]),
        error_before=float(np.cumsum(np.r_[succession.error_before, errors_before])[-1]),
        peak=peak,
        n_left_out=succession.n_left_out + int((~chosen).sum()),
        sources=counted,
        wealth=wealth,
    )


def judge_outcomes_since(succession: Succession, *, alpha: float) -> Breach | None:
    """Return a breach if the release has shown to be worse than its predecessor, and is so over all rows as well.

    The bets may begin at any row: where neighbours in time are alike, a bad week after good months would win them.
    """
    needed = 1 / alpha
    if succession.peak < needed or succession.error <= succession.error_before:
        return None
    n_rows, n_sources = succession.n_rows, len(succession.sources)
    error, before = succession.error / n_rows, succession.error_before / n_rows
    largest = max(succession.sources.values()) / n_rows
    sentence = (
        f"on {n_rows} rows with an outcome its mean squared error is {error:.3f}, its predecessor's {before:.3f}: "
        f"e-value {succession.peak:.3g}, alarm at {needed:g}; outcomes from {n_sources} "
        f"source{'s' if n_sources > 1 else ''}, at most {largest:.0%} from one"
    )
    figures = {
        "rows": n_rows,
        "error": error,
        "error_before": before,
        "value": succession.peak,
        "needed": needed,
        "sources": n_sources,
        "largest_source": largest,
        "left_out": succession.n_left_out,
    }
    return Breach("outcomes", sentence, figures)


def succession_to_bytes(succession: Succession) -> bytes:
    """Return the comparison as bytes, exactly."""
    rows = [succession.n_rows, succession.error, succession.error_before, succession.peak, succession.n_left_out]
    return msgspec.msgpack.encode([VERSION, *rows, dict(succession.sources), succession.wealth.tolist()])


def succession_from_bytes(content: bytes) -> Succession:
    """Return the comparison that `succession_to_bytes` wrote; StateError if another version did."""
    version, *fields = msgspec.msgpack.decode(content)
    if version != VERSION:
        raise StateError(
            problem=f"the state of the comparison with the predecessor has version {version}",
            expected=f"version {VERSION}",
            action="use the Homeostat that wrote it, or promote another release: the comparison then begins anew",
        )
    n_rows, error, error_before, peak, n_left_out, sources, wealth = fields
    return Succession(n_rows, error, error_before, peak, n_left_out, sources, np.array(wealth))
