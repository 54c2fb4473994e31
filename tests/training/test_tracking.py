"""MLflow holds each attempt once, with everything that one compares, and its alias follows the promotion log."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from mlflow import MlflowClient
from mlflow.entities import Run

import homeostat
from homeostat.deployment.artifacts import find_release, open_release
from homeostat.deployment.registry import require_production
from homeostat.project import Project, open_project
from homeostat.records import Release
from homeostat.training.tracking import ALIAS, list_runs, mirror_production, open_client, record_run

# MLflow's own queries: it does not know the SQLAlchemy of today yet.
pytestmark = pytest.mark.filterwarnings("ignore::sqlalchemy.exc.SADeprecationWarning")
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
        return record_run(
            self.client,
            project="pima",
            artifacts=self.project.folder / "artifacts",
            release=release,
            folder=self.folder,
            tags={"homeostat.cycle": "2"},
        )

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
    assert tags["homeostat.sentence"] == tracked.release.metrics["sentence"]


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

    assert mirror_production(tracked.client, project="pima", release=tracked.digest, run_id=run_id) == "1"
    assert len(tracked.client.search_model_versions("name = 'pima'")) == 1


# The tests below add runs: they come last.


def test_a_recording_that_was_killed_is_made_again_and_its_remains_are_marked(tracked: Tracked) -> None:
    experiment = tracked.runs()[0].info.experiment_id
    begun = tracked.client.create_run(experiment, tags={"homeostat.release": "f" * 64}).info.run_id

    again = tracked.record(release="f" * 64)

    found = {run.info.run_id: run.info.status for run in tracked.runs()}
    assert (found[begun], found[again]) == ("KILLED", "FINISHED")


def test_the_newest_run_is_listed_first(tracked: Tracked) -> None:
    newest = tracked.record(release="e" * 64)

    assert tracked.runs()[0].info.run_id == newest
    assert tracked.runs()[-1].data.tags["homeostat.release"] == tracked.digest


def test_mirroring_another_run_moves_the_alias_to_a_version_of_its_own(tracked: Tracked) -> None:
    run_id = tracked.record(release="d" * 64)

    mirror_production(tracked.client, project="pima", release="d" * 64, run_id=run_id)

    assert tracked.production() == ("2", "d" * 64)


def test_a_project_without_an_experiment_has_no_runs(tracked: Tracked) -> None:
    assert list_runs(tracked.client, "another") == []
