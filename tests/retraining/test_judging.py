"""The gate and the shadow as steps of a cycle: what a verdict rests on, and when a person must approve."""

from collections.abc import Iterator
from dataclasses import asdict, replace
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import insert, update

from homeostat.data.columns import stack_rows
from homeostat.deployment.gate import Rules
from homeostat.deployment.limits import Limits
from homeostat.deployment.registry import gate_to_json, promote, register_release, require_production
from homeostat.loop import Advance, advance
from homeostat.project import Project, open_project
from homeostat.records import Change, Criterion, GateResult, Json, Promotion
from homeostat.retraining.cases import (
    MOST_PAST,
    Case,
    case_from_json,
    find_old_world,
    find_past,
    judge_bar,
)
from homeostat.retraining.confined import judge_apart
from homeostat.retraining.cycles import HAND, Cycle, list_cycles, open_cycle
from homeostat.retraining.judging import Found, choose_hold
from homeostat.retraining.turn import Turn
from homeostat.store.tables import barred, predictions
from homeostat.training.scoring import Graph
from tests.deployment.saboteurs import Workshop, flipped, open_workshop
from tests.production_log import answer, label, own_lease
from tests.retraining.clinic import draw_patients

NOW = datetime.now(UTC)
N_SHADOW = 40
CONCEPT = Change("concept", since=1, n_sources=3, confirmed=True, sentence="-")
RULES = Rules(margin=0.05, min_recent=10, min_recent_per_class=2, enforced=True, seed=0)
PASSED = Criterion("answers", passed=True, sentence="-", figures={})


@pytest.fixture
def shadowed(clinic: Project, monkeypatch: pytest.MonkeyPatch) -> Iterator[Project]:
    """The clinic with a shadow of forty rows asked for."""
    monkeypatch.setenv("HOMEOSTAT_RETRAINING__SHADOW_ROWS", str(N_SHADOW))
    with open_project(clinic.folder) as project:
        yield project


def begin(project: Project, step: str, record: Json, *, trigger: str = "drift") -> None:
    with project.database.write() as connection:
        open_cycle(connection, trigger=trigger, reason="a test", step=step, now=NOW, record=record)


def step_once(project: Project) -> Advance:
    return advance(project, now=datetime.now(UTC))


def newest_cycle(project: Project) -> Cycle:
    with project.database.read() as connection:
        return list_cycles(connection)[-1]


def answer_live(project: Project, workshop: Workshop, n_rows: int) -> None:
    """Append rows to the log as the champion would have answered them."""
    rows, _ = draw_patients(n_rows, seed=5)
    scores = Graph(workshop.release.graph, project.schema).score(stack_rows(rows, project.schema))
    ids = answer(project.database, rows)
    with project.database.write() as connection:
        for id_, score in zip(ids, scores.tolist(), strict=True):
            values = {"release": workshop.release.digest, "probability": score}
            connection.execute(update(predictions).where(predictions.c.id == id_).values(values))


def gate_record(champion: Promotion, *, change: str | None = None) -> Json:
    verdict = gate_to_json(GateResult((PASSED,)))
    return verdict | {"epoch": 1, "hold": None, "champion": champion.release, "logged": 0, "change": change}


def test_what_waits_in_the_shadow_says_how_many_rows_have_come(shadowed: Project, champion: Promotion) -> None:
    workshop = open_workshop(champion.release, shadowed.blobs)
    answer_live(shadowed, workshop, 15)
    begin(shadowed, "shadow", {"fit": {"release": flipped(workshop)}, "gate": gate_record(champion)})

    done = step_once(shadowed)

    assert done.idle
    assert done.sentence.endswith("is in the champion's shadow: 15 of 40 live rows have come.")
    assert newest_cycle(shadowed).step == "shadow"


@pytest.mark.parametrize(("change", "outcome"), [(None, "refused"), ("concept", None)])
def test_a_challenger_turned_round_is_refused_in_the_shadow_unless_the_rule_has_changed(
    shadowed: Project, champion: Promotion, change: str | None, outcome: str | None
) -> None:
    workshop = open_workshop(champion.release, shadowed.blobs)
    answer_live(shadowed, workshop, N_SHADOW)
    begin(shadowed, "shadow", {"fit": {"release": flipped(workshop)}, "gate": gate_record(champion, change=change)})

    done = step_once(shadowed)

    figures = {one["name"]: one["figures"] for one in newest_cycle(shadowed).record["shadow"]["criteria"]}
    assert done.outcome == outcome
    assert figures["shadow agreement"]["n_rows"] == N_SHADOW
    assert figures["shadow agreement"]["agreement"] < 0.1


@pytest.mark.parametrize("asked", [True, False])
def test_nothing_waits_that_a_person_asked_for_or_of_which_no_shadow_is_asked(
    clinic: Project, shadowed: Project, champion: Promotion, *, asked: bool
) -> None:
    request = {"request": {"id": 1, "kind": "promote", "actor": "kim"}} if asked else {}
    record = {"fit": {"release": champion.release}, "gate": gate_record(champion), **request}
    begin(clinic, "shadow", record)

    done = step_once(shadowed if asked else clinic)

    assert done.sentence.endswith("no shadow asked for.")


def test_a_release_that_was_rolled_back_is_refused_until_new_labels_come(clinic: Project, champion: Promotion) -> None:
    with clinic.database.write() as connection:
        connection.execute(insert(barred).values(release=champion.release, at=NOW, labels=0, reason="slow"))
    begin(clinic, "gate", {"fit": {"release": champion.release}}, trigger=HAND)

    done = step_once(clinic)

    assert done.outcome == "refused"
    assert [one["name"] for one in newest_cycle(clinic).record["gate"]["criteria"]] == ["barred"]
    assert "(slow); 0 labels have arrived since" in done.sentence


def test_new_labels_lift_the_bar_and_who_was_never_rolled_back_has_none(clinic: Project, champion: Promotion) -> None:
    with clinic.database.write() as connection:
        connection.execute(insert(barred).values(release=champion.release, at=NOW, labels=0, reason="slow"))
    label(clinic.database, [(answer(clinic.database, draw_patients(1, seed=1)[0])[0], "yes")])

    with clinic.database.read() as connection:
        lifted, free = (judge_bar(connection, release) for release in (champion.release, "f" * 64))

    assert lifted is not None
    assert (lifted.passed, free) == (True, None)


def test_a_verdict_that_takes_too_long_by_the_clock_is_refused_for_its_latency(
    clinic: Project, champion: Promotion
) -> None:
    case = Case(champion.release, None, (), None, None, RULES, Limits(wall_s=0.1))
    begin(clinic, "gate", {})
    turn = Turn(clinic, own_lease(clinic.database), newest_cycle(clinic), NOW)

    (criterion,) = judge_apart(turn, "judge", {"case": case.to_json()}, case.limits).criteria

    assert (criterion.name, criterion.passed) == ("latency", False)
    assert criterion.sentence == "no verdict within 0.1 s: judging was stopped"


# --- which anchor, which champions --------------------------------------------------------------------------------


def promote_with(project: Project, release: str, figures: Json, *, auc: float = 0.8) -> Promotion:
    """Put a release into production with a verdict on the anchor."""
    metrics = {"anchor": {"auc": {"value": auc}}}
    with project.database.write() as connection:
        register_release(connection, release, snapshot="s", family="f", metrics=metrics, run_id=None, now=NOW)
        epoch = require_production(connection).epoch
    gate = GateResult((Criterion("anchor", passed=True, sentence="-", figures=figures),))
    now = NOW + timedelta(seconds=epoch)
    return promote(project.database, release, gate=gate, expected_epoch=epoch, actor="t", reason="t", now=now)


@pytest.mark.parametrize(
    ("figures", "old"), [({}, None), ({"enforced": True, "rows": "x"}, None), ({"enforced": False, "rows": "x"}, "x")]
)
def test_an_anchor_that_was_given_up_stays_given_up_as_long_as_it_has_the_same_rows(
    clinic: Project, figures: Json, old: str | None
) -> None:
    promotion = promote_with(clinic, "b" * 64, figures)

    with clinic.database.read() as connection:
        assert find_old_world(connection, promotion) == old


def test_the_champions_of_before_that_were_best_on_the_anchor_are_asked_again_but_none_that_was_rolled_back(
    clinic: Project,
) -> None:
    for number, name in enumerate("bcdef"):
        last = promote_with(clinic, name * 64, {}, auc=0.8 + 0.01 * number)
    with clinic.database.write() as connection:
        connection.execute(insert(barred).values(release="e" * 64, at=NOW, labels=0, reason="slow"))

    with clinic.database.read() as connection:
        past = find_past(connection, last, challenger="d" * 64)

    assert [name[0] for name in past][:2] == ["c", "b"]
    assert len(past) == MOST_PAST


def test_a_case_passes_between_processes() -> None:
    case = Case("a", None, ("b", "c"), frozenset({"p1", "p2"}), "x", replace(RULES, enforced=False), Limits())

    assert case_from_json(case.to_json()) == case
    assert asdict(case)["recent_ids"] == case.recent_ids


# --- when a person must approve -----------------------------------------------------------------------------------


def hold(
    project: Project, champion: Promotion | None, change: Change | None, anchor: Json | None, *, old: str | None = None
) -> str | None:
    """Return the hold of a verdict in which recent rows had their say, unless there is no word of the anchor."""
    case = Case("a", None, (), None, old, RULES, Limits())
    judged = [Criterion("anchor", passed=True, sentence="-", figures=anchor)] if anchor is not None else []
    recent = Criterion("recent", passed=True, sentence="-", figures={})
    turn = Turn(project, own_lease(project.database), newest_or_none(project), NOW)
    return choose_hold(turn, Found(champion, change, 0, None, case), GateResult((*judged, recent)))


def newest_or_none(project: Project) -> Cycle:
    begin(project, "gate", {})
    return newest_cycle(project)


def test_a_first_release_is_never_held(clinic: Project) -> None:
    assert hold(clinic, None, None, None) is None


def test_a_confirmed_concept_is_not_held_and_one_of_a_single_source_is(clinic: Project, champion: Promotion) -> None:
    anchor = {"enforced": False, "rows": "x", "met": False}
    feigned = replace(CONCEPT, confirmed=False, n_sources=1)

    assert hold(clinic, champion, CONCEPT, anchor) is None
    assert "one source alone could feign" in str(hold(clinic, champion, feigned, anchor))


def test_what_the_anchor_would_have_let_in_as_well_is_not_held(clinic: Project, champion: Promotion) -> None:
    feigned = replace(CONCEPT, confirmed=False, n_sources=1)

    assert hold(clinic, champion, feigned, {"enforced": False, "rows": "x", "met": True}) is None


def test_an_old_world_that_was_settled_is_not_asked_about_again(clinic: Project, champion: Promotion) -> None:
    assert hold(clinic, champion, None, {"enforced": False, "rows": "x", "met": False}, old="x") is None


def test_a_new_concept_of_one_source_is_held_in_a_settled_world_too(clinic: Project, champion: Promotion) -> None:
    feigned = replace(CONCEPT, confirmed=False, n_sources=1)

    assert hold(clinic, champion, feigned, {"enforced": False, "rows": "x", "met": False}, old="x") is not None
