"""The model card of a release: what it is for, of what it was made, how well it does, and what is known against it.

Not here: where the figures come from, or how a card is written (`web.card_formats`). Pure. The parts follow Mitchell et
al. (2019), Model Cards for Model Reporting, https://doi.org/10.1145/3287560.3287596.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from types import MappingProxyType

import numpy as np

from homeostat.records import Json, Profile, Release

# The form of the JSON; programs may rely on its keys.
FORMAT = 1
# The sides on which a release is measured, and what each is in words.
SIDES: Mapping[str, str] = MappingProxyType(
    {
        "cross_validation": "training rows, each answered by a model that had not seen it",
        "anchor": "rows of the first data that no training ever sees",
        "recent": "outcomes of production that no training ever sees",
    }
)
# Figures with an interval, by the name that they have in a release.
FIGURES: Mapping[str, str] = MappingProxyType(
    {"auc": "AUC", "accuracy": "accuracy", "brier": "Brier score", "log_loss": "log loss"}
)
# From where on a figure is told as a limitation.
WIDE, FEW, UNCALIBRATED, OFTEN_MISSING = 0.1, 100, 0.05, 0.3


@dataclass(frozen=True, slots=True)
class Known:
    """What is known of a release beside its own files.

    `training_set` is the lineage of its snapshot, `gate` the newest verdict on it, `drift` the newest check while it
    was in production, `note` what its owner says; None where there is none. `period` holds the moments between which
    the predictions were answered whose outcomes it may have learned from.
    """

    project: str
    number: int
    created_at: datetime
    in_production: bool
    training_set: Json | None = None
    gate: Json | None = None
    drift: Json | None = None
    period: tuple[datetime, datetime] | None = None
    note: str | None = None


def describe_model(release: Release, known: Known) -> Json:
    """Return the card of a release as a JSON object."""
    target, metrics, lineage = release.schema.target, release.metrics, release.lineage
    return {
        "format": FORMAT,
        "model": {
            "project": known.project,
            "release": release.digest,
            "number": known.number,
            "created_at": known.created_at.isoformat(),
            "in_production": known.in_production,
            "family": lineage.get("family"),
            "task": "binary classification",
            "target": {"name": target.name, "negative": target.negative, "positive": target.positive},
            "features": describe_features(release),
            "software": lineage.get("code", {}),
        },
        "intended_use": list(describe_use(release)),
        "data": describe_data(release, known),
        "training": {
            "parameters": lineage.get("parameters", {}),
            "recipe": lineage.get("recipe"),
            "settings": lineage.get("settings", {}),
            "sentence": metrics.get("sentence"),
        },
        "metrics": {side: describe_side(metrics[side]) for side in SIDES if metrics.get(side)},
        "calibration": {
            side: {"error": metrics[side]["calibration_error"], "reliability": metrics[side]["reliability"]}
            for side in SIDES
            if "reliability" in (metrics.get(side) or {})
        },
        "importance": rank_importance(release),
        "slices": find_slices(known.gate),
        "gate": describe_gate(known.gate),
        "drift": known.drift,
        "limitations": list(list_limitations(release, known)),
        "owner_note": known.note,
    }


def describe_features(release: Release) -> list[Json]:
    """Return what the model takes, with the share of the baseline in which each value is missing."""
    missing = missing_shares(release.profile)
    return [
        {
            "name": feature.name,
            "kind": feature.kind,
            "unit": feature.unit,
            "low": feature.low,
            "high": feature.high,
            "missing_share": missing.get(feature.name),
        }
        for feature in release.schema.features
    ]


def missing_shares(profile: Profile) -> dict[str, float]:
    """Return the share of the baseline rows in which each feature has no value, in 0-1."""
    counts = {name: one.counts for name, one in profile.features.items()}
    return {name: float(one[0] / one.sum()) for name, one in counts.items() if one.sum()}


def describe_use(release: Release) -> Iterator[str]:
    """Yield for what the model is meant, and for what it is not."""
    target = release.schema.target
    yield (
        f"It says how probable it is that {target.name} is {target.positive!r} and not {target.negative!r}, for one "
        f"row of {len(release.schema.features)} features of the kind that it was trained on."
    )
    yield (
        "It is meant to be asked through the service, which refuses impossible values, keeps every answer, and watches "
        "whether the rows still look like those of its training."
    )
    yield (
        "It says nothing of causes: a probability that changes with a feature does not tell what would happen if "
        "somebody changed that feature."
    )


def describe_data(release: Release, known: Known) -> Json:
    """Return what the model was made of."""
    found = known.training_set or {}
    profile = release.profile
    return {
        "snapshot": release.lineage.get("snapshot"),
        "rows": found.get("rows", {}),
        "positives": found.get("positives"),
        "baseline_rows": profile.n_rows,
        "sources": found.get("sources", []),
        "left_out": found.get("left_out", {}),
        "time": found.get("time"),
        "outcomes_answered_from": known.period[0].isoformat() if known.period else None,
        "outcomes_answered_until": known.period[1].isoformat() if known.period else None,
        "change": release.lineage.get("change"),
    }


def describe_side(measured: Json) -> Json:
    """Return the figures of one side, each with its interval; curves are left out."""
    kept = ("n_rows", "n_positive", *FIGURES, "calibration_error", "baseline_auc")
    return {name: measured[name] for name in kept if name in measured}


def rank_importance(release: Release) -> Json:
    """Return how much each feature matters, largest first, and in which unit.

    A release of before has no effects: what its model says of itself is taken, in which what was derived from a feature
    counts for that feature.
    """
    if release.effects is not None:
        return {"unit": "mean |contribution| in log-odds", "features": dict(release.effects["importance"])}
    found: dict[str, float] = {}
    for name, share in (release.metrics.get("importance") or {}).items():
        feature = find_feature(name, release)
        found[feature] = found.get(feature, 0.0) + float(share)
    ranked = sorted(found.items(), key=lambda pair: -pair[1])
    return {"unit": "share of the model's own measure", "features": dict(ranked)}


def find_feature(name: str, release: Release) -> str:
    """Return the feature that a column of the model was made from, such as `city` of `city = Ulm`."""
    names = [feature.name for feature in release.schema.features]
    found = [one for one in names if name == one or name.startswith((f"{one} is missing", f"{one} = "))]
    return max(found, key=len, default=name)


def describe_gate(gate: Json | None) -> Json | None:
    """Return a verdict of the gate: whether it let the release pass, and every criterion in a sentence."""
    if gate is None:
        return None
    criteria = [{key: one[key] for key in ("name", "passed", "sentence")} for one in gate["criteria"]]
    return {"passed": gate["passed"], "criteria": criteria}


def find_slices(gate: Json | None) -> Json | None:
    """Return what the gate found in groups of rows: how many it looked at, the lowest, and those that were lost."""
    if gate is None:
        return None
    found = [one["figures"] for one in gate["criteria"] if one["name"] == "slices"]
    return {key: found[-1][key] for key in ("n_slices", "worst", "lost")} if found else None


# --- limitations --------------------------------------------------------------------------------------------------


def list_limitations(release: Release, known: Known) -> Iterator[str]:
    """Yield what the figures themselves say against the release, a sentence each."""
    yield from doubt_measurement(release.metrics)
    yield from doubt_data(release, known)
    yield from doubt_profile(release.profile)
    if known.drift is not None and known.drift["fired"]:
        yield f"The world has moved since its training: {known.drift['headline']} (check {known.drift['id']})."


def doubt_measurement(metrics: Json) -> Iterator[str]:
    """Yield where a measurement rests on little, or is not there."""
    for side, words in SIDES.items():
        found = metrics.get(side)
        name = side.replace("_", "-")
        if not found or "n_positive" not in found:
            reason = "too few of them, or one class only" if side == "recent" else "one class only, or none of them"
            yield f"It is not measured on the {name} side ({words}): {reason}."
            continue
        rarer = min(found["n_positive"], found["n_rows"] - found["n_positive"])
        if rarer < FEW:
            yield f"The {name} side has only {rarer} rows of the rarer class among {found['n_rows']}."
        auc = found["auc"]
        if auc["high"] - auc["low"] > WIDE:
            yield f"Its AUC on the {name} side is known no better than {auc['low']:.3f} to {auc['high']:.3f}."
        if found["calibration_error"] > UNCALIBRATED:
            off = found["calibration_error"]
            yield f"On the {name} side its probabilities are off by {off:.3f} on average (expected calibration error)."


def doubt_data(release: Release, known: Known) -> Iterator[str]:
    """Yield what is doubtful about the rows that it was trained on."""
    found = known.training_set
    if found is None:
        yield "Its training set is not in the store any more: what it was made of cannot be looked up."
        return
    senders, giveaways, left_out = (found.get(key) or {} for key in ("senders", "giveaways", "left_out"))
    if senders and found.get("single_source"):
        n_outcomes = sum(senders.values())
        yield f"All {n_outcomes} outcomes of production came from one sender, and nobody else has confirmed them."
    for name, auc in giveaways.items():
        yield f"{name} alone tells the outcome (AUC {auc:.3f}): is it known when a prediction is asked for?"
    for reason, n_rows in left_out.items():
        if n_rows:
            yield f"{n_rows} rows were left out: {reason}."
    change = release.lineage.get("change")
    if change and change["kind"] == "concept":
        yield "Outcomes had begun to follow another rule before it was trained: the anchor is of a world that is gone."
    elif change and change["kind"] == "data":
        yield "The features had moved before it was trained: the anchor describes an older population."


def doubt_profile(profile: Profile) -> Iterator[str]:
    """Yield the features that often have no value, or never vary."""
    for name, share in missing_shares(profile).items():
        if share >= OFTEN_MISSING:
            yield f"{name} is missing in {share:.0%} of the baseline rows, where a value was filled in."
    constant = [name for name, one in profile.features.items() if np.count_nonzero(one.counts) == 1]
    if constant:
        yield f"{', '.join(constant)} had one value only in the baseline: what it does with others was never seen."
