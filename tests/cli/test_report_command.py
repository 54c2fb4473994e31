"""`homeostat report` through the real command: one file about a release, a drift check or a cycle."""

import json
import re
from pathlib import Path

import msgspec
import pytest
from click.testing import CliRunner, Result

from homeostat.cli.report import report_command
from homeostat.errors import HomeostatError
from homeostat.loop import begin_by_hand
from homeostat.project import open_project
from tests.cli.commands import homeostat
from tests.production_log import answer, check_windows
from tests.retraining.clinic import draw_patients
from tests.web.html_page import Page


def report(*arguments: str | Path) -> Result:
    """Run the command in this process, which a process of its own would take seconds to begin."""
    return CliRunner().invoke(report_command, [str(one) for one in arguments])


def test_the_release_in_production_is_reported_by_the_real_command(clinic: Path, tmp_path: Path) -> None:
    done = homeostat("report", "--project", clinic, "-o", tmp_path / "release.html")

    page = Page((tmp_path / "release.html").read_text())
    assert (done.returncode, done.stderr) == (0, "")
    assert re.fullmatch(rf"Written to {re.escape(str(tmp_path))}/release.html: release 1, \d+ kB.\n", done.stdout)
    assert {"Release 1:", "in production", "Model card", "Golden rows"} <= set(page.texts)


def test_a_report_needs_nothing_else_and_leads_nowhere(clinic: Path, tmp_path: Path) -> None:
    report("--project", clinic, "-o", tmp_path / "release.html")

    page = Page((tmp_path / "release.html").read_text())

    assert page.asks() == []
    assert page.of("script") == []
    assert page.open == []


def test_a_card_is_written_as_markdown_and_as_json(clinic: Path, tmp_path: Path) -> None:
    for form, name in (("markdown", "README.md"), ("json", "card.json")):
        done = report("--release", "2", "--format", form, "-o", tmp_path / name, "--project", clinic)
        assert done.exit_code == 0, done.output

    front = msgspec.yaml.decode((tmp_path / "README.md").read_text().split("---\n")[1])
    assert front["model-index"][0]["name"] == "clinic"
    card = json.loads((tmp_path / "card.json").read_text())
    assert (card["format"], card["model"]["number"], card["model"]["in_production"]) == (1, 2, False)


def test_a_dash_is_standard_output_and_nothing_else_is_printed(clinic: Path) -> None:
    done = report("--format", "json", "-o", "-", "--project", clinic)

    assert json.loads(done.output)["model"]["number"] == 1


def test_without_a_name_the_file_is_called_by_what_it_is_about(
    clinic: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)

    report("--release", "2", "--format", "markdown", "--project", clinic)

    assert (tmp_path / "release-2.md").is_file()


def test_programs_are_told_the_file_as_json(clinic: Path, tmp_path: Path) -> None:
    done = report("--json", "-o", tmp_path / "r.html", "--project", clinic)

    assert json.loads(done.output) == {
        "report": "release-1",
        "format": "html",
        "file": str(tmp_path / "r.html"),
        "size_bytes": (tmp_path / "r.html").stat().st_size,
    }


def test_a_cycle_is_reported(clinic: Path, tmp_path: Path) -> None:
    with open_project(clinic) as project:
        begin_by_hand(project, reason="a test asks")

    done = report("--cycle", "1", "-o", tmp_path / "cycle.html", "--project", clinic)

    assert done.exit_code == 0, done.output
    assert "a test asks" in Page((tmp_path / "cycle.html").read_text()).texts


@pytest.mark.parametrize(("asked", "number"), [(["--drift"], 2), (["--drift", "1"], 1)])
def test_the_newest_drift_check_is_reported_or_the_one_that_is_named(
    clinic: Path, tmp_path: Path, asked: list[str], number: int
) -> None:
    with open_project(clinic) as project:
        answer(project.database, draw_patients(100, seed=1)[0])
        check_windows(project)

    done = report(*asked, "-o", tmp_path / "drift.html", "--project", clinic)

    page = Page((tmp_path / "drift.html").read_text())
    assert done.output.startswith(f"Written to {tmp_path}/drift.html: drift {number}, ")
    assert any(text.startswith(f"Accepted rows {50 * number - 49} to {50 * number} ") for text in page.texts)
    assert len([one for one in page.of("svg") if one.get("role") == "img"]) == 2


@pytest.mark.parametrize(
    ("asked", "problem"),
    [
        (["--release", "99"], "no releases are called '99'"),
        (["--cycle", "99"], "there is no cycle 99"),
        (["--drift"], "no window has been checked yet"),
    ],
)
def test_what_is_not_there_is_refused(clinic: Path, asked: list[str], problem: str) -> None:
    done = report(*asked, "--project", clinic)

    assert isinstance(done.exception, HomeostatError)
    assert done.exception.problem == problem


@pytest.mark.parametrize("asked", [["--release", "1", "--cycle", "1"], ["--drift", "--format", "json"]])
def test_what_cannot_be_meant_is_wrong_usage(clinic: Path, asked: list[str]) -> None:
    assert report(*asked, "--project", clinic).exit_code == 2
