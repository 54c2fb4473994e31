"""The steps that judge a challenger: the gate, and the shadow of live traffic.

Not here: the criteria (`deployment.gate`), or scoring the rows (`retraining.comparison`).
"""

from homeostat.deployment.registry import current_promotion, gate_to_json
from homeostat.retraining.comparison import compare
from homeostat.retraining.cycles import HAND
from homeostat.retraining.facts import judging_labels
from homeostat.retraining.regimes import judge_change
from homeostat.retraining.turn import Done, Turn, Waits


def step_gate(turn: Turn) -> Done:
    """Judge the challenger against the champion of the moment on the same held-out rows."""
    with turn.project.database.read() as connection:
        champion = current_promotion(connection)
        change = judge_change(connection, turn.project, champion, now=turn.now) if champion else None
        judging = judging_labels(connection, turn.project, champion, change=change) if champion else {}
    # What a person asked for is judged by recent rows if they suffice; what the loop decided needs them.
    enough = len(judging) >= turn.project.settings.retraining.min_recent
    judged_by_recent = champion is not None and (turn.cycle.trigger != HAND or enough)
    release = turn.recall("fit")["release"]
    verdict = compare(
        turn.project,
        challenger=release,
        champion=champion.release if champion else None,
        recent_ids=frozenset(judging) if judged_by_recent else None,
    )
    record = gate_to_json(verdict) | {"epoch": champion.epoch if champion else 0}
    sentences = "; ".join(c.sentence for c in verdict.criteria if c.passed == verdict.passed)
    words = "passed" if verdict.passed else "was refused at"
    sentence = f"Release {release[:12]} {words} the gate: {sentences}."
    return Done(record, sentence, None if verdict.passed else "refused")


def step_shadow(turn: Turn) -> Done | Waits:
    """Let the challenger score live traffic without answering, if that is asked for."""
    return Done({}, f"Release {turn.recall('fit')['release'][:12]}: no shadow asked for.")
