"""`homeostat replay` as a command: lines on standard output and nothing else there, the project untouched, refusals."""

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from homeostat.records import Json
from tests.cli.commands import Done, homeostat, parts
from tests.simulation.clinic_stream import TARGET, open_clinic, ordinary, write_clinic

N_ROWS = 450
IMPOSSIBLE = 70


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A clinic with a release in production, and beside it a stream with one impossible row, and its labels."""
    folder = tmp_path_factory.mktemp("clinic") / "project"
    columns, outcomes = ordinary(open_clinic(write_clinic(folder)), N_ROWS)
    ids = [f"visit {row}" for row in range(N_ROWS)]
    columns["Age"][IMPOSSIBLE] = 900
    seconds = np.arange(N_ROWS) * 60
    pl.DataFrame({"row_id": ids, "event_time": seconds, **columns}).write_csv(folder.parent / "stream.csv")
    known = pl.DataFrame({"row_id": ids, TARGET: outcomes, "available_at": seconds + 90})
    known.write_csv(folder.parent / "labels.csv")
    return folder


def replay(project: Path, *arguments: str | Path) -> Done:
    """Run the command on the project's stream and labels."""
    files = (project.parent / "stream.csv", "--labels", project.parent / "labels.csv")
    return homeostat("replay", *files, "--project", project, *arguments)


def lines(done: Done) -> list[Json]:
    """Return the lines of a run that went well."""
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_each_line_is_an_object_with_its_row_its_moment_and_its_event(project: Path) -> None:
    found = lines(replay(project, "--json"))

    assert [line["event"] for line in found] == ["begun", "rejected", "drift_checked", "drift_checked", "summary"]
    assert found[1]["row"] == f"visit {IMPOSSIBLE}"
    assert found[1]["time"] == "1970-01-01T01:10:00+00:00"
    assert [(v["column"], v["value"], v["rule"]) for v in found[1]["violations"]] == [("Age", 900, "range")]
    # One row less than 200 was accepted by then.
    assert found[2]["row"] == "visit 200"
    assert {"name", "statistic", "p_value", "drifted"} <= found[2]["features"][0].keys()
    assert {"score", "evidence", "triggered"} <= found[2].keys()


def test_the_last_line_sums_up_with_and_without_updating(project: Path) -> None:
    summary = lines(replay(project, "--json"))[-1]

    assert [summary[name] for name in ("rows", "rejected", "checks", "promotions", "rollbacks")] == [450, 1, 2, 0, 0]
    assert summary["retrainings"] == {}
    metrics = summary["metrics"]
    assert metrics["with_updating"] == metrics["without_updating"] == metrics["releases"][0]["with_updating"]
    assert metrics["with_updating"]["n"] == 449
    assert metrics["with_updating"]["auc"] > 0.7


def test_the_same_input_gives_the_same_bytes_and_the_project_is_as_it_was(project: Path) -> None:
    before = digest(project)

    first, second = replay(project, "--json"), replay(project, "--json")

    assert first.stdout == second.stdout
    assert digest(project) == before


def digest(folder: Path) -> dict[str, str]:
    """Return the SHA-256 of each file of a project."""
    return {str(path): hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.rglob("*") if path.is_file()}


def test_a_policy_is_laid_beside_the_project_s_own_and_drawn(project: Path, tmp_path: Path) -> None:
    (tmp_path / "narrow.toml").write_text("[monitoring]\nwindow = 100\n")
    page = tmp_path / "page.html"

    found = lines(replay(project, "--json", "--compare", tmp_path / "narrow.toml", "--html", page))

    assert [line["checks"] for line in found if line["event"] == "summary"] == [2, 4]
    assert {line.get("policy") for line in found[:-1]} == {"project", "narrow"}
    assert [policy["policy"] for policy in found[-1]["policies"]] == ["project", "narrow", "never updating"]
    assert found[-1]["policies"][1]["more_wrong"] == {"value": 0, "low": 0, "high": 0}
    assert page.read_text().startswith("<!doctype html>")
    assert "http" not in page.read_text().replace("http://www.w3.org", "")


def test_the_variables_of_the_project_do_not_lead_back_to_it(project: Path, tmp_path: Path) -> None:
    before = digest(project)
    database = f"sqlite:///{project}/.homeostat/homeostat.db"
    environment = {**os.environ, "HOMEOSTAT_STORE__DATABASE": database, "HOMEOSTAT_MONITORING__WINDOW": "150"}
    command = [sys.executable, "-m", "homeostat", "replay", str(project.parent / "stream.csv"), "--json"]

    done = subprocess.run(
        [*command, "--project", str(project), "--keep", str(tmp_path / "kept")],
        capture_output=True,
        text=True,
        check=False,
        env=environment,
    )

    assert lines(done)[-1]["checks"] == 2
    assert (tmp_path / "kept" / "project" / ".homeostat" / "homeostat.db").is_file()
    assert digest(project) == before


def test_a_policy_may_not_change_what_is_learned(project: Path, tmp_path: Path) -> None:
    (tmp_path / "other.toml").write_text('[project]\ntarget = "Age"\n')

    done = replay(project, "--compare", tmp_path / "other.toml")

    assert done.returncode == 1
    assert parts(done)[0].endswith("project is no part of a policy")


def test_a_column_that_is_not_there_is_refused_in_three_parts(project: Path) -> None:
    done = replay(project, "--id", "patient")

    assert done.returncode == 1
    assert parts(done)[0].startswith("stream.csv: there is no column 'patient'")
