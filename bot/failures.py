"""Errors translated once, at the edge: members read a sentence or a reference id, the log holds the rest."""

from __future__ import annotations

import logging
import secrets

import aiohttp
import discord
from discord import app_commands

from bot.errors import UserFacingError
from bot.late_rows import is_away
from bot.message_stream import is_passing
from bot.reports import sentence
from bot.splitting import MAX_MESSAGE_CHARS
from storage.errors import StorageError

log = logging.getLogger(__name__)

NO_SUCH_VALUE = "I cannot use one of those values: choose it from the list that Discord offers, or one that I can see."
DISCORD_TROUBLE = "Sorry, Discord did not let me do that just now. Please try again in a minute."
NO_DATABASE = "Sorry, I cannot reach my database at the moment. Please try again in a minute."
NOT_MINE = "That message is not one of my answers."


def tell(error: BaseException) -> str:
    """Return what a member may read about the error; anything unforeseen is logged under a reference id."""
    cause = _cause(error)
    if isinstance(cause, app_commands.TransformerError):
        return NO_SUCH_VALUE
    if is_foreseen(error):
        return sentence(str(cause) or "you may not do this here")
    if isinstance(cause, (discord.HTTPException, discord.RateLimited, aiohttp.ClientError)) and is_passing(cause):
        log.error("Discord has trouble: %s.", cause)
        return DISCORD_TROUBLE
    if is_away(cause):
        log.error("The database is away: %s.", str(cause).splitlines()[0])
        return NO_DATABASE
    reference = secrets.token_hex(4)
    log.error("unforeseen error, reference %s", reference, exc_info=cause)
    return f"Sorry, something went wrong. If it happens again, tell the operator this reference: `{reference}`."


def is_foreseen(error: BaseException) -> bool:
    """Return whether the error is an answer to the member, such as a refusal, rather than a defect."""
    foreseen = (UserFacingError, StorageError, app_commands.CheckFailure, app_commands.TransformerError)
    return isinstance(_cause(error), foreseen)


def _cause(error: BaseException) -> BaseException:
    return error.original if isinstance(error, app_commands.CommandInvokeError) else error


async def answer_privately(interaction: discord.Interaction, text: str, view: discord.ui.View | None = None) -> None:
    """Send a message that only the person who acted sees, cut to Discord's limit.

    Nothing is raised where Discord does not take it.
    """
    text, shown = text[:MAX_MESSAGE_CHARS], view or discord.utils.MISSING
    try:
        if interaction.response.is_done():
            await interaction.followup.send(text, ephemeral=True, view=shown)
        else:
            await interaction.response.send_message(text, ephemeral=True, view=shown)
    except discord.HTTPException as error:
        log.warning("Discord did not take an answer to %s: %s", interaction.user.id, error)


class Form(discord.ui.Modal):
    """A form that waits as long as its reader does, and answers an error with a sentence."""

    def __init__(self, *, title: str) -> None:
        super().__init__(title=title, timeout=None)

    async def on_error(self, interaction: discord.Interaction, error: Exception, /) -> None:  # type: ignore[override]
        await answer_privately(interaction, tell(error))


class ErrorTranslatingTree(app_commands.CommandTree[discord.Client]):
    async def on_error(
        self, interaction: discord.Interaction[discord.Client], error: app_commands.AppCommandError, /
    ) -> None:
        await answer_privately(interaction, tell(error))
