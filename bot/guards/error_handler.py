"""Errors translated once, at the edge: members read a sentence or a reference id, the log holds the rest."""

from __future__ import annotations

import contextlib
import logging
from typing import TYPE_CHECKING

import aiohttp
import discord
from discord import app_commands
from sqlalchemy.exc import SQLAlchemyError

from bot.chat.message_stream import is_temporary
from bot.errors import UserFacingError
from bot.guards.audit import action_of, record_error
from bot.text.rounds import sentence
from bot.text.sanitize import sanitize_sentence
from bot.text.splitting import MAX_MESSAGE_CHARS
from storage.database.engine import explain, is_away
from storage.errors import StorageError
from storage.runtime.request_ids import take_up

if TYPE_CHECKING:
    pass

log = logging.getLogger(__name__)

OUTDATED = "That command has changed with an update: reload Discord (Ctrl+R), then call it again."
TOO_LATE = "Sorry, that took me longer than Discord waits. Please look whether it was done, else do it again."
UNKNOWN_INTERACTION = 10062  # of Discord's error codes: nobody answered within its three seconds
NO_SUCH_VALUE = "I cannot use one of those values: choose it from the list that Discord offers, or one that I can see."
AWAY = "My memory is out of reach at the moment. Please look in a minute whether it was done, else do it again."
DISCORD_TROUBLE = "Sorry, Discord did not let me do that just now. Please try again in a minute."
NOT_MINE = "That message is not one of my answers."
OUTDATED_CALLS = (app_commands.CommandNotFound, app_commands.CommandSignatureMismatch)


def member_message(error: BaseException) -> str:
    """Return what a member may read about the error; anything unforeseen is logged under a reference id."""
    cause = _cause(error)
    if isinstance(cause, OUTDATED_CALLS):
        return OUTDATED
    if isinstance(cause, app_commands.TransformerError):
        return NO_SUCH_VALUE
    if is_expected(error):
        return sanitize_sentence(sentence(str(cause) or "you may not do this here"))
    return _tell_trouble(cause) or _tell_defect(cause)


def _tell_trouble(cause: BaseException) -> str | None:
    """Return what to say of a database or a Discord that is not there for now."""
    if isinstance(cause, SQLAlchemyError) and is_away(cause):
        log.error("A member was asked to come back: %s.", explain(cause))
        return AWAY
    if isinstance(cause, discord.NotFound) and cause.code == UNKNOWN_INTERACTION:
        log.error("Discord waited no longer for an answer to a command or button: this machine is too busy.")
        return TOO_LATE
    if isinstance(cause, (discord.HTTPException, discord.RateLimited, aiohttp.ClientError)) and is_temporary(cause):
        log.error("Discord has trouble: %s.", cause)
        return DISCORD_TROUBLE
    return None


def _tell_defect(cause: BaseException) -> str:
    reference = take_up()  # stands in the log as the request's id, beside all that was logged of it before
    log.error("unforeseen error, reference %s", reference, exc_info=cause)
    return f"Sorry, something went wrong. If it happens again, tell the operator this reference: `{reference}`."


def is_expected(error: BaseException) -> bool:
    """Return whether the error is an answer to the member, such as a refusal, rather than a defect."""
    foreseen = (
        UserFacingError,
        StorageError,
        app_commands.CheckFailure,
        app_commands.TransformerError,
        *OUTDATED_CALLS,
    )
    return isinstance(_cause(error), foreseen)


def _cause(error: BaseException) -> BaseException:
    return error.original if isinstance(error, app_commands.CommandInvokeError) else error


async def answer_privately(interaction: discord.Interaction, text: str, view: discord.ui.View | None = None) -> None:
    """Send a message that only the person who acted sees, cut to Discord's limit.

    The items of a view must be dynamic. Nothing is raised where Discord does not take it.
    """
    text, shown = text[:MAX_MESSAGE_CHARS], view or discord.utils.MISSING
    if view is not None:
        view.stop()  # dynamic items are found without it, and a view that waits has a task for a quarter of an hour
    try:
        if interaction.response.is_done():
            await interaction.followup.send(text, ephemeral=True, view=shown)
        else:
            await interaction.response.send_message(text, ephemeral=True, view=shown)
    except discord.HTTPException as error:
        log.warning("Discord did not take an answer to %s: %s", interaction.user.id, error)


async def report_error(interaction: discord.Interaction, error: Exception, action: str) -> None:
    """Answer an error with a sentence; one of an admin's action is written down."""
    told = member_message(error)
    await _delete_public_placeholder(interaction)
    await answer_privately(interaction, told)
    if action:
        await record_error(interaction, action_of(interaction, action), told, is_foreseen=is_expected(error))


async def _delete_public_placeholder(interaction: discord.Interaction) -> None:
    """Delete a public "is thinking …": Discord would put the next message in its place, where everybody sees it."""
    if interaction.response.type is not discord.InteractionResponseType.deferred_channel_message:
        return
    with contextlib.suppress(discord.HTTPException):
        placeholder = await interaction.original_response()
        if placeholder.flags.loading and not placeholder.flags.ephemeral:
            await placeholder.edit(content="…")  # a placeholder that still waits would swallow the next message
            await placeholder.delete()
