"""The steps that move production on: approval, promotion, telling MLflow.

Not here: the promotion log itself (`deployment.registry`), or going back (`retraining.rollback`).
"""

from homeostat.deployment.registry import (
    current_promotion,
    gate_from_json,
    promote,
    require_production,
)
from homeostat.retraining.cycles import HAND, ROLLBACK
from homeostat.retraining.telling import tell_attempt, tell_outcome, tell_tracking, tell_training
from homeostat.retraining.turn import Done, Turn

# What somebody has asked for who may promote.
APPROVING = frozenset({"promote", "approve"})


def step_approve(turn: Turn) -> Done:
    """Hold a challenger that passed the gate but needs a person's word; others go on."""
    release = turn.recall("fit")["release"][:12]
    request = turn.cycle.record.get("request")
    if request is not None and request["kind"] in APPROVING:
        return Done({"by": request["actor"]}, f"Release {release}: approved by {request['actor']}.")
    reason = find_hold(turn)
    if reason is None:
        return Done({}, f"Release {release}: no approval needed.")
    sentence = f"Release {release} passed the gate and waits for approval, because {reason}: `homeostat approve`."
    return Done({"reason": reason}, sentence, "held")


def find_hold(turn: Turn) -> str | None:
    """Return why a person must approve, in words, None if nobody need."""
    if turn.project.settings.retraining.promotion == "approval":
        return 'retraining.promotion is "approval"'
    hold: str | None = turn.recall("gate").get("hold")
    return hold


def step_promote(turn: Turn) -> Done:
    """Move production, unless a killed predecessor of this step has done it already."""
    gate, release = turn.recall("gate"), turn.recall("fit")["release"]
    with turn.project.database.read() as connection:
        current = current_promotion(connection)
    if current is None or current.release != release:
        request = turn.cycle.record.get("request")
        current = promote(
            turn.project.database,
            release,
            gate=gate_from_json(gate),
            expected_epoch=gate["epoch"],
            actor=request["actor"] if request else "hand" if turn.cycle.trigger == HAND else "loop",
            reason=turn.cycle.reason,
            now=turn.now,
            lease=turn.lease,
        )
    return Done({"epoch": current.epoch}, f"Release {release[:12]} is in production (epoch {current.epoch}).")


def step_mirror(turn: Turn) -> Done:
    """Point MLflow's alias at the release in production; the cycle ends here."""
    with turn.project.database.read() as connection:
        promotion = require_production(connection)
        attempt = tell_training(connection, promotion.release) or tell_attempt(turn.cycle)
    outcome = "rolled_back" if turn.cycle.trigger == ROLLBACK else "promoted"
    sentence = f"Release {promotion.release[:12]} is in production since epoch {promotion.epoch}"
    if not turn.project.is_tracked:
        return Done({}, f"{sentence}.", outcome)
    concluded = None if outcome == "rolled_back" else tell_outcome(turn.cycle, outcome, f"{sentence}.", at=turn.now)
    request = {"release": promotion.release, "attempt": attempt, "concluded": concluded}
    left = tell_tracking(turn, "mirror", request)
    alias = "MLflow's alias follows" if "problem" not in left else f"MLflow's alias does not: {left['problem']}"
    return Done(left, f"{sentence}; {alias}.", outcome)
