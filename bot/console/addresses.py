"""The addresses of the console, and who asks for it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from aiohttp import web

from storage.operations.console_sessions import LOOPBACK
from storage.settings.sections import ConsoleSettings

PROXIED_FOR = "X-Forwarded-For"
LONGEST_ADDRESS = 45
"""Of IPv6, in characters."""


@dataclass(frozen=True)
class Addresses:
    """Origins under which browsers may ask for the console: another one means that a page of another site reached it.

    The Host header says which one it was; it is the only one that decides whether cookies need https.
    """

    local: tuple[str, ...]
    """On this machine, for the operator."""
    public: str
    """For admins who sign in with Discord; empty if nobody does."""

    def origin_of(self, request: web.BaseRequest) -> str | None:
        host = request.host.lower()
        return next((one for one in (self.public, *self.local) if one.partition("://")[2] == host), None)

    def is_local(self, request: web.BaseRequest) -> bool:
        return self.origin_of(request) in self.local

    def is_public(self, request: web.BaseRequest) -> bool:
        return bool(self.public) and self.origin_of(request) == self.public


ADDRESSES: Final = web.AppKey("addresses", Addresses)


def addresses_of(settings: ConsoleSettings) -> Addresses:
    local = tuple(f"http://{name}:{settings.port}" for name in (LOOPBACK, "localhost"))
    return Addresses(local, settings.public_url)


def origin_of(request: web.Request) -> str:
    """Return the origin that the browser asked; empty if it is none of the console's."""
    return request.app[ADDRESSES].origin_of(request) or ""


def caller_of(request: web.Request) -> str:
    """Return whose sign-ins are counted together: the address that the proxy in front of the console saw.

    A proxy adds the address at the end; what stands before it may be made up.
    """
    forwarded = request.headers.get(PROXIED_FOR, "").rpartition(",")[2].strip()
    return forwarded[:LONGEST_ADDRESS] or request.remote or ""
