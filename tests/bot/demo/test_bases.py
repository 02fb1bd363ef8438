"""Somebody chooses another base model in the demo's page."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing

from bot.demo.bases import BaseSource, OfferedBase, read_seconds
from bot.demo.page import serve_demo
from storage.database.database import open_database
from storage.database.tables import ReplyRow
from storage.errors import BaseModelError
from storage.models.base_model import Advance
from tests.bot.console.conftest import Browser, new_client, port
from tests.bot.scripted_engine import ScriptedEngine
from tests.seeding import BASE_REVISION, add_reply

__all__ = ["port"]

HANG_S = 60
OWN = OfferedBase("bundled", "Small", "apache-2.0", 100_000_000, download=0, fits="yes", is_in_use=True)
LARGER = OfferedBase("owner/larger", "Larger", "mit", 1_000_000_000, 2_000_000_000, "answers only", is_in_use=False)


def fetch(_which: str, advance: Advance) -> None:
    advance(1_000_000_000, 2_000_000_000)


def refuse(_which: str, _advance: Advance) -> None:
    raise BaseModelError("the hub cannot be reached: try again later")


@asynccontextmanager
async def demo(settings, base, port, source) -> AsyncIterator[tuple[Browser, asyncio.Task[str | None]]]:
    links: asyncio.Queue[str] = asyncio.Queue()
    serving = asyncio.create_task(
        serve_demo(settings, engine=ScriptedEngine(), base=base, port=port, on_ready=links.put_nowait, bases=source)
    )
    async with asyncio.timeout(HANG_S), new_client() as client:
        browser = Browser(client, port)
        await browser.enter((await links.get()).removeprefix(browser.address))
        yield browser, serving


async def test_the_demo_ends_with_the_base_that_somebody_chose(settings, base, port):
    async with demo(settings, base, port, BaseSource(lambda: [OWN, LARGER], fetch)) as (browser, serving):
        page = await browser.get("/bases")
        assert "Larger not known yet 2.0 GB mit answers only Use it (Larger)" in page.text
        assert "Small not known yet none, it is here apache-2.0 yes in use" in page.text
        assert "not in the list" in (await browser.post("/bases", base="owner/other")).text
        await browser.change("/bases", base=LARGER.setting)
        assert "The demo starts again with owner/larger." in (await browser.get("/bases/progress")).text
        assert await serving == LARGER.setting


async def test_a_base_that_cannot_be_used_is_explained_and_the_demo_goes_on(settings, base, port):
    async with demo(settings, base, port, BaseSource(lambda: [OWN, LARGER], refuse)) as (browser, serving):
        await browser.post("/bases", base=LARGER.setting)
        for _ in range(100):
            page = await browser.get("/bases")
            if "The hub cannot be reached: try again later." in page.text:
                break
            await asyncio.sleep(0.05)
        else:
            raise AssertionError("nothing was said")
        assert page.html.count("disabled") == 0
        assert (await browser.get("/bases/progress")).headers["HX-Refresh"] == "true"
        signal.raise_signal(signal.SIGTERM)
        assert await serving is None


def test_the_time_of_an_answer_is_told_after_three(settings):
    with closing(open_database(settings)) as database, database.transaction() as session:
        for seconds, known in ((35.0, 0.0), (2.0, 0.0), (3.0, 3.0)):
            session.get_one(ReplyRow, add_reply(session)).total_s = seconds
            session.flush()
            assert read_seconds(session, BASE_REVISION) == known
