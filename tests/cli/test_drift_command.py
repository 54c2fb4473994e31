"""`homeostat drift` through the real command, on real windows in a real log."""

import io
import json
import os
from datetime import UTC, datetime
from pathlib import Path

import pytest
from rich.console import Console
from sqlalchemy import delete, update

from homeostat.cli.drift import show_check, write_page
from homeostat.deployment.artifacts import find_release, open_release
from homeostat.deployment.registry import require_production
from homeostat.errors import InputError
from homeostat.monitoring.drift_checks import latest_drift_check
from homeostat.monitoring.production import stamp_rows
from homeostat.monitoring.windows import watch
from homeostat.project import Project, open_project
from homeostat.records import Json, Row
from homeostat.store.events import append_event
from homeostat.store.tables import drift_checks, predictions
from tests.cli.commands import homeostat, parts
from tests.production_log import NOW, answer, own_lease

WINDOW = 200
PATIENT: Row = {
    "Pregnancies": 3, "Glucose": 117, "BloodPressure": 72, "SkinThickness": 23, "Insulin": 0, "BMI": 32.0,
    "DiabetesPedigreeFunction": 0.37, "Age": 29,
}  # fmt: skip


def patients(number: int) -> list[Row]:
    """Return patients whose glucose alone is spread as it was not before."""
    return [{**PATIENT, "Glucose": 150 + row % 50} for row in range(number)]


@pytest.fixture
def drifted(trained_project: Path) -> Path:
    """A project whose first window has been checked."""
    with open_project(trained_project) as project:
        answer(project.database, patients(WINDOW))
        look(project)
    return trained_project


def look(project: Project) -> None:
    """Check the complete windows, as the loop does."""
    with project.database.read() as connection:
        promotion = require_production(connection)
    release = open_release(find_release(promotion.release, project.blobs))
    lease = own_lease(project.database)
    stamp_rows(project.database, lease=lease, epoch=promotion.epoch)
    watch(project.database, release, promotion, project.settings.monitoring, lease=lease, now=NOW)


def alert(folder: Path, sentence: str, *, epoch: int) -> Json:
    """Tell an alert of a watch, as the loop does, and return it."""
    told = {"kind": "sudden", "subject": "Glucose", "sentence": sentence, "figures": {}, "epoch": epoch}
    moment = datetime.now(UTC)
    with open_project(folder) as project, project.database.write() as connection:
        append_event(connection, "alert", told, now=moment)
    return {**told, "at": moment.isoformat()}


def stored_check(folder: Path) -> Json:
    with open_project(folder) as project, project.database.read() as connection:
        check = latest_drift_check(connection)
    assert check is not None
    return check


def amend_report(folder: Path, **keys: object) -> None:
    """Add keys to the stored check, as later judgements do."""
    report = {**stored_check(folder)["report"], **keys}
    with open_project(folder) as project, project.database.write() as connection:
        connection.execute(update(drift_checks).values(report=json.dumps(report)))


def delete_rows(folder: Path, *, up_to: int) -> None:
    """Delete the first rows of the log, as retention does."""
    with open_project(folder) as project, project.database.write() as connection:
        connection.execute(delete(predictions).where(predictions.c.observed_seq <= up_to))


def written(folder: Path, page: Path) -> str:
    """Write the page and return it."""
    done = homeostat("drift", "--html", page, "--project", folder)
    assert done.returncode == 0, done.stderr
    return page.read_text(encoding="utf-8")


def test_before_the_first_check_a_sentence_says_so(project: Path) -> None:
    done = homeostat("drift", "--project", project)

    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == (
        "No window has been checked yet: the loop checks each complete window of accepted rows once.\n"
    )


def test_an_alert_does_not_wait_for_the_first_check(trained_project: Path) -> None:
    told = alert(trained_project, "Glucose: 1 of 20 as before", epoch=1)

    shown, as_json = (homeostat("drift", *json_, "--project", trained_project) for json_ in ([], ["--json"]))

    assert shown.stdout.splitlines()[-1] == "alert Glucose: 1 of 20 as before"
    assert json.loads(as_json.stdout) == {"alerts": [told]}


def test_the_table_and_the_verdict_of_the_book_are_shown(drifted: Path) -> None:
    done = homeostat("drift", "--project", drifted)

    glucose = next(line for line in done.stdout.splitlines() if line.lstrip().startswith("Glucose"))
    assert glucose.split()[1:4] == ["drifted", "median", "117"]
    assert "KS, exact" in glucose
    assert "The world has moved: 8 of 8 features, with evidence (rows 1 to 200 against 768" in done.stdout
    assert "fired  8 of 8 features drifted: score 1.000, boundary 0.3" in done.stdout


def test_evidence_and_the_guarded_trigger_are_shown(drifted: Path) -> None:
    streams = {"Glucose": {"value": 23456.0, "peak": 23456.0, "since": 17}}
    guarded = {"fired": False, "counted": ["Glucose"], "needed": 3, "evidence_needed": 120.0, "alert_needed": 160.0}
    evidence = {"n_reference": 768, "n_rows": 200, "gathering": False, "streams": streams}
    amend_report(drifted, evidence=evidence, guarded={**guarded, "since": None})

    lines = homeostat("drift", "--project", drifted).stdout.splitlines()

    features = [line.split() for line in lines if "KS, exact" in line]
    assert (features[0][0], features[0][-2:]) == ("Glucose", ["2.3e4", "17"])
    assert any("quiet  1 of the 3 features needed count (Glucose)" in line for line in lines)


def test_json_is_the_stored_check_and_the_alerts_of_this_watch(drifted: Path) -> None:
    alert(drifted, "of the watch before", epoch=0)
    told = alert(drifted, "of this watch", epoch=1)

    done = homeostat("drift", "--json", "--project", drifted)

    printed = json.loads(done.stdout)
    alerts = printed.pop("alerts")
    assert printed == stored_check(drifted)
    assert alerts[-1] == told
    assert {one["epoch"] for one in alerts} == {1}


def test_the_page_shows_each_feature_then_and_now(drifted: Path, tmp_path: Path) -> None:
    page = written(drifted, tmp_path / "drift.html")

    assert page.count('<svg class="plot"') == 8
    assert "deleted" not in page
    assert [path.name for path in tmp_path.iterdir() if "drift" in path.name] == ["drift.html"]


def test_json_is_printed_alone_when_a_page_is_written_too(drifted: Path, tmp_path: Path) -> None:
    done = homeostat("drift", "--json", "--html", tmp_path / "drift.html", "--project", drifted)

    assert json.loads(done.stdout)["fired"] is True
    assert (tmp_path / "drift.html").is_file()


@pytest.mark.parametrize(
    ("up_to", "n_pictures", "note"),
    [(200, 0, "have been deleted since, so there is nothing to draw."), (50, 8, "50 of the 200 rows of this window")],
)
def test_the_page_says_which_rows_have_been_deleted_since(
    drifted: Path, tmp_path: Path, up_to: int, n_pictures: int, note: str
) -> None:
    delete_rows(drifted, up_to=up_to)

    page = written(drifted, tmp_path / "drift.html")

    assert note in page
    assert page.count('<svg class="plot"') == n_pictures


def test_a_window_of_which_no_row_was_accepted_has_a_verdict_but_no_table(drifted: Path, tmp_path: Path) -> None:
    amend_report(drifted, features=[], n_current=0)

    done = homeostat("drift", "--html", tmp_path / "drift.html", "--project", drifted)

    assert done.stdout.startswith("No row of this window could be tested (rows 1 to 200 against 768")
    assert "No row of this window is accepted by the release&#39;s schema." in (tmp_path / "drift.html").read_text()


def test_before_the_first_check_a_page_says_so_and_replaces_that_of_another_time(project: Path) -> None:
    page = project / "drift.html"
    page.write_text("yesterday")

    assert "<h1>No window has been checked yet</h1>" in written(project, page)


@pytest.mark.parametrize("place", ["a folder", "no folder/drift.html", "a file/drift.html", "x" * 300, "pipe", "."])
def test_a_page_that_cannot_be_written_is_refused_and_nothing_is_left_behind(tmp_path: Path, place: str) -> None:
    (tmp_path / "a folder").mkdir()
    (tmp_path / "a file").touch()
    os.mkfifo(tmp_path / "pipe")
    before = sorted(tmp_path.iterdir())

    with pytest.raises(InputError, match="cannot be written"):
        write_page(tmp_path / place, "page")

    assert sorted(tmp_path.iterdir()) == before


def test_the_refusal_of_a_place_for_the_page_has_three_parts(project: Path) -> None:
    done = homeostat("drift", "--html", project, "--project", project)

    assert done.returncode == 1
    assert parts(done) == (
        f"{project} cannot be written: it is no file",
        "the name of a file, in a folder that may be written to",
        "make the folder, or name another file",
    )


def test_a_link_is_followed_and_stays_a_link(tmp_path: Path) -> None:
    (tmp_path / "link.html").symlink_to("page.html")

    write_page(tmp_path / "link.html", "page")

    assert (tmp_path / "link.html").readlink() == Path("page.html")
    assert (tmp_path / "page.html").read_text() == "page"


def test_what_a_feature_is_called_is_neither_markup_nor_a_command_to_the_terminal(drifted: Path) -> None:
    check = stored_check(drifted)
    check["report"]["features"][0]["name"] = "[red]x[/nothing]\x1b[2J"
    stream = io.StringIO()

    show_check(Console(file=stream, width=140), check)

    assert "[red]x[/nothing]\N{REPLACEMENT CHARACTER}[2J" in stream.getvalue()
