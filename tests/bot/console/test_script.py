"""The pages with their script, in a real browser."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from playwright.async_api import Page, expect

from tests.bot.console.chromium import IN_CHROMIUM, signed_in

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
