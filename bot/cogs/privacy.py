"""`/privacy`, `/me` and `/reset`: members' stored data, and the bot's memory of conversations."""

from __future__ import annotations

from functools import partial

import discord
from discord import app_commands
from discord.ext import commands

from bot.chat.conversation import find_opener, is_own_thread
from bot.errors import UserFacingError
from bot.guards.access import is_admin
from bot.guards.audit import NOTED, run_audited
from bot.guards.error_handler import answer_privately
from bot.guards.interactions import BotCog
from bot.localization.sentences import gettext
from bot.memory.proposals import SILENCED, FactButton, describe_kept
from bot.privacy import notices
from bot.services import Services
from bot.text.sanitize import escape_inline
from storage.conversations.memory import forget_conversation
from storage.privacy.erasure import forget_notes
from storage.privacy.notes import (
    MAX_NOTE_CHARS,
    MAX_NOTES,
    add_note,
    allow_questions,
    are_questions_allowed,
    list_notes,
)
from storage.wording import gettext_noop

NO_NOTES = gettext_noop("I have no notes about you here. Add one with `/me remember`.")
NEVER_ASKS = gettext_noop("I never ask you to let me remember something. `/me ask-me` changes that.")
MAY_ASK = gettext_noop("All right, I may ask you, at most once a day, whether to remember what you say about yourself.")
NO_SUCH_NOTE = gettext_noop("I have no such note. `/me show` lists your notes.")
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
        """Show my notes about you in this server, or in our direct messages."""
        await interaction.response.defer(ephemeral=True)
        notes = await self.services.database.read(list_notes, interaction.user.id, interaction.guild_id)
        lines = [f"{number}. {escape_inline(note.text)}" for number, note in enumerate(notes, start=1)] or [
            gettext(NO_NOTES)
        ]
        if not await self.services.database.read(are_questions_allowed, interaction.user.id):
            lines.append(f"-# {gettext(NEVER_ASKS)}")
        await answer_privately(interaction, "\n".join(lines))

    @app_commands.command()
    @app_commands.describe(number="Number of the note in `/me show`; without it, all notes")
    async def forget(
        self, interaction: discord.Interaction, number: app_commands.Range[int, 1, MAX_NOTES] | None = None
    ) -> None:
        """Delete my notes about you here, and my record of the answers that used them."""
        await interaction.response.defer(ephemeral=True)
        here = (interaction.user.id, interaction.guild_id)
        deleted = await self.services.database.run(forget_notes, *here, number)
        await self.services.tastes.refresh()
        text = notices.describe_deletion(deleted) if deleted.notes else gettext(NO_SUCH_NOTE if number else NO_NOTES)
        await answer_privately(interaction, text)

    @app_commands.command(name="ask-me")
    @app_commands.describe(allowed="Whether I may ask you to let me remember what you say about yourself")
    async def ask_me(self, interaction: discord.Interaction, allowed: bool) -> None:
        """Choose whether I ask you to let me remember things about you."""
        await interaction.response.defer(ephemeral=True)
        await self.services.database.run(partial(allow_questions, allowed=allowed), interaction.user.id)
        await answer_privately(interaction, gettext(MAY_ASK if allowed else SILENCED))


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
            await run_audited(interaction, forget_conversation, channel_id, interaction.id)
        await answer_privately(interaction, gettext("Done. I no longer use what was said here before."))

    async def _is_own(self, interaction: discord.Interaction) -> bool:
        """Return whether the conversation is the member's own: direct messages, and threads opened by or for them."""
        channel = interaction.channel
        if isinstance(channel, discord.Thread):
            opener = await find_opener(channel) if is_own_thread(channel, self.bot.user) else channel.owner_id
            return opener == interaction.user.id
        return interaction.guild_id is None


async def setup(bot: commands.AutoShardedBot, services: Services) -> None:
    bot.add_dynamic_items(notices.PrivacyButton, FactButton)
    for cog in (Privacy, Me, Reset):
        await bot.add_cog(cog(bot, services))
