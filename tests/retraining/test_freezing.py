"""The first part of an attempt says what has changed, what the training set holds, and which recipes are tried."""

from dataclasses import asdict, replace

import pytest

from homeostat.deployment.registry import promote, register_release
from homeostat.errors import HomeostatError
from homeostat.monitoring.production import stamp_rows
from homeostat.project import Project
from homeostat.records import Criterion, GateResult, Json, Promotion, Recipe
from homeostat.retraining.freezing import freeze_training_set
from homeostat.retraining.packing import pack
from homeostat.retraining.parts import PARTS
from homeostat.retraining.training_data import take_snapshot
from tests.production_log import answer, label, own_lease
from tests.retraining.clinic import FOUND, NOW, draw_patients, write_table

UNION = {"name": "union", "since": None, "half_life": None}
SINCE = Recipe("since", since=21)


def send(project: Project, n_rows: int) -> None:
    rows, outcomes = draw_patients(n_rows, seed=1)
    label(project.database, list(zip(answer(project.database, rows), outcomes, strict=True)))
    stamp_rows(project.database, lease=own_lease(project.database), epoch=1)


def freeze(project: Project, *, reload_files: bool = False) -> Json:
    return freeze_training_set(project, reload_files=reload_files, now=NOW)


def put_recipe_in_production(project: Project, recipe: Recipe, champion: Promotion) -> None:
    """Promote a release that a recipe has made of the log as it is."""
    snapshot = take_snapshot(project, champion=champion, reload_files=False, change_point=None)
    packed = pack(project, snapshot, FOUND, code={}, provenance={}, recipe=recipe)
    release, verdict = packed["release"], GateResult((Criterion("t", passed=True, sentence="-", figures={}),))
    with project.database.write() as connection:
        figures: Json = {"snapshot": snapshot.digest, "family": "logistic", "metrics": {}, "run_id": None, "now": NOW}
        register_release(connection, release, **figures)
    promote(project.database, release, gate=verdict, expected_epoch=1, actor="t", reason="t", now=NOW)


@pytest.mark.usefixtures("champion")
def test_the_record_holds_what_the_steps_after_it_need(clinic: Project) -> None:
    send(clinic, 40)

    frozen = freeze(clinic)

    assert frozen["labels_seen"] == 40
    assert frozen["senders"] == {"test": 40}
    assert frozen["single_source"]
    assert frozen["change"]["kind"] == "none"
    assert frozen["recipes"] == [UNION]


@pytest.mark.usefixtures("champion")
def test_the_half_life_of_the_settings_is_that_of_the_union(clinic: Project) -> None:
    rules = clinic.settings.retraining.model_copy(update={"half_life": 500})
    asked = replace(clinic, settings=clinic.settings.model_copy(update={"retraining": rules}))

    assert freeze(asked)["recipes"] == [{**UNION, "half_life": 500}]


def test_rows_of_a_world_that_is_gone_do_not_come_back_with_the_next_retraining(
    clinic: Project, champion: Promotion
) -> None:
    send(clinic, 120)
    put_recipe_in_production(clinic, SINCE, champion)

    assert freeze(clinic)["recipes"] == freeze(clinic, reload_files=True)["recipes"] == [asdict(SINCE)]


def test_another_table_in_the_files_is_trained_on_whole(clinic: Project, champion: Promotion) -> None:
    send(clinic, 120)
    put_recipe_in_production(clinic, SINCE, champion)
    write_table(clinic.folder / "clinic.csv", *draw_patients(200, seed=5))

    assert freeze(clinic, reload_files=True)["recipes"] == [UNION]


def test_a_search_sees_the_rows_of_its_recipe_and_no_others(clinic: Project, champion: Promotion) -> None:
    send(clinic, 120)
    snapshot = take_snapshot(clinic, champion=champion, reload_files=False, change_point=None)
    since = asdict(replace(SINCE, since=120))

    with pytest.raises(HomeostatError, match=r"the training side has [01] rows"):
        PARTS["search"](clinic, {"snapshot": snapshot.digest, "recipe": since})
