"""What a message of the bot says, as plain text or as a panel."""

from __future__ import annotations

from typing import Any

import discord
from simcord.components import walk_components

TEXT = discord.ComponentType.text_display.value


def said(message: Any) -> str:
    """Return the text of a message or a response of the simulator; of a panel its texts, one below the other."""
    parts = [part if isinstance(part, dict) else part.to_dict() for part in message.components]
    texts = [part["content"] for part in walk_components(parts) if part["type"] == TEXT]
    return "\n".join(filter(None, (message.content, *texts)))
