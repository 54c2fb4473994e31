"""The pages beside the board, and reports from the disk, in a real Chromium: light, dark and narrow."""

from collections.abc import Callable
from pathlib import Path
from typing import Literal

import pytest
from click.testing import CliRunner
from playwright.sync_api import Browser, Page, expect

from homeostat.cli.report import report_command
from homeostat.loop import begin_by_hand
from homeostat.project import Project
from homeostat.records import Row
from tests.browser.conftest import SHOTS
from tests.production_log import answer, check_windows

PATHS = ["/releases", "/releases/1", "/compare?release=1", "/drift", "/drift/1", "/cycles/1", "/events", "/events/3"]
PATIENT: Row = {
    "Pregnancies": 3, "Glucose": 117, "BloodPressure": 72, "SkinThickness": 23, "Insulin": 0, "BMI": 32.0,
    "DiabetesPedigreeFunction": 0.37, "Age": 29,
}  # fmt: skip


@pytest.fixture
def watched(project: Project) -> Project:
    """A project with a drift check."""
    answer(project.database, [{**PATIENT, "Glucose": 90 + number % 60} for number in range(200)])
    check_windows(project)
    return project


@pytest.mark.usefixtures("watched")
def test_every_page_is_whole_in_light_and_dark_and_on_a_narrow_screen(page: Page, address: str) -> None:
    looks: list[tuple[Literal["light", "dark"], int]] = [("light", 1200), ("dark", 360)]
    for scheme, width in looks:
        page.emulate_media(color_scheme=scheme)
        page.set_viewport_size({"width": width, "height": 800})
        for path in PATHS:
            answered = page.goto(address + path)
            assert answered is not None
            assert answered.status == 200
            expect(page.locator("h1")).to_be_visible()
            assert page.evaluate("document.documentElement.scrollWidth") <= width, (path, width)
            name = path.strip("/").replace("/", "-").partition("?")[0]
            page.screenshot(path=SHOTS / f"{name}-{scheme}.png", full_page=True)


def test_from_the_list_of_releases_one_comes_to_a_release_its_cycle_and_its_events(page: Page, address: str) -> None:
    page.goto(f"{address}/releases")
    page.get_by_role("link", name="1", exact=True).click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Release 1: in production")
    page.get_by_role("link", name="cycle 1").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Cycle 1: promoted")
    page.get_by_role("link", name="3", exact=True).click()

    expect(page.get_by_text("is that of this line")).to_be_visible()


def test_the_chosen_releases_are_compared(page: Page, promote_copy: Callable[[str], str], address: str) -> None:
    promote_copy("second")

    page.goto(f"{address}/releases")
    page.get_by_role("button", name="Compare the chosen").click()

    expect(page.get_by_role("heading", level=1)).to_have_text("Release 2, release 1, side by side")
    expect(page.get_by_role("img", name="ROC: release 2, release 1").first).to_be_visible()


def test_events_are_chosen_by_kind_with_the_keyboard(page: Page, project: Project, address: str) -> None:
    begin_by_hand(project, reason="asked by a test")
    page.goto(f"{address}/events")
    page.get_by_label("Kind").focus()
    page.get_by_label("Kind").select_option("retrain_decided")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")

    expect(page.locator("tbody tr")).to_have_count(2)
    expect(page.get_by_text("asked by a test")).to_be_visible()


def test_what_is_not_there_is_a_page_that_says_so(page: Page, looked_at: str) -> None:
    answered = page.goto(f"{looked_at}/releases/99")

    assert answered is not None
    assert answered.status == 404
    expect(page.get_by_text("no releases are called '99'")).to_be_visible()


def test_a_report_opens_from_the_disk_and_asks_for_nothing(browser: Browser, watched: Project, tmp_path: Path) -> None:
    asked: list[str] = []
    complaints: list[str] = []
    for options in (["--release", "1"], ["--drift"], ["--cycle", "1"]):
        path = tmp_path / f"report{options[0]}.html"
        CliRunner().invoke(report_command, [*options, "-o", str(path), "--project", str(watched.folder)])
        with browser.new_page(viewport={"width": 1000, "height": 800}) as tab:
            tab.on("request", lambda request: asked.append(request.url))
            tab.on("console", lambda said: complaints.append(said.text))
            tab.goto(path.as_uri())
            expect(tab.locator("h1")).to_be_visible()
            assert tab.evaluate("getComputedStyle(document.body).margin") == "0px"
            tab.screenshot(path=SHOTS / f"report{options[0]}.png", full_page=True)

    assert [url for url in asked if not url.startswith("file://")] == []
    assert len(asked) == 3
    assert complaints == []
