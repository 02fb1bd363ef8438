"""`/personality name` and `picture`: how a personality appears above and beside its messages."""

from __future__ import annotations

import asyncio
import logging
from functools import partial

import discord
from discord import app_commands
from discord.ext import commands

from bot.attachments.files import fetch_file
from bot.errors import UserFacingError
from bot.guards.access import user_label
from bot.guards.audit import run_audited
from bot.guards.error_handler import answer_privately
from bot.localization.sentences import gettext
from bot.personalities.appearance import describe_appearance, describe_obstacles
from bot.personalities.selection import offer_personalities, require_own
from bot.services import Services
from storage.personalities.bindings import list_bindings
from storage.personalities.cards import MAX_DISPLAY_NAME_CHARS, renamed
from storage.personalities.clean_pictures import MAX_PICTURE_FILE_BYTES, ONE_COLOUR, clean_picture
from storage.personalities.personalities import Personality, change_card, personality_named, read_personality
from storage.personalities.pictures import set_picture

log = logging.getLogger(__name__)


class Appearance(commands.Cog):
    services: Services

    @commands.Cog.listener()
    async def on_webhooks_update(self, channel: discord.abc.GuildChannel) -> None:
        self.services.webhooks.look_again(channel.id)

    @app_commands.command(name="name")
    @app_commands.describe(
        personality="The personality to name", name="What people see above its messages; without it, the bot's name"
    )
    @app_commands.autocomplete(personality=offer_personalities)
    async def name_it(
        self,
        interaction: discord.Interaction,
        personality: str,
        name: app_commands.Range[str, 1, MAX_DISPLAY_NAME_CHARS] | None = None,
    ) -> None:
        """Let a personality speak under a name of its own, or under the bot's again."""
        found = await self._own(interaction, personality)
        card, by = renamed(found.card, name or ""), user_label(interaction.user)
        await run_audited(interaction, change_card, found, card, by=by)
        log.info("%s named %s %r.", by, found.name, card.display_name)
        await self._say_how_it_appears(interaction, found)

    @app_commands.command(name="picture")
    @app_commands.describe(
        personality="The personality that gets the picture",
        file="PNG, JPEG, GIF or WebP; without it, the bot's picture",
    )
    @app_commands.autocomplete(personality=offer_personalities)
    async def picture_it(
        self, interaction: discord.Interaction, personality: str, file: discord.Attachment | None = None
    ) -> None:
        """Give a personality a picture of its own, or the bot's again."""
        found = await self._own(interaction, personality)
        picture = await _read(file) if file else None
        await run_audited(interaction, set_picture, found.id, picture)
        log.info("%s %s the picture of %s.", user_label(interaction.user), "set" if file else "removed", found.name)
        await self._say_how_it_appears(interaction, found)

    async def _own(self, interaction: discord.Interaction, name: str) -> Personality:
        """Return the personality, which the admin may change."""
        await interaction.response.defer(ephemeral=True)
        found = await self.services.database.read(personality_named, name, interaction.guild_id)
        require_own(self.services, found, {interaction.guild_id or 0})
        return found

    async def _say_how_it_appears(self, interaction: discord.Interaction, before: Personality) -> None:
        now = await self.services.database.read(read_personality, before.id)
        said = gettext(
            "**{name}** appears {how} from its next answer on. Older messages keep theirs.",
            name=now.name,
            how=describe_appearance(now),
        )
        await answer_privately(interaction, "\n".join([said, *await self._obstacles(interaction, now)]))

    async def _obstacles(self, interaction: discord.Interaction, personality: Personality) -> list[str]:
        find = partial(list_bindings, guild_id=interaction.guild_id, personality_id=personality.id)
        bindings = await self.services.database.read(find)
        return describe_obstacles(self.services.webhooks, interaction.guild, personality, bindings)


async def _read(file: discord.Attachment) -> bytes:
    content = await fetch_file(file, MAX_PICTURE_FILE_BYTES)
    picture = await asyncio.to_thread(clean_picture, content)
    if picture is None:
        raise UserFacingError(ONE_COLOUR)
    return picture
