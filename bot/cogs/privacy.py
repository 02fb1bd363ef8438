"""`/privacy`, `/me` and `/reset`: members' stored data, and the bot's memory of conversations."""

from __future__ import annotations

import discord
from discord import app_commands
from discord.ext import commands

from bot.chat.conversation import find_opener, is_own_thread
from bot.errors import UserFacingError
from bot.guards.access import is_admin
from bot.guards.audit import NOTED, action_of, run_audited
from bot.guards.error_handler import answer_privately
from bot.guards.interactions import BotCog
from bot.localization.sentences import gettext
from bot.memory.notes import show_notes
from bot.memory.proposals import describe_kept
from bot.privacy import notices
from storage.conversations.summaries import forget_conversation
from storage.memory import MAX_NOTE_CHARS, add_note
from storage.wording import gettext_noop

NOT_YOURS = gettext_noop(
    "Only admins can do this here (Manage Server, or a role that the operator chose). You can do it in our direct "
    "messages and in threads that you opened."
)


class Privacy(BotCog):
    @app_commands.command()
    async def privacy(self, interaction: discord.Interaction) -> None:
        """See what I store about you; get it, delete it, or decide whether I learn from you."""
        await interaction.response.defer(ephemeral=True)
        await notices.show_page(interaction, self.services)


class Me(
    BotCog,
    commands.GroupCog,
    group_name="me",
    group_description="What I remember about you, used only when I answer you",
):
    @app_commands.command()
    @app_commands.describe(note="What I should know about you, in a few words")
    async def remember(
        self, interaction: discord.Interaction, note: app_commands.Range[str, 1, MAX_NOTE_CHARS]
    ) -> None:
        """Add a short note about yourself."""
        await interaction.response.defer(ephemeral=True)
        added = await self.services.database.run(add_note, interaction.user.id, interaction.guild_id, note)
        await answer_privately(interaction, describe_kept(added))

    @app_commands.command()
    async def show(self, interaction: discord.Interaction) -> None:
        """Show my notes about you here; forget some, or choose whether I ask about more."""
        await interaction.response.defer(ephemeral=True)
        await show_notes(interaction, self.services)


class Reset(BotCog):
    @app_commands.command()
    async def reset(self, interaction: discord.Interaction) -> None:
        """Start over, without what was said so far: in direct messages and your own threads; admins anywhere."""
        await interaction.response.defer(ephemeral=True)
        is_own = await self._is_own(interaction)
        if not is_own and not is_admin(interaction.user, self.services.settings.discord):
            raise UserFacingError(NOT_YOURS)
        # An interaction's ID is higher than that of every earlier message.
        channel_id = interaction.channel_id or 0
        if is_own:
            await self.services.database.run(forget_conversation, channel_id, interaction.id)
            interaction.extras[NOTED] = True  # it needed no admin rights
        else:
            await run_audited(interaction, action_of(interaction), forget_conversation, channel_id, interaction.id)
        await answer_privately(interaction, gettext("Done. I no longer use what was said here before."))

    async def _is_own(self, interaction: discord.Interaction) -> bool:
        """Return whether the conversation is the member's own: direct messages, and threads opened by or for them."""
        channel = interaction.channel
        if isinstance(channel, discord.Thread):
            opener = await find_opener(channel) if is_own_thread(channel, self.bot.user) else channel.owner_id
            return opener == interaction.user.id
        return interaction.guild_id is None
