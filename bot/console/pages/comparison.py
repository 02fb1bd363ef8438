"""Answers side by side: of two versions, named or blind; the page of personalities compares a draft in the same way."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence
from dataclasses import dataclass

from aiohttp import web

from bot.console.page import Here, find_here, read_form
from bot.errors import UserFacingError
from bot.releases.comparison import (
    Comparison,
    Contestant,
    choose_prompts,
    compare_versions,
    contestant_of,
    open_two,
)
from storage.conversations.prompt_bank import MAX_PROMPT_CHARS, read_bank
from storage.personalities.cards import tuned
from storage.settings.sections import GenerationSettings

MOST_PROMPTS = 8


@dataclass(frozen=True)
class ShownPair:
    """A prompt with the name and the answer of each contestant."""

    prompt: str
    answers: list[tuple[str, str]]


async def compare_side_by_side(request: web.Request) -> web.Response:
    """Ask two versions the same prompts; nothing is stored."""
    here, form = await find_here(request), await read_form(request)
    services, own = here.services, here.personality
    releases = await open_two(services, own.id, form.text("a"), form.text("b"))
    contestants = [contestant_of(services, own, release) for release in releases]
    generation = tuned(services.settings.generation, own.card)
    return await show_answers_of(
        here, contestants, form.text("prompt", ""), generation, is_blind=form.is_checked("blind")
    )


async def show_answers_of(
    here: Here,
    contestants: Sequence[Contestant],
    prompts: str,
    generation: GenerationSettings,
    *,
    is_blind: bool = False,
) -> web.Response:
    """Ask the contestants; `prompts` are lines, or empty for some of the bank."""
    chosen = await asyncio.to_thread(_chosen_prompts, prompts, here.services.settings.arena.prompts)
    with here.asking():
        compared = await compare_versions(
            here.services.engine, contestants, chosen, generation=generation, report=_report_nothing
        )
    shown = [_shown(one, contestants, is_blind=is_blind) for one in compared]
    return here.fill("compared.html" if here.is_partial else "comparison.html", compared=shown, is_blind=is_blind)


def _shown(compared: Comparison, contestants: Sequence[Contestant], *, is_blind: bool) -> ShownPair:
    answers = [(one.name, answer) for one, answer in zip(contestants, compared.answers, strict=True)]
    return ShownPair(compared.prompt, random.sample(answers, len(answers)) if is_blind else answers)


def _chosen_prompts(given: str, bank: str) -> list[str]:
    """Return the given prompts, or else some of the bank; raises UserFacingError and SettingsError."""
    prompts = [line.strip() for line in given.splitlines() if line.strip()]
    if len(prompts) > MOST_PROMPTS:
        raise UserFacingError(f"These are {len(prompts)} prompts: ask at most {MOST_PROMPTS} at once.")
    if any(len(prompt) > MAX_PROMPT_CHARS for prompt in prompts):
        raise UserFacingError(f"A prompt is longer than {MAX_PROMPT_CHARS:,} characters. Please shorten it.")
    return prompts or choose_prompts(read_bank(bank))


async def _report_nothing(_done: int, _of: int) -> None:
    pass


ROUTES = [web.post("/versions/compare", compare_side_by_side)]
