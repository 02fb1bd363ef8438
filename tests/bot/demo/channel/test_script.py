"""The page with its script, in a real browser."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from playwright.async_api import Page, async_playwright, expect

from bot.demo.channel.timeline import MOST_SHOWN
from bot.demo.channel.world import World
from storage.database.enums import OPERATOR
from storage.operations.console_sessions import link_address, make_link

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome", "chrome"))), None)

pytestmark = [pytest.mark.slow, pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed")]


@pytest_asyncio.fixture
async def page(world, port, query) -> AsyncIterator[Page]:
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        page = await browser.new_page()
        await page.goto(link_address(port, query(lambda session: make_link(session, OPERATOR, "demo"))))
        await page.get_by_role("button", name="Sign in").click()
        await page.goto(f"http://127.0.0.1:{port}/channel/ada/mentions")
        yield page
        await browser.close()


async def chat(world: World, first: int, last: int) -> None:
    for number in range(first, last + 1):
        await world.seat("bo", "mentions").say(f"Number {number}.", None)


async def shown(page: Page) -> list[str]:
    return await page.locator("#messages > *").evaluate_all(
        "all => all.map(one => one.id === 'earlier' ? one.innerText : one.querySelector('.said').innerText)"
    )


async def test_a_long_talk_keeps_its_order_and_hides_nothing(page, world):
    await chat(world, 1, MOST_SHOWN - 1)
    await expect(page.locator("article")).to_have_count(MOST_SHOWN - 1)
    await chat(world, MOST_SHOWN, MOST_SHOWN + 3)
    await expect(page.get_by_text("Number 53.")).to_be_visible()
    assert await shown(page) == ["Earlier messages", *(f"Number {one}." for one in range(4, 54))]
    await world.act(world.seat("bo", "mentions").member.delete(world.seat("bo", "mentions").messages()[-1]))
    await expect(page.get_by_text("Number 53.")).to_have_count(0)
    assert await shown(page) == ["Earlier messages", *(f"Number {one}." for one in range(3, 53))]
    await page.get_by_role("link", name="Earlier messages").click()
    await expect(page.get_by_text("Number 2.")).to_be_visible()
    assert await shown(page) == ["Number 1.", "Number 2."]


async def test_a_refused_message_keeps_its_file(page, world):
    await page.get_by_label("Attach").set_input_files({"name": "tea.txt", "mimeType": "text/plain", "buffer": b"Hot."})
    composer = page.get_by_label("Message to")
    await composer.fill("/nothing")
    await composer.press("Enter")
    await expect(page.get_by_role("alert")).to_contain_text("nothing")
    await expect(page.locator("#attached")).to_have_text("tea.txt")
    await composer.fill("Read this.")
    await composer.press("Enter")
    await expect(page.get_by_role("link", name="tea.txt")).to_be_visible()


async def test_what_waits_for_an_earlier_message_is_sent_once_and_as_it_was(page, world):
    composer = page.get_by_label("Message to")
    async with world._acting:
        for text in ("First.", "Second."):
            await composer.fill(text)
            await composer.press("Enter")
        await composer.press_sequentially(" And hal")
        await composer.press("Enter")
    await expect(page.get_by_text("Second.")).to_be_visible()
    await composer.fill("Third.")
    await composer.press("Enter")
    await expect(page.get_by_text("Third.")).to_be_visible()
    assert await shown(page) == ["First.", "Second.", "Third."]
    await expect(page.get_by_role("alert")).to_be_empty()
