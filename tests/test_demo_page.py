"""The demo and its console as people meet them: a real browser, the real bot, and a tiny model that starts in a moment.

Nearly all tests share one running demo, because each start takes a quarter of a minute. `make pictures` runs some with
the bundled model and keeps what they show as the pictures of the docs.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
from base64 import b64encode
from collections.abc import Iterator
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, BrowserContext, Locator, Page, Route, ViewportSize, expect, sync_playwright

from reactune.demo import free_port
from storage.database.database import open_database
from storage.database.enums import Label, Origin
from storage.database.tables import CorrectionRow, PersonalityRow, ReplyRow, RoundRow, SittingPairRow, VoteEventRow
from storage.settings.loading import load_settings
from tests.bot.attachments.conftest import picture
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
PICTURES = os.environ.get("DOCS_PICTURES", "")
"""A folder for the pictures of the docs; empty for none."""
ANSWER_MS = 600_000 if PICTURES else 120_000
ROUND_MS = 3_600_000 if PICTURES else 600_000
START_S = 120
PAGES = (
    "/channel/grace/lounge",
    "/channel/grace/lounge?command=version+promote",
    "/channel/ada/direct",
    "/channel/bo/pirates",
    "/",
    "/label",
    "/label/summary",
    "/answers",
    "/answers/1",
    "/knowledge",
    "/knowledge/1",
    "/knowledge/gaps",
    "/knowledge/search?question=tea",
    "/versions",
    "/rounds",
    "/personalities",
    "/playground",
    "/trust",
    "/bases",
)
AFTER_A_ROUND = ("/", "/rounds", "/versions", "/versions/v1")
LOADED_IN_PARTS = ("/", "/trust", "/versions")
COLUMN = {"width": 480, "height": 1600}
"""Half of a picture with two columns; all that is shown in it must fit without scrolling."""
CHOICES = 40
KEYS_BY_RULE = {(True, False): "1", (False, True): "2", (True, True): "g", (False, False): "b"}
"""The key for each pair of answers, by whether they end with a question."""
PHONE, SCREEN, PICTURE = ({"width": wide, "height": high} for wide, high in ((360, 740), (1120, 860), (1120, 910)))
LOOKS = [(theme, viewport) for theme in ("light", "dark") for viewport in (SCREEN, PHONE)]
HIGHEST_HEADER_PX = 90
"""At most this much of a phone's screen is the header's."""
UNREACHABLE = "net::ERR_", "htmx:afterRequest", "htmx:sendError"
"""What browser and htmx say of a bot that is not there."""
QUESTION = "What makes a good cup of tea?"

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed"),
    # Playwright's own event loop, closed a moment after its test.
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]


class Demo:
    """A running `reactune demo` and what it has stored."""

    def __init__(self, directory: Path, base: Path) -> None:
        self._directory = directory
        self._environment = os.environ | {
            "REACTUNE_CHAT__SECOND_ANSWERS": "0",
            "XDG_STATE_HOME": str(directory / "state"),
        }
        if not PICTURES:
            self._environment |= {
                "REACTUNE_MODEL__BASE": str(base),
                "REACTUNE_GENERATION__MAX_NEW_TOKENS": "16",
            }
        (directory / "demo.json").write_text('{"community": ""}')  # as if an earlier demo had converted the base
        self._port = free_port(0)
        self.address = f"http://127.0.0.1:{self._port}"
        self.start()

    def start(self) -> None:
        command = f"-m reactune demo --no-browser --port {self._port} --directory".split()
        self.process = subprocess.Popen(
            [sys.executable, *command, str(self._directory)],
            stdout=subprocess.PIPE,
            text=True,
            env=self._environment,
        )
        assert self.process.stdout is not None
        self.link = next(line.split()[1] for line in self.process.stdout if line.startswith("Open "))

    def rows(self, table: type) -> list[object]:
        database = open_database(load_settings(environment={"REACTUNE_DATA__DIRECTORY": str(self._directory)}))
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


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Demo]:
    directory = tmp_path_factory.mktemp("demo")
    running = Demo(directory, build_tiny_base(directory.parent / "tiny", positions=2048))
    yield running
    running.stop()


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield running
        running.close()


@pytest.fixture(scope="module")
def signed_in(demo: Demo, browser: Browser) -> BrowserContext:
    page = sign_in(browser, demo, SCREEN)
    page.close()
    return page.context


def sign_in(browser: Browser, demo: Demo, viewport: ViewportSize) -> Page:
    page = browser.new_context(viewport=viewport).new_page()
    page.goto(demo.link)
    assert serious_findings(page) == []
    page.get_by_role("button", name="Sign in").click()
    page.wait_for_url(f"{demo.address}/channel/**")
    return page


@pytest.fixture
def page(signed_in: BrowserContext, demo: Demo) -> Iterator[Page]:
    """Return an empty page; it must not complain of anything but a bot that restarts, such as of a forbidden script."""
    page = signed_in.new_page()
    complaints: list[str] = []
    page.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: complaints.append(str(error)))
    yield page
    page.close()
    assert [said for said in complaints if not any(words in said for words in UNREACHABLE)] == []


def keep_picture(page: Page, name: str) -> None:
    if PICTURES:
        page.mouse.move(0, 0)
        page.set_viewport_size(PICTURE)
        page.screenshot(
            path=Path(PICTURES) / f"{name}.png", caret="initial"
        )  # hiding it takes a style that the page forbids
        page.set_viewport_size(SCREEN)


def say(page: Page, text: str) -> None:
    page.wait_for_load_state()  # until its script runs, Enter begins a new line
    composer = page.get_by_label("Message to")
    composer.fill(text)
    composer.press("Enter")


def reactions(page: Page, emoji: str) -> Locator:
    return page.locator("button.reaction", has_text=emoji)


def react(page: Page, emoji: str) -> None:
    """Click on the newest message's reaction once."""
    chip = reactions(page, emoji).last
    chip.click()
    expect(chip).to_have_attribute("aria-pressed", "true", timeout=ANSWER_MS)


def expect_in_view(page: Page, text: str) -> None:
    expect(page.locator("article", has_text=text).last).to_be_in_viewport(timeout=ANSWER_MS)


def test_a_newcomer_talks_rates_suggests_and_comes_back(demo: Demo, page: Page) -> None:
    page.goto(demo.address)
    page.get_by_role("link", name="Talk").click()
    expect_in_view(page, "Welcome! I'm a small language model")

    say(page, QUESTION)
    expect(reactions(page, "🔁")).to_have_count(1, timeout=ANSWER_MS)
    expect(reactions(page, "🔁")).to_be_in_viewport()
    react(page, "👎")
    reactions(page, "🔁").last.click()
    expect(reactions(page, "🔁")).to_have_count(2, timeout=ANSWER_MS)
    react(page, "👍")
    keep_picture(page, "demo")

    say(page, "/suggest")
    page.get_by_label("What should I have answered?").fill("Fresh water, good leaves, and a little patience.")
    page.get_by_role("button", name="Submit").click()
    expect_in_view(page, "counts as the better one")

    page.get_by_label("You are").select_option(label="grace (admin)")
    expect(page.get_by_text("counts as the better one")).to_have_count(0)
    say(page, "/version status")
    expect_in_view(page, "1 question with liked and disliked answers and 1 suggested answer; a round needs")
    page.get_by_label("Message to").press_sequentially("/version tr")
    page.get_by_role("link", name="/version train").click()
    expect(page.get_by_label("learn_from")).to_have_text(re.compile("examples"))
    page.get_by_role("link", name="Cancel").click()
    expect(page.get_by_label("learn_from")).to_have_count(0)

    page.get_by_role("link", name="@ Reactune").click()
    expect(page.get_by_label("Message to @ Reactune")).to_be_visible()
    say(page, "Hello")
    expect(reactions(page, "🔁")).to_have_count(1, timeout=ANSWER_MS)

    first, second, direct = demo.rows(ReplyRow)
    assert first.prompt == second.prompt
    assert direct.channel_id != first.channel_id
    assert [(row.reply_id, row.emoji) for row in demo.rows(VoteEventRow)] == [(first.id, "👎"), (second.id, "👍")]
    assert demo.rows(CorrectionRow)[0].text == "Fresh water, good leaves, and a little patience."


def test_a_picture_is_attached_and_shown_and_the_bot_says_that_it_cannot_see_it(demo: Demo, page: Page) -> None:
    page.goto(f"{demo.address}/channel/bo/lounge")
    files = page.get_by_label("Attach")
    files.set_input_files({"name": "sunset.png", "mimeType": "image/png", "buffer": picture(640, 480)})
    expect(page.locator("#attached")).to_have_text("sunset.png")
    say(page, "What is this?")
    expect(page.get_by_alt_text("sunset.png")).to_be_visible()
    expect(page.locator("#attached")).to_have_text("")
    expect_in_view(page, "I can't see pictures here, so please tell me in words what yours shows.")
    assert demo.rows(ReplyRow)[-1].origin is Origin.FIXED


def test_menus_threads_and_places_by_mouse_and_keyboard(demo: Demo, page: Page) -> None:
    page.goto(f"{demo.address}/channel/ada/lounge")
    newest = page.locator("article").last
    newest.click(button="right")
    menu = newest.locator(".menu .items")
    expect(menu).to_be_in_viewport(ratio=1)
    expect(menu.get_by_role("button", name="What became of my vote?")).to_be_visible()
    assert serious_findings(page) == []
    page.keyboard.press("Escape")
    expect(menu).to_be_hidden()

    newest.locator("summary").focus()
    page.keyboard.press("Enter")
    menu.get_by_role("button", name="React with 🔥").click()
    fire = newest.locator("button.reaction", has_text="🔥")
    expect(fire).to_have_text("🔥 1")
    fire.click()
    expect(fire).to_have_count(0)

    newest.click(button="right")
    menu.get_by_role("link", name="Open a thread").click()
    page.get_by_label("Name of the thread").fill("About tea")
    page.get_by_role("button", name="Open", exact=True).click()
    expect(page.get_by_label("Message to ↳ About tea")).to_be_focused()
    say(page, "Green or black?")
    expect(reactions(page, "🔁")).to_have_count(1, timeout=ANSWER_MS)
    page.keyboard.press("Alt+ArrowUp")
    expect(page.get_by_label("Message to ↳ One long talk")).to_be_focused()

    page.get_by_label("You are").select_option("bo")
    expect(page.get_by_role("link", name="↳ About tea")).to_contain_text("has new messages")
    page.get_by_role("link", name="# pirates").click()
    expect(page.get_by_label("Message to # pirates")).to_be_visible()
    say(page, "Hello")
    expect(reactions(page, "🔁")).to_have_count(1, timeout=ANSWER_MS)
    default, captain = demo.rows(PersonalityRow)[0], demo.rows(ReplyRow)[-1].personality_id
    assert captain != default.id


def press(page: Page, key: str, labelled: str) -> None:
    """Press a key for the pair that is shown, and wait until the next one is."""
    page.locator(".answer").first.wait_for(timeout=ANSWER_MS)
    page.keyboard.press(key)
    progress = page.get_by_label("Progress").locator("strong")
    expect(progress).to_have_text(re.compile(f"^{labelled} choices?$"), timeout=ANSWER_MS)


def setup_page(page: Page, number: int) -> Locator:
    """Return the newest message, which must be open at the beginning of this page of /setup."""
    panel = page.locator("article").last
    expect(panel.get_by_role("heading", name=f"{number} of 8")).to_be_in_viewport(timeout=ANSWER_MS)
    return panel


@pytest.mark.parametrize("viewport", [SCREEN, PHONE], ids=["screen", "phone"])
def test_long_messages_open_at_their_beginning(demo: Demo, page: Page, viewport: dict) -> None:
    page.set_viewport_size(viewport)
    page.goto(f"{demo.address}/channel/grace/lounge")
    say(page, "/setup")
    room = page.locator(".timeline").bounding_box()["height"]
    heights = []
    for number in range(1, 9):
        panel = setup_page(page, number)
        heights.append(panel.evaluate("one => one.getBoundingClientRect().height"))
        if number < 8:
            panel.get_by_role("button", name="Next").click()
    assert max(heights) > room, "otherwise this shows nothing"
    panel.get_by_role("button", name="Close").click()


def test_a_button_whose_effect_was_seen_first_may_be_answered_late(demo: Demo, page: Page) -> None:
    page.set_viewport_size(PHONE)
    page.goto(f"{demo.address}/channel/grace/lounge")
    say(page, "/setup")
    further = setup_page(page, 1).get_by_role("button", name="Next")
    held: list[Route] = []
    page.route("**/messages/*", lambda route: held.append(route), times=1)  # noqa: PLW0108 - Playwright needs a function
    further.click()
    while not held:
        page.wait_for_timeout(10)
    response = held[0].fetch()
    setup_page(page, 2)
    with page.expect_response("**/messages/*"):
        held[0].fulfill(response=response)
    setup_page(page, 2).get_by_role("button", name="Next").click()
    setup_page(page, 3).get_by_role("button", name="Close").click()
    expect(page.locator("#messages")).to_have_count(1)


def test_somebody_labels_pairs_by_keyboard_and_trains(demo: Demo, page: Page) -> None:
    page.goto(demo.address)
    page.get_by_role("link", name="Teach").click()
    expect(page.get_by_role("button", name="Begin")).to_be_focused()
    page.keyboard.press("Enter")

    press(page, "1", "1")
    press(page, "ArrowRight", "2")
    press(page, "g", "3")
    press(page, "u", "2")
    press(page, "b", "3")
    page.locator(".answer").first.wait_for(timeout=ANSWER_MS)
    keep_picture(page, "console")
    page.keyboard.press("e")
    page.keyboard.type(" 1 and 2 are no labels here")
    page.keyboard.press("Escape")
    page.get_by_role("button", name="Save").first.click()
    expect(page.get_by_text("counts as the better answer")).to_be_visible(timeout=ANSWER_MS)
    labels = [row.label for row in demo.rows(SittingPairRow) if row.label is not None]
    assert sorted(labels) == sorted([Label.FIRST, Label.SECOND, Label.BOTH_BAD])

    assert demo.stop() == 0
    page.keyboard.press("1")
    expect(page.get_by_text("The bot does not answer")).to_be_visible()
    demo.start()
    press(page, "1", "4")

    page.get_by_role("button", name="End this session").click()
    page.get_by_role("button", name="Train now").click()
    expect(page).to_have_url(f"{demo.address}/rounds")
    assert [row.requested_by for row in demo.rows(RoundRow)] == ["demo"]
    expect(page.get_by_role("heading", level=2).first).not_to_have_text(re.compile("Waiting"), timeout=ANSWER_MS)


def test_the_talk_is_there_again_after_the_restart(demo: Demo, page: Page) -> None:
    page.goto(f"{demo.address}/channel/ada/lounge")
    expect(page.get_by_text(QUESTION).first).to_be_visible(timeout=ANSWER_MS)
    expect(reactions(page, "👎").first).to_contain_text("1")
    expect(page.get_by_role("link", name="↳ About tea").first).to_be_visible()


def test_somebody_tries_a_version_and_votes(demo: Demo, page: Page) -> None:
    page.goto(f"{demo.address}/playground")
    page.get_by_label("Your message").fill("I baked bread today.")
    page.get_by_label("Answers from each").select_option("2")
    page.get_by_role("button", name="Send").click()
    page.get_by_role("link", name="Continue from this answer").wait_for(timeout=ANSWER_MS)
    page.get_by_role("button", name=re.compile("👍")).first.click()
    expect(page.locator("[aria-pressed=true]")).to_have_count(1)
    tried = {row.id for row in demo.rows(ReplyRow) if row.origin is Origin.PLAYGROUND}
    assert [row.emoji for row in demo.rows(VoteEventRow) if row.reply_id in tried] == ["👍"]
    talked = page.url
    page.get_by_label("Your message").fill("It was sourdough.")
    page.get_by_role("button", name="Send").click()
    expect(page).not_to_have_url(talked, timeout=ANSWER_MS)
    expect(page.get_by_label("You", exact=True)).to_have_count(2)
    page.go_back()
    expect(page).to_have_url(talked)


def test_documents_are_added_by_files(demo: Demo, page: Page) -> None:
    page.goto(f"{demo.address}/knowledge")
    page.get_by_label("Files").set_input_files({"name": "tea.txt", "mimeType": "text/plain", "buffer": b"Tea is hot."})
    page.get_by_role("button", name="Add", exact=True).click()
    expect(page.locator("#documents").get_by_role("link", name="tea.txt")).to_be_visible(timeout=ANSWER_MS)


@pytest.mark.skipif(bool(PICTURES), reason="it takes a round with the bundled model, and no picture")
def test_the_guide_leads_through_the_first_ten_minutes(tmp_path: Path, browser: Browser) -> None:
    """A newcomer does what the guide says, and nothing else, until it has nothing more to say."""
    demo = Demo(tmp_path, build_tiny_base(tmp_path / "tiny", positions=2048))
    page = sign_in(browser, demo, SCREEN)
    guide = page.locator(".guide")
    expect(guide).to_contain_text("1 of 8")
    page.locator(".starters button").first.click()
    expect(guide).to_contain_text("2 of 8", timeout=ANSWER_MS)
    expect(reactions(page, "👍")).to_have_count(1, timeout=ANSWER_MS)
    react(page, "👍")
    expect(guide).to_contain_text("3 of 8")
    choose_ten_pairs(page)
    guide.get_by_role("link", name="What it has learned").click()
    expect(page.get_by_role("heading", name="What it has learned")).to_be_visible()
    page.go_back()
    page.reload()
    guide.get_by_role("link", name="Train as grace").click()
    page.get_by_role("button", name="Run").click()
    expect(guide).to_contain_text("A new version is being trained")
    expect(guide).to_contain_text("6 of 8 v1 is made", timeout=ROUND_MS)
    choose_ten_pairs(page)
    guide.get_by_role("link", name="Promote as grace").click()
    page.get_by_label("reason").fill("I like it")
    page.get_by_role("button", name="Run").click()
    expect(guide).to_contain_text("8 of 8 v1 answers now", timeout=ANSWER_MS)
    guide.get_by_role("button", name="Close the guide").click()
    expect(page.get_by_label("Message to")).to_be_visible()
    expect(guide).to_have_count(0)
    page.reload()
    expect(guide).to_have_count(0)
    for look in LOOKS:
        assert findings_on(page, demo, AFTER_A_ROUND, *look) == []
    page.goto(f"{demo.address}/versions", wait_until="networkidle")
    page.get_by_label("Prompts, one per line").fill("What is tea?")
    page.get_by_role("button", name="Ask both").click()
    expect(page.get_by_role("heading", name="What is tea?")).to_be_visible(timeout=ANSWER_MS)
    assert [found for look in LOOKS for found in findings_in(page, *look)] == []
    page.close()
    assert demo.stop() == 0


def choose_ten_pairs(page: Page) -> None:
    page.locator(".guide").get_by_role("button", name="/choose").click()
    for number in range(1, 11):
        pair = page.locator("article", has_text=f"Which answer is better? {number} of 10").last
        pair.get_by_role("button", name="Left").click(timeout=ANSWER_MS)
    expect(page.locator(".guide")).not_to_contain_text("of 10", timeout=ANSWER_MS)


@pytest.mark.skipif(not PICTURES, reason="it takes a round with the bundled model")
def test_the_same_messages_before_and_after_a_sitting(tmp_path: Path, browser: Browser) -> None:
    """Take the picture at the top of README.md: one rule, one sitting, one round; nobody selects what is shown."""
    demo = Demo(tmp_path, tmp_path)
    page = sign_in(browser, demo, COLUMN)
    messages = page.locator(".starters button").all_inner_texts()
    assert len(messages) == 3
    before = picture_of_answers(page, demo, messages)
    page.goto(f"{demo.address}/label")
    page.get_by_role("button", name="Begin").click()
    for number in range(1, CHOICES + 1):
        wait_for_pair(page)
        asks = [text.strip().endswith("?") for text in page.locator(".answer .text").all_inner_texts()]
        press(page, KEYS_BY_RULE[tuple(asks)], str(number))
    page.get_by_role("button", name="End this session").click()
    page.get_by_role("button", name="Train now").click()
    newest = page.get_by_role("heading", level=2).first
    expect(newest).not_to_have_text(re.compile("^(Waiting|Training)"), timeout=ROUND_MS)
    assert newest.inner_text().startswith("A new version is made"), page.locator("main").inner_text()
    page.goto(f"{demo.address}/versions")
    page.get_by_label("Why").first.fill("for the picture")
    page.get_by_label("Override: promote it even if").check()
    page.get_by_role("button", name="Promote", exact=True).click()
    expect(page.get_by_role("row", name=re.compile("^v1 .*answers now"))).to_be_visible(timeout=ANSWER_MS)
    after = picture_of_answers(page, demo, messages)
    titles = "Before", f"After {CHOICES} choices and one round"
    page.set_viewport_size({"width": 2 * COLUMN["width"], "height": COLUMN["height"]})
    page.goto("about:blank")
    page.set_content(
        "<body style='margin: 0'><div id='both' style='display: flex; padding-bottom: 12px; font: 600 18px sans-serif; "
        "background: #1e1f22; color: #e6e8ec'>"
        + "".join(
            f"<div><p style='margin: .7em 1em'>{title}</p><img src='data:image/png;base64,{b64encode(png).decode()}'>"
            "</div>"
            for title, png in zip(titles, (before, after), strict=True)
        )
    )
    page.locator("#both").screenshot(path=Path(PICTURES) / "before-and-after.png")
    page.close()
    assert demo.stop() == 0


def wait_for_pair(page: Page) -> None:
    """Wait for a pair to choose from; on a busy machine the page may have given up drawing one."""
    pair, again = page.locator(".answer").first, page.get_by_role("button", name="Try again")
    expect(pair.or_(again)).to_be_visible(timeout=ANSWER_MS)
    if again.is_visible():
        again.click()
        pair.wait_for(timeout=ANSWER_MS)


def picture_of_answers(page: Page, demo: Demo, messages: list[str]) -> bytes:
    """Say the messages in the lounge, and return a picture of them with their answers."""
    page.goto(f"{demo.address}/channel/ada/lounge")
    shown, answered = page.locator("article"), reactions(page, "🔁").count()
    first = shown.count()
    for number, message in enumerate(messages, answered + 1):
        say(page, message)
        expect(reactions(page, "🔁")).to_have_count(number, timeout=ANSWER_MS)
    page.mouse.move(0, 0)
    top, last = shown.nth(first).bounding_box(), shown.last.bounding_box()
    column = {"x": 0, "y": top["y"], "width": COLUMN["width"], "height": last["y"] + last["height"] - top["y"] + 8}
    return page.screenshot(clip=column, caret="initial")


@pytest.mark.parametrize(("theme", "viewport"), LOOKS)
def test_every_page_is_for_screen_readers_and_phones(demo: Demo, page: Page, theme: str, viewport: dict) -> None:
    assert findings_on(page, demo, PAGES, theme, viewport) == []


def findings_on(page: Page, demo: Demo, paths: tuple[str, ...], theme: str, viewport: dict) -> list[str]:
    page.goto(demo.address)
    findings = findings_in(page, theme, viewport)  # from here on, the pages have the theme that was chosen
    for path in paths:
        page.goto(demo.address + path, wait_until="networkidle" if path in LOADED_IN_PARTS else "load")
        expect(page.locator("html")).to_have_attribute("data-theme", theme)
        findings += findings_in(page, theme, viewport)
    return findings


def findings_in(page: Page, theme: str, viewport: dict) -> list[str]:
    """Return what is wrong with the page in this theme on a screen of this size."""
    page.set_viewport_size(viewport)
    while page.locator("html").get_attribute("data-theme") != theme:
        page.get_by_role("button", name="Light or dark").click()
    findings = serious_findings(page)
    if page.evaluate("document.documentElement.scrollWidth > window.innerWidth"):
        findings.append(f"{page.url} scrolls aside")
    if viewport is PHONE and (height := page.locator("header").bounding_box()["height"]) > HIGHEST_HEADER_PX:
        findings.append(f"{page.url} has a header of {height} px")
    return findings


def serious_findings(page: Page) -> list[str]:
    found = Axe().run(page).response["violations"]
    return [
        f"{page.url}: {one['help']} ({node['html'][:100]})"
        for one in found
        if one["impact"] in ("serious", "critical")
        for node in one["nodes"]
    ]
