"""What a message of the bot says, as plain text or as a panel, and a way through its buttons."""

from __future__ import annotations

from typing import Any

import discord
from simcord.components import walk_components

BUTTON = discord.ComponentType.button.value
SELECT = discord.ComponentType.select.value
TEXT = discord.ComponentType.text_display.value


def offered(message: Any) -> list[str]:
    """Return the names in the select of a response."""
    (select,) = (part for part in walk_components(message.components) if part["type"] == SELECT)
    return [option["label"] for option in select["options"]]


def labels(message: Any) -> list[str]:
    """Return the labels of the buttons of a response."""
    return [part["label"] for part in walk_components(message.components) if part["type"] == BUTTON]


async def post_report(place: Any) -> Any:
    """Let the admin post the report of the personality that speaks here."""
    status = await place.grace.slash(place.channel, "version status")
    return (await place.grace.click(status.response, label="Post a report here")).response


async def latest_arenas(place: Any) -> str:
    """Return the words about the server's arenas that an admin reads."""
    status = await place.grace.slash(place.channel, "version status")
    shown = await place.grace.click(status.response, label="Latest arenas")
    assert shown.ephemeral
    return shown.response.content


def said(message: Any) -> str:
    """Return the text of a message or a response of the simulator; of a panel its texts, one below the other."""
    parts = [part if isinstance(part, dict) else part.to_dict() for part in message.components]
    texts = [part["content"] for part in walk_components(parts) if part["type"] == TEXT]
    return "\n".join(filter(None, (message.content, *texts)))


async def delete_everything(who: Any, channel: Any, label: str = "Delete everything") -> str:
    """Ask for it below `/privacy`, and answer the question; return what the message says then."""
    page = await who.slash(channel, "privacy")
    asked = await who.click(page.response, label="Delete everything …")
    clicked = await who.click(asked.response, label=label)
    return clicked.response.content
