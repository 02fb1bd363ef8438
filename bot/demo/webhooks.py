"""Adds to simcord's webhooks: messages in threads, buttons, and another picture.

simcord treats every webhook as one without an application, but a bot's webhooks belong to its application.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from simcord.backend.models import Webhook
from simcord.http import router
from simcord.http.router import RequestContext
from simcord.http.routes import interactions

EDIT = ["webhooks", "{webhook_id}"]

_find_webhook = interactions._incoming_webhook


def complete_webhooks() -> None:
    """Add Discord's features to simulated webhooks; can be repeated."""
    interactions._incoming_webhook = _webhook_of
    interactions._incoming_webhook_body = _body_with_components
    routes = router._ROUTES["PATCH"]
    for position, (template, handler) in enumerate(routes):
        if template == EDIT and handler.__name__ != _without_avatar.__name__:
            routes[position] = template, _without_avatar(handler)


def _webhook_of(ctx: RequestContext) -> Webhook:
    """Return the webhook as that of the thread that the request names."""
    webhook: Webhook = _find_webhook(ctx)
    thread_id = ctx.params.get("thread_id")
    return replace(webhook, channel_id=int(thread_id)) if thread_id else webhook


def _body_with_components(ctx: RequestContext) -> tuple[dict[str, Any], bool]:
    return dict(ctx.body()), True


def _without_avatar(handler: router.Handler) -> router.Handler:
    """Accept a picture and discard it, as simcord does for a new webhook."""

    def _without_avatar(ctx: RequestContext) -> Any:
        ctx.body().pop("avatar", None)
        return handler(ctx)

    return _without_avatar
