"""The console in a real browser: one key for each pair; every page on a phone, in the dark and for screen readers."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, expect, sync_playwright

from storage.database.enums import Label
from storage.database.tables import RoundRow, SittingPairRow
from tests.test_demo_page import ANSWER_MS, CHROMIUM, FLAGS, Demo, demo, pytestmark

__all__ = ["demo", "pytestmark"]

PAGES = (
    *("/", "/label", "/label/summary", "/answers", "/answers/1", "/knowledge", "/knowledge/1", "/knowledge/gaps"),
    *("/knowledge/search?question=tea", "/versions", "/rounds", "/playground", "/personalities", "/trust"),
)
LOADED_IN_PARTS = ("/", "/trust", "/versions")
PHONE, SCREEN = {"width": 360, "height": 740}, {"width": 1200, "height": 860}


@pytest.fixture
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        yield playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)


def press(page: Page, key: str, labelled: str) -> None:
    """Press a key for the pair that is shown, and wait until the next one is."""
    page.locator(".answer").first.wait_for(timeout=ANSWER_MS)
    page.keyboard.press(key)
    expect(page.get_by_label("Progress").locator("strong")).to_have_text(labelled, timeout=ANSWER_MS)


def serious_findings(page: Page) -> list[str]:
    found = Axe().run(page).response["violations"]
    return [
        f"{page.url}: {one['help']} ({node['html'][:100]})"
        for one in found
        if one["impact"] in ("serious", "critical")
        for node in one["nodes"]
    ]


def test_somebody_labels_pairs_by_keyboard_and_trains(demo: Demo, browser: Browser) -> None:
    page = browser.new_page(viewport=SCREEN)
    complaints: list[str] = []
    page.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.goto(demo.console)
    expect(page.get_by_role("link", name="Channel")).to_have_attribute("href", demo.url)
    root = page.url.rstrip("/")
    page.get_by_role("link", name="Label", exact=True).click()
    expect(page.get_by_role("button", name="Begin")).to_be_focused()
    page.keyboard.press("Enter")

    press(page, "1", "1 pair")
    press(page, "ArrowRight", "2 pairs")
    press(page, "g", "3 pairs")
    press(page, "u", "2 pairs")
    press(page, "b", "3 pairs")
    page.locator(".answer").first.wait_for(timeout=ANSWER_MS)
    page.keyboard.press("e")
    page.keyboard.type(" 1 and 2 are no labels here")
    page.keyboard.press("Escape")
    page.get_by_role("button", name="Save").first.click()
    expect(page.get_by_text("counts as the better answer")).to_be_visible(timeout=ANSWER_MS)
    labels = [row.label for row in demo.rows(SittingPairRow) if row.label is not None]
    assert sorted(labels) == sorted([Label.FIRST, Label.SECOND, Label.BOTH_BAD])

    page.get_by_role("button", name="End this sitting").click()
    page.get_by_role("button", name="Train now").click()
    expect(page).to_have_url(f"{root}/rounds")
    assert [row.requested_by for row in demo.rows(RoundRow)] == ["demo"]
    expect(page.get_by_role("heading", level=2).first).not_to_have_text(re.compile("Waiting"), timeout=ANSWER_MS)

    page.goto(f"{root}/knowledge")
    page.get_by_label("Files").set_input_files({"name": "tea.txt", "mimeType": "text/plain", "buffer": b"Tea is hot."})
    page.get_by_role("button", name="Add", exact=True).click()
    expect(page.locator("#documents").get_by_role("link", name="tea.txt")).to_be_visible(timeout=ANSWER_MS)

    findings = []
    for scheme, viewport in (("light", SCREEN), ("dark", PHONE)):
        page.emulate_media(color_scheme=scheme)
        page.set_viewport_size(viewport)
        for path in PAGES:
            page.goto(root + path, wait_until="networkidle" if path in LOADED_IN_PARTS else "load")
            findings += serious_findings(page)
            assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth"), f"{path} scrolls aside"
    assert findings == []
    assert complaints == []
