"""The menus of a message for admins: Save as example, Add to knowledge."""

from __future__ import annotations

import discord
from discord import app_commands
from discord.ext import commands
from sqlalchemy.orm import Session

from bot.errors import UserFacingError
from bot.guards.access import require_admin
from bot.guards.error_handler import NOT_MINE
from bot.guards.interactions import BotCog
from bot.knowledge.adding import MessageForm, describe_document, from_message, require_curator
from bot.personalities.example_form import example_form
from bot.services import Services
from storage.conversations.replies import Reply, find_by_message
from storage.knowledge.documents import made_of
from storage.personalities.personalities import Personality, read_personality
from storage.wording import gettext_noop

MY_WORDS = gettext_noop("I wrote that myself, and would only quote myself. To teach me facts, use `/knowledge add`.")
KNOWN = gettext_noop(
    "That message is in the knowledge already: {document}\nTo remove it, choose it in `/knowledge list`."
)


class MessageMenus(BotCog):
    def __init__(self, bot: commands.AutoShardedBot, services: Services) -> None:
        super().__init__(bot, services)
        for name, callback in (
            (gettext_noop("Save as example"), self.save_as_example),
            (gettext_noop("Add to knowledge"), self.add_to_knowledge),
        ):
            bot.tree.add_command(app_commands.ContextMenu(name=name, callback=callback))

    @app_commands.guild_only()
    @app_commands.default_permissions(manage_guild=True)
    async def save_as_example(self, interaction: discord.Interaction, message: discord.Message) -> None:
        """Make an answer an example of its personality's card."""
        require_admin(interaction.user, self.services.settings.discord)
        reply, whose = await self._answer_on(message)
        form = example_form(self.services, reply, whose, interaction.user.id, interaction.guild_id or 0)
        await interaction.response.send_modal(form)

    @app_commands.guild_only()
    @app_commands.default_permissions(manage_guild=True)
    async def add_to_knowledge(self, interaction: discord.Interaction, message: discord.Message) -> None:
        """Make a message a document that answers quote."""
        require_curator(interaction.user, self.services.settings)
        # An answer may also come from a webhook, under its personality's name.
        if message.author == self.bot.user or await self.services.database.read(find_by_message, message.id):
            raise UserFacingError(MY_WORDS)
        for document in await self.services.database.read(made_of, message.id):
            if document.guild_id == interaction.guild_id:
                raise UserFacingError(KNOWN, document=describe_document(document))
        from_message(message)  # refuses one without text
        form = MessageForm(self.services, message, everywhere=_is_for_everyone(message))
        await interaction.response.send_modal(form)

    async def _answer_on(self, message: discord.Message) -> tuple[Reply, Personality]:
        def read(session: Session) -> tuple[Reply, Personality]:
            reply = find_by_message(session, message.id)
            if reply is None:
                raise UserFacingError(NOT_MINE)
            return reply, read_personality(session, reply.personality_id)

        return await self.services.database.read(read)


def _is_for_everyone(message: discord.Message) -> bool:
    """Return whether everybody in the server can read the message's channel."""
    channel = message.channel
    place = channel.parent if isinstance(channel, discord.Thread) and not channel.is_private() else channel
    if not isinstance(place, discord.abc.GuildChannel):
        return False
    return place.permissions_for(place.guild.default_role).view_channel
