"""Lets members decide about their own words."""

from __future__ import annotations

import discord
from discord import app_commands
from discord.ext import commands

from bot.app import ReactuneBot
from bot.failures import answer_privately
from storage.privacy import consenting, delete_member, describe_bases, give_consent, withdraw_consent

KEPT = (
    "I keep my answers, the messages I answered, votes and suggestions, summaries of long conversations, the notes you "
    "gave me with `/me`, since when voters are members of their server, and messages that admins let me look up. "
    "`/privacy delete` removes what I keep of you."
)
OUTSIDE_DISCORD = (
    "This is a demo on your own machine, not Discord: everything said here may be trained on. In Discord, only what "
    "members allow is."
)
ALLOWED = "Thank you. Answers to your messages may be trained on from now on."
NOT_YET = "Noted. Nothing said in Discord is trained on at present; should the operator open it, you have agreed."


class Privacy(commands.GroupCog, group_name="privacy", group_description="What is kept of you, and trained on"):
    def __init__(self, bot: ReactuneBot) -> None:
        self.bot = bot

    @app_commands.command()
    async def show(self, interaction: discord.Interaction) -> None:
        """Show what is kept and whether your words may be trained on."""
        await interaction.response.defer(ephemeral=True)
        user = interaction.user.id
        allowed = await self.bot.database.read(lambda session: bool(consenting(session, {user})))
        if self.bot.fixed_basis is not None:
            await answer_privately(interaction, f"{KEPT}\n{OUTSIDE_DISCORD}")
            return
        choice = "You **allow** training on your messages." if allowed else "You do **not** allow training on them."
        await answer_privately(
            interaction,
            f"{KEPT}\n{describe_bases(self.bot.settings.privacy)}\n{choice} "
            "Change it with `/privacy allow` or `/privacy deny`.",
        )

    @app_commands.command()
    async def allow(self, interaction: discord.Interaction) -> None:
        """Allow training on answers to your messages, from now on."""
        await interaction.response.defer(ephemeral=True)
        await self.bot.database.run(give_consent, interaction.user.id)
        answer = ALLOWED if self.bot.settings.privacy.discord_training_permission else NOT_YET
        await answer_privately(interaction, OUTSIDE_DISCORD if self.bot.fixed_basis else answer)

    @app_commands.command()
    async def deny(self, interaction: discord.Interaction) -> None:
        """Do not train on answers to your messages, earlier ones included."""
        await interaction.response.defer(ephemeral=True)
        await self.bot.database.run(withdraw_consent, interaction.user.id)
        done = "Done. No coming round will train on answers to your messages in Discord."
        await answer_privately(interaction, OUTSIDE_DISCORD if self.bot.fixed_basis else done)

    @app_commands.command()
    @app_commands.describe(confirm="Type DELETE to delete everything I keep of you")
    async def delete(self, interaction: discord.Interaction, confirm: str) -> None:
        """Delete your messages, votes and suggestions from my database."""
        if confirm != "DELETE":
            await answer_privately(interaction, "Nothing was deleted: type DELETE to confirm.")
            return
        await interaction.response.defer(ephemeral=True)
        gone = await self.bot.database.run(delete_member, interaction.user.id)
        marked = f" {gone.versions} versions that had learned from them are marked." if gone.versions else ""
        await answer_privately(
            interaction,
            f"Deleted: {gone.replies} answers with your words, {gone.votes} vote events, "
            f"{gone.corrections} suggestions, {gone.notes} notes about you, {gone.summaries} summaries of "
            f"conversations, {gone.documents} documents made of your messages.{marked}",
        )


async def setup(bot: ReactuneBot) -> None:
    await bot.add_cog(Privacy(bot))
