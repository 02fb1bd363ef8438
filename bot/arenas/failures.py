"""Says why an arena failed."""

from __future__ import annotations

import discord

from bot.guards.error_handler import member_message
from bot.localization.sentences import ENGLISH, speaking
from storage.errors import TranslatableError
from storage.wording import gettext_noop


def reason_of(error: BaseException) -> str:
    """Return why an arena failed, in English words that its channel can read, and that can be translated."""
    if isinstance(error, discord.NotFound):
        return gettext_noop("its message or channel was deleted")
    if isinstance(error, discord.Forbidden):
        return gettext_noop("I can no longer post in its channel")
    if isinstance(error, discord.HTTPException):
        return f"Discord rejected it ({error.status})"
    if isinstance(error, TranslatableError) and not error.values:
        return error.message
    with speaking(ENGLISH):
        return member_message(error)
