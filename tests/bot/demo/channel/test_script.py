"""The page with its script, in a real browser."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from playwright.async_api import Page, expect

from bot.demo.channel.timeline import MOST_SHOWN
from bot.demo.channel.world import World
from tests.bot.console.chromium import IN_CHROMIUM, signed_in

pytestmark = IN_CHROMIUM


@pytest_asyncio.fixture
async def page(world, port, query) -> AsyncIterator[Page]:
    async with signed_in(port, query) as page:
        await page.goto("/channel/ada/mentions")
        yield page


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


async def test_eight_short_exchanges_are_on_a_screen(page, channel):
    for number in range(9):
        await channel.say("ada", f"Question {number}?")
    await page.set_viewport_size({"width": 1280, "height": 800})
    await page.goto("/channel/ada/lounge")
    await expect(page.locator(".guide")).to_be_visible()
    for message in (await page.locator("article").all())[-16:]:
        await expect(message).to_be_in_viewport(ratio=1)


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


async def test_that_the_bot_does_not_answer_is_said_until_it_does(page):
    await page.route("**/news*", lambda route: route.fulfill(status=502))
    await expect(page.get_by_role("alert")).to_contain_text("does not answer")
    await page.unroute_all()
    await expect(page.get_by_role("alert")).to_be_empty()


async def test_a_menu_opens_beside_its_message_and_moves_nothing(page, world):
    await chat(world, 1, 48)
    message = page.locator("article").filter(has_text="Number 12.")
    await message.scroll_into_view_if_needed()
    await message.hover()
    before = await message.bounding_box()
    await message.locator(".menu > summary").click()
    await expect(message.get_by_role("link", name="Reply")).to_be_in_viewport()
    # Chromium scrolls in fractions of a pixel, and rounds them when it draws again.
    assert await message.bounding_box() == pytest.approx(before, abs=0.5)
