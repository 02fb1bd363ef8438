"""`/model compare`."""

from __future__ import annotations

import asyncio

import discord
from discord import app_commands
from discord.ext import commands
from sqlalchemy.orm import Session

from bot.arenas.comparison import Contestant, choose_prompts, compare_versions, lay_side_by_side
from bot.arenas.prompt_bank import MAX_PROMPT_CHARS, read_bank
from bot.errors import UserFacingError
from bot.personalities.selection import WHOSE, chosen_personality, offer_personalities
from bot.releases.choices import VERSION_OR_BASE, offer_versions
from bot.releases.resolver import Release
from bot.services import Services
from storage.personalities.cards import settings_of
from storage.personalities.personalities import Personality
from storage.releases.versions import Version, name_of, version_named


class ComparisonCommand(commands.Cog):
    services: Services

    @app_commands.command()
    @app_commands.describe(
        a=VERSION_OR_BASE,
        b="Another one",
        prompt="What to ask both; by default, three prompts of the prompt bank",
        personality=WHOSE,
    )
    @app_commands.autocomplete(a=offer_versions, b=offer_versions, personality=offer_personalities)
    async def compare(
        self,
        interaction: discord.Interaction,
        a: str,
        b: str,
        prompt: app_commands.Range[str, 1, MAX_PROMPT_CHARS] | None = None,
        personality: str | None = None,
    ) -> None:
        """Ask two versions the same questions, and show their answers side by side."""
        await interaction.response.defer(ephemeral=True)
        whose = await chosen_personality(self.services, interaction, personality)
        settings = settings_of(self.services.settings, whose.card)
        releases = await self._open_two(whose, a, b)
        names = " and ".join(release.name for release in releases)

        async def report(done: int, of: int) -> None:
            await interaction.edit_original_response(content=f"Asking {names} … {done} of {of} answers")

        contestants = [Contestant(release.name, settings.chat.system_prompt, release) for release in releases]
        comparisons = await compare_versions(
            self.services.engine,
            contestants,
            await asyncio.to_thread(self._prompts, prompt),
            generation=settings.generation,
            report=report,
        )
        await interaction.edit_original_response(
            content=None, embed=lay_side_by_side(contestants, comparisons, self.services.settings.output)
        )

    async def _open_two(self, whose: Personality, *names: str) -> list[Release]:
        def read(session: Session) -> list[Version | None]:
            return [version_named(session, whose.id, name) for name in names]

        versions = await self.services.database.read(read)
        if versions[0] == versions[1]:
            raise UserFacingError(f"Both are {name_of(versions[0])}: choose two different versions to compare.")
        return [await asyncio.to_thread(self.services.releases.open, version) for version in versions]

    def _prompts(self, given: str | None) -> list[str]:
        if given is None:
            return choose_prompts(read_bank(self.services.settings.arena.prompts))
        if not given.strip():
            raise UserFacingError("That prompt is empty: write a question, or leave it out.")
        return [given.strip()]
