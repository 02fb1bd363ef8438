"""Asks several versions the same prompts; none of the answers is stored."""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace

import discord

from bot.arenas.prompts import bank_messages
from bot.chat.ask import NOTES, request_answer, submit_all
from bot.chat.rendering import render_with_examples
from bot.engine import Engine, Generation, GenerationFailed, RenderedPrompt
from bot.errors import EngineStopped, UserFacingError
from bot.localization.sentences import gettext
from bot.releases.resolver import Release
from bot.services import Services
from bot.text.sanitize import sanitize_markdown
from bot.text.splitting import split_message
from bot.text.tables import show_tables
from storage.conversations.prompt_bank import PromptBank
from storage.personalities.cards import settings_of
from storage.personalities.personalities import Personality
from storage.releases.versions import name_of, version_named
from storage.settings.sections import GenerationSettings, OutputSettings
from storage.taste.examples import NO_EXAMPLES, Examples
from storage.wording import gettext_noop

log = logging.getLogger(__name__)

PROMPTS = 3
NO_ANSWER = gettext_noop("*no answer: the operator finds the reason in the log*")

ReportAnswers = Callable[[int, int], Awaitable[None]]
"""Gets the number of finished answers, and of all."""
EMBED_CHARS, FIELD_CHARS, PROMPT_CHARS = 6_000, 1_024, 300  # the first two are Discord's
SHORTENED = gettext_noop(" … (shortened)")
SMALL_PRINT = gettext_noop(
    "Same question, seed and sampling for each, asked as in chat. Not stored, voted on or trained on."
)


@dataclass(frozen=True)
class Contestant:
    """A version, or the base, with its system prompt."""

    name: str
    system_prompt: str
    """May be empty."""
    release: Release
    examples: Examples = NO_EXAMPLES
    """Examples shown to the base until a version has learned the taste."""


@dataclass(frozen=True)
class Comparison:
    prompt: str
    answers: tuple[str, ...]
    """One answer of each contestant, in their order."""


def choose_prompts(bank: PromptBank) -> list[str]:
    """Return prompts spread evenly over the bank, always the same ones."""
    step = max(1, len(bank.prompts) // PROMPTS)
    return [prompt.text for prompt in bank.prompts[::step][:PROMPTS]]


async def open_two(services: Services, personality_id: int, *names: str) -> list[Release]:
    """Return two different versions by their names; raises UserFacingError, VersionNotFound and AdapterError."""
    versions = [await services.database.read(version_named, personality_id, name) for name in names]
    if versions[0] == versions[1]:
        raise UserFacingError(
            "Both are {version}: choose two different versions to compare.", version=name_of(versions[0])
        )
    return [await asyncio.to_thread(services.releases.open, version) for version in versions]


def contestant_of(services: Services, personality: Personality, release: Release, name: str = "") -> Contestant:
    """Return the release as it answers members for the personality."""
    examples = services.tastes.examples_of(personality) if release.is_base else NO_EXAMPLES
    system_prompt = settings_of(services.settings, personality.card).chat.system_prompt
    return Contestant(name or release.name, system_prompt, release, examples)


async def compare_versions(
    engine: Engine,
    contestants: Sequence[Contestant],
    prompts: Sequence[str],
    *,
    generation: GenerationSettings,
    report: ReportAnswers | None = None,
) -> list[Comparison]:
    """Return every contestant's answer to every prompt; all are generated at once.

    Raises UserFacingError if a prompt is too long, EngineBusy and EngineClosed as the engine does.
    """
    rendered = [[await _render(engine, one, prompt) for one in contestants] for prompt in prompts]
    generations = _submit(engine, [one.release for one in contestants], rendered, generation)
    tasks = [asyncio.ensure_future(_listen(answer)) for answer in generations]
    try:
        if report:
            await report(0, len(tasks))
        for done, task in enumerate(asyncio.as_completed(tasks), start=1):
            await task
            if report:
                await report(done, len(tasks))
        answers = [task.result() for task in tasks]
    finally:
        for answer, task in zip(generations, tasks, strict=True):
            answer.cancel()
            task.cancel()
    width = len(contestants)
    return [Comparison(prompt, tuple(answers[i * width : (i + 1) * width])) for i, prompt in enumerate(prompts)]


async def _render(engine: Engine, contestant: Contestant, prompt: str) -> RenderedPrompt:
    try:
        plain = await engine.render(bank_messages(contestant.system_prompt, prompt))
        return await render_with_examples(engine, plain, contestant.examples) or plain
    except ValueError as error:
        raise UserFacingError("That prompt is too long for the model's context. Please try a shorter one.") from error


def _submit(
    engine: Engine,
    releases: Sequence[Release],
    prompts: Sequence[Sequence[RenderedPrompt]],
    settings: GenerationSettings,
) -> list[Generation]:
    """Submit all or none; `prompts` holds, for each prompt, its rendering for each contestant."""
    requests = []
    for rendered in prompts:
        seed = secrets.randbits(31)
        for prompt, release in zip(rendered, releases, strict=True):
            requests.append(replace(request_answer(prompt, release, settings), seed=seed))
    return submit_all(engine, requests)


async def _listen(generation: Generation) -> str:
    try:
        async for _ in generation:
            pass
    except (GenerationFailed, EngineStopped) as error:
        log.error("An answer for a comparison failed: %s.", error)
        return gettext(NO_ANSWER)
    completion = generation.completion
    text = completion.text.strip() or f"*{gettext('empty answer')}*"
    note = NOTES.get(completion.finish)
    return f"{text} *({gettext(note)})*" if note else text


def lay_side_by_side(
    contestants: Sequence[Contestant], comparisons: Sequence[Comparison], output: OutputSettings
) -> discord.Embed:
    """Return an embed with a row per prompt and a column per contestant, which a phone shows below each other."""
    names = [contestant.name for contestant in contestants]
    embed = discord.Embed(title=_name_all(names))
    embed.set_footer(text=gettext(SMALL_PRINT))
    prompts = [_shortened(sanitize_markdown(comparison.prompt, output), PROMPT_CHARS) for comparison in comparisons]
    labels = sum(len(f"Prompt {i}") + sum(map(len, names)) for i, _ in enumerate(prompts, start=1))
    room = EMBED_CHARS - len(embed) - labels - sum(map(len, prompts))
    limit = min(FIELD_CHARS, room // (len(names) * len(comparisons)))
    for i, (prompt, comparison) in enumerate(zip(prompts, comparisons, strict=True), start=1):
        embed.add_field(name=f"Prompt {i}", value=prompt, inline=False)  # also ends the row above
        for name, answer in zip(names, comparison.answers, strict=True):
            embed.add_field(name=name, value=_shortened(show_tables(sanitize_markdown(answer, output), output), limit))
    return embed


def _name_all(names: Sequence[str]) -> str:
    """Return "v1 and base" or "v1, v2 and base"."""
    return gettext("{names} and {last}", names=", ".join(names[:-1]), last=names[-1])


def _shortened(text: str, limit: int) -> str:
    mark = gettext(SHORTENED)
    return text if len(text) <= limit else split_message(text, limit - len(mark))[0] + mark


async def show_comparison(
    interaction: discord.Interaction,
    services: Services,
    whose: Personality,
    releases: Sequence[Release],
    prompts: Sequence[str],
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
        content=None, embed=lay_side_by_side(contestants, comparisons, services.settings.output)
    )
