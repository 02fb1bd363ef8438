"""Reads web pages that members link to, on the public internet only."""

from __future__ import annotations

import re
import socket
from ipaddress import IPv4Address, IPv6Address, ip_address
from urllib.parse import urlsplit

import aiohttp
from aiohttp import AddrInfoType

from bot.errors import UserFacingError
from bot.knowledge.extraction import MediaType

LINK = re.compile(r"https?://(?:[^\s<>()\[\]|\"']|\([^\s<>()\[\]|\"]*\)|(?<=\w)'(?=\w))+")
"""A parenthesis or an apostrophe belongs to an address if it is closed in it, or is within a word."""
OWN_HOSTS = re.compile(r"(?:^|\.)discord(?:app)?\.(?:com|net|gg)$")
"""Hosts of Discord: invites, messages and files are read through its API or not at all."""
PORTS = (80, 443)
TIMEOUT_S = 10.0
MAX_REDIRECTS = 3
CHUNK_BYTES = 65_536
MEDIA_TYPES = {
    "text/html": MediaType.HTML,
    "application/xhtml+xml": MediaType.HTML,
    "text/plain": MediaType.TEXT,
    "text/markdown": MediaType.MARKDOWN,
    "application/pdf": MediaType.PDF,
}
PUBLIC_IPV6 = 0b001
"""The first three bits of public addresses; all others are private, reserved, or contain an IPv4 address."""


class PageRefused(UserFacingError):
    """The page cannot be read; the message says why."""


def links_in(text: str) -> list[str]:
    """Return the addresses of web pages in a message, each once, without those of Discord."""
    found = (link.rstrip(".,;:!?*_~") for link in LINK.findall(text))
    return [link for link in dict.fromkeys(found) if not OWN_HOSTS.search(site_of(link))]


def site_of(link: str) -> str:
    try:
        return urlsplit(link).hostname or ""
    except ValueError:
        return ""


def is_public(address: str) -> bool:
    """Return whether an IP address is of a host on the public internet."""
    found: IPv4Address | IPv6Address = ip_address(address.partition("%")[0])
    if isinstance(found, IPv6Address) and (
        int(found) >> 125 != PUBLIC_IPV6 or found.sixtofour is not None or found.teredo is not None
    ):
        return False
    return found.is_global and not found.is_multicast


async def fetch_page(link: str, max_bytes: int) -> tuple[bytes, MediaType]:
    """Return a page and its type; raises PageRefused."""
    timeout = aiohttp.ClientTimeout(total=TIMEOUT_S)
    connector = aiohttp.TCPConnector(socket_factory=_open_public, force_close=True)
    try:
        async with (
            aiohttp.ClientSession(connector=connector, timeout=timeout, cookie_jar=aiohttp.DummyCookieJar()) as session,
            session.get(link, max_redirects=MAX_REDIRECTS) as response,
        ):
            if response.status != 200:
                raise PageRefused(
                    "I couldn't open {site}: it answers with status {status}.",
                    site=site_of(link),
                    status=response.status,
                )
            media_type = MEDIA_TYPES.get(response.content_type)
            if media_type is None:
                raise PageRefused("I couldn't read {site}: it is not a page of text.", site=site_of(link))
            return await _content(response, max_bytes), media_type
    except (TimeoutError, aiohttp.ClientError, OSError, ValueError) as error:
        raise PageRefused("I couldn't open {site}.", site=site_of(link) or link) from error


def _open_public(info: AddrInfoType) -> socket.socket:
    """Open a socket for a public address.

    This is called for each connection, also after redirects, with the address that is connected to: a name that changes
    its address in between gains nothing.
    """
    family, kind, protocol, _, (host, port, *_) = info
    if port not in PORTS or not is_public(str(host)):
        raise PermissionError(f"{host} port {port} is not a web server on the public internet")
    return socket.socket(family, kind, protocol)


async def _content(response: aiohttp.ClientResponse, max_bytes: int) -> bytes:
    content = b""
    async for part in response.content.iter_chunked(CHUNK_BYTES):
        content += part
        if len(content) > max_bytes:
            raise PageRefused(
                "I couldn't read {host}: the page is larger than {size} MB.",
                host=response.url.host,
                size=round(max_bytes / 1e6, 1),
            )
    return content
