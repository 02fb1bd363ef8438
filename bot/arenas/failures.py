"""Says why an arena failed."""

from __future__ import annotations

import discord

from bot.guards.error_handler import member_message
from bot.localization.sentences import ENGLISH, gettext, sentence, speaking
from bot.text.sanitize import sanitize_sentence
from storage.errors import TranslatableError
from storage.sentences import Sentence
from storage.wording import gettext_noop


def reason_of(error: BaseException) -> str:
    """Return why an arena failed, in English words that its channel can read, and that can be translated."""
    if isinstance(error, discord.NotFound):
        return gettext_noop("its message or channel was deleted")
    if isinstance(error, discord.Forbidden):
        return gettext_noop("I can no longer post in its channel")
    if isinstance(error, discord.HTTPException):
        return Sentence("Discord rejected it ({status})", status=str(error.status))
    if isinstance(error, TranslatableError) and error.message:
        return error.sentence
    with speaking(ENGLISH):
        return member_message(error)


def cancelled(reason: str) -> str:
    """Return the end of an arena with the reason."""
    return f"{gettext('This arena was cancelled.')} {sentence(describe_failure(reason))}"


def describe_failure(reason: str) -> str:
    """Return a stored reason, translated if it is a sentence of ours."""
    return sanitize_sentence(gettext(reason))
