"""`/model compare`: shows the answers of two versions to the same prompts side by side."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import discord
from discord import app_commands
from discord.ext import commands

from bot.errors import UserFacingError
from bot.localization.sentences import gettext
from bot.personalities.selection import VERSION_OR_BASE, WHOSE, chosen_personality, offer_personalities, offer_versions
from bot.releases.comparison import (
    Comparison,
    Contestant,
    choose_prompts,
    compare_versions,
    contestant_of,
    open_two,
)
from bot.releases.resolver import Release
from bot.services import Services
from bot.text.sanitize import sanitize_markdown
from bot.text.splitting import split_message
from bot.text.tables import show_tables
from storage.conversations.prompt_bank import MAX_PROMPT_CHARS, read_bank
from storage.personalities.cards import settings_of
from storage.personalities.personalities import Personality
from storage.settings.sections import OutputSettings
from storage.wording import gettext_noop

EMBED_CHARS, FIELD_CHARS, PROMPT_CHARS = 6_000, 1_024, 300  # the first two are Discord's
SHORTENED = gettext_noop(" … (shortened)")
SMALL_PRINT = gettext_noop(
    "Same question, seed and sampling for each, asked as in chat. Not stored, voted on or trained on."
)


def lay_side_by_side(
    contestants: Sequence[Contestant],
    comparisons: Sequence[Comparison],
    output: OutputSettings,
    small_print: str = SMALL_PRINT,
) -> discord.Embed:
    """Return an embed with a row per prompt and a column per contestant, which a phone shows below each other."""
    names = [contestant.name for contestant in contestants]
    embed = discord.Embed(title=_name_all(names))
    embed.set_footer(text=gettext(small_print))
    prompts = [_cut(sanitize_markdown(comparison.prompt, output), PROMPT_CHARS) for comparison in comparisons]
    labels = sum(len(f"Prompt {i}") + sum(map(len, names)) for i, _ in enumerate(prompts, start=1))
    room = EMBED_CHARS - len(embed) - labels - sum(map(len, prompts))
    limit = min(FIELD_CHARS, room // (len(names) * len(comparisons)))
    for i, (prompt, comparison) in enumerate(zip(prompts, comparisons, strict=True), start=1):
        embed.add_field(name=f"Prompt {i}", value=prompt, inline=False)  # also ends the row above
        for name, answer in zip(names, comparison.answers, strict=True):
            embed.add_field(name=name, value=_cut(show_tables(sanitize_markdown(answer, output)), limit))
    return embed


def _name_all(names: Sequence[str]) -> str:
    """Return "v1 and base" or "v1, v2 and base"."""
    return gettext("{names} and {last}", names=", ".join(names[:-1]), last=names[-1])


def _cut(text: str, limit: int) -> str:
    mark = gettext(SHORTENED)
    return text if len(text) <= limit else split_message(text, limit - len(mark))[0] + mark


async def show_comparison(
    interaction: discord.Interaction,
    services: Services,
    whose: Personality,
    releases: Sequence[Release],
    prompts: Sequence[str],
    *,
    small_print: str = SMALL_PRINT,
) -> None:
    """Ask the versions of a personality, and show their answers in place of the deferred one."""
    settings = settings_of(services.settings, whose.card)
    names = _name_all([release.name for release in releases])

    async def report(done: int, of: int) -> None:
        await interaction.edit_original_response(
            content=gettext("Asking {versions} … {done} of {of} answers", versions=names, done=done, of=of)
        )

    contestants = [contestant_of(services, whose, release) for release in releases]
    comparisons = await compare_versions(
        services.engine, contestants, prompts, generation=settings.generation, report=report
    )
    await interaction.edit_original_response(
        content=None, embed=lay_side_by_side(contestants, comparisons, services.settings.output, small_print)
    )


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
        chosen = await chosen_personality(self.services, interaction, personality)
        releases = await open_two(self.services, chosen.id, a, b)
        prompts = await asyncio.to_thread(self._prompts, prompt)
        await show_comparison(interaction, self.services, chosen, releases, prompts)

    def _prompts(self, given: str | None) -> list[str]:
        if given is None:
            return choose_prompts(read_bank(self.services.settings.arena.prompts))
        if not given.strip():
            raise UserFacingError("That prompt is empty: write a question, or leave it out.")
        return [given.strip()]
