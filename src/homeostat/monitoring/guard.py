"""Whether a drift may ask for a retraining: only with evidence that seldom comes without one.

Not here: the tests of a window (`monitoring.drift`), the evidence (`monitoring.evidence`), or what follows from a
trigger (`retraining.triggers`).

Let k of d features be the fewest whose share exceeds the boundary. If only m < k features really drift, k - m of the
other d - m must have reached (d - k + 1) / alpha_life for the trigger to fire. By Ville's inequality each ever does so
with a chance of at most alpha_life / (d - k + 1); by Markov's on their number, k - m do with a chance of at most
alpha_life, whatever the features have to do with each other (Benjamini, Heller 2008).
"""

import statistics
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from types import MappingProxyType

from homeostat.monitoring.evidence import Evidence
from homeostat.records import Json

NO_SEASON: Mapping[str, float] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Guarded:
    """What the guarded trigger says of a window.

    `counted` are the features that count as drifted, of which `needed` fire; each needs `evidence_needed`. `since` is
    the number of the first row of the drift that fired, None if nothing fired or it cannot be told. `alerts` are the
    streams whose evidence alone reached `alert_needed`.
    """

    fired: bool
    counted: tuple[str, ...]
    needed: int
    evidence_needed: float
    alert_needed: float
    since: int | None
    alerts: tuple[str, ...]


def judge_evidence(
    p_values: Mapping[str, float],
    effects: Mapping[str, float],
    evidence: Evidence,
    *,
    alpha: float,
    boundary: float,
    alpha_life: float,
    effect_floor: float,
    usual: Mapping[str, float] = NO_SEASON,
) -> Guarded:
    """Return whether enough features have drifted both by the window's test and by the evidence of the watch.

    A feature counts if the window's test calls it drifted, its effect is large enough, its evidence has ever
    reached what is needed, and now stands at 1 or more: what has passed by asks for nothing.

    Parameters
    ----------
    p_values, effects
        The window's test of each feature; empty for a window without rows.
    evidence
        After the window. Streams whose name begins with "." are no features: they are named in alerts only.
    alpha, effect_floor
        The window's p-value must be below `alpha`, its effect at least `effect_floor` more than is usual.
    usual
        The largest effect that a window of the baseline itself shows (`monitoring.seasons`), 0 where not given: a
        season that the baseline has seen asks for nothing. It can only make the trigger more quiet.
    boundary
        The trigger fires if the share of the features that count exceeds this, in 0-1.
    alpha_life
        Bound on the chance that the trigger ever fires on this watch without a drift, in (0, 1). The chance that any
        stream is ever falsely named in an alert has the same bound.
    """
    features = [name for name in evidence.streams if not name.startswith(".")]
    needed = fewest_beyond(boundary, len(features))
    # A boundary that no share exceeds asks for one feature more than there are.
    evidence_needed = max(len(features) - needed + 1, 1) / alpha_life
    # Every stream may be named, the scores too, so the bound is shared among all of them.
    alert_needed = max(len(evidence.streams), 1) / alpha_life
    counted = tuple(
        name
        for name in features
        if p_values.get(name, 1.0) < alpha
        and effects.get(name, 0.0) >= effect_floor + usual.get(name, 0.0)
        and evidence.streams[name].peak >= evidence_needed
        and evidence.streams[name].value >= 1
    )
    fired = len(counted) >= needed
    return Guarded(
        fired=fired,
        counted=counted,
        needed=needed,
        evidence_needed=evidence_needed,
        alert_needed=alert_needed,
        since=begin_of_drift(counted, evidence) if fired else None,
        alerts=tuple(name for name, stream in evidence.streams.items() if stream.peak >= alert_needed),
    )


def fewest_beyond(boundary: float, n_features: int) -> int:
    """Return the fewest features whose share exceeds the boundary, one more than there are if none does."""
    return next((k for k in range(1, n_features + 1) if k / n_features > boundary), n_features + 1)


def begin_of_drift(counted: tuple[str, ...], evidence: Evidence) -> int | None:
    """Return the middle of the features' change points, the later of two.

    The earliest would be that of the feature whose luck happened to begin before the drift; rows from there on are
    the next baseline, and rows from before the drift in it would keep the new world looking drifted.
    """
    starts = [start for name in counted if (start := evidence.streams[name].since) is not None]
    return statistics.median_high(starts) if starts else None


def guarded_to_json(guarded: Guarded) -> Json:
    """Return the verdict as JSON, exactly; the alerts are events of their own."""
    verdict = asdict(guarded)
    del verdict["alerts"]
    return verdict
