"""The pages beside the board, over real HTTP: whole, read only, and true to what the project holds."""

import shutil
from collections.abc import Callable

import httpx
import pytest

from homeostat.deployment.artifacts import find_release
from homeostat.deployment.registry import list_releases
from homeostat.project import Project
from homeostat.web.release_facts import NOTE
from tests.web.html_page import Page


def look(client: httpx.Client, path: str) -> Page:
    """Return a page, taken apart."""
    answer = client.get(path)
    assert (answer.status_code, answer.headers["content-type"]) == (200, "text/html; charset=utf-8"), answer.text
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


@pytest.mark.parametrize("name", ["1", "digest", "beginning"])
def test_a_release_is_found_by_number_digest_or_beginning(project: Project, client: httpx.Client, name: str) -> None:
    digest = first_digest(project)

    page = look(client, f"/releases/{ {'1': '1', 'digest': digest, 'beginning': digest[:8]}[name] }")

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


@pytest.mark.parametrize("path", ["/releases/99", "/releases/ffffffff", "/releases/%3Cscript%3E"])
def test_what_is_not_there_is_a_404_that_says_so(client: httpx.Client, path: str) -> None:
    answer = client.get(path)

    assert (answer.status_code, answer.headers["content-type"]) == (404, "application/problem+json")


def test_before_the_first_release_the_list_says_how_to_make_one(project: Project, client: httpx.Client) -> None:
    with project.database.write() as connection:
        connection.exec_driver_sql("DELETE FROM releases")

    assert "homeostat train" in look(client, "/releases").texts
