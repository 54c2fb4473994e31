"""Names of features, categories and reasons that strangers chose stay text on every page and in every report."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from homeostat.loop import begin_by_hand
from homeostat.project import Project, open_project
from homeostat.web.contents import to_document
from homeostat.web.cycle_page import describe_cycle
from tests.production_log import answer, check_windows
from tests.retraining.clinic import draw_patients
from tests.web.html_page import Page
from tests.web.strangers import CATEGORY, NAME, write_strange_project

PAGES = ["/releases", "/releases/1", "/releases/2", "/compare?release=1&release=2", "/drift", "/drift/1", "/cycles/1"]


@pytest.fixture(scope="module")
def strange_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = write_strange_project(tmp_path_factory.mktemp("strange") / "project")
    with open_project(folder) as project:
        rows = draw_patients(50, seed=1)[0]
        answer(
            project.database,
            [{"age": row["age"], "dose": row["dose"], NAME: CATEGORY} for row in rows],
        )
        check_windows(project)
        begin_by_hand(project, reason=NAME)
    return folder


@pytest.fixture
def project(strange_template: Path, tmp_path: Path) -> Iterator[Project]:
    with open_project(Path(shutil.copytree(strange_template, tmp_path / "project"))) as opened:
        yield opened


def read(client: httpx.Client, path: str) -> Page:
    """Return a page that holds nothing but our own elements."""
    answered = client.get(path)
    assert answered.status_code == 200, (path, answered.text)
    page = Page(answered.text)
    assert page.open == []
    assert not page.of("script")
    assert not page.of("img")
    assert not page.of("em")
    assert not [one for one in page.elements if any(name.startswith("on") or name == "style" for name in one[1])]
    assert "49" not in page.texts
    return page


def test_a_strangers_words_stay_text_on_every_page(client: httpx.Client) -> None:
    pages = {path: read(client, path) for path in PAGES}

    for path, page in pages.items():
        words = " ".join([*page.texts, *(str(value) for one in page.elements for value in one[1].values())])
        assert NAME in words, path
    assert CATEGORY in " ".join(pages["/releases/1"].texts)
    assert CATEGORY in " ".join(pages["/drift/1"].texts)


def test_a_strangers_words_stay_text_in_the_event_log(client: httpx.Client) -> None:
    links = [str(link["href"]) for link in read(client, "/events").of("a") if str(link["href"]).startswith("/events/")]

    assert len(links) >= 5
    assert any(NAME in " ".join(read(client, link).texts) for link in links)


def test_a_report_holds_what_the_page_does(project: Project) -> None:
    with project.database.read() as connection:
        content = describe_cycle(connection, 1)
    assert content is not None

    page = Page(to_document(content, project=NAME))

    assert NAME in page.texts
    assert not page.of("script")
    assert not page.of("a")
