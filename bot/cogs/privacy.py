"""Lets members see, take along and decide about what is kept of them."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from enum import StrEnum
from io import BytesIO
from re import Match

import discord
from discord import app_commands
from discord.ext import commands

from bot.guards.error_handler import answer_privately
from bot.guards.interactions import PersistentButton
from bot.privacy.export_files import pack
from bot.privacy.texts import describe_deletion, describe_holdings, describe_training
from bot.services import Services
from storage.privacy.consent import delete_member, give_consent, withdraw_consent
from storage.privacy.member_data import export_member, summarize_member_data

log = logging.getLogger(__name__)

OUTSIDE_DISCORD = (
    "This is a demo on your own machine, not Discord: everything said here may be trained on. In Discord, only what "
    "members allow is."
)
ALLOWED = "Thank you. Answers to your messages may be trained on from now on. `/privacy opt-out` takes that back."
NOT_YET = "Noted. Nothing said in Discord is trained on at present; should the operator open it, you have agreed."
DENIED = "Done. No coming round will train on answers to your messages in Discord."
SENT = "Sent: everything I keep of you is in a file in our direct messages. It says how it is to be read."
NOT_SENT = (
    "Your direct messages are closed to me, so the file is here, where only you see it. It goes when you restart "
    "Discord: save it now."
)
CONFIRM = (
    "Delete everything that I keep of you, in every server? That is your words with the answers to them, your votes, "
    "suggestions and notes, and documents and summaries made of your messages. It cannot be undone."
)
KEPT_ALL = "Nothing was deleted."
FILES_AT_ONCE = 10  # Discord's limit


class Privacy(commands.GroupCog, group_name="privacy", group_description="What is kept of you, and trained on"):
    def __init__(self, bot: commands.AutoShardedBot, services: Services) -> None:
        self.bot = bot
        self.services = services

    async def cog_load(self) -> None:
        self.bot.add_dynamic_items(PrivacyButton)

    async def cog_unload(self) -> None:
        self.bot.remove_dynamic_items(PrivacyButton)

    @app_commands.command()
    async def show(self, interaction: discord.Interaction) -> None:
        """Show what is kept of you, what may be trained on, and why."""
        await interaction.response.defer(ephemeral=True)
        await answer_privately(interaction, await describe_member(self.services, interaction.user.id))

    @app_commands.command(name="opt-in")
    async def opt_in(self, interaction: discord.Interaction) -> None:
        """Allow training on answers to your messages, from now on."""
        await interaction.response.defer(ephemeral=True)
        await answer_privately(interaction, await allow(self.services, interaction.user.id))

    @app_commands.command(name="opt-out")
    async def opt_out(self, interaction: discord.Interaction) -> None:
        """Do not train on answers to your messages, earlier ones included."""
        await interaction.response.defer(ephemeral=True)
        await self.services.database.run(withdraw_consent, interaction.user.id)
        await answer_privately(interaction, OUTSIDE_DISCORD if self.services.fixed_basis else DENIED)

    @app_commands.command()
    async def export(self, interaction: discord.Interaction) -> None:
        """Get everything that is kept of you as a file, in a direct message."""
        await interaction.response.defer(ephemeral=True, thinking=True)
        user = interaction.user
        export = await self.services.database.read(export_member, user.id)
        files = await asyncio.to_thread(pack, export, discord.utils.DEFAULT_FILE_SIZE_LIMIT_BYTES)
        try:
            for some in _by_tens(files):
                await user.send("Everything that I keep of you.", files=_attach(some))
        except discord.Forbidden:
            for some in _by_tens(files):
                await interaction.followup.send(NOT_SENT, files=_attach(some), ephemeral=True)
            return
        await answer_privately(interaction, SENT)

    @app_commands.command()
    async def delete(self, interaction: discord.Interaction) -> None:
        """Delete everything that is kept of you; you are asked once more."""
        await interaction.response.defer(ephemeral=True)
        await answer_privately(interaction, CONFIRM, buttons(PrivacyAction.DELETE, PrivacyAction.KEEP))


class PrivacyAction(StrEnum):
    """What a button does for whoever presses it."""

    SHOW = "show"
    ALLOW = "allow"
    DELETE = "delete"
    KEEP = "keep"


LABELS = {
    PrivacyAction.SHOW: "What is kept",
    PrivacyAction.ALLOW: "Allow training",
    PrivacyAction.DELETE: "Delete everything",
    PrivacyAction.KEEP: "Keep it",
}


def buttons(*acts: PrivacyAction) -> discord.ui.View:
    view = discord.ui.View(timeout=None)
    for act in acts:
        view.add_item(PrivacyButton(act))
    return view


class PrivacyButton(
    PersistentButton,
    template=r"reactune:privacy:(?P<act>show|allow|delete|keep)",
):
    """Acts for the member who presses it, so many people can use the same one."""

    def __init__(self, act: PrivacyAction) -> None:
        self.act = act
        style = discord.ButtonStyle.danger if act is PrivacyAction.DELETE else discord.ButtonStyle.secondary
        super().__init__(f"reactune:privacy:{act.value}", LABELS[act], style)

    @classmethod
    def parse(cls, match: Match[str]) -> PrivacyButton:
        return cls(PrivacyAction(match["act"]))

    async def interaction_check(self, _interaction: discord.Interaction, /) -> bool:
        return True  # nobody may be refused their own data

    async def press(self, interaction: discord.Interaction, services: Services) -> None:
        user_id = interaction.user.id
        if self.act in (PrivacyAction.SHOW, PrivacyAction.ALLOW):
            await interaction.response.defer(ephemeral=True, thinking=True)
            answer = describe_member if self.act is PrivacyAction.SHOW else allow
            await answer_privately(interaction, await answer(services, user_id))
            return
        await interaction.response.edit_message(content="One moment …", view=None)  # a second click finds no button
        done = (
            KEPT_ALL
            if self.act is PrivacyAction.KEEP
            else describe_deletion(await services.database.run(delete_member, user_id))
        )
        await interaction.edit_original_response(content=done)


async def describe_member(services: Services, user_id: int) -> str:
    """Return what `/privacy show` says."""
    holdings, privacy = await services.database.read(summarize_member_data, user_id), services.settings.privacy
    training = OUTSIDE_DISCORD if services.fixed_basis else describe_training(holdings, privacy)
    return f"{describe_holdings(holdings, privacy)}\n{training}"


async def allow(services: Services, user_id: int) -> str:
    """Note the member's consent, and return what to say to it."""
    await services.database.run(give_consent, user_id)
    if services.fixed_basis is not None:
        return OUTSIDE_DISCORD
    return ALLOWED if services.settings.privacy.discord_training_permission else NOT_YET


def _by_tens(files: Sequence[tuple[str, bytes]]) -> list[Sequence[tuple[str, bytes]]]:
    return [files[start : start + FILES_AT_ONCE] for start in range(0, len(files), FILES_AT_ONCE)]


def _attach(files: Sequence[tuple[str, bytes]]) -> list[discord.File]:
    return [discord.File(BytesIO(content), name) for name, content in files]


async def setup(bot: commands.AutoShardedBot, services: Services) -> None:
    await bot.add_cog(Privacy(bot, services))
