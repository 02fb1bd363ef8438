"""The pages with their script, in a real browser."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from playwright.async_api import Page, expect
from sqlalchemy import update

from bot.engine import Finish
from storage.database.enums import RoundStatus
from storage.database.tables import RoundRow
from storage.training.rounds import claim_round, finish_round, report_progress, request_round
from tests.bot.console.chromium import IN_CHROMIUM, signed_in
from tests.bot.console.test_pages import PROGRESS

pytestmark = IN_CHROMIUM


@pytest_asyncio.fixture
async def page(env, port, query) -> AsyncIterator[Page]:
    async with signed_in(port, query) as page:
        yield page


@pytest.mark.parametrize(("status", "said"), [(502, "does not answer"), (413, "too large")])
async def test_what_a_proxy_answers_in_place_of_the_bot_is_said_until_the_bot_answers(page, status, said):
    await page.goto("/personalities")
    await page.route("**/personalities/card", lambda route: route.fulfill(status=status), times=1)
    save = page.get_by_role("button", name="Save").first
    await save.click()
    await expect(page.get_by_role("alert").first).to_contain_text(said)
    await save.click()
    await expect(page.get_by_text("Not saved yet")).to_be_visible()
    await expect(page.get_by_text(said)).to_have_count(0)


async def test_a_running_round_is_followed_to_its_end_and_its_details_stay_open(page, query):
    query(lambda session: request_round(session, 1, "ada"))
    query(lambda session: claim_round(session, "here"))
    query(lambda session: session.execute(update(RoundRow).values(learned_from={"notes": ["few pairs."]})))
    await page.goto("/rounds")
    await page.get_by_text("Details").click()
    await page.route("**/rounds/newest", lambda route: route.fulfill(status=502), times=1)
    await expect(page.get_by_role("alert")).to_contain_text("does not answer")
    query(lambda session: report_progress(session, 1, PROGRESS))
    await expect(page.get_by_text("Step 3 of 5")).to_be_visible()
    await expect(page.get_by_text("Few pairs.")).to_be_visible()
    query(lambda session: finish_round(session, 1, RoundStatus.SKIPPED, "nothing new"))
    await expect(page.get_by_text("Nothing new")).to_be_visible()
    await expect(page.get_by_text("Few pairs.")).to_be_hidden()
    await expect(page.get_by_role("button", name="Train now")).to_be_enabled()


async def test_nothing_is_typed_that_the_page_with_the_whole_answers_would_take_away(page, engine):
    whole = asyncio.Event()
    engine.interlude, engine.finish = whole.wait, Finish.TIMEOUT
    await page.goto("/playground")
    field, send = page.get_by_label("Your message"), page.get_by_role("button", name="Send")
    await field.fill("Hello")
    await send.click()
    await expect(page.locator("#growing article").first).to_be_visible()
    await expect(field).to_be_disabled()
    whole.set()
    await expect(page.get_by_text("No version answered")).to_be_visible()
    await expect(field).to_be_enabled()
    await expect(field).to_have_value("Hello")
    engine.finish = Finish.STOP
    await send.click()
    await page.wait_for_url("**/playground?talk=*")
    await expect(field).to_have_value("")


async def test_a_long_word_scrolls_no_page_aside(page):
    await page.set_viewport_size({"width": 360, "height": 740})
    await page.goto("/label")
    await page.get_by_text("Your own prompts").click()
    await page.get_by_label("Prompts", exact=True).fill("What is https://example.org/" + "a_long_name_" * 9 + "?")
    await page.get_by_role("button", name="Add", exact=True).click()
    await expect(page.locator("li", has_text="a_long_name")).to_be_visible()
    assert await page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")


async def test_a_better_answer_for_one_side_takes_nothing_from_the_other(page):
    await page.goto("/label")
    await page.get_by_role("button", name="Begin").click()
    left, right = page.locator(".answer").first, page.locator(".answer").last
    for side in (left, right):
        await side.get_by_text("Write a better answer").click()
        await side.get_by_label("Better answer").fill("A cup of tea, please.")
    await left.get_by_role("button", name="Save").click()
    await expect(left.get_by_text("Saved")).to_be_visible()
    await expect(right.get_by_label("Better answer")).to_have_value("A cup of tea, please.")
    await expect(right.get_by_label("Better answer")).to_be_visible()
