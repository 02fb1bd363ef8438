from __future__ import annotations

import re
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from html import unescape
from io import BytesIO

import aiohttp
import pytest
import pytest_asyncio
import yarl
from sqlalchemy import update
from sqlalchemy.orm import Session

from bot.console.addresses import SESSION
from storage.database.enums import OPERATOR
from storage.database.tables import ConsoleSessionRow
from storage.operations.console_sessions import begin_session, link_address, make_link


@pytest.fixture
def port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.fixture
def overrides(port: int) -> dict[str, str]:
    return {
        "REACTUNE_CONSOLE__PORT": str(port),
        "REACTUNE_CONSOLE__PUBLIC_URL": f"http://127.0.0.1:{port}",
        "DISCORD_CLIENT_SECRET": "not-used",
    }


def new_client() -> aiohttp.ClientSession:
    """Return a client that keeps no connection open: the simulator would wait for it to end."""
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(force_close=True), cookie_jar=aiohttp.CookieJar(unsafe=True)
    )


@dataclass
class Seen:
    """A page as a person sees it."""

    status: int
    path: str
    html: str
    headers: aiohttp.typedefs.LooseHeaders

    @property
    def text(self) -> str:
        return " ".join(unescape(re.sub(r"<[^>]+>", " ", self.html)).split())

    def value_of(self, name: str) -> str:
        found = re.search(rf'name="{name}" value="([^"]*)"', self.html)
        assert found is not None, f"no field {name}"
        return unescape(found[1])


class Browser:
    """Keeps cookies and the form's token, as a browser does, but follows no script."""

    def __init__(self, client: aiohttp.ClientSession, port: int) -> None:
        self._client = client
        self.port = port
        self.address = f"http://127.0.0.1:{port}"
        self.csrf = ""

    async def get(self, path: str, **headers: str) -> Seen:
        async with self._client.get(self.address + path, headers=headers) as response:
            seen = Seen(response.status, response.url.path, await response.text(errors="replace"), response.headers)
        if 'name="csrf"' in seen.html:
            self.csrf = seen.value_of("csrf")
        return seen

    async def enter(self, link: str) -> Seen:
        """Open a link and press its button."""
        page = await self.get(link)
        if 'name="key"' not in page.html:
            return page
        seen = await self.post("/enter", key=page.value_of("key"))
        if 'name="csrf"' in seen.html:
            self.csrf = seen.value_of("csrf")
        return seen

    async def download(self, path: str) -> bytes:
        async with self._client.get(self.address + path) as response:
            return await response.read()

    async def post(self, path: str, headers: dict[str, str] | None = None, **fields: str) -> Seen:
        data = {"csrf": self.csrf} | fields
        async with self._client.post(self.address + path, data=data, headers=headers) as response:
            return Seen(response.status, response.url.path, await response.text(), response.headers)

    async def upload(self, path: str, *files: tuple[str, bytes], field: str = "file", **fields: str) -> Seen:
        """Send a form with files, each with its name."""
        form = aiohttp.FormData({"csrf": self.csrf} | fields, quote_fields=False)
        for name, content in files:
            form.add_field(field, BytesIO(content), filename=name, content_type="application/octet-stream")
        async with self._client.post(self.address + path, data=form) as response:
            return Seen(response.status, response.url.path, await response.text(), response.headers)

    async def send(self, path: str, body: bytes, content_type: str) -> int:
        """Send a form as no browser does; return the status."""
        headers = {"Content-Type": content_type}
        async with self._client.post(self.address + path, data=body, headers=headers) as response:
            return response.status

    async def change(self, path: str, **fields: str) -> Seen:
        """Do what htmx does."""
        return await self.post(path, {"HX-Request": "true", "X-CSRF-Token": self.csrf}, **fields)


@pytest_asyncio.fixture
async def stranger(env, port) -> AsyncIterator[Browser]:
    async with new_client() as client:
        yield Browser(client, port)


@pytest.fixture
def link(query, port):
    """Return the path of a link that works once."""
    return lambda: link_address(port, query(lambda s: make_link(s, OPERATOR, "somebody"))).removeprefix(
        f"http://127.0.0.1:{port}"
    )


@pytest.fixture
def limit_visitor(query):
    """Let whoever is signed in be an admin of these servers, as if they had signed in with Discord."""

    def limit(user_id: int, *server_ids: int) -> None:
        session = update(ConsoleSessionRow).values(user_id=user_id, servers=list(server_ids))
        query(lambda s: s.execute(session))

    return limit


@pytest_asyncio.fixture
async def visitor(env, port, query) -> AsyncIterator[Browser]:
    async with signed_in(port, query) as browser:
        yield browser


@pytest_asyncio.fixture
async def colleague(env, port, query) -> AsyncIterator[Browser]:
    """A second admin in another browser."""
    async with signed_in(port, query) as browser:
        yield browser


@asynccontextmanager
async def signed_in(port: int, query: Callable[[Callable[[Session], str]], str]) -> AsyncIterator[Browser]:
    """Give a browser the cookie that it has after a link: the four requests of that stand in test_access.py."""
    secret = query(lambda session: begin_session(session, OPERATOR, "somebody"))
    async with new_client() as client:
        browser = Browser(client, port)
        client.cookie_jar.update_cookies({f"reactune_{SESSION}_{port}": secret}, yarl.URL(browser.address))
        await browser.get("/label")
        yield browser
