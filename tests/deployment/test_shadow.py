"""Each question of the shadow: answers to live rows that pass it, and answers that it refuses."""

import numpy as np
import pytest

from homeostat.deployment.shadow import judge_shadow
from homeostat.deployment.soundness import judge_latency
from homeostat.records import Floats, GateResult

LIVE = np.random.default_rng(0).random(200)
FAST, SLOW = (judge_latency(np.full(200, seconds), None) for seconds in (0.0001, 1.0))


def verdict(challenger: Floats, *, same_rule: bool = True) -> GateResult:
    return judge_shadow(challenger, LIVE, FAST, same_rule=same_rule, cut=0.5)


def refused_at(result: GateResult) -> list[str]:
    return [one.name for one in result.criteria if not one.passed]


def test_answers_near_the_champions_pass_with_their_figures() -> None:
    result = verdict(np.clip(LIVE + 0.01, 0, 1))

    assert result.passed
    figures = result.criteria[1].figures
    assert figures["agreement"] > 0.95
    assert figures["mean_difference"] == pytest.approx(0.01, abs=1e-3)
    assert figures["champion_extreme_share"] == np.mean((LIVE < 0.05) | (LIVE > 0.95))


def test_a_challenger_turned_round_is_refused() -> None:
    assert refused_at(verdict(1 - LIVE)) == ["shadow agreement"]


def test_where_the_rule_has_changed_they_may_disagree() -> None:
    result = verdict(1 - LIVE, same_rule=False)

    assert result.passed
    assert result.criteria[1].sentence.startswith("reported, not enforced: the same label for 0.0% of 200 live rows")


@pytest.mark.parametrize("answers", [np.full(200, 0.3), np.where(LIVE > 0.9, np.nan, LIVE), LIVE + 0.5])
def test_answers_that_are_none_are_refused_before_anything_else(answers: Floats) -> None:
    assert [one.name for one in verdict(answers).criteria] == ["shadow answers"]
    assert refused_at(verdict(answers)) == ["shadow answers"]


def test_a_slow_challenger_is_refused() -> None:
    assert refused_at(judge_shadow(LIVE, LIVE, SLOW, same_rule=True, cut=0.5)) == ["shadow latency"]
