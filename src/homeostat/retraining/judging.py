"""The steps that judge a challenger: the gate, and the shadow of live traffic.

Not here: the criteria (`deployment.gate`), gathering and scoring the rows (`retraining.cases`,
`retraining.comparison`), or the process with limits in which they are scored (`retraining.confined`).
"""

from dataclasses import asdict, dataclass

from sqlalchemy import Connection

from homeostat.deployment.gate import Rules, find_hold, is_anchor_enforced
from homeostat.deployment.limits import Limits
from homeostat.deployment.registry import current_promotion, gate_to_json, require_production
from homeostat.records import Change, Criterion, GateResult, Promotion
from homeostat.retraining.cases import Case, Shadow, count_answered, find_old_world, find_past, judge_bar, last_logged
from homeostat.retraining.confined import judge_apart
from homeostat.retraining.cycles import HAND
from homeostat.retraining.facts import judging_labels
from homeostat.retraining.regimes import judge_change
from homeostat.retraining.turn import Done, Turn, Waits


@dataclass(frozen=True, slots=True)
class Found:
    """What the database says for a verdict; `logged` is the newest answered row by then."""

    champion: Promotion | None
    change: Change | None
    logged: int
    bar: Criterion | None
    case: Case


def step_gate(turn: Turn) -> Done:
    """Judge the challenger against the champion of the moment on the same held-out rows."""
    release = turn.recall("fit")["release"]
    found = gather_case(turn, release)
    if found.bar is not None and not found.bar.passed:
        verdict = GateResult((found.bar,))
    else:
        verdict = judge_apart(turn, "judge", {"case": found.case.to_json()}, found.case.limits)
        verdict = GateResult((*verdict.criteria, *([found.bar] if found.bar else [])))
    hold = choose_hold(turn, found, verdict) if verdict.passed else None
    record = gate_to_json(verdict) | {
        "epoch": found.champion.epoch if found.champion else 0,
        "hold": hold,
        # For the shadow: whose traffic, from where in the log on, and whether the two may disagree.
        "champion": found.case.champion,
        "logged": found.logged,
        "change": found.change.kind if found.change else None,
    }
    sentences = "; ".join(c.sentence for c in verdict.criteria if c.passed == verdict.passed)
    words = "passed" if verdict.passed else "was refused at"
    sentence = f"Release {release[:12]} {words} the gate: {sentences}."
    return Done(record, sentence, None if verdict.passed else "refused")


def gather_case(turn: Turn, release: str) -> Found:
    """Return what a release is judged by: beside whom, on which rows, under which rules."""
    settings = turn.project.settings.retraining
    with turn.project.database.read() as connection:
        champion = current_promotion(connection)
        change = find_change(connection, turn, champion)
        judging = judging_labels(connection, turn.project, champion, change=change, now=turn.now) if champion else {}
        bar, logged = judge_bar(connection, release), last_logged(connection)
        past = find_past(connection, champion, challenger=release) if champion else ()
        old_world = find_old_world(connection, champion) if champion and settings.anchor != "enforce" else None
    # What a person asked for is judged by recent rows if they suffice; what the loop decided needs them.
    asked = champion is not None and (turn.cycle.trigger != HAND or len(judging) >= settings.min_recent)
    rules = Rules(
        margin=settings.margin,
        min_recent=settings.min_recent,
        min_recent_per_class=settings.min_recent_per_class,
        # Before the first promotion there is no other world that outcomes could tell of.
        enforced=champion is None or is_anchor_enforced(settings.anchor, change),
        seed=turn.project.settings.training.seed,
    )
    recent = frozenset(judging) if asked else None
    case = Case(release, champion.release if champion else None, past, recent, old_world, rules, Limits())
    return Found(champion, change, logged, bar, case)


def find_change(connection: Connection, turn: Turn, champion: Promotion | None) -> Change | None:
    """Return what had changed in the world when the training set was frozen, or now if nobody has looked then."""
    recorded = turn.cycle.record.get("snapshot", {}).get("change")
    if recorded is not None:
        return Change(**recorded)
    return None if champion is None else judge_change(connection, turn.project, champion, now=turn.now)


def choose_hold(turn: Turn, found: Found, verdict: GateResult) -> str | None:
    """Return why a person must approve a release that passed, None if nobody need."""
    if found.champion is None:
        return None
    figures = {one.name: one.figures for one in verdict.criteria}
    anchor, change = figures.get("anchor", {}), found.change
    if not anchor.get("enforced", True) and "recent" not in figures:
        return "the anchor describes a world that is gone, and there are too few recent rows to judge by"
    # An earlier promotion has settled that this anchor describes the old world: only a new concept asks again.
    settled = found.case.old_world is not None and anchor.get("rows") == found.case.old_world
    if settled and (change is None or change.kind != "concept"):
        return None
    # What the anchor would have let in as well needs nobody: with one sender of outcomes, every concept would wait.
    mode = turn.project.settings.retraining.anchor
    met = [told["met"] for told in figures.values() if "met" in told]
    if mode == "auto" and met and all(met):
        return None
    return find_hold(mode, change)


def step_shadow(turn: Turn) -> Done | Waits:
    """Let the challenger score live traffic without answering, if that is asked for.

    Each call that waits is one count: the rows are answered all at once when the last of them has come.
    """
    name, gate = turn.recall("fit")["release"][:12], turn.recall("gate")
    shadow = find_shadow(turn)
    if shadow is None:
        return Done({}, f"Release {name}: no shadow asked for.")
    with turn.project.database.read() as connection:
        current, n_rows = require_production(connection), count_answered(connection, shadow)
    if current.epoch != gate["epoch"]:
        sentence = f"Release {name} was judged against epoch {gate['epoch']}, production is at {current.epoch}."
        return Done({}, sentence, "overtaken")
    if n_rows < shadow.n_rows:
        return Waits(f"Release {name} is in the champion's shadow: {n_rows} of {shadow.n_rows} live rows have come.")
    verdict = judge_apart(turn, "shadow", {"shadow": asdict(shadow)}, shadow.limits)
    sentences = "; ".join(c.sentence for c in verdict.criteria if c.passed == verdict.passed)
    sentence = f"Release {name} {'passed' if verdict.passed else 'was refused in'} the shadow: {sentences}."
    return Done(gate_to_json(verdict), sentence, None if verdict.passed else "refused")


def find_shadow(turn: Turn) -> Shadow | None:
    """Return which live rows a challenger answers in the champion's shadow, None if it need not.

    What a person asks for by name does not wait for traffic, and before the first promotion there is none.
    """
    gate, n_rows = turn.recall("gate"), turn.project.settings.retraining.shadow_rows
    if not n_rows or "request" in turn.cycle.record or gate.get("champion") is None:
        return None
    same_rule = gate["change"] != "concept"
    release = turn.recall("fit")["release"]
    return Shadow(release, gate["champion"], gate["logged"], n_rows, same_rule, Limits())
