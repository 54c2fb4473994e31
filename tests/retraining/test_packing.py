"""A packed release holds figures that its own graph gave, and the same training gives the same digest."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from homeostat.data.columns import take_rows
from homeostat.deployment.artifacts import PROVENANCE, find_release, open_release, pack_release, read_verified
from homeostat.deployment.inspection import require_known_files
from homeostat.monitoring.production import stamp_rows
from homeostat.project import Project, open_project
from homeostat.records import Json, Recipe, Release, Row, Snapshot
from homeostat.retraining.packing import MIN_RECENT, PARITY, pack
from homeostat.retraining.training_data import take_snapshot
from homeostat.settings import MonitoringSettings
from homeostat.training.evaluation import auc
from homeostat.training.scoring import Graph
from homeostat.validation.profiles import build_profile, profile_to_json
from tests.production_log import answer, label, own_lease
from tests.retraining.clinic import FOUND, draw_patients, write_project, write_table


@pytest.fixture
def snapshot(clinic: Project) -> Snapshot:
    return take_snapshot(clinic, champion=None, reload_files=True, change_point=None)


@pytest.fixture
def release(clinic: Project, snapshot: Snapshot) -> Release:
    return packed(clinic, snapshot)


def packed(project: Project, snapshot: Snapshot, *, found: Json = FOUND, created: str = "now") -> Release:
    left = pack(project, snapshot, found, code={"homeostat": "0"}, provenance={"created_at": created})
    return open_release(find_release(left["release"], project.blobs))


def produce(project: Project, n_rows: int) -> None:
    rows, outcomes = draw_patients(n_rows, seed=1)
    label(project.database, list(zip(answer(project.database, rows), outcomes, strict=True)))
    stamp_rows(project.database, lease=own_lease(project.database), epoch=1)


def test_the_figures_of_the_anchor_are_those_of_the_packed_graph(snapshot: Snapshot, release: Release) -> None:
    mask = np.asarray(snapshot.rows.sides == "anchor", dtype=np.bool_)

    scores = Graph(release.graph, release.schema).score(take_rows(snapshot.rows.columns, mask)).astype(np.float64)

    assert release.metrics["anchor"]["n_rows"] == mask.sum()
    assert release.metrics["anchor"]["auc"]["value"] == auc(snapshot.rows.labels[mask], scores)


def test_the_figures_out_of_fold_are_those_of_the_training_side(snapshot: Snapshot, release: Release) -> None:
    figures = release.metrics["cross_validation"]

    assert figures["n_rows"] == (snapshot.rows.sides == "training").sum()
    assert figures["auc"] == figures["baseline_auc"] == FOUND["candidates"]["logistic"]["auc"]


def test_an_opened_release_holds_its_out_of_fold_rows(release: Release) -> None:
    assert release.out_of_fold is not None
    probabilities, labels = release.out_of_fold.probabilities, release.out_of_fold.labels

    # Platt's scaling without a penalty makes the mean probability that of the outcomes.
    assert probabilities.mean() == pytest.approx(labels.mean(), abs=1e-3)
    assert release.metrics["cross_validation"]["brier"]["value"] == pytest.approx(
        ((probabilities - labels) ** 2).mean()
    )


def test_the_graph_agrees_with_the_native_model_and_the_release_says_how_far(release: Release) -> None:
    assert 0 <= release.metrics["parity"] <= PARITY


def test_the_lineage_says_what_it_was_made_of(clinic: Project, snapshot: Snapshot, release: Release) -> None:
    assert release.lineage == {
        "snapshot": snapshot.digest,
        "schema": clinic.schema.digest,
        "family": "logistic",
        "parameters": {"C": 1.0},
        "fixed": {},
        "settings": clinic.settings.training.model_dump(mode="json", exclude={"time"}),
        "monitoring": {"seasons": "none"},
        "recipe": {"name": "union", "since": None, "half_life": None},
        "change": None,
        "candidates": [],
        "code": {"homeostat": "0"},
    }


def test_the_profile_is_that_of_the_baseline_and_not_of_the_training_rows(clinic: Project, snapshot: Snapshot) -> None:
    baseline = take_rows(snapshot.baseline, np.arange(50))

    release = packed(clinic, replace(snapshot, baseline=baseline))

    assert profile_to_json(release.profile) == profile_to_json(build_profile(baseline, release.schema))


def test_the_held_out_scores_are_those_of_the_baselines_rows_that_training_has_not_seen(
    snapshot: Snapshot, release: Release
) -> None:
    anchor = take_rows(snapshot.rows.columns, np.asarray(snapshot.rows.sides == "anchor", dtype=np.bool_))

    scores = Graph(release.graph, release.schema).score(anchor).astype(np.float64)

    assert release.held_out.tolist() == sorted(scores.tolist())


def test_where_a_table_has_few_different_rows_those_of_both_sides_are_held_out(tmp_path: Path) -> None:
    folder = write_project(tmp_path / "coarse")
    rows, outcomes = draw_patients(400, seed=0)
    coarse: list[Row] = [{**row, "age": 50.0, "dose": 20.0} for row in rows]
    write_table(folder / "clinic.csv", coarse, outcomes)

    with open_project(folder) as project:
        release = packed(project, take_snapshot(project, champion=None, reload_files=True, change_point=None))

    assert release.metrics["anchor"]["n_rows"] > 40
    assert len(release.held_out) == 400
    assert len(set(release.held_out.tolist())) == 3


def test_a_baseline_that_training_has_seen_whole_holds_no_score_out(clinic: Project, snapshot: Snapshot) -> None:
    trained = take_rows(snapshot.rows.columns, np.asarray(snapshot.rows.sides == "training", dtype=np.bool_))

    release = packed(clinic, replace(snapshot, baseline=trained))

    assert release.held_out.size == 0


def test_a_file_that_is_sorted_is_no_season(clinic: Project, snapshot: Snapshot) -> None:
    rows = take_rows(snapshot.baseline, np.argsort(snapshot.baseline["age"], kind="stable"))
    windows = clinic.settings.model_copy(update={"monitoring": MonitoringSettings(window=25)})

    found = packed(replace(clinic, settings=windows), replace(snapshot, baseline=rows))

    assert "window_effects" not in found.metrics


def test_a_season_of_a_baseline_in_the_order_of_time_is_part_of_the_metrics(
    clinic: Project, snapshot: Snapshot
) -> None:
    rows = take_rows(snapshot.baseline, np.argsort(snapshot.baseline["age"], kind="stable"))
    windows = MonitoringSettings(window=25, seasons="baseline")
    sorted_by_age = replace(clinic, settings=clinic.settings.model_copy(update={"monitoring": windows}))

    usual = packed(sorted_by_age, replace(snapshot, baseline=rows)).metrics["window_effects"]

    assert usual["age"] > 0.5
    assert usual["city"] == 0


def test_native_model_search_and_probabilities_out_of_fold_lie_beside_the_graph(
    clinic: Project, release: Release
) -> None:
    files = read_verified(find_release(release.digest, clinic.blobs))

    assert json.loads(files["model.txt"])["weights"]
    assert json.loads(files["search.json"]) == FOUND
    out_of_fold = json.loads(files["out_of_fold.json"])
    assert len(out_of_fold["probability"]) == len(out_of_fold["label"])
    assert [step["name"] for step in json.loads(files["preprocessing.json"])["numeric"]] == ["age", "dose"]


def test_the_same_training_at_another_time_gives_the_same_release(clinic: Project, snapshot: Snapshot) -> None:
    first, second = (packed(clinic, snapshot, created=created).digest for created in ("now", "later"))

    assert first == second


def test_other_parameters_give_another_release(clinic: Project, snapshot: Snapshot, release: Release) -> None:
    assert packed(clinic, snapshot, found={**FOUND, "parameters": {"C": 0.01}}).digest != release.digest


def test_the_time_is_kept_beside_the_digest(clinic: Project, snapshot: Snapshot) -> None:
    release = packed(clinic, snapshot, created="2026-03-01")

    provenance = read_verified(find_release(release.digest, clinic.blobs))[PROVENANCE]

    assert json.loads(provenance) == {"created_at": "2026-03-01"}


def test_an_anchor_of_few_rows_has_its_figures_all_the_same(tmp_path: Path) -> None:
    with open_project(write_project(tmp_path / "small", n_rows=60)) as project:
        snapshot = take_snapshot(project, champion=None, reload_files=True, change_point=None)

        metrics = packed(project, snapshot).metrics

    assert 0 < metrics["anchor"]["n_rows"] < MIN_RECENT
    assert metrics["anchor"]["auc"]["low"] <= metrics["anchor"]["auc"]["high"]


@pytest.mark.parametrize(("n_rows", "measured"), [(0, False), (20, False), (150, True)])
def test_recent_rows_have_figures_if_there_are_enough(clinic: Project, *, n_rows: int, measured: bool) -> None:
    produce(clinic, n_rows)
    snapshot = take_snapshot(clinic, champion=None, reload_files=True, change_point=None)

    recent = packed(clinic, snapshot).metrics["recent"]

    assert (recent is not None) is measured


def test_what_is_left_for_the_loop_are_the_headline_figures(clinic: Project, snapshot: Snapshot) -> None:
    left = pack(clinic, snapshot, FOUND, code={}, provenance={})

    assert left["family"] == "logistic"
    assert set(left["metrics"]) == {"sentence", "cross_validation", "anchor"}
    assert set(left["metrics"]["anchor"]) == {"auc", "brier", "n_rows"}


def test_the_booster_says_what_was_fixed(clinic: Project, snapshot: Snapshot) -> None:
    found = {**FOUND, "family": "lightgbm", "parameters": {"num_iterations": 5}}
    candidates = {**FOUND["candidates"], "lightgbm": FOUND["candidates"]["logistic"]}

    release = packed(clinic, snapshot, found={**found, "candidates": candidates})

    assert release.lineage["fixed"]["deterministic"] is True


def test_a_release_holds_how_much_each_feature_counts_and_its_effect(snapshot: Snapshot, release: Release) -> None:
    assert release.effects is not None
    assert set(release.effects["importance"]) == set(release.effects["effects"]) == {"age", "dose", "city"}
    assert release.effects["n_rows"] == (snapshot.rows.sides == "training").sum()
    assert release.effects["effects"]["age"]["missing"] is not None


def test_effects_are_those_of_the_rows_that_the_recipe_takes(clinic: Project) -> None:
    produce(clinic, 120)
    snapshot = take_snapshot(clinic, champion=None, reload_files=True, change_point=None)
    recipe = Recipe("since", since=1)

    left = pack(clinic, snapshot, FOUND, code={}, provenance={}, recipe=recipe)

    taken = (snapshot.rows.sides == "training") & (snapshot.rows.seqs >= 1)
    effects = open_release(find_release(left["release"], clinic.blobs)).effects
    assert effects is not None
    assert effects["n_rows"] == taken.sum() > 0


def test_the_gate_knows_every_file_that_a_training_packs(clinic: Project, release: Release) -> None:
    folder = find_release(release.digest, clinic.blobs)
    assert (folder / "effects.json").is_file()

    require_known_files(folder)


def test_a_release_without_effects_opens_as_one_of_before(clinic: Project, release: Release) -> None:
    digest = pack_release(
        graph=release.graph,
        schema=release.schema,
        profile=release.profile,
        golden_inputs=release.golden.columns,
        metrics=release.metrics,
        lineage=release.lineage,
        extra={},
        provenance={},
        blobs=clinic.blobs,
    )

    assert open_release(find_release(digest, clinic.blobs)).effects is None
