"""Which outcomes are worth an alert: those that contradict the release, and those that one sender alone sends.

Not here: the tests (`monitoring.concept`, `monitoring.sources`) or storing an alert (`monitoring.alerts`). Pure.
"""

from homeostat.monitoring.concept import alarm_at, describe_concept
from homeostat.monitoring.dating import count_since, describe_since
from homeostat.monitoring.sources import Hearing, source_alarm_at
from homeostat.records import Alert, Json, Target


def find_alerts(before: Hearing | None, after: Hearing | None, target: Target, *, alpha: float) -> list[Alert]:
    """Return an alert for each test, and each sender, that has come to its alarm between two states."""
    if before is None or after is None:
        return []
    then, now = (describe_concept(state.everyone.concept, alpha=alpha) for state in (before, after))
    sentences = {"risk": describe_risk, "residual": describe_residual}
    of_everyone = [
        Alert(test, target.name, describe(now[test]), now[test])
        for test, describe in sentences.items()
        if now[test]["reached"] and not then[test]["reached"]
    ]
    told = {name for name, source in before.sources.items() if source.is_named}
    named = [name for name, source in after.sources.items() if source.is_named and name not in told]
    return [*of_everyone, *(alert_of_source(after, name, alpha=alpha) for name in named)]


def describe_risk(figures: Json) -> str:
    """Return the alarm of the risk test in a sentence."""
    share = figures["n_wrong"] / figures["n_rows"]
    return (
        f"{figures['n_wrong']} of {figures['n_rows']} answers with an outcome were wrong ({share:.0%}), at most "
        f"{figures['tolerated']:.0%} were to be expected: e-value {figures['peak']:.3g}, alarm at {figures['needed']:g}"
    )


def describe_residual(figures: Json) -> str:
    """Return the alarm of the residual test in a sentence."""
    return (
        f"{figures['grown']}: {figures['n_positive']} of {figures['n_rows']} outcomes were positive, predicted were "
        f"{figures['expected_positive']:.1f}: e-value {figures['peak']:.3g}, alarm at {figures['needed']:g}"
    )


def alert_of_source(hearing: Hearing, name: str, *, alpha: float) -> Alert:
    """Return the alert that names a sender."""
    figures = figures_of_source(hearing, name, alpha=alpha)
    return Alert("source", name, describe_source(figures), figures)


def figures_of_source(hearing: Hearing, name: str, *, alpha: float) -> Json:
    """Return what a person compares: the outcomes of one sender, since they contradict the release, and of the others.

    Those of the others are counted over the whole watch.
    """
    source = hearing.sources[name]
    own, rest = source.own.concept, source.rest
    needed = source_alarm_at(hearing.sources, alpha=alpha)
    others = {
        "n_rows": rest.n_rows,
        "n_wrong": rest.n_wrong,
        "peak": float(rest.peaks.max()),
        "needed": alarm_at(alpha),
    }
    return {**count_since(source.own), "peak": float(own.peaks.max()), "needed": needed, "others": others}


def describe_source(figures: Json) -> str:
    """Return in a sentence how the outcomes of one sender differ from those of the others."""
    others = figures["others"]
    share = others["n_wrong"] / others["n_rows"]
    return (
        f"only the outcomes of this source contradict the release, since about row {figures['since']}: "
        f"{describe_since(figures)}; by those of all others {share:.0%} of {others['n_rows']} answers wrong; e-value "
        f"{figures['peak']:.3g}, alarm at {figures['needed']:g}"
    )
