"""The pages beside the board, over real HTTP: whole, read only, and true to what the project holds."""

import shutil
from collections.abc import Callable

import httpx
import pytest
from sqlalchemy import delete, update

from homeostat.deployment.artifacts import find_release
from homeostat.deployment.registry import list_releases
from homeostat.loop import begin_by_hand
from homeostat.project import Project
from homeostat.records import Row
from homeostat.store.events import append_event, find_last, newest_events
from homeostat.store.tables import events, releases
from homeostat.web.events_page import PER_PAGE
from homeostat.web.release_facts import NOTE
from tests.production_log import NOW, answer, check_windows
from tests.web.html_page import Page

HOSTILE = "<script>alert(1)</script>\"'&{{ 7 * 7 }}"


def look(client: httpx.Client, path: str) -> Page:
    """Return a page, taken apart."""
    answer = client.get(path)
    assert (answer.status_code, answer.headers["content-type"]) == (200, "text/html; charset=utf-8"), answer.text
    assert "script-src 'self'" in answer.headers["content-security-policy"]
    page = Page(answer.text)
    assert page.open == []
    names = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    assert len(names) == len(set(names))
    assert not [one for one in page.elements if "style" in one[1] or one[0] in ("script", "style")]
    return page


def first_digest(project: Project) -> str:
    with project.database.read() as connection:
        return list_releases(connection)[0].digest


def test_the_releases_are_listed_with_figures_verdict_and_standing(client: httpx.Client) -> None:
    page = look(client, "/releases")

    assert {"AUC, cross-validation", "AUC, anchor", "passed", "in production"} <= set(page.texts)
    assert [box["value"] for box in page.of("input")] == ["1"]
    assert {"href": "/releases/1"} in page.of("a")
    assert {"href": "/releases", "aria-current": "page"} in page.of("a")


def test_a_release_of_another_time_is_no_longer_in_production(
    promote_copy: Callable[[str], str], client: httpx.Client
) -> None:
    promote_copy("second")

    page = look(client, "/releases")

    assert [text for text in page.texts if "in production" in text] == ["in production", "was in production"]


def test_a_release_is_found_by_number_digest_or_beginning(project: Project, client: httpx.Client) -> None:
    digest = first_digest(project)

    for name in ("1", digest, digest[:8]):
        page = look(client, f"/releases/{name}")
        assert digest in page.texts
        assert {"href": "/cycles/1"} in page.of("a")


def test_a_release_page_tells_all_that_is_known_of_it(client: httpx.Client) -> None:
    page = look(client, "/releases/1")

    headings = {
        "Model card",
        "Figures",
        "Calibration and ranking",
        "Features",
        "Gate",
        "Lineage",
        "Golden rows",
        "Files",
    }
    assert headings <= set(page.texts)
    assert {"model.onnx", "metrics.json", "skill", "calibration error", "Glucose"} <= set(page.texts)
    drawings = [one["aria-label"] for one in page.of("svg") if one.get("role") == "img"]
    assert "Reliability: cross-validation, anchor" in drawings
    assert "ROC: cross-validation, anchor" in drawings


def test_what_the_figures_say_against_a_release_stands_in_its_card(client: httpx.Client) -> None:
    text = " ".join(look(client, "/releases/1").texts)

    assert "The anchor side has only 59 rows of the rarer class among 156." in text
    assert "It is not measured on the recent side" in text
    assert "Insulin is missing in 49% of the baseline rows" in text


def test_what_the_owner_says_stands_in_the_card_as_text(project: Project, client: httpx.Client) -> None:
    (project.folder / NOTE).write_text("Not for <script>alert(1)</script> children.\n")

    assert "Not for <script>alert(1)</script> children." in look(client, "/releases/1").texts


def test_a_champion_is_compared_with_the_one_before_it(
    promote_copy: Callable[[str], str], client: httpx.Client
) -> None:
    digest = promote_copy("second")

    page = look(client, f"/releases/{digest}")

    assert "Against the champion before it" in page.texts
    assert {"href": "/compare?release=1&release=2"} in page.of("a")
    assert "It carries no figures." in page.texts


def test_a_release_whose_files_are_gone_is_still_told_of(project: Project, client: httpx.Client) -> None:
    shutil.rmtree(find_release(first_digest(project), project.blobs))

    text = " ".join(look(client, "/releases/1").texts)

    assert "Its files cannot be shown: there is no release" in text
    assert "passed" in text


def test_a_damaged_release_says_what_is_wrong(project: Project, client: httpx.Client) -> None:
    (find_release(first_digest(project), project.blobs) / "metrics.json").write_text("{}")

    text = " ".join(look(client, "/releases/1").texts)

    assert "the bytes of 'metrics.json' differ from their digest" in text


@pytest.fixture
def windows(project: Project) -> Project:
    """Two windows of patients, the second with another glucose, checked as the loop does; and an alert."""
    patient: Row = {
        "Pregnancies": 3, "Glucose": 117, "BloodPressure": 72, "SkinThickness": 23, "Insulin": 0, "BMI": 32.0,
        "DiabetesPedigreeFunction": 0.37, "Age": 29,
    }  # fmt: skip
    answer(project.database, [{**patient, "Glucose": 90 + number % 60} for number in range(400)])
    check_windows(project)
    told = {"kind": "sudden", "subject": HOSTILE, "sentence": f"{HOSTILE} moved", "figures": {}, "epoch": 1}
    with project.database.write() as connection:
        append_event(connection, "alert", told, now=NOW)
    return project


def test_the_drift_checks_are_listed_newest_first_with_their_scores(windows: Project, client: httpx.Client) -> None:
    page = look(client, "/drift")

    assert [link["href"] for link in page.of("a") if str(link["href"]).startswith("/drift/")] == [
        "/drift/2",
        "/drift/1",
    ]
    assert "Drift scores of checks 1 to 2" in [one.get("aria-label") for one in page.of("svg")]
    assert windows.folder.is_dir()


@pytest.mark.usefixtures("windows")
def test_a_drift_check_shows_its_window_then_and_now_and_the_alerts_of_its_watch(client: httpx.Client) -> None:
    page = look(client, "/drift/2")

    assert len([one for one in page.of("svg") if one.get("role") == "img"]) == 8
    assert f"{HOSTILE} moved" in page.texts
    assert {"href": "/drift/1"} in page.of("a")


@pytest.mark.usefixtures("windows")
def test_a_check_whose_baseline_is_gone_has_its_table_and_no_pictures(project: Project, client: httpx.Client) -> None:
    shutil.rmtree(find_release(first_digest(project), project.blobs))

    page = look(client, "/drift/1")

    assert "Glucose" in page.texts
    assert any(text.startswith("Nothing can be drawn: there is no release") for text in page.texts)


def test_before_the_first_check_the_list_says_so(client: httpx.Client) -> None:
    assert any("None yet" in text for text in look(client, "/drift").texts)


def test_a_cycle_tells_its_steps_its_verdict_and_how_it_ended(client: httpx.Client) -> None:
    page = look(client, "/cycles/1")

    steps = ["snapshot", "search", "fit", "track", "gate", "shadow", "approve", "promote", "mirror"]
    assert set(steps) <= set(page.texts)
    assert {"promoted", "the first release of a test", "Gate", "skill"} <= set(page.texts)
    assert {"href": "/releases/1"} in page.of("a")


def test_a_cycle_under_way_says_which_step_is_next(project: Project, client: httpx.Client) -> None:
    begin_by_hand(project, reason=HOSTILE)

    page = look(client, "/cycles/2")

    assert HOSTILE in page.texts
    assert "under way; the next step is snapshot" in page.texts


def test_the_events_are_listed_newest_first_and_by_kind(project: Project, client: httpx.Client) -> None:
    with project.database.read() as connection:
        last = find_last(connection)[0]

    everything, gates = look(client, "/events"), look(client, "/events?kind=gate")

    lines = [str(link["href"]) for link in everything.of("a") if str(link["href"]).startswith("/events/")]
    assert lines == [f"/events/{number}" for number in range(last, 0, -1)]
    assert len([link for link in gates.of("a") if str(link["href"]).startswith("/events/")]) == 1


def test_older_lines_are_a_page_away(project: Project, client: httpx.Client) -> None:
    with project.database.write() as connection:
        for number in range(PER_PAGE):
            append_event(connection, "alert", {"sentence": f"alert {number}"}, now=NOW)
        last = find_last(connection)[0]

    first = look(client, "/events")
    older = next(str(link["href"]) for link in first.of("a") if "before" in str(link["href"]))
    second = look(client, older)

    assert older == f"/events?before={last - PER_PAGE + 1}"
    assert {"href": f"/events/{last - PER_PAGE}"} in second.of("a")
    assert {"href": "/events"} in second.of("a")


def test_a_line_shows_what_was_written_its_digest_and_what_it_is_about(project: Project, client: httpx.Client) -> None:
    with project.database.read() as connection:
        gate = newest_events(connection, "gate", limit=1)[0]

    page = look(client, f"/events/{gate.seq}")

    assert {"skill", gate.digest, "is that of this line", "is its digest"} <= set(page.texts)
    assert {"href": f"/releases/{first_digest(project)}"} in page.of("a")


def test_a_line_that_was_edited_is_told_and_so_is_the_one_after_a_line_that_was(
    project: Project, client: httpx.Client
) -> None:
    with project.database.write() as connection:
        connection.execute(update(events).where(events.c.seq == 2).values(payload='{"x": 1}', digest="0" * 64))

    assert "is not that of this line: it was edited" in look(client, "/events/2").texts
    assert "is not its digest" in look(client, "/events/3").texts


def test_what_a_stranger_has_written_into_an_event_stays_text(project: Project, client: httpx.Client) -> None:
    with project.database.write() as connection:
        told = {HOSTILE: [HOSTILE, {HOSTILE: HOSTILE}], "deep": {HOSTILE: {"a": {"b": [1, None, True, 0.5]}}}}
        event = append_event(connection, HOSTILE[:40], told, now=NOW)

    page = look(client, f"/events/{event.seq}")

    assert HOSTILE in page.texts
    assert "49" not in page.texts


def test_releases_stand_side_by_side(promote_copy: Callable[[str], str], client: httpx.Client) -> None:
    digest = promote_copy("second")

    page = look(client, f"/compare?release=1&release={digest[:10]}&release=1")

    assert {"Release 1, release 2, side by side", "passed", "in production", "was in production"} <= set(page.texts)
    assert "Reliability: release 1, release 2" in [one.get("aria-label") for one in page.of("svg")]
    assert "Not in parameters, settings, features, rows or software." in page.texts


def test_a_comparison_of_nothing_or_of_too_much_is_refused(client: httpx.Client) -> None:
    for query, status in (("", 400), ("?release=99", 404), ("?release=" + "&release=".join("1" * 30), 422)):
        answer = client.get(f"/compare{query}")

        assert answer.status_code == status
        assert set(answer.json()) >= {"code", "detail", "expected", "action"}


def test_what_is_not_there_is_a_404_for_programs_and_a_page_for_browsers(client: httpx.Client) -> None:
    for path in (
        "/releases/99",
        "/releases/ffffffff",
        "/releases/%3Cscript%3E",
        "/drift/9",
        "/cycles/9",
        "/events/9999",
    ):
        told = client.get(path)
        shown = client.get(path, headers={"Accept": "text/html"})

        assert (told.status_code, told.headers["content-type"]) == (404, "application/problem+json")
        assert set(told.json()) >= {"code", "detail", "expected", "action"}
        assert shown.status_code == 404
        assert Page(shown.text).of("h1")
        assert not Page(shown.text).of("script")


def test_before_the_first_release_the_list_says_how_to_make_one(project: Project, client: httpx.Client) -> None:
    with project.database.write() as connection:
        connection.execute(delete(releases))

    assert "homeostat train" in look(client, "/releases").texts
