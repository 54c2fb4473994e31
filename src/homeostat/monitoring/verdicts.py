"""What a stored drift check comes to, in words: its features by weight, one line for each judgement, a headline.

Not here: judging (`monitoring.drift`), or how the words are shown (`cli.drift`, `web.drift_page`). A check of
before may lack any of the later judgements: what is not there is not spoken of.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, TypeAlias

from homeostat.monitoring.evidence import REFERENCE_ROWS
from homeostat.monitoring.explanation import describe_explanation
from homeostat.monitoring.streams import SCORES
from homeostat.records import Json

SHORT_NAMES = {"kolmogorov-smirnov": "KS", "chi-square": "chi2"}
FIGURES = {"accuracy": "accuracy", "auc": "AUC", "brier": "Brier score"}
# Evidence that is worth a word although it has gone again: chance alone reaches it in one stream of ten.
TELLING = 10.0
Mark: TypeAlias = Literal["fired", "quiet", "gathering", ""]


@dataclass(frozen=True, slots=True)
class Verdict:
    """One judgement: whose, its mark (empty if it neither fires nor is quiet), and its figures in a sentence."""

    judge: str
    mark: Mark
    sentence: str


@dataclass(frozen=True, slots=True)
class Standing:
    """How one stream of evidence stands; `needed` lets it count, `since` is an observed number."""

    value: float
    peak: float
    needed: float | None
    since: int | None

    @property
    def words(self) -> str:
        """The value, and its peak if it has fallen far from one that told something."""
        peak = f", peak {short(self.peak)}" if self.peak >= max(2 * self.value, TELLING) else ""
        return f"{short(self.value)}{peak}"


@dataclass(frozen=True, slots=True)
class Reading:
    """One tested column: its test and the shift in words, its p-values, what the judgements make of it."""

    name: str
    test: str
    statistic: float
    p_value: float
    adjusted: float | None
    drifted: bool
    counted: bool
    shift: str
    evidence: Standing | None


def list_readings(check: Json) -> list[Reading]:
    """Return the features of a check, those that matter most first: counted, drifted, much evidence, small p."""
    readings = [read_feature(feature, check["report"]) for feature in check["report"]["features"]]
    return sorted(readings, key=weight)


def weight(reading: Reading) -> tuple[bool, bool, float, float]:
    """Return the place of a reading in the order; small is first."""
    evidence = reading.evidence.value if reading.evidence else 0.0
    return (not reading.counted, not reading.drifted, -evidence, reading.p_value)


def read_feature(feature: Json, report: Json) -> Reading:
    """Return what a report says of one feature, or of the scores."""
    corrected = report.get("correction", "none") != "none"
    return Reading(
        name=feature["name"],
        test=f"{SHORT_NAMES.get(feature['test'], feature['test'])}, {feature['method']}",
        statistic=feature["statistic"],
        p_value=feature["p_value"],
        adjusted=feature.get("adjusted_p_value") if corrected else None,
        drifted=feature["drifted"],
        counted=feature["name"] in (report.get("guarded") or {}).get("counted", ()),
        shift=feature.get("shift") or f"{describe(feature['then'])} -> {describe(feature['now'])}",
        evidence=read_evidence(feature["name"], report),
    )


def read_evidence(name: str, report: Json) -> Standing | None:
    """Return the evidence on one stream, None while there is none."""
    evidence = report.get("evidence") or {}
    stream = evidence.get("streams", {}).get(name)
    if stream is None or evidence["gathering"]:
        return None
    needed = (report.get("guarded") or {}).get("evidence_needed")
    return Standing(stream["value"], stream["peak"], needed, stream.get("since"))


def headline(check: Json) -> str:
    """Return the verdict of a check in one sentence."""
    report = check["report"]
    moved, of = sum(feature["drifted"] for feature in report["features"]), len(report["features"])
    guarded = report.get("guarded")
    if not of:
        return "No row of this window could be tested"
    if guarded and guarded["fired"]:
        return f"The world has moved: {len(guarded['counted'])} of {of} features, with evidence"
    if check["fired"] and guarded:
        return f"{moved} of {of} features drifted, not yet enough evidence"
    if check["fired"]:
        return f"The world has moved: {moved} of {of} features drifted"
    return f"Quiet: {moved or 'none'} of {of} features drifted"


def list_verdicts(check: Json) -> list[Verdict]:
    """Return a line for each judgement that the check holds."""
    report = check["report"]
    found = [
        read_book(check),
        read_guarded(report),
        read_scores(report),
        read_estimate(report),
        read_explanation(report),
    ]
    return [verdict for verdict in found if verdict is not None]


def read_book(check: Json) -> Verdict:
    """Return the verdict of the book's rule."""
    report = check["report"]
    moved, of = sum(feature["drifted"] for feature in report["features"]), len(report["features"])
    correction = report.get("correction", "none")
    adjusted = "" if correction == "none" else f", p adjusted ({correction})"
    sentence = (
        f"{moved} of {of} features drifted{adjusted}: score {check['score']:.3f}, boundary {report['boundary']:g}"
    )
    return Verdict("book", "fired" if check["fired"] else "quiet", sentence)


def read_guarded(report: Json) -> Verdict | None:
    """Return the verdict of the guarded trigger, or how far its reference has come."""
    evidence, state = report.get("evidence"), report.get("guarded")
    if evidence and evidence["gathering"]:
        sentence = f"its reference: {evidence['n_reference']} of {REFERENCE_ROWS} rows"
        return Verdict("guarded", "gathering", sentence)
    if not state:
        return None
    names = f" ({', '.join(state['counted'])})" if state["counted"] else ""
    since = f", since row {state['since']}" if state.get("since") is not None else ""
    sentence = (
        f"{len(state['counted'])} of the {state['needed']} features needed count{names}{since}; "
        f"each needs evidence of {short(state['evidence_needed'])}, {short(state['alert_needed'])} alerts by itself"
    )
    return Verdict("guarded", "fired" if state["fired"] else "quiet", sentence)


def read_scores(report: Json) -> Verdict | None:
    """Return the drift of the model's scores."""
    if not report.get("scores"):
        return None
    reading = read_feature({"name": SCORES, **report["scores"]}, report)
    evidence = f", evidence {reading.evidence.words}" if reading.evidence else ""
    figures = f"{reading.test}: {reading.statistic:.3f}, p {short(reading.p_value)}{evidence}"
    moved = "drifted" if reading.drifted else "no drift"
    return Verdict("predictions", "", f"{moved}: {reading.shift} ({figures})")


def read_estimate(report: Json) -> Verdict | None:
    """Return what the model's own probabilities say of its performance, without labels."""
    words = list(name_estimates(report.get("estimated") or {}))
    return Verdict("estimated", "", f"without labels: {', '.join(words)}") if words else None


def name_estimates(figures: Json) -> Iterator[str]:
    """Yield each figure that has a value, with its interval if it has one."""
    for key, name in FIGURES.items():
        if figure := figures.get(key):
            yield f"{name} {figure['value']:.3f} [{figure['low']:.3f}, {figure['high']:.3f}]"


def read_explanation(report: Json) -> Verdict | None:
    """Return which features moved the mean score."""
    change = report.get("explanation")
    if not change:
        return None
    return Verdict("explanation", "", f"the {describe_explanation(change)}")


def describe(state: Json) -> str:
    """Return where a feature stands, in a few figures."""
    missing = f"{state['missing_share']:.0%} missing" if state["missing_share"] else ""
    if "mode" in state:
        place = f"mostly {state['mode']}" if state["mode"] is not None else ""
    elif state["median"] is None:
        place = ""
    else:
        low, high = state["quartiles"]
        place = f"median {state['median']:g} ({low:g} to {high:g})"
    return ", ".join(part for part in (place, missing) if part) or "nothing"


def short(number: float) -> str:
    """Return a positive figure that may be very large or small in a few letters: 0.034, 12, 1.2e4."""
    if number == 0 or 1e-3 <= abs(number) < 1e4:  # noqa: PLR2004  between these, digits read better than powers
        return f"{number:.2g}" if abs(number) < 99.5 else f"{number:.0f}"  # noqa: PLR2004  two digits, rounded
    mantissa, power = f"{number:.1e}".split("e")
    return f"{mantissa}e{int(power)}"
