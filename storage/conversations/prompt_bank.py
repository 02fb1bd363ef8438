"""The operator's prompts: a text file with one prompt per line, used in arenas and by rounds."""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from random import Random

from storage.conversations.control_tokens import sanitize
from storage.errors import SettingsError
from storage.sentences import Figure, Sentence, counted, joined

log = logging.getLogger(__name__)

MAX_PROMPT_CHARS = 1_000
SHIPPED = Path(__file__).with_name("prompts.txt")
LONG_AGO = datetime.min.replace(tzinfo=UTC)


@dataclass(frozen=True)
class BankPrompt:
    line: int
    """The prompt's line in the file, from 1."""
    text: str


@dataclass(frozen=True)
class PromptBank:
    source: str
    prompts: tuple[BankPrompt, ...]
    repeated_lines: tuple[int, ...]
    oversized_lines: tuple[int, ...]

    def describe(self) -> Sentence:
        """Return one line with the number of prompts and the skipped lines."""
        notes = [
            counted("{count} prompt in {source}", "{count} prompts in {source}", len(self.prompts), source=self.source)
        ]
        if self.repeated_lines:
            notes.append(Sentence("skipped as duplicates: {lines}", lines=_lines(self.repeated_lines)))
        if self.oversized_lines:
            longest, lines = Figure(MAX_PROMPT_CHARS, ","), _lines(self.oversized_lines)
            notes.append(Sentence("skipped as longer than {longest} characters: {lines}", longest=longest, lines=lines))
        return joined("; ", notes)


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
    bank = parse_bank(text, str(path) if setting else Sentence("the bundled bank"))
    if not bank.prompts:
        raise SettingsError(f"arena.prompts: {path} has no prompts: write one per line")
    if bank.repeated_lines or bank.oversized_lines:
        log.warning("Prompt bank: %s.", bank.describe())
    return bank


def parse_bank(text: str, source: str) -> PromptBank:
    """Return the prompts of a file's text, without blank lines and comments, which start with #."""
    prompts: dict[str, BankPrompt] = {}
    repeated: list[int] = []
    oversized: list[int] = []
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
    prompts: Collection[str], used: Mapping[str, datetime], rng: Random, first: Collection[str] = ()
) -> list[str]:
    """Return the prompts in the order to use them: unused ones in random order, then the least recently used.

    `used` is when each was last used. Of the unused ones, those of `first` come first.
    """
    shuffled = rng.sample([*prompts], len(prompts))
    return sorted(shuffled, key=lambda prompt: (used.get(prompt, LONG_AGO), prompt not in first))


def _key(prompt: str) -> str:
    """Return the prompt in a form that is equal for duplicates."""
    return " ".join(prompt.split()).casefold()


def _lines(numbers: Sequence[int]) -> Sentence:
    return counted("line {lines}", "lines {lines}", len(numbers), lines=", ".join(map(str, numbers)))
