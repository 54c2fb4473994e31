"""A project whose rows a column orders in time: the newest judge, for good, and nothing else changes."""

import csv
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path

import numpy as np
import pytest

from homeostat.data.snapshots import load_snapshot
from homeostat.deployment.artifacts import find_release, open_release
from homeostat.errors import ColumnMissing, SettingsInvalid, TimeInvalid
from homeostat.project import Project, open_project
from homeostat.records import Floats, LabelledRows, Promotion, Snapshot
from homeostat.retraining.packing import pack
from homeostat.retraining.parts import code_version
from homeostat.retraining.reproduction import find_origin, repeat_search, reproduce
from homeostat.retraining.training_data import take_snapshot
from homeostat.store.blobs import FolderBlobs
from homeostat.training.train import search, select_training
from tests.retraining.clinic import FOUND, SETTINGS, draw_patients, put_in_production
from tests.retraining.test_training_data import send

FIRST_DAY = date(2024, 1, 1)
IN_TIME = SETTINGS.replace("[training]\n", '[training]\ntime = "day"\n')


def write_days(folder: Path, n_rows: int, *, per_day: int = 4, settings: str = IN_TIME, turned: bool = False) -> Path:
    """Write a clinic whose patients came on consecutive days; `turned` writes the newest first."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "homeostat.toml").write_text(settings)
    (rows, outcomes), (more, others) = draw_patients(200, seed=0), draw_patients(200, seed=9)
    patients = list(zip(rows + more, outcomes + others, strict=True))[:n_rows]
    lines = [
        {**row, "day": (FIRST_DAY + timedelta(number // per_day)).isoformat(), "outcome": outcome}
        for number, (row, outcome) in enumerate(patients)
    ]
    with (folder / "clinic.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(lines[0]))
        writer.writeheader()
        writer.writerows(reversed(lines) if turned else lines)
    return folder


def snapshot_of(project: Project, champion: Promotion | None = None, *, reload_files: bool = True) -> Snapshot:
    return take_snapshot(project, champion=champion, reload_files=reload_files, change_point=None)


def times_of(rows: LabelledRows) -> Floats:
    assert rows.times is not None
    return rows.times


def sides_by_patient(rows: LabelledRows) -> dict[str, str]:
    return dict(zip(rows.ids.tolist(), rows.sides.tolist(), strict=True))


def test_the_newest_rows_are_the_anchor_in_whatever_order_the_file_has_them(tmp_path: Path) -> None:
    with open_project(write_days(tmp_path / "a", 200)) as project:
        found = snapshot_of(project)
    with open_project(write_days(tmp_path / "b", 200, turned=True)) as project:
        turned = snapshot_of(project)

    assert found.rows.sides.tolist() == ["training"] * 160 + ["anchor"] * 40
    assert turned.digest == found.digest
    assert (np.diff(times_of(turned.rows)) >= 0).all()
    assert found.lineage["time"]["anchor_from"] == "2024-02-10"


def test_the_column_of_time_is_no_feature(tmp_path: Path) -> None:
    with open_project(write_days(tmp_path, 200)) as project:
        assert list(snapshot_of(project).rows.columns) == ["age", "dose", "city"]


def test_without_the_setting_the_column_changes_nothing(clinic_template: Path, tmp_path: Path) -> None:
    with open_project(write_days(tmp_path, 200, settings=SETTINGS)) as project:
        found = snapshot_of(project)

    with open_project(clinic_template) as project:
        assert snapshot_of(project).digest == found.digest


def test_the_moments_belong_to_the_content_of_a_snapshot(tmp_path: Path) -> None:
    with open_project(write_days(tmp_path / "a", 200)) as project:
        four = snapshot_of(project)
    with open_project(write_days(tmp_path / "b", 200, per_day=2)) as project:
        two = snapshot_of(project)

    assert sides_by_patient(two.rows) == sides_by_patient(four.rows)
    assert two.digest != four.digest


@pytest.mark.parametrize("reload_files", [False, True])
def test_every_row_of_a_release_stays_on_its_side_when_the_file_grows(tmp_path: Path, *, reload_files: bool) -> None:
    with open_project(write_days(tmp_path, 200)) as project:
        before, champion = snapshot_of(project), put_in_production(project)
        write_days(tmp_path, 300)
        after = snapshot_of(project, champion, reload_files=reload_files)

    known = sides_by_patient(after.rows)
    assert {row: known[row] for row in before.rows.ids.tolist()} == sides_by_patient(before.rows)
    # Of a hundred new rows the newest twenty judge, the others teach.
    expected = ["training"] * 80 + ["anchor"] * 20 if reload_files else []
    assert after.rows.sides[200:].tolist() == expected


def test_a_file_of_other_rows_altogether_is_divided_anew(tmp_path: Path) -> None:
    with open_project(write_days(tmp_path, 200)) as project:
        champion = put_in_production(project)
        text = (tmp_path / "clinic.csv").read_text().replace("2024-", "2019-").replace(".", ".7")
        (tmp_path / "clinic.csv").write_text(text)

        found = snapshot_of(project, champion)

    assert found.lineage["time"]["anchor_from"] == "2019-02-10"


def test_where_time_comes_to_order_a_project_the_files_are_read_again(clinic: Project, champion: Promotion) -> None:
    write_days(clinic.folder, 200)

    with open_project(clinic.folder) as project:
        found = snapshot_of(project, champion, reload_files=False)

    assert found.rows.sides.tolist() == ["training"] * 160 + ["anchor"] * 40


def test_where_time_no_longer_orders_a_project_its_moments_are_forgotten(tmp_path: Path) -> None:
    with open_project(write_days(tmp_path, 200)) as project:
        champion = put_in_production(project)
    (tmp_path / "homeostat.toml").write_text(SETTINGS)

    with open_project(tmp_path) as project:
        found = snapshot_of(project, champion, reload_files=False)

    assert found.rows.times is None
    assert found.lineage["time"] is None


def test_labelled_predictions_have_no_moment_and_keep_the_sides_of_their_ids(tmp_path: Path) -> None:
    with open_project(write_days(tmp_path, 200)) as project:
        champion = put_in_production(project)
        send(project, 60)
        found = snapshot_of(project, champion, reload_files=False).rows

    produced = found.origins == "production"
    assert np.isnan(times_of(found)[produced]).all()
    assert set(found.sides[produced]) == {"training", "recent"}
    assert np.isfinite(times_of(found)[~produced]).all()


def test_a_release_in_time_is_made_again_bit_for_bit(tmp_path: Path) -> None:
    with open_project(write_days(tmp_path / "a", 200)) as project:
        snapshot = snapshot_of(project)
        rows = select_training(snapshot.rows, project.settings.training)
        found = search(rows, project.schema, project.settings.training)
        packed = pack(project, snapshot, found, code=code_version(), provenance={})
        origin = find_origin(project, packed["release"])

        report = reproduce(origin, repeat_search(origin), code=code_version(), scratch=tmp_path / "scratch")

    assert report["verdict"] == "identical"
    release = open_release(find_release(packed["release"], FolderBlobs(tmp_path / "scratch")))
    assert release.lineage["settings"]["time"] == "day"
    # Two folds: the first third of the 160 rows is scored by nobody.
    assert release.metrics["cross_validation"]["n_rows"] == 108


@pytest.mark.parametrize(
    ("setting", "problem", "action"),
    [
        ("age", "training.time is 'age', which is a feature", "remove [features.age]"),
        ("outcome", "training.time is 'outcome', which is the target", "name another column"),
    ],
)
def test_a_column_of_time_that_is_a_feature_or_the_target_is_refused(
    tmp_path: Path, setting: str, problem: str, action: str
) -> None:
    write_days(tmp_path, 20, settings=IN_TIME.replace('"day"', f'"{setting}"'))

    with pytest.raises(SettingsInvalid) as refused, open_project(tmp_path):
        pass

    assert refused.value.problem == problem
    assert refused.value.action.startswith(action)


def test_a_column_of_time_that_the_file_lacks_is_refused_with_the_nearest(tmp_path: Path) -> None:
    write_days(tmp_path, 20, settings=IN_TIME.replace('"day"', '"days"'))

    with open_project(tmp_path) as project, pytest.raises(ColumnMissing) as refused:
        snapshot_of(project)

    assert refused.value.problem.startswith("clinic.csv: there is no column 'days'")
    assert refused.value.action == "did you mean 'day'?"


def test_a_moment_that_cannot_be_read_is_named_and_nothing_is_stored(tmp_path: Path) -> None:
    write_days(tmp_path, 20)
    (tmp_path / "clinic.csv").write_text((tmp_path / "clinic.csv").read_text().replace("2024-01-02", "2.1.2024", 1))

    with open_project(tmp_path) as project, pytest.raises(TimeInvalid) as refused:
        snapshot_of(project)

    assert refused.value.problem == "clinic.csv: row 5 has day = '2.1.2024'"
    assert not (tmp_path / ".homeostat" / "blobs").exists()


def test_files_that_write_time_in_two_ways_are_refused(tmp_path: Path) -> None:
    write_days(tmp_path, 20, settings=IN_TIME.replace('["clinic.csv"]', '["clinic.csv", "more.csv"]'))
    lines = (tmp_path / "clinic.csv").read_text().splitlines()
    (tmp_path / "more.csv").write_text("\n".join([lines[0], lines[1].replace("2024-01-01", "7")]))

    with open_project(tmp_path) as project, pytest.raises(TimeInvalid, match="moments in one file and plain numbers"):
        snapshot_of(project)


def test_a_snapshot_in_time_is_loaded_as_it_was_stored(tmp_path: Path) -> None:
    with open_project(write_days(tmp_path, 200)) as project:
        stored = snapshot_of(project)
        found = load_snapshot(stored.digest, schema=project.schema, blobs=project.blobs)

    np.testing.assert_array_equal(found.rows.times, stored.rows.times)
    assert replace(found.rows, times=None).sides.tolist() == stored.rows.sides.tolist()


def test_the_packed_release_of_a_project_in_time_has_the_figures_of_the_newest_past(tmp_path: Path) -> None:
    with open_project(write_days(tmp_path, 200)) as project:
        snapshot = snapshot_of(project)
        packed = pack(project, snapshot, FOUND, code={}, provenance={})

    assert packed["metrics"]["anchor"]["n_rows"] == 40
    assert packed["metrics"]["cross_validation"]["n_rows"] == 108
