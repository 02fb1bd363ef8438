"""The console's addresses and cookies, and the origins of its requests."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from ipaddress import IPv6Network, ip_address
from typing import Final

from aiohttp import web

from storage.operations.console_sessions import LOOPBACK
from storage.settings.sections import ConsoleSettings

PROXIED_FOR = "X-Forwarded-For"
PROXIED = (PROXIED_FOR, "Forwarded")
"""Headers that proxies add; a browser on this machine does not."""
LONGEST_ADDRESS = 45
"""Characters of the longest IPv6 address."""
NETWORK_BITS = 64
"""Bits of an IPv6 address that name its network; the network's owner chooses the rest."""
SESSION = "console"


@dataclass(frozen=True)
class Addresses:
    """Allowed origins of the console: any other means that a page of another site reached it.

    The Host header says which one it was; it is the only one that decides whether cookies need https.
    """

    local: tuple[str, ...]
    """Origins on this machine, for the operator."""
    public: str
    """Origin for admins who sign in with Discord; empty if nobody does."""

    def origin_of(self, request: web.BaseRequest) -> str | None:
        host = request.host.lower()
        return next((one for one in (self.public, *self.local) if one.partition("://")[2] == host), None)

    def is_local(self, request: web.BaseRequest) -> bool:
        """Return whether a browser on this machine asks directly, and not through a proxy, under any host name."""
        return self.origin_of(request) in self.local and not any(name in request.headers for name in PROXIED)

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
    """Return the caller whose sign-ins are counted together: the address that the console's proxy saw.

    A proxy adds the address at the end; what stands before it may be made up.
    """
    forwarded = request.headers.getall(PROXIED_FOR, [""])[-1].rpartition(",")[2].strip()
    return _network_of(forwarded or request.remote or "")


def _network_of(address: str) -> str:
    """Return the network of an IPv6 address, and any other address as it is."""
    try:
        known = ip_address(address)
    except ValueError:
        return address[:LONGEST_ADDRESS]
    if known.version == 4 or known.ipv4_mapped:
        return str(known)
    return str(IPv6Network((int(known), NETWORK_BITS), strict=False))


def cookie_name(request: web.Request, what: str) -> str:
    """Return the name of a cookie: browsers share cookies between the ports of a machine.

    What begins with __Host-, they take and give back over https only, and from no other host (RFC 6265bis).
    """
    return f"__Host-reactune_{what}" if _is_encrypted(request) else f"reactune_{what}_{request.url.port}"


def set_cookie(response: web.StreamResponse, request: web.Request, what: str, secret: str, lasts: timedelta) -> None:
    response.set_cookie(
        cookie_name(request, what),
        secret,
        max_age=int(lasts.total_seconds()),
        httponly=True,
        samesite="Lax",
        secure=_is_encrypted(request),
    )


def _is_encrypted(request: web.Request) -> bool:
    return origin_of(request).startswith("https://")
