"""The operator's own prompts for arenas: a text file with a prompt in each line."""

from __future__ import annotations

import logging
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from bot.chat.prompting import ChatMessage, sanitize
from storage.errors import SettingsError

log = logging.getLogger(__name__)

MAX_PROMPT_CHARS = 1_000
SHIPPED = Path(__file__).with_name("prompts.txt")
LONG_AGO = datetime.min.replace(tzinfo=UTC)


@dataclass(frozen=True)
class BankPrompt:
    """A prompt, and the line of the file that holds it."""

    line: int
    text: str


@dataclass(frozen=True)
class PromptBank:
    source: str
    prompts: tuple[BankPrompt, ...]
    repeated_lines: tuple[int, ...]
    oversized_lines: tuple[int, ...]

    def describe(self) -> str:
        """Say in a line how many prompts there are, and which lines are left out."""
        notes = [f"{len(self.prompts)} prompts in {self.source}"]
        if self.repeated_lines:
            notes.append(f"repeated and dropped: {_lines(self.repeated_lines)}")
        if self.oversized_lines:
            notes.append(f"longer than {MAX_PROMPT_CHARS:,} characters and skipped: {_lines(self.oversized_lines)}")
        return "; ".join(notes)


def read_bank(setting: str) -> PromptBank:
    """Return the prompts of arena.prompts, or the shipped ones where it is empty.

    Lines that are left out are logged. Raises SettingsError, which names the setting, where the file cannot be read or
    holds no prompt.
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
    bank = parse_bank(text, str(path) if setting else "the bank that comes along")
    if not bank.prompts:
        raise SettingsError(f"arena.prompts: {path} holds no prompt: write one in each line")
    if bank.repeated_lines or bank.oversized_lines:
        log.warning("Prompt bank: %s.", bank.describe())
    return bank


def parse_bank(text: str, source: str) -> PromptBank:
    """Return the prompts of a file's text; blank lines and those that begin with # are passed over."""
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
    """Return the prompts in the order to take them: those never asked in random order, then by how long ago."""
    shuffled = rng.sample(prompts, len(prompts))
    return sorted(shuffled, key=lambda prompt: last_used.get(prompt.text, LONG_AGO))


def bank_messages(system_prompt: str, prompt: str) -> list[ChatMessage]:
    """Return the chat messages of a prompt that no member said: chat's own, without a name to talk with."""
    question: ChatMessage = {"role": "user", "content": sanitize(prompt)}
    system: ChatMessage = {"role": "system", "content": system_prompt}
    return [system, question] if system_prompt.strip() else [question]


def _key(prompt: str) -> str:
    """Return what two lines share that ask the same."""
    return " ".join(prompt.split()).casefold()


def _lines(numbers: Sequence[int]) -> str:
    return f"line{'' if len(numbers) == 1 else 's'} {', '.join(map(str, numbers))}"
