"""The console's cookies."""

from __future__ import annotations

from datetime import timedelta

from aiohttp import web

from bot.console.addresses import origin_of

SESSION = "console"


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
