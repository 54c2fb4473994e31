"""The examples are run as a newcomer runs them: the script, a table, an empty folder."""

import os
import re
import shutil
import socket
import subprocess
import sys
from pathlib import Path
from typing import Protocol

import polars as pl
import pytest

EXAMPLES = Path(__file__).parents[1] / "examples"
PROGRAMS = Path(sys.executable).parent
PATH = f"{PROGRAMS}{os.pathsep}{os.environ['PATH']}"


class Run(Protocol):
    """Run an example in an empty folder, with no table named but the one that is given."""

    def __call__(self, name: str, *arguments: object, **variables: str) -> subprocess.CompletedProcess[str]: ...


@pytest.fixture
def run(tmp_path: Path) -> Run:
    def start(name: str, *arguments: object, **variables: str) -> subprocess.CompletedProcess[str]:
        (tmp_path / "scratch").mkdir()
        unset = {"HOMEOSTAT_PIMA": "", "HOMEOSTAT_ADULT": "", "TMPDIR": str(tmp_path / "scratch")}
        return subprocess.run(
            [EXAMPLES / name / "run.sh", *map(str, arguments)],
            cwd=tmp_path,
            env=os.environ | unset | {"PATH": PATH} | variables,
            capture_output=True,
            text=True,
            check=False,
        )

    return start


def run_steps(commands: str, folder: Path, *, path: str = PATH) -> subprocess.CompletedProcess[str]:
    """Run steps that the examples share in a project that is trained already."""
    return subprocess.run(
        ["bash", "-c", f'. "$0"; {commands}', EXAMPLES / "steps.sh"],
        cwd=folder,
        env=os.environ | {"PATH": path},
        capture_output=True,
        text=True,
        check=False,
    )


def find_missing(wanted: list[str], printed: str) -> list[str]:
    """Return what was not printed, in the order in which it should have been."""
    return [] if re.search(".*".join(wanted), printed, re.DOTALL) else [printed]


def test_the_pima_example_leads_from_the_table_to_a_report(run: Run, pima_path: Path, tmp_path: Path) -> None:
    done = run("pima", pima_path)

    story = ["Glucose\n  0 stands in 5 rows", "668 rows, 668 accepted, 0 rejected", "is in production since epoch 1"]
    story += ["100 rows answered", "100 outcomes recorded", "in production +release 1", "labels +100\\b"]
    assert (done.returncode, find_missing(story, done.stdout)) == (0, []), done.stderr
    assert (tmp_path / "pima-report.html").read_text().lower().startswith("<!doctype html>")
    assert list((tmp_path / "scratch").iterdir()) == []


def test_the_adult_example_answers_people_of_whom_not_everything_is_known(
    run: Run, adult_path: Path, tmp_path: Path
) -> None:
    done = run("adult", HOMEOSTAT_ADULT=os.path.relpath(adult_path, tmp_path))

    story = ["2799 empty values: missing", "48842 rows, 48842 accepted, 0 rejected", "train: on 4000 rows"]
    story += ["is in production since epoch 1", "100 rows answered", "100 outcomes recorded", "labels +100\\b"]
    assert (done.returncode, find_missing(story, done.stdout)) == (0, []), done.stderr
    assert (tmp_path / "adult-report.html").read_text().lower().startswith("<!doctype html>")


@pytest.mark.parametrize(("name", "number"), [("pima", "37"), ("adult", "1590")])
@pytest.mark.parametrize("table", [[], ["nowhere.csv"]])
def test_without_a_table_the_example_says_where_to_get_it(run: Run, name: str, number: str, table: list[str]) -> None:
    done = run(name, *table)

    assert (done.returncode, done.stdout) == (2, "")
    assert (table or ["No table was named."])[0] in done.stderr
    assert f"It is OpenML's data set {number}, saved as CSV" in done.stderr


def test_a_folder_that_is_there_is_not_written_into(run: Run, tmp_path: Path) -> None:
    (tmp_path / "table.csv").touch()

    done = run("pima", "table.csv", "--keep", tmp_path)

    assert done.returncode == 2
    assert "--keep makes a new folder" in done.stderr
    assert not (tmp_path / "homeostat.toml").exists()


def test_the_service_and_the_folder_are_gone_after_a_failure(trained_project: Path) -> None:
    done = run_steps("trap end EXIT; folder=$PWD; start_service; false", trained_project)

    address = re.search(r"The service answers at http://127.0.0.1:(\d+)", done.stdout)
    assert address is not None, done.stderr
    assert (done.returncode, trained_project.exists()) == (1, False)
    with socket.socket() as one:
        assert one.connect_ex(("127.0.0.1", int(address[1]))) != 0


def test_without_curl_the_rows_are_scored_by_the_command(
    trained_project: Path, pima_path: Path, tmp_path: Path
) -> None:
    tools = tmp_path / "bin"
    tools.mkdir()
    for tool in ("bash", "dirname"):
        (tools / tool).symlink_to(str(shutil.which(tool)))
    (tools / "homeostat").symlink_to(PROGRAMS / "homeostat")
    shutil.copy(pima_path, trained_project / "arrivals.csv")

    done = run_steps("send_arrivals Outcome", trained_project, path=str(tools))

    assert done.returncode == 0, done.stderr
    assert pl.read_csv(trained_project / "scores.csv")["predicted_probability"].is_between(0, 1).sum() == 768
