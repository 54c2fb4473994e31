"""The pages in a real Chromium, on a real server; the test turns the loop itself.

A page that logs an error, or breaks its own content security policy, fails its test. What was seen is kept in
output/screenshots.
"""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeAlias

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect, sync_playwright

from homeostat.project import Project, open_project
from homeostat.web.server import Server
from tests.web.conftest import promote_copy, row, server  # noqa: F401  fixtures

CHROMIUM = os.environ.get("HOMEOSTAT_CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")
SHOTS = Path(__file__).parents[2] / "output" / "screenshots"
# What Chromium says of an answer that is no 2xx: a test that asks for one expects it.
REFUSALS = re.compile(r"Failed to load resource: the server responded with a status of (4\d\d|503)")
Start: TypeAlias = Callable[[Path], str]


# Two cores that other tests share: what is promised is that it appears, not how soon.
expect.set_options(timeout=20_000)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield opened
        opened.close()


@pytest.fixture
def context(browser: Browser) -> Iterator[BrowserContext]:
    """A browser with no cookies, 1,200 pixels wide."""
    made = browser.new_context(viewport={"width": 1200, "height": 900})
    made.set_default_timeout(20_000)
    yield made
    made.close()


@pytest.fixture
def page(context: BrowserContext, request: pytest.FixtureRequest) -> Iterator[Page]:
    """A tab; its last look is kept, and it must not have logged an error."""
    opened = context.new_page()
    complaints: list[str] = []
    opened.on("console", lambda said: complaints.append(said.text) if said.type in {"error", "warning"} else None)
    opened.on("pageerror", lambda error: complaints.append(str(error)))
    yield opened
    SHOTS.mkdir(parents=True, exist_ok=True)
    opened.screenshot(path=SHOTS / f"{request.node.name}.png", full_page=True)
    assert [said for said in complaints if not REFUSALS.match(said)] == []


@pytest.fixture(scope="session")
def start() -> Iterator[Start]:
    """Start `homeostat serve` on the project in a folder; return its address."""
    started: list[subprocess.Popen[str]] = []

    def begin(folder: Path) -> str:
        command = [sys.executable, "-m", "homeostat", "serve", "--project", str(folder), "--port", "0"]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        started.append(process)
        assert process.stdout is not None
        return process.stdout.readline().strip()

    yield begin
    for process in started:
        process.kill()
        process.communicate()


@pytest.fixture(scope="session")
def looked_at(trained_template: Path, start: Start, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The address of a service that tests only look at."""
    return start(Path(shutil.copytree(trained_template, tmp_path_factory.mktemp("looked") / "project")))


@pytest.fixture
def project(trained_project: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Project]:
    """A project that a test may change, and that trains in seconds."""
    cheap = {
        "TRAINING__FAMILY": "logistic",
        "TRAINING__FOLDS": "2",
        "TRAINING__REPEATS": "1",
        "STORE__TRACKING": "none",
    }
    for name, value in cheap.items():
        monkeypatch.setenv(f"HOMEOSTAT_{name}", value)
    with open_project(trained_project) as opened:
        yield opened


@pytest.fixture
def address(server: Server) -> str:  # noqa: F811  the fixture
    """The address of a service on `project`, in a thread: a process of its own takes seconds to begin."""
    return f"http://127.0.0.1:{server.config.port}"
