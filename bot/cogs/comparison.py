"""`/model compare`: answers of several versions to the same prompts, side by side; none of them is stored."""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace

import discord
from discord import app_commands
from discord.ext import commands

from bot.arenas.prompt_bank import MAX_PROMPT_CHARS, PromptBank, bank_messages, read_bank
from bot.chat.ask import NOTES, request_answer
from bot.engine import Engine, Generation, GenerationFailed, RenderedPrompt
from bot.errors import EngineStopped, UserFacingError
from bot.personalities.selection import VERSION_OR_BASE, WHOSE, chosen_personality, offer_personalities, offer_versions
from bot.releases.resolver import Release
from bot.services import Services
from bot.text.sanitize import sanitize_markdown
from storage.personalities.cards import settings_of
from storage.personalities.personalities import Personality
from storage.releases.versions import name_of, version_named
from storage.settings.sections import GenerationSettings, OutputSettings

log = logging.getLogger(__name__)


PROMPTS = 3
EMBED_CHARS, FIELD_CHARS, PROMPT_CHARS = 6_000, 1_024, 300  # the first two are Discord's
SHORTENED = " … (shortened)"
SMALL_PRINT = "Same prompt, seed and sampling for both. These answers are not stored, voted on or trained on."
NO_ANSWER = "*no answer: the operator finds the reason in the log*"

Report = Callable[[int, int], Awaitable[None]]
"""Gets how many answers there are, and of how many."""


@dataclass(frozen=True)
class Contestant:
    """A version, or the base, with its system prompt."""

    name: str
    system_prompt: str
    """May be empty."""
    release: Release


@dataclass(frozen=True)
class Comparison:
    prompt: str
    answers: tuple[str, ...]
    """One of each contestant, in their order."""


def choose_prompts(bank: PromptBank) -> list[str]:
    """Return prompts spread evenly over the bank, always the same ones."""
    step = max(1, len(bank.prompts) // PROMPTS)
    return [prompt.text for prompt in bank.prompts[::step][:PROMPTS]]


async def compare_versions(
    engine: Engine,
    contestants: Sequence[Contestant],
    prompts: Sequence[str],
    *,
    generation: GenerationSettings,
    report: Report,
) -> list[Comparison]:
    """Return every contestant's answer to every prompt; all are generated at once.

    Raises UserFacingError if a prompt is too long, EngineBusy and EngineClosed as the engine does.
    """
    rendered = [[await _render(engine, one.system_prompt, prompt) for one in contestants] for prompt in prompts]
    generations = _submit(engine, [one.release for one in contestants], rendered, generation)
    tasks = [asyncio.ensure_future(_listen(answer)) for answer in generations]
    try:
        await report(0, len(tasks))
        for done, task in enumerate(asyncio.as_completed(tasks), start=1):
            await task
            await report(done, len(tasks))
        answers = [task.result() for task in tasks]
    finally:
        for answer, task in zip(generations, tasks, strict=True):
            answer.cancel()
            task.cancel()
    width = len(contestants)
    return [Comparison(prompt, tuple(answers[i * width : (i + 1) * width])) for i, prompt in enumerate(prompts)]


async def _render(engine: Engine, system_prompt: str, prompt: str) -> RenderedPrompt:
    try:
        return await engine.render(bank_messages(system_prompt, prompt))
    except ValueError as error:
        raise UserFacingError("That prompt is too long for the model's context. Please try a shorter one.") from error


def _submit(
    engine: Engine,
    releases: Sequence[Release],
    prompts: Sequence[Sequence[RenderedPrompt]],
    settings: GenerationSettings,
) -> list[Generation]:
    """Submit all or none; `prompts` holds, for each prompt, its rendering for each contestant."""
    generations: list[Generation] = []
    try:
        for rendered in prompts:
            seed = secrets.randbits(31)
            for prompt, release in zip(rendered, releases, strict=True):
                generations.append(engine.submit(replace(request_answer(prompt, release, settings), seed=seed)))
    except BaseException:
        for generation in generations:
            generation.cancel()
        raise
    return generations


async def _listen(generation: Generation) -> str:
    try:
        async for _ in generation:
            pass
    except (GenerationFailed, EngineStopped) as error:
        log.error("An answer for a comparison failed: %s.", error)
        return NO_ANSWER
    completion = generation.completion
    text = completion.text.strip() or "*empty answer*"
    note = NOTES.get(completion.finish)
    return f"{text} *({note})*" if note else text


def lay_side_by_side(
    contestants: Sequence[Contestant], comparisons: Sequence[Comparison], output: OutputSettings
) -> discord.Embed:
    """Return an embed with a row per prompt and a column per contestant, which a phone shows below each other."""
    names = [contestant.name for contestant in contestants]
    embed = discord.Embed(title=" and ".join(names))
    embed.set_footer(text=SMALL_PRINT)
    prompts = [_cut(sanitize_markdown(comparison.prompt, output), PROMPT_CHARS) for comparison in comparisons]
    labels = sum(len(f"Prompt {i}") + sum(map(len, names)) for i, _ in enumerate(prompts, start=1))
    room = EMBED_CHARS - len(embed) - labels - sum(map(len, prompts))
    limit = min(FIELD_CHARS, room // (len(names) * len(comparisons)))
    for i, (prompt, comparison) in enumerate(zip(prompts, comparisons, strict=True), start=1):
        embed.add_field(name=f"Prompt {i}", value=prompt, inline=False)  # also ends the row above
        for name, answer in zip(names, comparison.answers, strict=True):
            embed.add_field(name=name, value=_cut(sanitize_markdown(answer, output), limit))
    return embed


def _cut(text: str, limit: int) -> str:
    return text if len(text) <= limit else text[: limit - len(SHORTENED)].rstrip() + SHORTENED


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
        settings = settings_of(self.services.settings, chosen.card)
        releases = await self._open_two(chosen, a, b)
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

    async def _open_two(self, chosen: Personality, *names: str) -> list[Release]:
        versions = [await self.services.database.read(version_named, chosen.id, name) for name in names]
        if versions[0] == versions[1]:
            raise UserFacingError(f"Both are {name_of(versions[0])}: choose two different versions to compare.")
        return [await asyncio.to_thread(self.services.releases.open, version) for version in versions]

    def _prompts(self, given: str | None) -> list[str]:
        if given is None:
            return choose_prompts(read_bank(self.services.settings.arena.prompts))
        if not given.strip():
            raise UserFacingError("That prompt is empty: write a question, or leave it out.")
        return [given.strip()]
