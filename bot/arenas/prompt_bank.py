"""The operator's prompts for arenas: a text file with one prompt per line."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from bot.chat.prompting import ChatMessage, sanitize
from bot.engine import RenderedPrompt
from bot.errors import UserFacingError
from bot.services import Services
from bot.text.rounds import sentence
from storage.errors import SettingsError
from storage.personalities.cards import settings_of
from storage.personalities.personalities import Personality
from storage.votes.arenas import last_used
from storage.wording import count

log = logging.getLogger(__name__)

MAX_PROMPT_CHARS = 1_000
SHIPPED = Path(__file__).with_name("prompts.txt")
LONG_AGO = datetime.min.replace(tzinfo=UTC)


@dataclass(frozen=True)
class BankPrompt:
    line: int
    """Its line in the file, from 1."""
    text: str


@dataclass(frozen=True)
class PromptBank:
    source: str
    prompts: tuple[BankPrompt, ...]
    repeated_lines: tuple[int, ...]
    oversized_lines: tuple[int, ...]

    def describe(self) -> str:
        """Return in a line how many prompts there are, and which lines were skipped."""
        notes = [f"{count(len(self.prompts), 'prompt')} in {self.source}"]
        if self.repeated_lines:
            notes.append(f"skipped as duplicates: {_lines(self.repeated_lines)}")
        if self.oversized_lines:
            notes.append(f"skipped as longer than {MAX_PROMPT_CHARS:,} characters: {_lines(self.oversized_lines)}")
        return "; ".join(notes)


def read_bank(setting: str) -> PromptBank:
    """Return the prompts of the file arena.prompts, or the bundled ones if the setting is empty.

    Skipped lines are logged. Raises SettingsError if the file cannot be read or has no prompts.
    """
    path = Path(setting).expanduser() if setting else SHIPPED
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise SettingsError(
            f"arena.prompts: {path} is not UTF-8 (byte {error.start}): save it as UTF-8 text"
        ) from error
    except OSError as error:
        raise SettingsError(
            f"arena.prompts: {path} cannot be read ({error.strerror}): correct the path, or leave the setting empty"
        ) from error
    bank = parse_bank(text, str(path) if setting else "the bundled bank")
    if not bank.prompts:
        raise SettingsError(f"arena.prompts: {path} has no prompts: write one per line")
    if bank.repeated_lines or bank.oversized_lines:
        log.warning("Prompt bank: %s.", bank.describe())
    return bank


def parse_bank(text: str, source: str) -> PromptBank:
    """Return the prompts of a file's text, without blank lines and comments, which start with #."""
    prompts: dict[str, BankPrompt] = {}
    repeated, oversized = [], []
    for line, raw in enumerate(text.split("\n"), start=1):
        prompt = sanitize(raw).strip()
        if not prompt or prompt.startswith("#"):
            continue
        if len(prompt) > MAX_PROMPT_CHARS:
            oversized.append(line)
        elif _key(prompt) in prompts:
            repeated.append(line)
        else:
            prompts[_key(prompt)] = BankPrompt(line, prompt)
    return PromptBank(source, tuple(prompts.values()), tuple(repeated), tuple(oversized))


def order_by_use(
    prompts: Sequence[BankPrompt], last_used: Mapping[str, datetime], rng: random.Random
) -> list[BankPrompt]:
    """Return the prompts in the order to use them: unused ones in random order, then the least recently used."""
    shuffled = rng.sample(prompts, len(prompts))
    return sorted(shuffled, key=lambda prompt: last_used.get(prompt.text, LONG_AGO))


def bank_messages(system_prompt: str, prompt: str) -> list[ChatMessage]:
    """Return the chat messages of a prompt that no member wrote: like chat's own, but without a member's name."""
    question: ChatMessage = {"role": "user", "content": sanitize(prompt)}
    system: ChatMessage = {"role": "system", "content": system_prompt}
    return [system, question] if system_prompt.strip() else [question]


async def choose_arena_prompt(
    services: Services, typed: str | None, personality: Personality
) -> tuple[str, RenderedPrompt]:
    """Return the typed prompt, or else the bank's next one that fits; raises UserFacingError or SettingsError."""
    if typed is None:
        return await _next_prompt(services, personality)
    prompt = sanitize(typed).strip()
    if not prompt:
        raise UserFacingError("That prompt is empty.")
    rendered = await _render(services, prompt, personality)
    if rendered is None:
        raise UserFacingError("That prompt is too long for the model's context. Please shorten it.")
    return prompt, rendered


async def describe_bank(services: Services, personality: Personality) -> str:
    """Return a line for admins about the bank, or what is wrong with it."""
    try:
        bank = await asyncio.to_thread(read_bank, services.settings.arena.prompts)
    except SettingsError as error:
        return f"⚠️ {sentence(str(error))}"
    used = await services.database.read(last_used, personality.id)
    unused = sum(prompt.text not in used for prompt in bank.prompts)
    return f"**Prompt bank:** {bank.describe()}; {unused} not used yet"


async def _next_prompt(services: Services, personality: Personality) -> tuple[str, RenderedPrompt]:
    bank = await asyncio.to_thread(read_bank, services.settings.arena.prompts)
    used = await services.database.read(last_used, personality.id)
    for candidate in order_by_use(bank.prompts, used, random.Random()):
        rendered = await _render(services, candidate.text, personality)
        if rendered is not None:
            return candidate.text, rendered
        log.warning("Skipped line %d of %s: it is too long for the context.", candidate.line, bank.source)
    raise UserFacingError(
        "Every prompt in the bank is too long for the model's context: shorten them, or raise model.context_tokens."
    )


async def _render(services: Services, prompt: str, personality: Personality) -> RenderedPrompt | None:
    """Render the prompt as chat renders a message; None if not all of it fits."""
    system_prompt = settings_of(services.settings, personality.card).chat.system_prompt
    try:
        rendered = await services.engine.render(bank_messages(system_prompt, prompt))
    except ValueError:
        return None
    return None if rendered.shortened else rendered


def _key(prompt: str) -> str:
    """Return what duplicates have in common."""
    return " ".join(prompt.split()).casefold()


def _lines(numbers: Sequence[int]) -> str:
    return f"line{'' if len(numbers) == 1 else 's'} {', '.join(map(str, numbers))}"
