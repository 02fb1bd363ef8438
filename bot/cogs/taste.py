"""`/taste`: what a personality's members like, in words and a picture; admins switch off and on whether that acts.

One command with an option, not subcommands: Discord takes no bare `/taste` beside `/taste off`, and everybody is told
of `/taste`. Its rights hold for a whole command too, so a member who sets `switch` is refused here.
"""

from __future__ import annotations

import asyncio
from io import BytesIO
from typing import Literal

import discord
from discord import app_commands
from discord.ext import commands

from bot.charts.taste import draw_taste
from bot.chat.taste_news import tell_channel
from bot.guards.access import is_admin, require_admin
from bot.guards.audit import action_of, run_audited
from bot.guards.error_handler import report_error
from bot.guards.interactions import BotCog, PersistentButton, defer_publicly
from bot.guards.permissions import visible_channels
from bot.localization.sentences import gettext
from bot.personalities.selection import WHOSE, chosen_personality, offer_personalities, require_administrator, signed
from bot.services import Services
from bot.text.panels import MAX_PANEL_CHARS, text_panel
from bot.text.splitting import fit_lines
from bot.text.taste import describe_picture, describe_switch, taste_lines
from storage.database.columns import utc_now
from storage.insights.answers import in_channels, in_server
from storage.insights.taste_report import read_taste_report
from storage.personalities.personalities import Personality, read_personality
from storage.taste.acting import switch_taste

SWITCH = "taste switch"


class Taste(BotCog):
    @app_commands.command()
    @app_commands.guild_only()
    @app_commands.describe(
        personality=WHOSE, switch="For admins: whether answers and training follow what members like"
    )
    @app_commands.autocomplete(personality=offer_personalities)
    async def taste(
        self,
        interaction: discord.Interaction,
        personality: str | None = None,
        switch: Literal["on", "off"] | None = None,
    ) -> None:
        """Show what members like, how sure I am, and what it changes."""
        await interaction.response.defer(ephemeral=True)
        chosen = await chosen_personality(self.services, interaction, personality)
        if switch is None:
            await self._show(interaction, chosen)
            return
        try:
            said = await switch_as_admin(interaction, self.services, chosen, on=switch == "on")
        except Exception as error:
            await report_error(interaction, error, SWITCH)
        else:
            await interaction.edit_original_response(content=said)

    async def _show(self, interaction: discord.Interaction, chosen: Personality) -> None:
        user, guild_id = interaction.user, interaction.guild_id or 0
        # An admin reads all answers of the server in other commands too.
        may_see_all = is_admin(user, self.services.settings.discord) or not isinstance(user, discord.Member)
        seen = in_server(guild_id) if may_see_all else in_channels({guild_id: visible_channels(user)})
        report = await self.services.database.read(read_taste_report, chosen.id, self.services.settings, seen)
        picture = await asyncio.to_thread(draw_taste, report, chosen.name, utc_now())
        lines = signed(chosen, "\n".join(taste_lines(report))).split("\n")
        text, alone = fit_lines(lines, "…", MAX_PANEL_CHARS), describe_picture(report)
        file = discord.File(BytesIO(picture), "taste.png", description=alone)
        await interaction.edit_original_response(view=text_panel([text], file.filename, alone), attachments=[file])

    @commands.Cog.listener()
    async def on_taste_learned(self, personality_id: int, reply_id: int) -> None:
        await tell_channel(self.bot, self.services, personality_id, reply_id)


async def switch_as_admin(interaction: discord.Interaction, services: Services, whose: Personality, *, on: bool) -> str:
    """Switch the personality's taste on or off, and return a text about it; raises UserFacingError and NotAnAdmin."""
    require_admin(interaction.user, services.settings.discord)
    require_administrator(services, interaction.user, whose)
    action = action_of(interaction, SWITCH, f"{'on' if on else 'off'}, of {whose.name}")
    await run_audited(interaction, action, switch_taste, whose.id, on=on)
    return signed(whose, describe_switch(on=on))


class SwitchOffButton(PersistentButton, template=r"reactune:taste:off:(?P<personality>\d+)"):
    action = SWITCH

    def __init__(self, personality_id: int) -> None:
        self.personality_id = personality_id
        super().__init__(f"reactune:taste:off:{personality_id}", gettext("Switch that off too"))

    async def press(self, interaction: discord.Interaction, services: Services) -> None:
        await defer_publicly(interaction)
        whose = await services.database.read(read_personality, self.personality_id)
        said = await switch_as_admin(interaction, services, whose, on=False)
        await interaction.edit_original_response(view=None)
        await interaction.followup.send(said)
