"""After the world has changed, each recipe's model scores the recent rows and the best one becomes the release."""

import math
from dataclasses import asdict

import numpy as np
import pytest
from numpy.typing import NDArray

from homeostat.data.columns import take_rows
from homeostat.deployment.artifacts import find_release, open_release
from homeostat.monitoring.production import stamp_rows
from homeostat.project import Project
from homeostat.records import Change, Floats, Json, Promotion, Recipe, Snapshot
from homeostat.retraining.candidates import MIN_CHOOSING, choose, pack_best
from homeostat.retraining.training_data import take_snapshot
from homeostat.settings import RetrainingSettings
from homeostat.training.recipes import UNION, propose_recipes
from homeostat.training.scoring import Graph
from tests.production_log import answer, label, own_lease
from tests.retraining.clinic import FOUND, draw_patients

N_BEFORE = 60
CHANGE = {"kind": "concept", "since": N_BEFORE + 1}


def live_on(project: Project, n_after: int) -> None:
    """Let patients come as before, then others whose outcomes are turned round."""
    rows, outcomes = draw_patients(N_BEFORE + n_after, seed=1)
    turned = ["no" if outcome == "yes" else "yes" for outcome in outcomes[N_BEFORE:]]
    label(project.database, list(zip(answer(project.database, rows), [*outcomes[:N_BEFORE], *turned], strict=True)))
    stamp_rows(project.database, lease=own_lease(project.database), epoch=1)


def searches_of(snapshot: Snapshot) -> list[Json]:
    change = Change("concept", N_BEFORE + 1, 2, confirmed=True, sentence="the outcomes turned round")
    recipes = propose_recipes(snapshot.rows, change, half_life=None, folds=2)
    return [{"recipe": asdict(recipe), "found": FOUND} for recipe in recipes]


def pack_after(project: Project, champion: Promotion, n_after: int) -> tuple[Snapshot, Json]:
    """Return the training set after the world has turned round, and what was packed from it."""
    live_on(project, n_after)
    snapshot = take_snapshot(project, champion=champion, reload_files=False, change_point=N_BEFORE + 1)
    searches = searches_of(snapshot)
    return snapshot, pack_best(project, snapshot, searches, change=CHANGE, code={}, provenance={})


def losses(packed: Json) -> dict[str, float]:
    return {one["recipe"]: one["log_loss"] for one in packed["candidates"]}


def test_after_a_flip_the_release_is_the_candidate_that_fits_the_new_world(
    clinic: Project, champion: Promotion
) -> None:
    _, packed = pack_after(clinic, champion, 300)

    assert list(losses(packed)) == ["union", "weighted", "since"]
    assert packed["recipe"] in {"weighted", "since"}
    assert losses(packed)[packed["recipe"]] == min(losses(packed).values()) < losses(packed)["union"] - 0.05


def test_the_loss_that_chooses_is_that_of_the_packed_graph_on_recent_rows_since_the_change(
    clinic: Project, champion: Promotion
) -> None:
    snapshot, packed = pack_after(clinic, champion, 200)
    release = open_release(find_release(packed["release"], clinic.blobs))
    chosen = np.asarray((snapshot.rows.sides == "recent") & (snapshot.rows.seqs > N_BEFORE), dtype=np.bool_)

    scores = Graph(release.graph, release.schema).score(take_rows(snapshot.rows.columns, chosen)).astype(np.float64)

    expected = log_loss_of(snapshot.rows.labels[chosen], scores)
    assert losses(packed)[packed["recipe"]] == pytest.approx(expected)
    assert packed["candidates"][0]["n_choosing"] == release.metrics["recent"]["n_rows"] == chosen.sum()


def log_loss_of(labels: NDArray[np.int8], probabilities: Floats) -> float:
    right = np.where(labels == 1, probabilities, 1 - probabilities)
    return float(-np.log(right).mean())


def test_recipe_change_and_figures_are_in_the_lineage(clinic: Project, champion: Promotion) -> None:
    _, packed = pack_after(clinic, champion, 200)

    lineage = open_release(find_release(packed["release"], clinic.blobs)).lineage

    assert lineage["recipe"]["name"] == packed["recipe"]
    assert lineage["change"] == CHANGE
    assert lineage["candidates"] == packed["candidates"]


def test_too_few_recent_rows_choose_nothing_and_the_union_is_packed(clinic: Project, champion: Promotion) -> None:
    snapshot, packed = pack_after(clinic, champion, 40)

    assert (snapshot.rows.sides[snapshot.rows.seqs > N_BEFORE] == "recent").sum() < MIN_CHOOSING
    assert packed["recipe"] == "union"
    assert set(losses(packed).values()) == {None}


def test_the_same_searches_give_the_same_release(clinic: Project, champion: Promotion) -> None:
    snapshot, packed = pack_after(clinic, champion, 150)
    searches = searches_of(snapshot)

    again = pack_best(clinic, snapshot, searches, change=CHANGE, code={}, provenance={"created_at": "later"})

    assert again["release"] == packed["release"]


def test_another_half_life_is_another_release(clinic: Project) -> None:
    live_on(clinic, 60)
    snapshot = take_snapshot(clinic, champion=None, reload_files=True, change_point=None)

    releases = {
        pack_best(
            clinic,
            snapshot,
            [{"recipe": asdict(recipe), "found": FOUND}],
            change=None,
            code={},
            provenance={},
        )["release"]
        for recipe in (UNION, Recipe("union", half_life=20), Recipe("union", half_life=40))
    }

    assert len(releases) == 3


def test_the_half_life_of_the_settings_is_that_of_the_union(clinic: Project) -> None:
    snapshot = take_snapshot(clinic, champion=None, reload_files=True, change_point=None)
    settings = RetrainingSettings(half_life=500)

    assert propose_recipes(snapshot.rows, None, half_life=settings.half_life, folds=2) == [
        Recipe("union", half_life=500)
    ]


@pytest.mark.parametrize(
    ("found", "chosen"),
    [
        ([0.6, 0.5, 0.4], 2),
        ([0.6, 0.4, 0.5], 1),
        ([0.4, 0.4, 0.4], 0),
        ([0.5, 0.6], 0),
        ([None, None], 0),
        ([None], 0),
        ([math.nan, 0.5], 1),
    ],
)
def test_the_least_loss_is_chosen_and_of_equal_ones_the_union(found: list[float | None], chosen: int) -> None:
    assert choose(found) == chosen
