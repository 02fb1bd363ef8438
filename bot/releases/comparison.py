"""Asks several versions the same prompts; none of the answers is stored."""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace

from sqlalchemy.orm import Session

from bot.arenas.prompts import bank_messages
from bot.chat.ask import NOTES, request_answer, submit_all
from bot.chat.examples import render_with_examples
from bot.engine import Engine, Generation, GenerationFailed, RenderedPrompt
from bot.errors import EngineStopped, UserFacingError
from bot.localization.sentences import gettext
from bot.releases.resolver import Release
from bot.services import Services
from storage.conversations.prompt_bank import PromptBank
from storage.personalities.cards import settings_of
from storage.personalities.personalities import Personality
from storage.releases.evidence import find_rival
from storage.releases.versions import Version, name_of, read_alias, version_named
from storage.settings.sections import GenerationSettings
from storage.taste.examples import NO_EXAMPLES, Examples
from storage.wording import gettext_noop

log = logging.getLogger(__name__)

PROMPTS = 3
FEWEST = 2
ONLY_THE_BASE = gettext_noop(
    "There is only the base so far, and nothing to compare it with. To train a version, use `/model train`."
)
NO_ANSWER = gettext_noop("*no answer: the operator finds the reason in the log*")

ReportAnswers = Callable[[int, int], Awaitable[None]]
"""Gets how many answers there are, and of how many."""


@dataclass(frozen=True)
class Contestant:
    """A version, or the base, with its system prompt."""

    name: str
    system_prompt: str
    """May be empty."""
    release: Release
    examples: Examples = NO_EXAMPLES
    """What it is shown until a version has learned it."""


@dataclass(frozen=True)
class Comparison:
    prompt: str
    answers: tuple[str, ...]
    """One of each contestant, in their order."""


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


async def open_contenders(services: Services, personality_id: int) -> list[Release]:
    """Return the champion, the version that may replace it and the base, each once; raises UserFacingError."""

    def read(session: Session) -> list[Version | None]:
        champion = read_alias(session, personality_id).version
        ordered = (champion, find_rival(session, personality_id), None)
        return list({name_of(version): version for version in ordered}.values())

    versions = await services.database.read(read)
    if len(versions) < FEWEST:
        raise UserFacingError(ONLY_THE_BASE)
    return [await asyncio.to_thread(services.releases.open, version) for version in versions]


async def compare_versions(
    engine: Engine,
    contestants: Sequence[Contestant],
    prompts: Sequence[str],
    *,
    generation: GenerationSettings,
    report: ReportAnswers,
) -> list[Comparison]:
    """Return every contestant's answer to every prompt; all are generated at once.

    Raises UserFacingError if a prompt is too long, EngineBusy and EngineClosed as the engine does.
    """
    rendered = [[await _render(engine, one, prompt) for one in contestants] for prompt in prompts]
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
