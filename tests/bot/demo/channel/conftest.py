from __future__ import annotations

import re
from collections.abc import AsyncIterator
from html import unescape

import pytest
import pytest_asyncio

from bot.app import ReactuneBot
from bot.console.server import open_console
from bot.demo.channel.routes import ChannelPage
from bot.demo.channel.world import World
from bot.demo.page import channel_rules
from bot.guards.error_handler import is_expected
from storage.database.enums import OPERATOR, Basis
from storage.operations.console_sessions import make_link
from tests.bot.console.conftest import Browser, Seen, new_client, port
from tests.bot.environment import Env
from tests.word_encoder import WordEncoder

__all__ = ["port"]


@pytest.fixture
def overrides() -> dict[str, str]:
    return channel_rules()


@pytest.fixture
def load_encoder() -> type[WordEncoder]:
    return WordEncoder


@pytest_asyncio.fixture
async def world(settings, engine, base, port, load_encoder) -> AsyncIterator[World]:
    """The demo's server with the bot in it, and the console with its page."""
    env = Env(ReactuneBot(settings, engine=engine, base=base, fixed_basis=Basis.LOCAL, load_encoder=load_encoder))
    world = World(env)
    await env.start()
    at_port = settings.console.model_copy(update={"port": port})
    console = await open_console(env.bot, env.bot.services, at_port, ChannelPage(world).first_page)
    assert console is not None
    yield world
    await console.cleanup()
    await env.bot.close()
    await env.shutdown()
    assert [error for error in env.errors if not is_expected(error)] == []


@pytest.fixture
def env(world) -> Env:
    return world.env


class Channel:
    """The page as one person uses it, without scripts unless a test says so."""

    def __init__(self, browser: Browser) -> None:
        self.browser = browser

    async def look(self, person: str, place: str = "lounge", query: str = "") -> Seen:
        return await self.browser.get(f"/channel/{person}/{place}{query}")

    async def say(self, person: str, text: str, place: str = "lounge", **fields: str) -> Seen:
        return await self.browser.post(f"/channel/{person}/{place}/say", text=text, **fields)

    async def act(self, person: str, message_id: int, place: str = "lounge", **fields: str) -> Seen:
        return await self.browser.post(f"/channel/{person}/{place}/messages/{message_id}", **fields)

    async def submit(self, person: str, form: Seen, **fields: str) -> Seen:
        """Send a form that the bot opened."""
        sent = {"key": form.value_of("key")} | {f"field.{name}": value for name, value in fields.items()}
        return await self.browser.post(f"/channel/{person}/lounge/form", **sent)

    async def use(self, seen: Seen, **fields: str) -> Seen:
        """Use a control of the last message that has one, on a page as somebody saw it."""
        *_, path = re.findall(r'action="(/channel/[^"]+/messages/\d+)"', seen.html)
        return await self.browser.post(path, **fields)


def articles_html(seen: Seen) -> list[str]:
    return re.findall(r"<article.*?</article>", seen.html, re.DOTALL)


def articles(seen: Seen) -> list[str]:
    """Return the text of each message on the page."""
    return [" ".join(unescape(re.sub(r"<[^>]+>", " ", one)).split()) for one in articles_html(seen)]


@pytest_asyncio.fixture
async def channel(world, port, query) -> AsyncIterator[Channel]:
    secret = query(lambda session: make_link(session, OPERATOR, "demo"))
    async with new_client() as client:
        browser = Browser(client, port)
        assert (await browser.enter(f"/enter?key={secret}")).path == "/channel/ada/lounge"
        yield Channel(browser)
