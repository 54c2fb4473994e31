"""`homeostat predict` and `label`: the real commands."""

import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import polars as pl
import pytest
from sqlalchemy import insert, select

from homeostat.monitoring.entries import new_prediction_ids, to_microseconds
from homeostat.project import open_project
from homeostat.store.tables import labels, predictions
from tests.cli.commands import Done, homeostat, parts, table

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)

# --- predict ------------------------------------------------------------------------------------------------------


@pytest.fixture
def patients(pima_path: Path, tmp_path: Path) -> Path:
    """Five patients without outcomes; Insulin of the first was not measured."""
    path = tmp_path / "patients.csv"
    pl.read_csv(pima_path).head(5).drop("Outcome").write_csv(path)
    return path


def test_predict_writes_probability_and_label_beside_each_row(trained_project: Path, patients: Path) -> None:
    output = patients.parent / "scores.csv"
    done = homeostat("predict", patients, "-o", output, "--project", trained_project, "--json")
    scores = pl.read_csv(output)

    assert (done.returncode, json.loads(done.stdout)["rows"], json.loads(done.stdout)["rejected"]) == (0, 5, 0)
    assert scores.drop("predicted_probability", "predicted_label", "rejected_because").equals(pl.read_csv(patients))
    assert scores["predicted_probability"].is_between(0, 1).all()
    assert scores["predicted_label"].to_list() == [int(p >= 0.5) for p in scores["predicted_probability"]]


def test_predict_gives_a_rejected_row_its_reasons_and_every_other_row_its_score(
    trained_project: Path, patients: Path
) -> None:
    output = patients.parent / "scores.csv"
    pl.read_csv(patients).with_columns(Age=pl.Series([50, 999, 32, 21, 33])).write_csv(patients)
    done = homeostat("predict", patients, "-o", output, "--project", trained_project)
    scores = pl.read_csv(output)

    assert done.returncode == 1
    assert done.stdout.startswith("5 rows, 1 rejected; scores of release ")
    assert scores["predicted_probability"].is_null().to_list() == [False, True, False, False, False]
    assert scores["rejected_because"][1] == "Age = 999.0: range (0 to 150, null if not measured)"


def test_predict_into_a_folder_that_is_not_there_is_wrong_usage(trained_project: Path, patients: Path) -> None:
    done = homeostat("predict", patients, "-o", patients.parent / "no" / "scores.csv", "--project", trained_project)

    assert done.returncode == 2
    assert "there is no folder" in done.stderr


def test_predict_before_anything_is_in_production_is_refused(project: Path, data: Path) -> None:
    done = homeostat("predict", data, "-o", project / "scores.csv", "--project", project)

    assert parts(done) == ("no release is in production yet", "a promoted release", "run `homeostat train`")
    assert not (project / "scores.csv").exists()


def test_predict_of_a_file_without_a_feature_is_refused_and_writes_nothing(
    trained_project: Path, patients: Path
) -> None:
    pl.read_csv(patients).drop("Age").write_csv(patients)
    done = homeostat("predict", patients, "-o", patients.parent / "scores.csv", "--project", trained_project)

    assert parts(done)[0].startswith("there is no column 'Age' (found: Pregnancies, ")
    assert not (patients.parent / "scores.csv").exists()


# --- label --------------------------------------------------------------------------------------------------------


@pytest.fixture
def answered(project: Path) -> list[str]:
    """The ids of three predictions in the log."""
    ids = new_prediction_ids(3, to_microseconds(NOW))
    line = {"received_at": NOW, "release": "r" * 64, "row": b'{"age":50,"city":null}', "probability": 0.5, "label": "0"}
    with open_project(project) as opened, opened.database.write() as connection:
        connection.execute(insert(predictions), [{"id": row_id, **line} for row_id in ids])
    return ids


@pytest.fixture
def label_file(project: Path) -> Callable[..., Done]:
    """Run `homeostat label` on some lines of id and label."""

    def run(*lines: str, header: str = "id,label", options: tuple[str, ...] = ("--json",)) -> Done:
        (project / "outcomes.csv").write_bytes(table(*lines, header=header))
        return homeostat("label", project / "outcomes.csv", "--project", project, *options)

    return run


def stored_labels(project: Path) -> dict[str, tuple[str, str]]:
    with open_project(project) as opened, opened.database.read() as connection:
        return {row.prediction: (row.label, row.source) for row in connection.execute(select(labels))}


def test_label_records_each_outcome_once_and_says_who_says_so(
    project: Path, answered: list[str], label_file: Callable[..., Done]
) -> None:
    lines = [f"{answered[0]},1", f"{answered[1]},0"]
    first = label_file(*lines, options=("--json", "--source", "laboratory"))
    again = label_file(*lines)

    assert (first.returncode, json.loads(first.stdout)) == (0, {"counts": {"recorded": 2}, "problems": []})
    assert (again.returncode, json.loads(again.stdout)) == (0, {"counts": {"repeated": 2}, "problems": []})
    assert stored_labels(project) == {answered[0]: ("1", "laboratory"), answered[1]: ("0", "laboratory")}


def test_label_reads_what_a_spreadsheet_wrote(answered: list[str], label_file: Callable[..., Done]) -> None:
    done = label_file(f"{answered[0]};1", header="id;label")

    assert (done.returncode, json.loads(done.stdout)["counts"]) == (0, {"recorded": 1})


def test_label_tells_unknown_conflicting_and_invalid_outcomes_apart_and_records_the_others(
    project: Path, answered: list[str], label_file: Callable[..., Done]
) -> None:
    with open_project(project) as opened, opened.database.write() as connection:
        values = {"prediction": answered[0], "label": "1", "received_at": NOW, "source": "laboratory"}
        connection.execute(insert(labels).values(values))
    done = label_file(f"{answered[0]},0", "nobody,1", f"{answered[1]},2", f"{answered[2]},")
    problems = [(p["id"], p["label"], p["status"], p["standing"]) for p in json.loads(done.stdout)["problems"]]

    assert done.returncode == 1
    assert problems == [
        (answered[0], 0, "conflicting", 1),
        ("nobody", 1, "unknown", None),
        (answered[1], "2", "invalid", None),
        (answered[2], None, "invalid", None),
    ]
    assert set(stored_labels(project)) == {answered[0]}


def test_label_of_a_file_without_the_two_columns_is_refused(
    answered: list[str], label_file: Callable[..., Done]
) -> None:
    done = label_file(f"{answered[0]},1", header="id,outcome")

    assert done.returncode == 1
    assert json.loads(done.stderr)["error"]["problem"] == "there is no column 'label' (found: id, outcome)"
