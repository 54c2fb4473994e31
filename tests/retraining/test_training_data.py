"""D_old u labelled D_production: each row by the rules of a request, on its side for good, and a baseline for drift."""

import shutil
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import delete

from homeostat.data.columns import unstack_rows
from homeostat.data.csv_files import CsvSource
from homeostat.deployment.artifacts import find_release, open_release
from homeostat.errors import ColumnMissing, DataInsufficient, HomeostatError, TargetInvalid
from homeostat.monitoring.production import Quarantine, stamp_rows
from homeostat.project import Project, open_project
from homeostat.records import LabelledRows, Promotion, Row, Schema, Snapshot, Target
from homeostat.retraining.labelled_tables import Loaded, load_source, read_labels
from homeostat.retraining.packing import pack
from homeostat.retraining.training_data import take_snapshot
from homeostat.settings import RetrainingSettings
from homeostat.store.tables import labels
from tests.production_log import NOW, answer, label, own_lease
from tests.retraining.clinic import FOUND, draw_patients, write_project, write_table

GOOD: Row = {"age": 50.0, "dose": 20.0, "city": "A"}


@pytest.fixture
def schema(clinic: Project) -> Schema:
    return clinic.schema


def read(path: Path, schema: Schema) -> Loaded:
    return load_source(CsvSource(path), schema, origin="file", anchor_share=0.2, recent_share=0.4)


def load(path: Path, schema: Schema, *lines: str) -> LabelledRows:
    path.write_text("\n".join(["age,dose,city,outcome", *lines]) + "\n")
    return read(path, schema).rows


def send(project: Project, n_rows: int, *, seed: int = 1, epoch: int = 1, older: float = 0.0) -> list[str]:
    """Answer and label patients, and let a loop see them; return their ids."""
    rows, outcomes = draw_patients(n_rows, seed=seed, older=older)
    ids = answer(project.database, rows)
    label(project.database, list(zip(ids, outcomes, strict=True)))
    stamp_rows(project.database, lease=own_lease(project.database), epoch=epoch)
    return ids


def snapshot_of(project: Project, champion: Promotion | None, *, reload_files: bool = False) -> Snapshot:
    return take_snapshot(project, champion=champion, reload_files=reload_files, change_point=None)


# --- one source ---------------------------------------------------------------------------------------------------


def test_accepted_rows_come_with_their_outcomes(schema: Schema, tmp_path: Path) -> None:
    found = load(tmp_path / "t.csv", schema, "50,20,A,yes", "-1,,,no")

    assert unstack_rows(found.columns) == [GOOD, {"age": -1.0, "dose": None, "city": None}]
    assert found.labels.tolist() == [1, 0]
    assert found.origins.tolist() == ["file", "file"]


def test_impossible_rows_are_left_out_and_counted(schema: Schema, tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    load(path, schema, "50,20,A,yes", "250,20,A,no", "old,20,A,no")

    found = read(path, schema)

    assert len(found.rows.labels) == 1
    assert {name: found.lineage[name] for name in ("rows", "accepted", "rejected")} == {
        "rows": 3,
        "accepted": 1,
        "rejected": 2,
    }


@pytest.mark.parametrize("outcome", ["maybe", "?", "1", "Yes"])
def test_an_outcome_that_is_neither_value_is_named_with_its_row(schema: Schema, tmp_path: Path, outcome: str) -> None:
    with pytest.raises(TargetInvalid) as refused:
        load(tmp_path / "t.csv", schema, "50,20,A,yes", "250,20,A,yes", f"50,20,A,{outcome}")

    assert refused.value.problem == f"t.csv: row 3 has outcome = {outcome!r}"
    assert refused.value.expected == "'no' or 'yes' (project.target_values)"
    assert "nothing was stored" in refused.value.action


def test_rows_without_an_outcome_are_left_out_and_counted_apart(schema: Schema, tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    load(path, schema, "50,20,A,", "50,20,A,yes", "250,20,A,", "51,20,A,  ", "52,20,A,no")

    found = read(path, schema)

    assert found.rows.labels.tolist() == [1, 0]
    counts = {name: found.lineage[name] for name in ("rows", "accepted", "rejected", "unlabelled")}
    assert counts == {"rows": 5, "accepted": 2, "rejected": 1, "unlabelled": 2}


def test_the_outcome_of_a_rejected_row_does_not_matter(schema: Schema, tmp_path: Path) -> None:
    assert load(tmp_path / "t.csv", schema, "50,20,A,yes", "250,20,A,maybe").labels.tolist() == [1]


def test_a_table_without_the_target_is_refused(schema: Schema, tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("age,dose,city\n50,20,A\n")

    with pytest.raises(ColumnMissing, match="'outcome'"):
        read(tmp_path / "t.csv", schema)


def test_equal_rows_fall_on_the_same_side_whatever_their_outcome(schema: Schema, tmp_path: Path) -> None:
    lines = [f"{age},20,A,{outcome}" for age in range(60) for outcome in ("yes", "no")]

    sides = load(tmp_path / "t.csv", schema, *lines).sides.reshape(60, 2)

    assert (sides[:, 0] == sides[:, 1]).all()
    assert set(sides.ravel()) == {"anchor", "training"}


def test_a_row_keeps_its_side_in_any_company_and_order(schema: Schema, tmp_path: Path) -> None:
    lines = [f"{age},20,A,yes" for age in range(60)]
    whole, turned = load(tmp_path / "t.csv", schema, *lines), load(tmp_path / "t.csv", schema, *reversed(lines[:30]))

    assert turned.sides.tolist() == whole.sides[:30].tolist()[::-1]


@pytest.mark.parametrize(
    ("target", "values", "expected"),
    [
        (Target("y", 0, 1), [0, 1, "0", "1", "1.0", 1.0, " 1 ", 2, None, "", "one", 0.5], "010111" + "1xxxxx"),
        (Target("y", "no", "yes"), ["no", "yes", " yes", "No", "0", 0, None], "011xxxx"),
        (Target("y", "1", "2"), [1, 2, "2", 1.0, "1.5"], "0110x"),
        (Target("y", "false", "true"), [False, True, "true", 1], "011x"),
    ],
)
def test_labels_are_compared_as_they_are_written(target: Target, values: list[object], expected: str) -> None:
    assert read_labels(values, target).tolist() == [{"0": 0, "1": 1, "x": -1}[letter] for letter in expected]


# --- the snapshot -------------------------------------------------------------------------------------------------


def test_the_first_snapshot_is_the_projects_files(clinic_template: Path, tmp_path: Path) -> None:
    with open_project(write_project(tmp_path / "fresh")) as project:
        found = snapshot_of(project, None)

    with open_project(clinic_template) as project:
        assert found.digest == open_release_snapshot(project)
    assert set(found.rows.origins) == {"file"}
    assert len(found.baseline["age"]) == len(found.rows.labels) == 200


def open_release_snapshot(project: Project) -> str:
    (folder,) = (project.blobs.root / "releases").iterdir()
    return str(open_release(folder).lineage["snapshot"])


def test_labelled_predictions_are_added_to_d_old(clinic: Project, champion: Promotion) -> None:
    ids = send(clinic, 40)

    found = snapshot_of(clinic, champion)

    produced = found.rows.origins == "production"
    assert found.rows.ids[produced].tolist() == ids
    assert (produced.sum(), (~produced).sum()) == (40, 200)


def test_predictions_are_recent_or_training_and_never_anchor(clinic: Project, champion: Promotion) -> None:
    send(clinic, 200)

    found = snapshot_of(clinic, champion).rows

    sides = found.sides[found.origins == "production"].tolist()
    assert 50 < sides.count("recent") < 110
    assert sides.count("recent") + sides.count("training") == 200


def test_d_old_does_not_change_when_the_file_does(clinic: Project, champion: Promotion) -> None:
    before = snapshot_of(clinic, champion)
    write_table(clinic.folder / "clinic.csv", *draw_patients(10, seed=5))

    assert snapshot_of(clinic, champion).digest == before.digest


def test_a_training_by_hand_reads_the_file_again(clinic: Project, champion: Promotion) -> None:
    send(clinic, 40)
    write_table(clinic.folder / "clinic.csv", *draw_patients(60, seed=5))

    found = snapshot_of(clinic, champion, reload_files=True).rows

    origins = found.origins.tolist()
    assert (origins.count("file"), origins.count("production")) == (60, 40)


def test_after_a_training_by_hand_on_another_table_drift_is_measured_against_that_table(
    clinic: Project, champion: Promotion
) -> None:
    send(clinic, 40)
    write_table(clinic.folder / "clinic.csv", *draw_patients(60, seed=5))

    baseline = snapshot_of(clinic, champion, reload_files=True).baseline

    assert {len(values) for values in baseline.values()} == {60}


def test_the_same_rows_give_the_same_snapshot(clinic: Project, champion: Promotion) -> None:
    send(clinic, 40)

    first, second = (snapshot_of(clinic, champion, reload_files=again).digest for again in (False, True))

    assert first == second


def test_a_label_sent_meanwhile_is_counted_and_its_row_added_once(clinic: Project, champion: Promotion) -> None:
    send(clinic, 30)
    before = snapshot_of(clinic, champion)
    send(clinic, 10, seed=2)

    after = snapshot_of(clinic, champion)

    assert (before.lineage["labels_seen"], after.lineage["labels_seen"]) == (30, 40)
    assert len(set(after.rows.ids[after.rows.origins == "production"])) == 40


def test_no_labelled_prediction_is_no_obstacle(clinic: Project, champion: Promotion) -> None:
    answer(clinic.database, [GOOD])

    assert set(snapshot_of(clinic, champion).rows.origins) == {"file"}


def test_predictions_that_an_edited_schema_refuses_are_no_obstacle(clinic: Project, champion: Promotion) -> None:
    ids = answer(clinic.database, [{**GOOD, "age": "fifty"}])
    label(clinic.database, [(ids[0], "yes")])
    stamp_rows(clinic.database, lease=own_lease(clinic.database), epoch=1)

    assert set(snapshot_of(clinic, champion).rows.origins) == {"file"}


def test_after_an_edit_of_the_schema_d_old_is_read_from_the_files(clinic: Project, champion: Promotion) -> None:
    settings = (clinic.folder / "homeostat.toml").read_text().replace("[0, 120]", "[0, 55]")
    (clinic.folder / "homeostat.toml").write_text(settings)

    with open_project(clinic.folder) as edited:
        found = snapshot_of(edited, champion)

    assert max(found.rows.columns["age"].tolist()) <= 55
    assert found.lineage["sources"][0]["kind"] == "csv"


def test_where_every_row_is_rejected_nothing_is_stored(tmp_path: Path) -> None:
    with open_project(write_project(tmp_path / "fresh")) as project:
        write_table(project.folder / "clinic.csv", [{**GOOD, "age": 999.0}], ["yes"])

        with pytest.raises(DataInsufficient, match="every row was rejected"):
            snapshot_of(project, None)
        assert not project.blobs.root.exists()


def test_the_lineage_names_every_source_with_its_counts(clinic: Project, champion: Promotion) -> None:
    send(clinic, 40)

    sources = snapshot_of(clinic, champion, reload_files=True).lineage["sources"]

    assert [source["kind"] for source in sources] == ["csv", "snapshot", "production"]
    assert [source["rows"] for source in sources] == [200, 0, 40]
    assert len(sources[0]["sha256"]) == 64


# --- which outcomes are used ----------------------------------------------------------------------------------------


def send_from(project: Project, source: str, n_rows: int, *, seed: int, now: datetime = NOW) -> list[str]:
    """Answer patients, let one source label them, and let a loop see them; return their ids."""
    rows, outcomes = draw_patients(n_rows, seed=seed)
    ids = answer(project.database, rows)
    label(project.database, list(zip(ids, outcomes, strict=True)), source=source, now=now)
    stamp_rows(project.database, lease=own_lease(project.database), epoch=1)
    return ids


def produced_ids(snapshot: Snapshot) -> set[str]:
    return set(snapshot.rows.ids[snapshot.rows.origins == "production"].tolist())


def take(project: Project, champion: Promotion, *, quarantine: Quarantine | None = None, **rules: object) -> Snapshot:
    """Take a snapshot under other rules of retraining."""
    changed = RetrainingSettings.model_validate({**project.settings.retraining.model_dump(), **rules})
    asked = replace(project, settings=project.settings.model_copy(update={"retraining": changed}))
    return take_snapshot(asked, champion=champion, reload_files=False, change_point=None, quarantine=quarantine)


def test_only_labelled_predictions_are_learned_from(clinic: Project, champion: Promotion) -> None:
    labelled = send(clinic, 20)
    answer(clinic.database, draw_patients(30, seed=2)[0])
    stamp_rows(clinic.database, lease=own_lease(clinic.database), epoch=1)

    assert produced_ids(snapshot_of(clinic, champion)) == set(labelled)


def test_an_outcome_in_quarantine_is_neither_used_nor_counted_as_seen(clinic: Project, champion: Promotion) -> None:
    old = send_from(clinic, "a", 20, seed=1, now=NOW - timedelta(minutes=11))
    send_from(clinic, "a", 10, seed=2, now=NOW - timedelta(minutes=9))

    found = take(clinic, champion, quarantine=Quarantine(NOW, 600))

    assert produced_ids(found) == set(old)
    assert found.lineage["left_out"] == {"quarantine": 10}
    assert found.lineage["labels_seen"] == 20


def test_an_outcome_from_the_future_of_a_clock_that_was_set_back_waits_no_longer_than_others(
    clinic: Project, champion: Promotion
) -> None:
    future = send_from(clinic, "a", 20, seed=1, now=NOW + timedelta(days=365))

    assert produced_ids(take(clinic, champion, quarantine=Quarantine(NOW, 600))) == set(future)


def test_one_of_several_sources_gives_its_share_and_the_lineage_says_so(clinic: Project, champion: Promotion) -> None:
    send_from(clinic, "loud", 150, seed=1)
    send_from(clinic, "quiet", 30, seed=2)

    lineage = take(clinic, champion).lineage

    assert lineage["senders"] == {"loud": 120, "quiet": 30}
    assert lineage["left_out"] == {"source_cap": 30}
    assert not lineage["single_source"]


def test_of_a_window_the_newest_are_taken_from_old_and_new_alike(clinic: Project, champion: Promotion) -> None:
    ids = send(clinic, 40)

    found = take(clinic, champion, data=15)

    assert produced_ids(found) == set(ids[25:])
    assert found.lineage["left_out"] == {"window": 25}


def test_outcomes_that_an_edited_schema_refuses_are_counted(clinic: Project, champion: Promotion) -> None:
    ids = answer(clinic.database, [{**GOOD, "age": "fifty"}, GOOD])
    label(clinic.database, [(ids[0], "yes"), (ids[1], "no")])
    stamp_rows(clinic.database, lease=own_lease(clinic.database), epoch=1)

    assert snapshot_of(clinic, champion).lineage["left_out"] == {"schema": 1}


def test_what_a_release_was_trained_on_stays_when_the_log_has_deleted_it(clinic: Project, champion: Promotion) -> None:
    old = send(clinic, 20)
    second = promote_snapshot(clinic, champion)
    with clinic.database.write() as connection:
        connection.execute(delete(labels))
    new = send_from(clinic, "a", 5, seed=2)

    found = snapshot_of(clinic, second)

    assert produced_ids(found) == {*old, *new}
    assert found.lineage["senders"] == {"a": 5}


def promote_snapshot(project: Project, champion: Promotion) -> Promotion:
    """Promote a release that was trained on the log as it is."""
    snapshot = snapshot_of(project, champion)
    packed = pack(project, snapshot, FOUND, code={}, provenance={})
    return replace(champion, release=packed["release"])


def test_a_column_that_gives_the_outcome_away_is_named(clinic: Project) -> None:
    rows, outcomes = draw_patients(200, seed=3)
    told: list[Row] = [
        {**row, "dose": 40.0 if outcome == "yes" else 10.0} for row, outcome in zip(rows, outcomes, strict=True)
    ]
    write_table(clinic.folder / "clinic.csv", told, outcomes)

    assert snapshot_of(clinic, None, reload_files=True).lineage["giveaways"] == {"dose": 1.0}


# --- the baseline -------------------------------------------------------------------------------------------------


def ages(snapshot: Snapshot) -> list[float]:
    return sorted(snapshot.baseline["age"].tolist())


def sent_ages(n_rows: int, *, seed: int = 1) -> list[float]:
    return [float(str(row["age"])) for row in draw_patients(n_rows, seed=seed)[0]]


def test_after_a_drift_the_baseline_is_every_row_since_the_change_point(clinic: Project, champion: Promotion) -> None:
    send(clinic, 40)
    answer(clinic.database, [GOOD] * 5)
    stamp_rows(clinic.database, lease=own_lease(clinic.database), epoch=1)

    found = take_snapshot(clinic, champion=champion, reload_files=False, change_point=31)

    assert ages(found) == sorted(sent_ages(40)[30:] + [50.0] * 5)
    assert found.lineage["change_point"] == 31


def test_without_a_drift_the_baseline_is_the_champions_and_what_its_watch_saw(
    clinic: Project, champion: Promotion
) -> None:
    before = snapshot_of(clinic, champion)

    send(clinic, 40)

    assert ages(snapshot_of(clinic, champion)) == sorted(ages(before) + sent_ages(40))


def test_rows_of_an_earlier_watch_are_not_seen_by_this_one(clinic: Project, champion: Promotion) -> None:
    before = snapshot_of(clinic, champion)
    send(clinic, 40, epoch=0)
    send(clinic, 10, seed=2)

    assert ages(snapshot_of(clinic, champion)) == sorted(ages(before) + sent_ages(10, seed=2))


def test_with_the_snapshot_as_reference_the_baseline_is_the_whole_union(clinic: Project, champion: Promotion) -> None:
    send(clinic, 40)
    settings = (clinic.folder / "homeostat.toml").read_text()
    (clinic.folder / "homeostat.toml").write_text(
        settings.replace("window = 50", 'window = 50\nreference = "snapshot"')
    )

    with open_project(clinic.folder) as literal:
        found = take_snapshot(literal, champion=champion, reload_files=False, change_point=31)

    assert ages(found) == sorted(found.rows.columns["age"].tolist())


def test_a_champion_whose_release_is_gone_is_reported(clinic: Project, champion: Promotion) -> None:
    shutil.rmtree(find_release(champion.release, clinic.blobs))

    with pytest.raises(HomeostatError, match="there is no release"):
        snapshot_of(clinic, champion)
