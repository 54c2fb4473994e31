"""In what releases differ: every setting, parameter and feature that is not the same, and nothing else."""

from dataclasses import replace
from pathlib import Path

import pytest

from homeostat.deployment.artifacts import find_release, open_release
from homeostat.deployment.differences import ABSENT, list_differences
from homeostat.records import Feature, Release
from homeostat.store.blobs import FolderBlobs
from tests.deployment.small_release import pack


@pytest.fixture(scope="module")
def release(tmp_path_factory: pytest.TempPathFactory) -> Release:
    blobs = FolderBlobs(Path(tmp_path_factory.mktemp("blobs")))
    return open_release(find_release(pack(blobs), blobs))


def with_lineage(release: Release, **lineage: object) -> Release:
    return replace(release, lineage={**release.lineage, **lineage})


def differences(*releases: Release) -> list[tuple[str, str, tuple[str, ...]]]:
    return [(one.part, one.name, one.values) for one in list_differences(releases)]


def test_equal_releases_do_not_differ(release: Release) -> None:
    assert differences(release, release, release) == []


def test_parameters_settings_and_rows_that_differ_are_listed_side_by_side(release: Release) -> None:
    one = with_lineage(release, parameters={"num_leaves": 4, "rate": 0.04}, settings={"seed": 0}, snapshot="a" * 64)
    two = with_lineage(
        release, parameters={"num_leaves": 4, "rate": 0.1234567}, settings={"seed": 1}, snapshot="b" * 64
    )

    assert differences(one, two) == [
        ("parameters", "rate", ("0.04", "0.1235")),
        ("settings", "seed", ("0", "1")),
        ("training set", "snapshot", ("a" * 12, "b" * 12)),
    ]


def test_what_one_release_does_not_have_is_a_dash(release: Release) -> None:
    assert differences(release, with_lineage(release, change={"kind": "data"})) == [
        ("change in the world", "kind", (ABSENT, "data"))
    ]


def test_features_that_were_added_or_changed_are_listed(release: Release) -> None:
    first, second = release.schema.features
    wider = replace(first, high=20.0, unit="mg/dL", missing=(-1.0,))
    added = Feature("city", "categorical")
    changed = replace(release, schema=replace(release.schema, features=(wider, second, added)))

    assert differences(release, changed) == [
        ("features", "x0", ("numeric, -10 to 10", "numeric, -10 to 20, mg/dL, missing: -1")),
        ("features", "city", (ABSENT, "categorical")),
    ]
