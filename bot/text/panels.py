"""Panels: messages of texts, pictures and buttons in a frame (Discord's Components V2).

A message that was a panel once stays one: Discord takes no plain text for it any more.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import discord

from bot.text.splitting import MIN_LIMIT_CHARS, split_message

MAX_PANEL_CHARS = 4_000  # Discord's limit for all texts of a message together
ELLIPSIS = " …"

Part = discord.ui.Item[discord.ui.LayoutView]


def panel(*parts: Part) -> discord.ui.LayoutView:
    """Return a message of these parts; a button works by its ID alone, also after a restart."""
    view = discord.ui.LayoutView(timeout=None)
    for part in parts:
        view.add_item(part)
    view.stop()  # nothing waits: a waiting view keeps a task
    return view


def action_row(*items: discord.ui.Item[Any]) -> discord.ui.ActionRow[discord.ui.LayoutView]:
    dispatched: tuple[Any, ...] = items  # discord.py's types do not know that rows take dynamic items
    return discord.ui.ActionRow(*dispatched)


def text_panel(
    blocks: Sequence[str], picture: str = "", description: str = "", buttons: Sequence[discord.ui.Item[Any]] = ()
) -> discord.ui.LayoutView:
    """Return the blocks with lines between them, as far as they fit, above a picture that is attached by this name."""
    frame: discord.ui.Container[discord.ui.LayoutView] = discord.ui.Container()
    for number, block in enumerate(fit_blocks(blocks)):
        if number:
            frame.add_item(discord.ui.Separator())
        frame.add_item(discord.ui.TextDisplay(block))
    if picture:
        shown = discord.MediaGalleryItem(f"attachment://{picture}", description=description)
        frame.add_item(discord.ui.MediaGallery(shown))
    return panel(frame, *([action_row(*buttons)] if buttons else []))


def fit_blocks(blocks: Sequence[str], room: int = MAX_PANEL_CHARS) -> list[str]:
    """Return the blocks that are not empty, the last one cut where the room ends."""
    fitting: list[str] = []
    for block in filter(None, map(str.strip, blocks)):
        if len(block) > room:
            if room > MIN_LIMIT_CHARS + len(ELLIPSIS):
                fitting.append(split_message(block, room - len(ELLIPSIS))[0] + ELLIPSIS)
            break
        fitting.append(block)
        room -= len(block)
    return fitting
