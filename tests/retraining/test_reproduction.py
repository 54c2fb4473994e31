"""A release is made again from what it says of its origin: bit by bit here, and what differs is told."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from homeostat.data import snapshots
from homeostat.deployment.artifacts import (
    KIND,
    LINEAGE,
    MANIFEST,
    PROVENANCE,
    REQUIRED,
    find_release,
    open_release,
    pack_release,
    read_verified,
)
from homeostat.deployment.registry import register_release
from homeostat.errors import ArtifactCorrupt, ReleaseMissing, StateError
from homeostat.monitoring.production import stamp_rows
from homeostat.project import Project, open_project
from homeostat.records import Json, Recipe, Snapshot
from homeostat.retraining.packing import Choice, pack
from homeostat.retraining.parts import code_version
from homeostat.retraining.reproduction import SEARCH, compare, differing_figures, find_origin, repeat_search, reproduce
from homeostat.retraining.training_data import take_snapshot
from homeostat.training.train import search, select_training
from tests.cli.commands import homeostat
from tests.production_log import answer, label, own_lease
from tests.retraining.clinic import FOUND, NOW, draw_patients

CODE = code_version()


def freeze(project: Project) -> Snapshot:
    return take_snapshot(project, champion=None, reload_files=True, change_point=None)


def release_of(project: Project, snapshot: Snapshot, *, found: Json = FOUND, recipe: Recipe | None = None) -> str:
    """Pack a release and return its digest."""
    chosen: Json = {} if recipe is None else {"recipe": recipe, "choice": Choice([{"recipe": recipe.name}], CHANGED)}
    return str(pack(project, snapshot, found, code=CODE, provenance={}, **chosen)["release"])


CHANGED = {"kind": "concept", "since": 5}


def again(project: Project, digest: str, scratch: Path, *, code: Json = CODE) -> Json:
    origin = find_origin(project, digest)
    return reproduce(origin, origin.found, code=code, scratch=scratch)


def repacked(project: Project, digest: str, change: Callable[[Json], object], *, drop: str = "") -> str:
    """Pack a release again with a changed lineage, as somebody would who can write into the store."""
    folder = find_release(digest, project.blobs)
    release, files = open_release(folder), read_verified(folder)
    lineage = json.loads(json.dumps(release.lineage))
    change(lineage)
    return pack_release(
        graph=release.graph,
        schema=release.schema,
        profile=release.profile,
        golden_inputs=release.golden.columns,
        metrics=release.metrics,
        lineage=lineage,
        extra={name: content for name, content in files.items() if name not in {*REQUIRED, PROVENANCE, MANIFEST, drop}},
        provenance={},
        blobs=project.blobs,
    )


# --- the same comes out -------------------------------------------------------------------------------------------


def test_a_release_comes_out_the_same_to_the_last_byte(clinic: Project, tmp_path: Path) -> None:
    digest = release_of(clinic, freeze(clinic))

    report = again(clinic, digest, tmp_path)

    assert (report["verdict"], report["again"], report["files"]) == ("identical", digest, [])
    assert report["sentence"] == f"Release {digest[:12]} was made again: identical, every byte but its times."


def test_so_does_one_that_was_retrained_by_another_recipe_after_a_change(clinic: Project, tmp_path: Path) -> None:
    rows, outcomes = draw_patients(150, seed=1)
    label(clinic.database, list(zip(answer(clinic.database, rows), outcomes, strict=True)))
    stamp_rows(clinic.database, lease=own_lease(clinic.database), epoch=1)
    snapshot = freeze(clinic)
    digest = release_of(clinic, snapshot, recipe=Recipe("weighted", half_life=20))

    report = again(clinic, digest, tmp_path)

    assert "production" in snapshot.rows.origins
    assert report["verdict"] == "identical"
    assert digest != release_of(clinic, snapshot)


def test_a_search_that_is_repeated_finds_the_same(clinic: Project, tmp_path: Path) -> None:
    snapshot = freeze(clinic)
    rows = select_training(snapshot.rows, clinic.settings.training)
    digest = release_of(clinic, snapshot, found=search(rows, clinic.schema, clinic.settings.training))
    origin = find_origin(clinic, digest)

    report = reproduce(origin, repeat_search(origin), code=CODE, scratch=tmp_path)

    assert (report["verdict"], report["search_found_the_same"]) == ("identical", True)


def test_what_was_edited_since_does_not_matter(clinic: Project, tmp_path: Path) -> None:
    digest = release_of(clinic, freeze(clinic))
    path = clinic.folder / "homeostat.toml"
    path.write_text(path.read_text().replace("repeats = 1", "repeats = 3\nseed = 7").replace("[0, 50]", "[0, 60]"))

    with open_project(clinic.folder) as edited:
        report = again(edited, digest, tmp_path)

        assert edited.schema.digest != clinic.schema.digest
    assert report["verdict"] == "identical"


def test_nothing_is_kept_in_the_project(clinic: Project, tmp_path: Path) -> None:
    digest = release_of(clinic, freeze(clinic))
    before = sorted(clinic.folder.rglob("*"))

    again(clinic, digest, tmp_path)

    assert sorted(clinic.folder.rglob("*")) == before


# --- something else comes out -------------------------------------------------------------------------------------


def test_under_other_versions_the_figures_and_answers_must_be_the_same(clinic: Project, tmp_path: Path) -> None:
    digest = release_of(clinic, freeze(clinic))

    report = again(clinic, digest, tmp_path, code=CODE | {"lightgbm": "9.9"})

    assert (report["verdict"], report["files"]) == ("equal", [LINEAGE])
    assert report["versions"] == {"lightgbm": [CODE["lightgbm"], "9.9"]}
    assert f"trained with lightgbm {CODE['lightgbm']}, now 9.9" in report["sentence"]


def test_a_parameter_that_somebody_has_changed_in_the_lineage_gives_another_release(
    clinic: Project, tmp_path: Path
) -> None:
    honest = release_of(clinic, freeze(clinic))
    digest = repacked(clinic, honest, lambda lineage: lineage.update(parameters={"C": 0.001}))

    report = again(clinic, digest, tmp_path)

    assert report["verdict"] == "different"
    assert report["largest_difference"] > 1e-3
    assert "anchor.brier.value" in report["figures"]
    assert f"Release {digest[:12]} could not be made again" in report["sentence"]


def test_the_command_ends_with_code_1_if_something_else_comes_out(clinic: Project) -> None:
    snapshot = freeze(clinic)
    digest = repacked(clinic, release_of(clinic, snapshot), lambda lineage: lineage.update(parameters={"C": 0.001}))
    with clinic.database.write() as connection:
        register_release(
            connection, digest, snapshot=snapshot.digest, family="logistic", metrics={}, run_id=None, now=NOW
        )

    done = homeostat("reproduce", digest[:12], "--project", clinic.folder)

    assert done.returncode == 1
    assert done.stdout.startswith(f"Release {digest[:12]} could not be made again: ")


def test_a_lineage_that_claims_what_was_not_is_told_under_the_same_versions(clinic: Project, tmp_path: Path) -> None:
    honest = release_of(clinic, freeze(clinic))
    digest = repacked(clinic, honest, lambda lineage: lineage.update(fixed={"max_depth": 3}))

    report = again(clinic, digest, tmp_path)

    assert (report["verdict"], report["figures"]) == ("different", ["lineage.json: fixed.max_depth"])


def test_a_search_that_finds_something_else_is_told(clinic: Project, tmp_path: Path) -> None:
    digest = release_of(clinic, freeze(clinic))
    origin = find_origin(clinic, digest)

    report = reproduce(origin, {**FOUND, "parameters": {"C": 0.01}}, code=CODE, scratch=tmp_path)

    assert (report["verdict"], report["search_found_the_same"]) == ("different", False)


def test_numbers_may_differ_by_what_processors_differ_by() -> None:
    recorded = {"auc": {"value": 0.8, "n": 3}, "shares": [0.5, 0.5], "sentence": "good", "recent": None}

    assert differing_figures(recorded, {**recorded, "shares": [0.5 + 9e-7, 0.5]}) == []
    assert differing_figures(recorded, {**recorded, "shares": [0.5 + 2e-6, 0.5]}) == ["shares.0"]
    assert differing_figures(recorded, {**recorded, "sentence": "bad"}) == ["sentence"]
    assert differing_figures(recorded, {**recorded, "recent": {"auc": 1.0}}) == ["recent", "recent.auc"]
    assert differing_figures(recorded, {**recorded, "shares": [float("nan"), 0.5]}) == ["shares.0"]


def test_the_same_figures_with_another_answer_to_a_golden_row_are_not_the_same_release(clinic: Project) -> None:
    release = open_release(find_release(release_of(clinic, freeze(clinic)), clinic.blobs))
    expected = release.golden.expected.copy()
    expected[0] += 1e-4
    other = replace(release, digest="f" * 64, golden=replace(release.golden, expected=expected))

    assert compare(other, release)["verdict"] == "different"
    assert compare(replace(release, digest="f" * 64), release)["verdict"] == "equal"


# --- it cannot be made again --------------------------------------------------------------------------------------


def test_a_release_whose_rows_are_gone_is_refused_by_name(clinic: Project, tmp_path: Path) -> None:
    snapshot = freeze(clinic)
    digest = release_of(clinic, snapshot)
    shutil.rmtree(clinic.blobs.root / snapshots.KIND / snapshot.digest)

    with pytest.raises(ReleaseMissing) as refused:
        again(clinic, digest, tmp_path)

    assert snapshot.digest[:12] in refused.value.problem
    assert digest[:12] in refused.value.problem
    assert "backup" in refused.value.action


def test_a_release_whose_rows_are_damaged_is_refused(clinic: Project, tmp_path: Path) -> None:
    snapshot = freeze(clinic)
    digest = release_of(clinic, snapshot)
    path = clinic.blobs.root / snapshots.KIND / snapshot.digest / "rows.parquet"
    path.write_bytes(path.read_bytes()[:-20])

    with pytest.raises(ArtifactCorrupt, match="snapshot"):
        again(clinic, digest, tmp_path)


def test_a_damaged_release_is_refused(clinic: Project, tmp_path: Path) -> None:
    digest = release_of(clinic, freeze(clinic))
    path = clinic.blobs.root / KIND / digest / LINEAGE
    path.write_bytes(path.read_bytes().replace(b'"C": 1.0', b'"C": 2.0'))

    with pytest.raises(ArtifactCorrupt, match=r"lineage\.json"):
        again(clinic, digest, tmp_path)


def test_a_release_of_before_that_says_too_little_is_refused_with_what_is_missing(
    clinic: Project, tmp_path: Path
) -> None:
    def forget(lineage: Json) -> None:
        del lineage["recipe"], lineage["monitoring"]

    digest = repacked(clinic, release_of(clinic, freeze(clinic)), forget)

    with pytest.raises(StateError) as refused:
        again(clinic, digest, tmp_path)

    assert refused.value.problem == f"release {digest[:12]} says nothing of monitoring, recipe"
    assert "homeostat train" in refused.value.action


def test_a_release_without_its_search_is_refused(clinic: Project, tmp_path: Path) -> None:
    digest = repacked(clinic, release_of(clinic, freeze(clinic)), dict, drop=SEARCH)

    with pytest.raises(StateError, match="says nothing of its search"):
        again(clinic, digest, tmp_path)


def test_settings_that_this_version_does_not_know_are_refused_by_name(clinic: Project, tmp_path: Path) -> None:
    honest = release_of(clinic, freeze(clinic))
    digest = repacked(clinic, honest, lambda lineage: lineage["settings"].update(boosts=3))

    with pytest.raises(StateError, match=r"settings of another kind \(boosts\)"):
        again(clinic, digest, tmp_path)
