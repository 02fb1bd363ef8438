"""Turns errors into messages: members read a sentence or a reference ID, and the log has the details."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Sequence

import aiohttp
import discord
from discord import app_commands
from sqlalchemy.exc import SQLAlchemyError

from bot.discord_errors import DISCORD_ERRORS, INVALID_WEBHOOK_TOKEN, is_temporary
from bot.errors import UserFacingError
from bot.guards.audit import action_of, record_outcome
from bot.localization.languages import languages_of
from bot.localization.sentences import ENGLISH, gettext, sentence, speak, speaking
from bot.text.sanitize import sanitize_sentence
from bot.text.splitting import MAX_MESSAGE_CHARS
from storage.database.engine import explain, is_away
from storage.database.enums import AuditOutcome
from storage.errors import StorageError, TranslatableError
from storage.runtime.requests import ensure_request
from storage.wording import gettext_noop

log = logging.getLogger(__name__)

OUTDATED = gettext_noop("That command has changed in an update. Reload Discord (Ctrl+R), then try again.")
TOO_LATE = gettext_noop("Sorry, that took me too long for Discord. Please check whether it worked; if not, try again.")
UNKNOWN_INTERACTION = 10062  # Discord's error code if there was no reply within three seconds
EXPIRED = UNKNOWN_INTERACTION, INVALID_WEBHOOK_TOKEN
NOT_MINE = gettext_noop("That message isn't one of my answers.")
OUTDATED_CALLS = (app_commands.CommandNotFound, app_commands.CommandSignatureMismatch)


def member_message(error: BaseException) -> str:
    """Return the message about the error for a member; an unexpected error is logged under a reference ID."""
    return _translate(_explain(error))


def _translate(explained: TranslatableError) -> str:
    return sanitize_sentence(sentence(gettext(explained.message, **explained.values)))


def _explain(error: BaseException) -> TranslatableError:
    """Return the error to explain to the member, in English."""
    cause = _cause(error)
    if isinstance(cause, TranslatableError) and cause.message:
        return cause
    if isinstance(cause, OUTDATED_CALLS):
        return UserFacingError(OUTDATED)
    if isinstance(cause, app_commands.TransformerError):
        return UserFacingError(
            "I can't use one of those values. Choose it from Discord's list, or use one that I can see."
        )
    if is_expected(error):
        return UserFacingError(str(cause)) if str(cause) else UserFacingError("You can't do this here.")
    if outage := _describe_outage(cause):
        return UserFacingError(outage)
    reference = ensure_request()  # the request's ID, which all its log lines have
    log.error("Unexpected error, reference %s", reference, exc_info=cause)
    return UserFacingError(
        "Sorry, something went wrong. If it happens again, give the operator this reference: `{reference}`.",
        reference=reference,
    )


def _describe_outage(cause: BaseException) -> str | None:
    """Return the message, in English, if the database or Discord is temporarily unavailable."""
    if isinstance(cause, SQLAlchemyError) and is_away(cause):
        log.error("A member was asked to try again: %s", explain(cause))
        return gettext_noop(
            "I can't reach my database right now. Check in a minute whether it worked; if not, try again."
        )
    if isinstance(cause, discord.HTTPException) and cause.code in EXPIRED:
        log.error("A reply to a command or button came too late for Discord: this machine is too busy.")
        return TOO_LATE
    if isinstance(cause, (discord.HTTPException, discord.RateLimited, aiohttp.ClientError)) and is_temporary(cause):
        log.error("Discord refused a request: %s", cause)
        return gettext_noop("Sorry, Discord didn't let me do that just now. Please try again in a minute.")
    return None


def is_expected(error: BaseException) -> bool:
    """Return whether the error is a reply to the member, such as a refusal, and not a defect."""
    expected = (
        UserFacingError,
        StorageError,
        app_commands.CheckFailure,
        app_commands.TransformerError,
        *OUTDATED_CALLS,
    )
    return isinstance(_cause(error), expected)


def _cause(error: BaseException) -> BaseException:
    return error.original if isinstance(error, app_commands.CommandInvokeError) else error


async def answer_privately(
    interaction: discord.Interaction,
    text: str,
    view: discord.ui.View | None = None,
    *,
    embeds: Sequence[discord.Embed] = (),
) -> None:
    """Send a message that only this user sees, cut to Discord's limit.

    The items of a view must be dynamic. If Discord refuses the message, a warning is logged.
    """
    text, shown = text[:MAX_MESSAGE_CHARS], view or discord.utils.MISSING
    if view is not None:
        view.stop()  # dynamic items work without it, and a waiting view keeps a task for a quarter of an hour
    try:
        if interaction.response.is_done():
            await interaction.followup.send(text, ephemeral=True, view=shown, embeds=embeds)
        else:
            await interaction.response.send_message(text, ephemeral=True, view=shown, embeds=embeds)
    except DISCORD_ERRORS as error:
        log.warning("Discord refused a reply to %s: %s", interaction.user.id, error)


async def report_error(interaction: discord.Interaction, error: Exception, action: str) -> None:
    """Reply to an error with a private sentence; `action` names an admin's action for the audit trail, in English."""
    explained = _explain(error)
    await _delete_public_placeholder(interaction)
    speak(languages_of(interaction.client).of_member(interaction))
    await answer_privately(interaction, _translate(explained))
    if action:
        outcome = AuditOutcome.REFUSED if is_expected(error) else AuditOutcome.FAILED
        with speaking(ENGLISH):
            note = _translate(explained)
        await record_outcome(interaction, action_of(interaction, action), outcome, note)


async def _delete_public_placeholder(interaction: discord.Interaction) -> None:
    """Delete a public "is thinking …": Discord would put the next message in its place, where everybody sees it."""
    if interaction.response.type is not discord.InteractionResponseType.deferred_channel_message:
        return
    with contextlib.suppress(*DISCORD_ERRORS):
        placeholder = await interaction.original_response()
        if placeholder.flags.loading and not placeholder.flags.ephemeral:
            await placeholder.edit(content="…")  # a placeholder that still waits would swallow the next message
            await placeholder.delete()
