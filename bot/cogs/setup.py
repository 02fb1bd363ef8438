"""`/setup`: one guided command for a server, and the line that tells a new server about it."""

from __future__ import annotations

import logging

import discord
from discord import app_commands
from discord.ext import commands

from bot.discord_errors import DISCORD_ERRORS
from bot.errors import UserFacingError
from bot.guards.access import allows_server
from bot.guards.audit import NOTED
from bot.guards.interactions import AdminCog, begin_interaction
from bot.guards.permissions import TO_POST, lacking
from bot.localization.languages import languages_of
from bot.localization.sentences import gettext, speaking
from bot.servers.steps import PREFIX, edit_to
from bot.servers.wizard import RESTARTED, SetupView, read_now
from bot.services import Services
from storage.wording import gettext_noop

log = logging.getLogger(__name__)
WELCOME = gettext_noop(
    "Hi! An admin can set me up with `/setup`: where I answer, who can use me, and which personality I use."
)


class Setup(AdminCog):
    def __init__(self, bot: commands.AutoShardedBot, services: Services) -> None:
        super().__init__(bot, services)
        self._opened: dict[int, SetupView] = {}
        """{message ID: the wizard shown in it} of this run of the bot"""

    @app_commands.command(name="setup")
    @app_commands.guild_only()
    @app_commands.default_permissions(manage_guild=True)
    async def set_up(self, interaction: discord.Interaction) -> None:
        """Set me up: where I answer, who can use me, my personality and language, what I start on my own."""
        guild = interaction.guild
        if guild is None or guild.me is None:
            raise UserFacingError("I can't see this server: add me to it with the link in the README (Host it).")
        await interaction.response.defer(ephemeral=True)  # the database may take longer than Discord waits
        known = await read_now(self.services, guild)
        view = SetupView(self.services, languages_of(self.bot), guild, interaction.channel_id or 0, known)
        self._opened = {id_: other for id_, other in self._opened.items() if not other.is_finished()}
        self._opened[await view.open(interaction)] = view
        interaction.extras[NOTED] = True  # nothing is done yet

    @commands.Cog.listener()
    async def on_interaction(self, interaction: discord.Interaction) -> None:
        """Answer a click in a message that an earlier run of the bot has opened."""
        message, custom_id = interaction.message, str((interaction.data or {}).get("custom_id", ""))
        if custom_id.startswith(PREFIX) and message is not None and message.id not in self._opened:
            begin_interaction(interaction)
            await edit_to(interaction, gettext(RESTARTED))

    @commands.Cog.listener()
    async def on_guild_join(self, guild: discord.Guild) -> None:
        if allows_server(guild.id, self.services.settings.access) and not self.services.setups.find(guild.id):
            with speaking(languages_of(self.bot).of_server(guild.id)):
                await introduce(guild)


async def introduce(guild: discord.Guild) -> None:
    """Post the instructions for set-up in the server's channel for news, or else in the first open channel."""
    candidates = [guild.system_channel, *sorted(guild.text_channels, key=lambda channel: channel.position)]
    channel = next((one for one in candidates if one and not lacking(one, guild.me, TO_POST)), None)
    if channel is None:
        return
    try:
        await channel.send(gettext(WELCOME), silent=True)
    except DISCORD_ERRORS as error:
        log.warning("Discord refused the first message in server %d: %s", guild.id, error)
