"""Running what opens a stranger's release: a child that crashes, hangs or eats memory is a refusal, not a failure.

Not here: the limits themselves (`deployment.limits`), or what runs within them (`retraining.attempt`).
"""

import os
import signal

from homeostat.deployment.limits import Limits, OutOfTime, within
from homeostat.deployment.registry import gate_from_json
from homeostat.records import Criterion, GateResult, Json
from homeostat.retraining.attempt import Ended, find_answer, last_complaint, read_answer, run_child
from homeostat.retraining.turn import Turn, Watchman

# Signals by which whoever ends this program ends its children too: they say nothing of a release.
ENDED_FROM_OUTSIDE = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


def judge_apart(turn: Turn, part: str, request: Json, limits: Limits) -> GateResult:
    """Return the verdict that a part comes to in a child process, or the refusal that its end is.

    Raises
    ------
    Overtaken
        The release in production must go.
    HomeostatError
        What the child raised on purpose, such as a disk that fails, or `TrainingFailed` if it was ended from outside.
    """
    look = within(limits.wall_s, Watchman(turn).look)
    try:
        ended = run_child(part, turn.project, request, while_waiting=look)
    except OutOfTime:
        return refusal("latency", f"no verdict within {limits.wall_s:g} s: judging was stopped")
    return read_verdict(part, ended)


def read_verdict(part: str, ended: Ended) -> GateResult:
    """Return the verdict of a child that has ended, or the refusal that its end is."""
    answered = find_answer(ended.printed) is not None
    if answered or ended.exit_code == os.EX_IOERR or -ended.exit_code in ENDED_FROM_OUTSIDE:
        return gate_from_json(read_answer(part, ended.exit_code, ended.printed, ended.complaints))
    said = last_complaint(ended.complaints)
    if ended.exit_code == -signal.SIGXCPU:
        return refusal("latency", "judging took more processor time than it may")
    # Nobody but the kernel, short of memory, kills a child in this way.
    if ended.exit_code == -signal.SIGKILL or "MemoryError" in said or "bad_alloc" in said:
        return refusal("memory", f"judging took more memory than there is: {said}")
    how = signal.Signals(-ended.exit_code).name if ended.exit_code < 0 else f"code {ended.exit_code}"
    return refusal("crashed", f"the judging process ended with {how}: {said}")


def refusal(name: str, sentence: str) -> GateResult:
    """Return the verdict that refuses at one named check."""
    return GateResult((Criterion(name, passed=False, sentence=sentence, figures={}),))
