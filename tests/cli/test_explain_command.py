"""`homeostat explain`: the real command."""

import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from sqlalchemy import insert

from homeostat.monitoring.entries import new_prediction_ids, to_microseconds
from homeostat.project import open_project
from homeostat.store.tables import predictions
from tests.cli.commands import homeostat, parts
from tests.retraining.clinic import NOW

ROW: dict[str, Any] = {"age": 70.0, "dose": 25.0, "city": "C"}
TEXT = json.dumps(ROW)


def explain(project: Path, *options: str | Path) -> Any:
    done = homeostat("explain", *options, "--project", project, "--json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.fixture
def patients(tmp_path: Path) -> Path:
    """Two patients; the second is the row of these tests, with its columns in another order."""
    path = tmp_path / "patients.csv"
    pl.DataFrame({"city": ["A", "C"], "name": ["x", "y"], "dose": [10, 25], "age": [-1, 70]}).write_csv(path)
    return path


@pytest.fixture
def stored(clinic: Path) -> str:
    """The id of a stored prediction of the other release."""
    other = str(explain(clinic, "--row", TEXT, "--release", "2")["release"])
    received = to_microseconds(NOW)
    (found,) = new_prediction_ids(1, received)
    line = {
        "id": found,
        "received_at": NOW,
        "release": other,
        "row": TEXT.encode(),
        "probability": 0.5,
        "label": '"no"',
    }
    with open_project(clinic) as project, project.database.write() as connection:
        connection.execute(insert(predictions).values(**line))
    return found


def test_a_row_is_shown_with_a_bar_for_each_part_and_a_sentence(two_releases: Path) -> None:
    done = homeostat("explain", "--row", TEXT, "--project", two_releases)

    assert done.returncode == 0
    lines = done.stdout.splitlines()
    assert next(line for line in lines if " dose " in line).split()[:2] == ["dose", "25"]
    assert any("█" in line for line in lines)
    assert next(line for line in lines if " log-odds " in line).split()[2] == "probability"
    assert lines[-1].startswith("The probability is ")


def test_a_row_of_a_file_is_explained_as_the_row_itself(two_releases: Path, patients: Path) -> None:
    from_file = explain(two_releases, patients, "--row-number", "2")

    assert from_file == explain(two_releases, "--row", TEXT)
    assert from_file["base"] + sum(part["contribution"] for part in from_file["contributions"]) == pytest.approx(
        from_file["log_odds"]
    )


def test_a_stored_prediction_is_explained_by_the_release_that_answered_it(clinic: Path, stored: str) -> None:
    told = explain(clinic, "--id", stored, "--compare", "1")

    assert (told["id"], told["answered"]["release"]) == (stored, told["release"])
    assert told["change"]["to"] == told["release"]


def test_two_releases_are_shown_side_by_side(two_releases: Path) -> None:
    done = homeostat("explain", "--row", TEXT, "--compare", "2", "--project", two_releases)

    assert done.returncode == 0
    assert "difference" in done.stdout
    assert done.stdout.splitlines()[-1].startswith("From release ")


def test_without_a_row_it_shows_what_a_release_goes_by(two_releases: Path) -> None:
    done = homeostat("explain", "--project", two_releases)

    names = [line.split()[0] for line in done.stdout.splitlines() if "█" in line]
    assert set(names) <= set(ROW)
    assert names
    assert "training rows" in done.stdout


def test_an_impossible_row_ends_with_1_and_its_reasons(two_releases: Path) -> None:
    done = homeostat("explain", "--row", json.dumps({**ROW, "age": 999}), "--project", two_releases)

    assert done.returncode == 1
    assert "rejected: the row is impossible" in done.stdout
    assert "0 to 120" in done.stdout


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--row", "["), "that is no JSON"),
        (("--row", "[]"), "that is no object"),
        (("--row", TEXT, "--id", "a"), "give one of DATA, --row and --id"),
        (("--compare", "2"), "--compare needs a row"),
    ],
)
def test_wrong_usage_is_told_and_ends_with_2(two_releases: Path, options: tuple[str, ...], said: str) -> None:
    done = homeostat("explain", *options, "--project", two_releases)

    assert done.returncode == 2
    assert said in done.stderr


def test_a_prediction_that_is_not_there_is_refused(two_releases: Path) -> None:
    problem = parts(homeostat("explain", "--id", "nobody", "--project", two_releases))[0]

    assert problem == "no prediction has the id 'nobody'"


def test_a_row_that_a_file_does_not_have_is_refused(two_releases: Path, patients: Path) -> None:
    done = homeostat("explain", patients, "--row-number", "3", "--project", two_releases)

    assert parts(done)[0].endswith("has 2 rows, and none with the number 3")
