"""A real browser, in which the pages have their scripts."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest
from playwright.async_api import Page, async_playwright
from sqlalchemy.orm import Session

from storage.database.enums import OPERATOR
from storage.operations.console_sessions import link_address, make_link

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome", "chrome"))), None)
IN_CHROMIUM = [pytest.mark.slow, pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed")]


@asynccontextmanager
async def signed_in(port: int, query: Callable[[Callable[[Session], str]], str]) -> AsyncIterator[Page]:
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        page = await browser.new_page(base_url=f"http://127.0.0.1:{port}")
        await page.goto(link_address(port, query(lambda session: make_link(session, OPERATOR, "somebody"))))
        await page.get_by_role("button", name="Sign in").click()
        yield page
        await browser.close()
