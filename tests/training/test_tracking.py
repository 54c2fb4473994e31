"""MLflow holds each attempt once, with everything that one compares, and its alias follows the promotion log."""

import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient
from mlflow.entities import Run

import homeostat
from homeostat.deployment.artifacts import find_release, open_release
from homeostat.deployment.registry import require_production
from homeostat.project import Project, open_project
from homeostat.records import Release
from homeostat.training.mirroring import ALIAS, mirror_production
from homeostat.training.tracking import list_runs, open_client
from homeostat.training.tracking_runs import Attempt, git_revision, record_failure, record_outcome, record_run

# MLflow's own queries: it does not know the SQLAlchemy of today yet.
pytestmark = pytest.mark.filterwarnings("ignore::sqlalchemy.exc.SADeprecationWarning")
NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
TRIALS = [{"parameters": {"C": 1.0}, "log_loss": 0.5}, {"parameters": {"C": 0.1}, "log_loss": 0.4}]
SEARCH = {
    "recipe": {"name": "since"},
    "found": {"candidates": {"logistic": {"parameters": {"C": 0.1}, "trials": TRIALS}}},
}
PNG = b"\x89PNG\r\n\x1a\n"


class Tracked:
    """A trained project with its experiment manager."""

    def __init__(self, project: Project) -> None:
        self.project = project
        self.client: MlflowClient = open_client(project.tracking_url)
        with project.database.read() as connection:
            self.digest = require_production(connection).release
        self.folder = find_release(self.digest, project.blobs)
        self.release: Release = open_release(self.folder)

    def runs(self) -> list[Run]:
        return list_runs(self.client, "pima")

    def record(self, *, release: str) -> str:
        return record_run(self.client, self.attempt(), replace(self.release, digest=release), self.folder)

    def attempt(self, **changes: Any) -> Attempt:
        artifacts = self.project.folder / "artifacts"
        return replace(Attempt("pima", artifacts, 2, "drift", "a test", NOW, searches=[SEARCH]), **changes)

    def trials(self, run_id: str) -> list[Run]:
        experiment = self.client.get_run(run_id).info.experiment_id
        return list(self.client.search_runs([experiment], f"tags.`mlflow.parentRunId` = '{run_id}'"))

    def production(self) -> tuple[str, str]:
        """Return the version that the alias names and the release that it is tagged with."""
        version = self.client.get_model_version_by_alias("pima", ALIAS)
        return str(version.version), version.tags["homeostat.release"]


@pytest.fixture(scope="module")
def tracked(trained_template: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tracked]:
    """One copy of the trained project for the whole file: opening MLflow's store takes seconds."""
    folder = tmp_path_factory.mktemp("tracked") / "project"
    with open_project(Path(shutil.copytree(trained_template, folder))) as project:
        yield Tracked(project)


def test_an_attempt_is_one_finished_run(tracked: Tracked) -> None:
    assert [run.info.status for run in tracked.runs()] == ["FINISHED"]


def test_a_run_has_the_family_its_parameters_and_the_settings_of_the_search(tracked: Tracked) -> None:
    lineage = tracked.release.lineage

    parameters = tracked.runs()[0].data.params

    chosen = {"family": lineage["family"], "snapshot": lineage["snapshot"], **lineage["parameters"]}
    procedure = {f"training.{key}": value for key, value in lineage["settings"].items()}
    assert parameters == {name: str(value) for name, value in {**chosen, **procedure}.items()}


@pytest.mark.parametrize("side", ["cross_validation", "anchor"])
@pytest.mark.parametrize("name", ["auc", "brier", "log_loss", "accuracy"])
def test_a_run_has_every_metric_with_its_interval(tracked: Tracked, side: str, name: str) -> None:
    found = tracked.runs()[0].data.metrics

    estimate = tracked.release.metrics[side][name]
    assert found[f"{side}_{name}"] == estimate["value"]
    assert (found[f"{side}_{name}_low"], found[f"{side}_{name}_high"]) == (estimate["low"], estimate["high"])


def test_a_run_is_found_by_snapshot_release_code_version_and_trigger(tracked: Tracked) -> None:
    tags = tracked.runs()[0].data.tags

    assert tags["homeostat.release"] == tracked.digest
    assert tags["homeostat.snapshot"] == tracked.release.lineage["snapshot"]
    assert tags["homeostat.code"] == homeostat.__version__
    assert tags["homeostat.trigger"] == "hand"
    assert tags["homeostat.sentence"] == tags["mlflow.note.content"] == tracked.release.metrics["sentence"]
    assert tags["homeostat.recipe"] == "union"


def test_a_run_is_named_by_its_cycle_its_trigger_and_its_release(tracked: Tracked) -> None:
    assert tracked.runs()[0].info.run_name == f"cycle 1: hand, release {tracked.digest[:12]}"


def test_a_run_has_calibration_and_the_size_of_each_side(tracked: Tracked) -> None:
    found, metrics = tracked.runs()[0].data.metrics, tracked.release.metrics

    assert found["anchor_calibration_error"] == metrics["anchor"]["calibration_error"]
    assert found["anchor_n_positive"] == metrics["anchor"]["n_positive"]
    assert found["calibration_slope"] == metrics["calibration"]["slope"]
    assert found["cross_validation_baseline_auc"] == metrics["cross_validation"]["baseline_auc"]["value"]


def test_the_snapshot_is_the_dataset_that_a_run_has_used(tracked: Tracked) -> None:
    inputs = tracked.runs()[0].inputs

    assert inputs is not None
    (used,) = inputs.dataset_inputs
    assert tracked.release.lineage["snapshot"].startswith(used.dataset.digest)
    assert json.loads(used.dataset.source) == {"snapshot": tracked.release.lineage["snapshot"]}
    assert [(tag.key, tag.value) for tag in used.tags] == [("mlflow.data.context", "training")]


def test_every_configuration_that_was_tried_is_a_run_below_the_attempts(tracked: Tracked) -> None:
    run = tracked.runs()[0]
    search = json.loads((tracked.folder / "search.json").read_bytes())["candidates"]

    below = tracked.trials(run.info.run_id)

    tried = [(name, one["log_loss"]) for name, found in search.items() for one in found["trials"]]
    told = [(one.data.tags["homeostat.family"], one.data.metrics["log_loss"]) for one in below]
    assert sorted(told) == sorted(tried)
    assert {one.info.status for one in below} == {"FINISHED"}


def test_a_run_has_its_curves_as_images(tracked: Tracked, tmp_path: Path) -> None:
    folder = Path(tracked.client.download_artifacts(tracked.runs()[0].info.run_id, "curves", str(tmp_path)))

    assert {path.name: path.read_bytes()[:8] for path in folder.iterdir()} == {"roc.png": PNG, "reliability.png": PNG}


def test_a_run_has_every_file_of_the_release(tracked: Tracked, tmp_path: Path) -> None:
    folder = Path(tracked.client.download_artifacts(tracked.runs()[0].info.run_id, "release", str(tmp_path)))

    logged = {path.name: path.read_bytes() for path in folder.iterdir()}

    assert logged == {path.name: path.read_bytes() for path in tracked.folder.iterdir()}


def test_the_alias_production_follows_the_promotion_log(tracked: Tracked) -> None:
    assert tracked.production() == ("1", tracked.digest)


def test_the_model_version_is_that_of_the_run(tracked: Tracked) -> None:
    version = tracked.client.get_model_version_by_alias("pima", ALIAS)

    assert version.run_id == tracked.runs()[0].info.run_id


def test_recording_a_release_again_changes_nothing(tracked: Tracked) -> None:
    before = [run.info.run_id for run in tracked.runs()]

    assert [tracked.record(release=tracked.digest)] == before
    assert [run.info.run_id for run in tracked.runs()] == before


def test_mirroring_again_makes_no_second_version(tracked: Tracked) -> None:
    run_id = tracked.runs()[0].info.run_id

    assert mirror_production(tracked.client, project="pima", release=tracked.release, run_id=run_id) == "1"
    assert len(tracked.client.search_model_versions("name = 'pima'")) == 1


# The tests below add runs: they come last.


def test_a_recording_that_was_killed_is_made_again_and_its_remains_are_marked(tracked: Tracked) -> None:
    experiment = tracked.runs()[0].info.experiment_id
    tags = {"homeostat.release": "f" * 64, "homeostat.trigger": "drift"}
    begun = tracked.client.create_run(experiment, tags=tags).info.run_id
    tracked.client.create_run(experiment, tags={"mlflow.parentRunId": begun})

    again = tracked.record(release="f" * 64)

    found = {run.info.run_id: run.info.status for run in tracked.runs()}
    assert (found[begun], found[again]) == ("KILLED", "FINISHED")
    assert (len(tracked.trials(begun)), len(tracked.trials(again))) == (0, 2)


def test_the_runs_below_say_which_recipe_and_family_they_are_and_which_was_chosen(tracked: Tracked) -> None:
    below = tracked.trials(tracked.record(release="e" * 64))

    kinds = ("homeostat.recipe", "homeostat.family", "homeostat.chosen")
    told = {run.info.run_name: tuple(run.data.tags[kind] for kind in kinds) for run in below}
    assert told == {
        "since, logistic 1": ("since", "logistic", "false"),
        "since, logistic 2": ("since", "logistic", "true"),
    }


def test_an_attempt_that_came_to_no_release_is_one_failed_run_with_its_reason(tracked: Tracked) -> None:
    def record() -> str:
        return record_failure(
            tracked.client,
            tracked.attempt(cycle=7),
            status="FAILED",
            sentence="the search met a wall",
            ended_at=NOW + timedelta(seconds=9),
        )

    run = tracked.client.get_run(record())

    assert record() == run.info.run_id
    assert (run.info.status, run.data.tags["mlflow.note.content"]) == ("FAILED", "the search met a wall")
    assert run.info.end_time - run.info.start_time == 9_000
    assert len(tracked.trials(run.info.run_id)) == 2


def test_what_the_gate_said_is_told_once_however_often_it_is_recorded(tracked: Tracked) -> None:
    run_id = tracked.record(release="c" * 64)
    criterion = {"name": "anchor", "passed": False, "sentence": "AUC fell", "figures": {"loss": 0.1, "side": "anchor"}}
    gate = {"passed": False, "criteria": [criterion]}

    for _ in range(2):
        record_outcome(tracked.client, run_id, outcome="refused", sentence="It was refused.", gate=gate, at=NOW)

    data = tracked.client.get_run(run_id).data
    assert (data.tags["homeostat.outcome"], data.tags["homeostat.gate"]) == ("refused", "refused")
    assert data.tags["homeostat.gate.anchor"] == "refused: AUC fell"
    assert [one.value for one in tracked.client.get_metric_history(run_id, "gate_anchor_loss")] == [0.1]


def test_mirroring_another_run_moves_the_alias_to_a_version_of_its_own(tracked: Tracked) -> None:
    run_id = tracked.record(release="d" * 64)

    mirror_production(tracked.client, project="pima", release=replace(tracked.release, digest="d" * 64), run_id=run_id)

    assert tracked.production() == ("2", "d" * 64)


def test_a_project_without_an_experiment_has_no_runs(tracked: Tracked) -> None:
    assert list_runs(tracked.client, "another") == []


def test_a_run_knows_the_revision_of_the_repository_that_the_project_is_in(tmp_path: Path) -> None:
    said = {
        "GIT_AUTHOR_NAME": "a",
        "GIT_AUTHOR_EMAIL": "a@b.c",
        "GIT_COMMITTER_NAME": "a",
        "GIT_COMMITTER_EMAIL": "a@b.c",
    }
    assert git_revision(tmp_path) is None
    subprocess.run(["git", "init", "-q", tmp_path], check=True)
    commit = ["git", "-C", str(tmp_path), "commit", "-q", "--allow-empty", "-m", "a test"]
    subprocess.run(commit, env=os.environ | said, check=True)

    assert re.fullmatch("[0-9a-f]{40}", str(git_revision(tmp_path)))
