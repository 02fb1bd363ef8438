from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from typing import Any

import aiohttp
import discord
import pytest
import pytest_asyncio

from tests.bot.console.conftest import Browser, Seen
from tests.bot.console.signin.discord_server import CLIENT_SECRET, DiscordServer

HOST = "console.example.org"
PUBLIC = f"https://{HOST}"


@pytest.fixture
def overrides(port: int) -> dict[str, str]:
    return {
        "REACTUNE_CONSOLE__PORT": str(port),
        "REACTUNE_CONSOLE__PUBLIC_URL": f"{PUBLIC}/",
        "DISCORD_CLIENT_SECRET": CLIENT_SECRET,
    }


@pytest.fixture
def fixed_basis() -> None:
    """As on Discord."""


@pytest_asyncio.fixture
async def discord_server(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[DiscordServer]:
    server = DiscordServer()
    await server.start()
    monkeypatch.setattr("bot.console.signin.DISCORD", server.address)
    yield server
    await server.stop()


class Outside(Browser):
    """A browser on the internet, in front of which a proxy speaks https."""

    async def location(self, path: str) -> tuple[str, str]:
        """Return where the page sends the browser, and the cookies that it sets."""
        async with self._client.get(self.address + path, allow_redirects=False) as response:
            return response.headers["Location"], "\n".join(response.headers.getall("Set-Cookie", []))

    async def sign_in(self, server: DiscordServer, person: Any) -> Seen:
        to_discord, _ = await self.location("/signin")
        seen = await self.get(server.agree(to_discord, person))
        await self.get("/label")  # for the token of its forms
        return seen


@pytest_asyncio.fixture
async def outside(env: Any, port: int) -> AsyncIterator[Callable[..., Outside]]:
    """Return a new browser on the internet."""
    async with AsyncExitStack() as stack:

        async def connect(address: str = "203.0.113.5") -> Outside:
            client = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(force_close=True),
                cookie_jar=aiohttp.CookieJar(unsafe=True, treat_as_secure_origin=f"http://127.0.0.1:{port}"),
                headers={"Host": HOST, "X-Forwarded-For": f"10.0.0.1, {address}"},
            )
            return Outside(await stack.enter_async_context(client), port)

        yield connect


@pytest.fixture
def hal(env: Any) -> Any:
    """The admin of another server that the bot serves."""
    guild = env.create_guild("Elsewhere")
    admins = guild.create_role("admins", permissions=discord.Permissions(manage_guild=True))
    return guild.add_member(env.create_user("hal"), roles=[admins])


@pytest.fixture
def away(hal: Any, place: Any) -> Any:
    """Let grace, the admin of the server, administer the other server too, and return it."""
    (admins,) = [role for role in hal.guild.roles.values() if role.name == "admins"]
    hal.guild.add_member(place.grace.user, roles=[admins])
    return hal.guild


@pytest_asyncio.fixture
async def grace(outside: Any, discord_server: DiscordServer, place: Any, env: Any) -> Outside:
    """The browser of grace, the admin of the server, who signed in."""
    discord_server.servers[place.grace.id] = [*env.backend.guilds, 999]
    browser: Outside = await outside()
    assert (await browser.sign_in(discord_server, place.grace)).path == "/"
    return browser


@pytest.fixture
def forgetful(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the console ask Discord about rights with each request."""
    monkeypatch.setattr("bot.console.admins.REMEMBERED_S", 0.0)
    monkeypatch.setattr("bot.console.admins.FAILED_S", 0.0)
