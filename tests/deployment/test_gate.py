"""Each question of the gate about answers: a challenger that passes it, and one that it refuses."""

from dataclasses import replace
from typing import Literal

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.special import expit

from homeostat.deployment.criteria import HeldOut
from homeostat.deployment.gate import Rules, find_hold, is_anchor_enforced, judge
from homeostat.records import Change, Criterion, Feature, Floats, GateResult, Target
from homeostat.validation.schema import freeze_schema

Quality = Literal["good", "better", "bad", "none", "constant"]
SCHEMA = freeze_schema([Feature("age", "numeric", missing=(-1.0,)), Feature("city", "categorical")], Target("y", 0, 1))
CLOSELY = ["calibration", "slices"]
NOISE: dict[str, float] = {"better": 0.3, "good": 1.0, "bad": 4.0}


def outcomes(n_rows: int, positive: float = 0.4) -> NDArray[np.int8]:
    return (np.arange(n_rows) < positive * n_rows).astype(np.int8)


def answers(labels: NDArray[np.int8], quality: Quality) -> Floats:
    rng = np.random.default_rng(1)
    if quality == "constant":
        return np.full(len(labels), 0.4)
    if quality == "none":
        return rng.uniform(size=len(labels))
    shared, own = rng.normal(size=(2, len(labels)))
    return np.asarray(expit(labels - 0.5 + NOISE[quality] * shared + 0.05 * own))


def held_out(challenger: Quality, champion: Quality | None, *, n_rows: int = 400, positive: float = 0.4) -> HeldOut:
    labels = outcomes(n_rows, positive)
    return HeldOut(labels, answers(labels, challenger), None if champion is None else answers(labels, champion))


def verdict(
    anchor: HeldOut,
    recent: HeldOut | None = None,
    *,
    margin: float = 0.05,
    min_recent: int = 200,
    min_recent_per_class: int = 30,
    enforced: bool = True,
) -> GateResult:
    return judge(anchor, recent, Rules(margin, min_recent, min_recent_per_class, enforced, seed=0), schema=SCHEMA)


def criterion(result: GateResult, name: str) -> Criterion:
    (found,) = (one for one in result.criteria if one.name == name)
    return found


def refused_at(result: GateResult) -> list[str]:
    return [one.name for one in result.criteria if not one.passed]


# --- the first release --------------------------------------------------------------------------------------------


def test_a_first_release_that_answers_and_has_skill_passes() -> None:
    result = verdict(held_out("good", None))

    assert result.passed
    assert [one.name for one in result.criteria] == ["answers", "skill", "calibration"]


@pytest.mark.parametrize("value", [np.nan, np.inf, -0.01, 1.01])
def test_one_answer_that_is_no_probability_is_refused(value: float) -> None:
    rows = held_out("good", None)
    rows.challenger[17] = value

    assert "answers" in refused_at(verdict(rows))


def test_a_constant_model_is_refused() -> None:
    assert refused_at(verdict(held_out("constant", None))) == ["answers"]


def test_two_different_answers_are_a_constant_model_with_noise() -> None:
    rows = held_out("constant", None)
    rows.challenger[:3] += 1e-7

    assert "answers" in refused_at(verdict(rows))


def test_a_model_no_better_than_chance_is_refused_with_its_figures() -> None:
    result = verdict(held_out("none", None))

    assert refused_at(result) == ["skill"]
    assert criterion(result, "skill").figures["low"] < 0.5
    assert "on 400 anchor rows, chance is 0.5" in criterion(result, "skill").sentence


def test_a_model_turned_upside_down_is_refused() -> None:
    rows = held_out("good", None)

    assert refused_at(verdict(HeldOut(rows.labels, 1 - rows.challenger, None))) == ["skill"]


# --- against a champion -------------------------------------------------------------------------------------------


def test_a_challenger_as_good_as_the_champion_passes_on_both() -> None:
    result = verdict(held_out("good", "good"), held_out("good", "good"))

    assert result.passed
    assert [one.name for one in result.criteria] == [
        "answers",
        "skill",
        "anchor",
        "recent rows",
        "recent",
        *CLOSELY,
    ]


def test_a_challenger_that_is_better_passes() -> None:
    assert verdict(held_out("better", "good"), held_out("better", "bad")).passed


def test_a_challenger_that_is_worse_on_the_anchor_is_refused() -> None:
    result = verdict(held_out("bad", "better"), held_out("good", "good"))

    assert "anchor" in refused_at(result)
    assert criterion(result, "anchor").figures["difference"]["low"] < -0.05


def test_a_challenger_that_is_worse_on_recent_rows_is_refused() -> None:
    result = verdict(held_out("good", "good"), held_out("bad", "better"))

    assert refused_at(result)[0] == "recent"


def test_a_loss_within_the_margin_passes_and_beyond_it_does_not() -> None:
    anchor = held_out("good", "better")
    low = criterion(verdict(anchor), "anchor").figures["difference"]["low"]

    assert criterion(verdict(anchor, margin=-low + 1e-9), "anchor").passed
    assert not criterion(verdict(anchor, margin=-low - 1e-9), "anchor").passed


@pytest.mark.parametrize(
    ("n_rows", "positive", "passed"),
    [(200, 0.15, True), (199, 0.4, False), (400, 0.07, False), (400, 0.93, False), (400, 1.0, False), (0, 0.0, False)],
)
def test_too_few_recent_rows_are_refused(*, n_rows: int, positive: float, passed: bool) -> None:
    result = verdict(held_out("good", "good"), held_out("good", "good", n_rows=n_rows, positive=positive))

    assert criterion(result, "recent rows").passed is passed
    assert ("recent" in [one.name for one in result.criteria]) is passed


def test_the_sentence_on_recent_rows_has_what_there_is_and_what_is_needed() -> None:
    result = verdict(held_out("good", "good"), held_out("good", "good", n_rows=50))

    assert criterion(result, "recent rows").sentence == "50 recent rows, 20 of the rarer class; needed 200 and 30"


def test_without_a_champion_nothing_is_compared() -> None:
    result = verdict(held_out("good", None), held_out("good", None))

    assert [one.name for one in result.criteria] == ["answers", "skill", "calibration"]


def test_a_challenger_without_numbers_is_judged_by_nothing_else() -> None:
    rows = held_out("good", "good")
    broken = HeldOut(rows.labels, np.full(400, np.nan), rows.champion)

    assert [one.name for one in verdict(rows, broken).criteria] == ["answers"]


def test_a_challenger_that_ranks_alike_but_squares_worse_is_refused() -> None:
    rows = held_out("good", "good")
    blurred = HeldOut(rows.labels, 0.7 + 0.05 * rows.challenger, rows.champion)

    found = criterion(verdict(blurred), "anchor")

    assert not found.passed
    assert found.figures["difference"]["value"] == 0
    assert found.figures["brier_difference"]["high"] > found.figures["brier_margin"] == 0.025


# --- the best champion of before ----------------------------------------------------------------------------------


@pytest.mark.parametrize(("past", "refused"), [("good", []), ("better", ["best past"])])
def test_a_small_loss_is_none_against_the_champion_but_one_against_the_best_of_before(
    past: Quality, refused: list[str]
) -> None:
    rows = held_out("good", "good")

    result = verdict(HeldOut(rows.labels, rows.challenger, rows.champion, answers(rows.labels, past)))

    assert refused_at(result) == refused


# --- an anchor that is only reported ------------------------------------------------------------------------------


def test_an_anchor_that_is_reported_refuses_nothing_and_says_so() -> None:
    result = verdict(held_out("none", "good"), held_out("good", "bad"), enforced=False)

    assert result.passed
    assert criterion(result, "anchor").sentence.startswith("reported, not enforced: AUC ")
    assert criterion(result, "anchor").figures["met"] is False
    assert criterion(result, "anchor skill").figures["met"] is False


def test_with_a_reported_anchor_recent_rows_judge_skill() -> None:
    worthless = verdict(held_out("good", "good"), held_out("none", "none"), enforced=False)

    assert "skill" in refused_at(worthless)
    assert "on 400 recent rows" in criterion(worthless, "skill").sentence


def test_a_reported_anchor_is_not_looked_at_closely_either() -> None:
    names = [one.name for one in verdict(held_out("good", "good"), enforced=False).criteria]

    assert names == ["answers", "anchor skill", "anchor"]


CONCEPT = Change("concept", since=10, n_sources=3, confirmed=True, sentence="-")
FEIGNED = replace(CONCEPT, n_sources=1, confirmed=False)
DATA = replace(CONCEPT, kind="data")


@pytest.mark.parametrize(
    ("mode", "change", "enforced", "held"),
    [
        ("auto", None, True, None),
        ("auto", DATA, True, None),
        ("auto", CONCEPT, False, None),
        ("auto", FEIGNED, False, "one source alone could feign (1 sent any)"),
        ("enforce", CONCEPT, True, None),
        ("enforce", FEIGNED, True, None),
        ("report", None, False, "no outcomes say that the old world is gone"),
        ("report", DATA, False, "no outcomes say that the old world is gone"),
        ("report", CONCEPT, False, None),
        ("report", FEIGNED, False, "one source alone could feign"),
    ],
)
def test_the_anchor_is_given_up_only_for_a_concept_and_only_several_sources_do_without_a_person(
    mode: Literal["auto", "enforce", "report"], change: Change | None, *, enforced: bool, held: str | None
) -> None:
    reason = find_hold(mode, change)

    assert is_anchor_enforced(mode, change) is enforced
    assert reason is None if held is None else held in str(reason)


# --- any rows -----------------------------------------------------------------------------------------------------


@settings(max_examples=20, deadline=None)
@given(st.data())
def test_whatever_is_judged_every_criterion_has_a_sentence_and_one_refusal_refuses(data: st.DataObject) -> None:
    labels = np.array([0, 1, *data.draw(st.lists(st.integers(0, 1), max_size=20))], dtype=np.int8)
    scores = st.lists(st.floats(allow_infinity=False), min_size=len(labels), max_size=len(labels))
    rows = HeldOut(labels, np.array(data.draw(scores)), answers(labels, "good"))

    result = verdict(rows, rows, min_recent=1, min_recent_per_class=1)

    assert all(one.sentence for one in result.criteria)
    assert result.passed == (refused_at(result) == [])
    assert result.passed <= bool(np.isfinite(rows.challenger).all())


@settings(max_examples=6, deadline=None)
@given(st.permutations(range(60)))
def test_the_order_of_the_rows_does_not_change_the_figures_of_the_comparison(order: list[int]) -> None:
    rows = held_out("good", "bad", n_rows=60)
    turned = HeldOut(
        rows.labels[order], rows.challenger[order], None if rows.champion is None else rows.champion[order]
    )

    there, back = (criterion(verdict(one), "anchor").figures["difference"]["value"] for one in (rows, turned))

    assert there == pytest.approx(back, abs=1e-12)
