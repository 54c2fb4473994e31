"""The board as a person meets it: whole at once, live, by mouse, by keyboard, on a telephone, without a script."""

from datetime import UTC, datetime
from typing import Any

import httpx
import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect

from homeostat.loop import tick
from homeostat.project import Project
from homeostat.store.keys import create_key, revoke_key

Row = dict[str, Any]


def test_the_board_says_at_once_what_goes_on(looked_at: str, page: Page) -> None:
    page.goto(looked_at)

    expect(page.get_by_role("heading", level=1)).to_have_text("Watching: no row has come yet")
    expect(page.locator("#connection")).to_have_text("Live")
    for name in ("In production", "Traffic", "Rejected rows", "Performance", "Drift", "Decided and done", "Alerts"):
        expect(page.get_by_role("heading", name=name, exact=True)).to_be_visible()
    expect(page.get_by_role("img", name="The loop, now at: monitoring")).to_be_visible()


def test_rows_and_decisions_appear_without_loading_the_page_again(
    address: str, page: Page, project: Project, row: Row
) -> None:
    page.goto(address)
    expect(page.locator("#connection")).to_have_text("Live")
    page.evaluate("window.unchanged = true")

    httpx.post(f"{address}/v1/predict", json=row)
    httpx.post(f"{address}/v1/predict", json={**row, "Age": 400})
    expect(page.locator("#traffic")).to_contain_text("1 row in the last hour")
    expect(page.locator("#rejected")).to_contain_text("Age range")
    list(tick(project))
    expect(page.locator("#story")).to_contain_text("Nothing to do")
    expect(page.locator("#standing")).to_contain_text("1 of the 200 rows of the next window")
    assert page.evaluate("window.unchanged")


def test_a_retraining_begins_on_the_page_and_its_outcome_is_told_there(
    address: str, page: Page, project: Project
) -> None:
    page.goto(address)
    page.get_by_role("button", name="Retrain").click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_label("Reason").fill("spring cleaning")
    dialog.get_by_role("button", name="Retrain").click()
    expect(page.get_by_role("heading", level=1)).to_contain_text("waits for the next turn of the loop")
    expect(page.get_by_label("What was asked")).to_contain_text("Request 1, retrain: waiting")

    sentences = [advance.sentence for advance in tick(project)]

    asked = page.get_by_label("What was asked")
    expect(asked).to_contain_text(sentences[-1])
    expect(page.locator("#announced")).to_contain_text(sentences[-1])
    expect(page.locator("#story")).to_contain_text("spring cleaning")


def test_a_rollback_asks_for_a_reason_and_puts_the_last_release_back(
    address: str, page: Page, project: Project, promote_copy: Any
) -> None:
    promote_copy("another")
    page.goto(address)
    expect(page.locator("#production")).to_contain_text("Release 2")
    page.get_by_role("button", name="Roll back").click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_role("button", name="Roll back").click()
    expect(dialog).to_be_visible()  # the reason is missing
    dialog.get_by_label("Reason").fill("it answers nonsense")
    dialog.get_by_role("button", name="Roll back").click()

    list(tick(project))

    expect(page.locator("#production")).to_contain_text("Release 1")
    expect(page.get_by_label("What was asked")).to_contain_text("rolled back")


def test_what_is_refused_at_once_is_told_in_three_parts(address: str, page: Page) -> None:
    for _ in range(2):
        page.goto(address)
        page.get_by_role("button", name="Retrain").click()
        page.get_by_role("dialog").get_by_role("button", name="Retrain").click()

    expect(page.get_by_role("alert")).to_contain_text("request 1 asks for the same")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_words_stand_out_from_what_is_behind_them(looked_at: str, page: Page, scheme: Any) -> None:
    page.emulate_media(color_scheme=scheme)
    page.goto(looked_at)

    assert page.evaluate(CONTRAST) == []


def test_a_telephone_shows_everything_without_scrolling_sideways(looked_at: str, page: Page) -> None:
    page.set_viewport_size({"width": 375, "height": 700})
    page.goto(looked_at)

    expect(page.get_by_role("heading", name="Releases")).to_be_visible()
    assert page.evaluate("document.documentElement.scrollWidth") <= 375


def test_the_keyboard_alone_opens_and_closes_what_asks(looked_at: str, page: Page) -> None:
    page.goto(looked_at)
    reached = []
    for _ in range(8):
        page.keyboard.press("Tab")
        reached.append(page.evaluate("document.activeElement.textContent.trim()"))
    assert reached[:6] == ["To the content", "Loop", "Releases", "Drift", "Events", "Retrain"]
    page.get_by_role("button", name="Retrain").focus()
    outline = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")

    page.keyboard.press("Enter")
    expect(page.get_by_role("dialog", name="Retrain")).to_be_visible()
    assert page.evaluate("document.activeElement.closest('dialog') !== null")
    page.keyboard.press("Escape")

    expect(page.get_by_role("dialog")).to_have_count(0)
    assert (outline, page.evaluate("document.activeElement.textContent")) == ("solid", "Retrain")


def test_without_a_script_the_page_shows_everything_and_its_forms_work(browser: Browser, address: str) -> None:
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(address)
    expect(page.get_by_role("heading", level=1)).to_have_text("Watching: no row has come yet")

    page.locator("summary", has_text="Retrain").click()
    page.locator("details.retrain button").click()

    expect(page.get_by_label("What was asked")).to_contain_text("Request 1, retrain: waiting")
    context.close()


def test_a_key_opens_the_board_a_wrong_one_does_not_and_a_revoked_one_no_longer(
    address: str, page: Page, project: Project
) -> None:
    with project.database.write() as connection:
        key, token = create_key(connection, "Ada", frozenset({"admin"}), now=datetime.now(UTC))
    page.wait_for_timeout(600)
    page.goto(address)
    page.get_by_label("Key").fill("hs_wrong")
    page.get_by_role("button", name="Log in").click()
    expect(page.get_by_role("alert")).to_have_text("No valid API key came with the request.")

    page.get_by_label("Key").fill(token)
    page.get_by_role("button", name="Log in").click()
    page.get_by_role("button", name="Retrain").click()
    page.get_by_role("dialog").get_by_role("button", name="Retrain").click()
    expect(page.get_by_label("What was asked")).to_contain_text("Request 1")
    expect(page.locator("#story")).to_contain_text(f"Asked to retrain by key:{key.id} Ada")

    with project.database.write() as connection:
        revoke_key(connection, key.id, now=datetime.now(UTC))
    expect(page.locator("#connection")).to_contain_text("Not connected", timeout=20_000)
    page.reload()
    expect(page.get_by_role("heading", level=1)).to_have_text("pima")


def test_a_key_that_may_only_look_sees_no_buttons(
    address: str, context: BrowserContext, page: Page, project: Project
) -> None:
    with project.database.write() as connection:
        _, token = create_key(connection, "Bob", frozenset({"read"}), now=datetime.now(UTC))
    page.wait_for_timeout(600)
    page.goto(address)
    page.get_by_label("Key").fill(token)
    page.get_by_role("button", name="Log in").click()
    expect(page.locator("#connection")).to_have_text("Live")

    assert page.get_by_role("button").all_text_contents() == ["Log out"]
    forged = context.request.post(f"{address}/ask/retrain", form={"csrf": ""})
    assert forged.status == 403


# Every text whose contrast with what is behind it is below 4.5 : 1. https://www.w3.org/TR/WCAG22/#contrast-minimum
CONTRAST = """() => {
  const parse = (colour) => colour.match(/[\\d.]+/g).map(Number);
  const luminance = ([r, g, b]) => [r, g, b].map((c) => c / 255)
    .map((c) => c <= .03928 ? c / 12.92 : ((c + .055) / 1.055) ** 2.4)
    .reduce((sum, c, i) => sum + c * [.2126, .7152, .0722][i], 0);
  const behind = (element) => {
    for (let e = element; e; e = e.parentElement) {
      const colour = parse(getComputedStyle(e).backgroundColor);
      if (colour.length < 4 || colour[3] > 0) return colour;
    }
    return [255, 255, 255];
  };
  const found = [];
  for (const element of document.querySelectorAll("main *, header *")) {
    const own = [...element.childNodes].some((node) => node.nodeType === 3 && node.textContent.trim());
    if (!own || !element.checkVisibility()) continue;
    const style = getComputedStyle(element);
    const ink = parse(element instanceof SVGElement ? style.fill : style.color);
    const [a, b] = [luminance(ink), luminance(behind(element))];
    const ratio = (Math.max(a, b) + .05) / (Math.min(a, b) + .05);
    if (ratio < 4.5) found.push(`${element.tagName} ${element.textContent.trim().slice(0, 30)} ${ratio.toFixed(2)}`);
  }
  return found;
}"""
