"""`/thread`: a thread for a conversation with the bot, in which it answers without being mentioned."""

from __future__ import annotations

import contextlib

import discord
from discord import app_commands

from bot.chat.own_threads import describe_refusal, thread_name
from bot.discord_errors import DISCORD_ERRORS
from bot.errors import UserFacingError
from bot.guards.access import DenialReason
from bot.guards.error_handler import answer_privately
from bot.guards.interactions import BotCog
from bot.guards.permissions import TO_ANSWER, TO_OPEN_THREADS, lacking
from bot.localization.languages import languages_of
from bot.localization.sentences import gettext, speaking
from bot.servers.setups import rule_in
from bot.text.sanitize import escape_inline
from storage.database.enums import Rule
from storage.wording import gettext_noop

MAX_TOPIC_CHARS = 100
NO_THREADS_HERE = gettext_noop("There are no threads here. Use `/thread` in a text channel; in a thread, mention me.")
MEMBER_MAY_NOT = gettext_noop("You may not open threads in this channel: that needs Create Public Threads.")
OPENED = gettext_noop("Write here: I answer every message in this thread, without a mention. `/reset` starts over.")


class Threads(BotCog):
    @app_commands.command()
    @app_commands.guild_only()
    @app_commands.describe(topic="What it is about; the thread gets this name")
    async def thread(
        self, interaction: discord.Interaction, topic: app_commands.Range[str, 1, MAX_TOPIC_CHARS] | None = None
    ) -> None:
        """Open a thread for a conversation with me; no mention is needed in it."""
        channel = self._require_channel(interaction)
        with speaking(languages_of(self.bot).of_server(interaction.guild_id)):
            opened = gettext(OPENED)
            both = gettext(
                "{names} and {last}", names=interaction.user.display_name, last=channel.guild.me.display_name
            )
        name = thread_name(topic or both)
        # From a message, so that the channel shows the thread, and its message who opened it.
        await interaction.response.send_message(f"🧵 **{escape_inline(name)}**", silent=True)
        message = await interaction.original_response()
        try:
            thread = await _open_thread(message, name, opened)
        except DISCORD_ERRORS as error:
            await interaction.delete_original_response()
            raise UserFacingError("I can't open a thread here: {reason}.", reason=describe_refusal(error)) from error
        with contextlib.suppress(*DISCORD_ERRORS):  # a thread holds a limited number of people
            await thread.add_user(interaction.user)
        await answer_privately(interaction, gettext("Here it is: {thread}", thread=thread.mention))

    def _require_channel(self, interaction: discord.Interaction) -> discord.TextChannel:
        """Return the channel if both may open a thread there; raises UserFacingError."""
        channel = interaction.channel
        if not isinstance(channel, discord.TextChannel):
            raise UserFacingError(NO_THREADS_HERE)
        if rule_in(channel, self.services.settings, self.services.setups) is Rule.NEVER:
            raise UserFacingError(DenialReason.CHANNEL)
        if not interaction.permissions.create_public_threads:
            raise UserFacingError(MEMBER_MAY_NOT)
        if missing := lacking(channel, channel.guild.me, (*TO_ANSWER, *TO_OPEN_THREADS)):
            raise UserFacingError("To open a thread here I need {permissions}.", permissions=", ".join(missing))
        return channel


async def _open_thread(message: discord.InteractionMessage, name: str, first_words: str) -> discord.Thread:
    """Make a thread from the message; if Discord refuses the first words in it, it is deleted, or closed."""
    thread = await message.create_thread(name=name)
    try:
        await thread.send(first_words, silent=True)
    except DISCORD_ERRORS:
        with contextlib.suppress(*DISCORD_ERRORS):
            # Whoever opened a thread may close it; to delete it needs Manage Threads.
            may_delete = thread.permissions_for(thread.guild.me).manage_threads
            await (thread.delete() if may_delete else thread.edit(archived=True))
        raise
    return thread
