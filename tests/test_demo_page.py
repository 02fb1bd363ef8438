"""The demo as a newcomer meets it: a real browser, the real bot, and a tiny model, which starts in a moment."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Locator, Page, expect, sync_playwright

from storage.database.database import open_database
from storage.database.tables import CorrectionRow, ReplyRow, VoteEventRow
from storage.settings.loading import load_settings
from tests.tiny_model import build_tiny_base

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome", "chrome"))), None)
# A closed network makes a browser's own errands fail, many at a time.
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--no-first-run",
]
ANSWER_MS = 120_000
START_S = 120

pytestmark = [
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed"),
    # Playwright's own event loop, closed a moment after its test.
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]


class Demo:
    """A running `reactune demo` and what it has stored."""

    def __init__(self, directory: Path, base: Path) -> None:
        self.directory = directory
        self.base = base
        (directory / "demo.json").write_text('{"community": ""}')  # as if an earlier demo had converted the base
        command = [
            sys.executable,
            "-m",
            "reactune",
            "demo",
            "--no-browser",
            "--port",
            "0",
            "--directory",
            str(directory),
        ]
        environment = os.environ | {
            "REACTUNE_MODEL__BASE": str(base),
            "REACTUNE_CHAT__SECOND_ANSWERS": "0",
            "REACTUNE_GENERATION__MAX_NEW_TOKENS": "16",
        }
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)
        assert self.process.stdout is not None
        addresses = (match[0] for line in self.process.stdout if (match := re.search(r"http://127\.0\.0\.1:\S+", line)))
        self.url, self.console = next(addresses), next(addresses)

    def rows(self, table: type) -> list[object]:
        database = open_database(load_settings(environment={"REACTUNE_DATA__DIRECTORY": str(self.directory)}))
        with database.snapshot() as session:
            found = list(session.query(table).order_by(table.id))
        database.close()
        return found

    def stop(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        code = self.process.wait(START_S)
        assert self.process.stdout is not None
        self.process.stdout.close()
        return code


@pytest.fixture
def demo(tmp_path: Path) -> Iterator[Demo]:
    (tmp_path / "data").mkdir()
    running = Demo(tmp_path / "data", build_tiny_base(tmp_path / "tiny", positions=2048))
    yield running
    if running.process.poll() is None:
        running.stop()


@pytest.fixture
def page() -> Iterator[Page]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser.new_page(viewport={"width": 1200, "height": 860})
        browser.close()


def say(page: Page, text: str) -> None:
    composer = page.locator("#channel-composer-input")
    composer.fill(text)
    composer.press("Enter")


def command(page: Page, text: str) -> None:
    composer = page.locator("#channel-composer-input")
    composer.click()
    page.keyboard.type(text)
    page.locator("#command-picker-listbox [role=option]").first.wait_for()
    page.keyboard.press("Enter")
    page.wait_for_timeout(500)
    page.get_by_role("button", name="Send", exact=True).click()  # Enter would open the first option


def chips(page: Page, emoji: str) -> Locator:
    return page.locator("button.reaction-chip", has_text=emoji)


def react(chip: Locator) -> None:
    """Click until the reaction is shown: the page refuses a click during a change."""
    for _ in range(5):
        chip.click()
        try:
            return expect(chip).to_have_class(re.compile("is-selected"), timeout=30_000)
        except AssertionError:
            continue
    raise AssertionError("the reaction never stood")


def test_a_newcomer_talks_rates_suggests_and_comes_back(demo: Demo, page: Page) -> None:
    page.goto(demo.url)
    expect(page.get_by_text("Welcome! I'm a small language model").last).to_be_visible(timeout=ANSWER_MS)

    page.wait_for_timeout(4_000)  # the page tells its size first, and refuses messages until then
    for _ in range(3):
        say(page, "What makes a good cup of tea?")
        page.wait_for_timeout(3_000)
        if "What makes a good cup of tea?" in page.locator("#channel-timeline").inner_text():
            break
    expect(chips(page, "🔁")).to_have_count(1, timeout=ANSWER_MS)
    react(chips(page, "👎").first)
    react(chips(page, "🔁").first)
    expect(chips(page, "🔁")).to_have_count(2, timeout=ANSWER_MS)
    react(chips(page, "👍").last)

    command(page, "/suggest")
    form = page.locator("#modal-root")
    form.locator("textarea").fill("Fresh water, good leaves, and a little patience.")
    form.get_by_role("button", name=re.compile("submit", re.I)).click()
    expect(page.get_by_text("counts as the better one").last).to_be_visible(timeout=ANSWER_MS)

    page.locator("#viewer-picker").select_option(label="grace")
    command(page, "/model status")
    expect(
        page.get_by_text("2 or more from people (1 from answers to the same question, 1 from suggestions)").last
    ).to_be_visible(timeout=ANSWER_MS)

    first, second = demo.rows(ReplyRow)
    assert first.prompt == second.prompt
    assert [(row.reply_id, row.emoji) for row in demo.rows(VoteEventRow)] == [(first.id, "👎"), (second.id, "👍")]
    assert demo.rows(CorrectionRow)[0].text == "Fresh water, good leaves, and a little patience."

    assert demo.stop() == 0
    again = Demo(demo.directory, demo.base)
    try:
        page.goto(again.url)
        expect(page.get_by_text("What makes a good cup of tea?").first).to_be_visible(timeout=ANSWER_MS)
        expect(chips(page, "👎").first).to_contain_text("2", timeout=ANSWER_MS)
    finally:
        again.stop()
