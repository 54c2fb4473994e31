"""Everything that is said about one window: the book's report, the evidence, the guard's verdict, scores, explanation.

Not here: which rows a window has, or storing what was said (`monitoring.windows`).
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass

import numpy as np

from homeostat.monitoring.drift import compare_feature, detect_drift, report_to_json
from homeostat.monitoring.evidence import (
    Evidence,
    advance_evidence,
    begin_from_profile,
    evidence_to_json,
    wait_for_reference,
)
from homeostat.monitoring.explanation import explain_scores
from homeostat.monitoring.guard import Guarded, guarded_to_json, judge_evidence
from homeostat.monitoring.indicators import ENOUGH
from homeostat.monitoring.performance import estimate_performance
from homeostat.monitoring.streams import SCORES, number_columns
from homeostat.records import (
    Alert,
    Columns,
    DriftReport,
    Feature,
    Floats,
    Json,
    Release,
)
from homeostat.settings import MonitoringSettings
from homeostat.training.scoring import Graph
from homeostat.validation.profiles import count_column, count_rows, cut_cells


@dataclass(frozen=True, slots=True)
class Judged:
    """What one window has come to: the book's report, the evidence after it, and all of it as JSON."""

    report: DriftReport
    evidence: Evidence
    guarded: Guarded
    document: Json


def begin_watch(release: Release, *, epoch: int) -> Evidence:
    """Return the evidence of a watch that has seen no window.

    The first release is measured against its baseline, its scores against those of rows that training has not seen. A
    later one stands on data that were chosen because they had moved: only the rows that come next are a fair reference.
    """
    if epoch > 1:
        names = [feature.name for feature in release.schema.features]
        return wait_for_reference((*names, SCORES))
    held_out = {SCORES: release.held_out} if release.held_out.size else {}
    return begin_from_profile(release.profile, held_out, seed=seed_of(release))


def judge_window(
    columns: Columns,
    release: Release,
    graph: Graph,
    evidence: Evidence,
    *,
    settings: MonitoringSettings,
    first_seq: int,
) -> Judged:
    """Return what one window's rows say; without any, no feature is tested and nothing fires.

    A window is empty if the schema was edited and accepts none of its rows any more: the watch must go on behind it.
    """
    current = count_rows(columns, release.schema, release.profile)
    if current.n_rows == 0:
        report = DriftReport((), 0.0, settings.boundary, settings.correction, release.profile.n_rows, 0)
        guarded = guard({}, {}, evidence, release, settings)
        return Judged(report, evidence, guarded, to_document(report, evidence, guarded))
    report = detect_drift(
        release.profile,
        current,
        alpha=settings.alpha,
        boundary=settings.boundary,
        correction=settings.correction,
    )
    scores = graph.score_each(columns).astype(np.float64)
    streams: Mapping[str, Floats] = {**number_columns(columns, release.schema), SCORES: scores}
    watched = {name: streams[name] for name in evidence.streams}
    evidence = advance_evidence(evidence, watched, first_seq=first_seq, seed=seed_of(release))
    p_values, effects = {f.name: f.p_value for f in report.features}, {f.name: f.effect for f in report.features}
    guarded = guard(p_values, effects, evidence, release, settings)
    document = to_document(report, evidence, guarded)
    document["scores"] = compare_scores(release.held_out, scores, settings)
    document["estimated"] = estimate_performance(scores, seed=first_seq)
    if (report.fired or guarded.fired) and np.isfinite(scores).any():
        document["explanation"] = explain_scores(
            graph.score_each,
            release.profile,
            columns,
            release.schema,
            # Under a correction the guard, which has none, may count a feature that the report does not call drifted.
            names=[name for name in current.features if name in {*report.drifted, *guarded.counted}],
            seed=first_seq,
        )
    return Judged(report, evidence, guarded, document)


def guard(
    p_values: Mapping[str, float],
    effects: Mapping[str, float],
    evidence: Evidence,
    release: Release,
    settings: MonitoringSettings,
) -> Guarded:
    """Return the guarded trigger's verdict under the settings."""
    return judge_evidence(
        p_values,
        effects,
        evidence,
        alpha=settings.alpha,
        boundary=settings.boundary,
        alpha_life=settings.alpha_life,
        effect_floor=settings.effect_floor,
        usual=release.metrics.get("window_effects", {}),  # a release of before has none
    )


def seed_of(release: Release) -> int:
    """Return the seed of a release's watch: the same release and rows give the same evidence, also when replayed."""
    return int(release.digest[:16], 16)


def to_document(report: DriftReport, evidence: Evidence, guarded: Guarded) -> Json:
    """Return a window's verdicts as the JSON object that is stored."""
    return {
        **report_to_json(report),
        "evidence": evidence_to_json(evidence),
        "guarded": guarded_to_json(guarded),
        "scores": None,
        "estimated": None,
        "explanation": None,
    }


def compare_scores(held_out: Floats, scores: Floats, settings: MonitoringSettings) -> Json | None:
    """Return the book's test of the model's scores against held-out ones, None where a release has none of these."""
    if not held_out.size:
        return None
    feature = Feature(SCORES, "numeric")
    cells = cut_cells(held_out, feature)
    then, now = (count_column(values, feature, cells) for values in (held_out, scores))
    return asdict(compare_feature(SCORES, then, now, alpha=settings.alpha))


def name_alerts(before: Evidence, judged: Judged) -> list[Alert]:
    """Return an alert for each stream whose evidence has reached the bound for a single one in this window."""
    bound = judged.guarded.alert_needed
    fresh = [name for name in judged.guarded.alerts if before.streams[name].peak < bound]
    return [describe_alert(name, judged) for name in fresh]


def describe_alert(name: str, judged: Judged) -> Alert:
    """Return the alert of one stream, with what has changed in it if the window shows it."""
    stream = judged.evidence.streams[name]
    entries = [*judged.document["features"], judged.document["scores"] or {"name": None}]
    shift = next((entry["shift"] for entry in entries if entry["name"] == name), "no reference to compare with")
    if judged.report.n_current < ENOUGH:
        shift = "the window is too small to tell how"
    what = "The model's scores have" if name == SCORES else f"{name} has"
    figures = {"evidence": stream.peak, "needed": judged.guarded.alert_needed, "since": stream.since}
    since = "" if stream.since is None else f" since about row {stream.since}"
    sentence = f"{what} changed{since}: {shift}; evidence {stream.peak:.3g}, needed {judged.guarded.alert_needed:.3g}"
    return Alert("evidence", name, sentence, figures)
