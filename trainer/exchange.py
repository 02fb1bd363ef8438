"""Imports and exports preference pairs as JSON lines, in the format of TRL and `datasets`."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from operator import attrgetter
from pathlib import Path
from typing import Any

from sqlalchemy.orm import Session

from storage.database.database import open_database
from storage.errors import SettingsError
from storage.models.base_model import resolve_base_model
from storage.models.chat_format import ChatFormat, load_chat_format
from storage.personalities.cards import settings_of
from storage.personalities.personalities import DEFAULT_PERSONALITY, open_personality
from storage.settings.sections import Settings
from storage.taste.opinions import read_taste_opinions
from storage.training.feedback import read_corrections, read_replies, read_texts
from storage.training.samples import LocalPair, add_local_pair
from storage.votes.weights import read_weighted_votes
from trainer.base import RoundBase, with_system_prompt
from trainer.data.pairs import RoundFeedback, pair_by_people
from trainer.data.plan import ChosenPairs, choose_pairs
from trainer.round_context import Learner

ROLES = ("system", "user", "assistant")
KEYS = ("prompt", "chosen", "rejected")
PAIRS_AT_ONCE = 50
"""Half a second's work."""
PAUSE_S = 0.1
"""SQLite's longest time between two attempts of a writer that waits."""


@dataclass(frozen=True)
class ImportedPairs:
    imported: int
    known: int
    """Number of pairs that were already in the database."""


@dataclass(frozen=True)
class ExportedPairs:
    pairs: int
    questions: int
    """Number of questions that the pairs answer."""


def export_file(settings: Settings, file: Path, personality: str = DEFAULT_PERSONALITY) -> ExportedPairs:
    """Write the pairs that a round could use now, with rendered prompts. Replaces the file."""
    base = resolve_base_model(settings.model.base, settings.data.directory)
    with closing(open_database(settings)) as database:
        with database.transaction() as session:
            personality_id = open_personality(session, settings, personality).id
        with database.snapshot() as session:
            found = _pairs_of_people(session, Learner(personality_id, RoundBase(base, settings.model), settings))
    values = [
        {
            "prompt": found.prompts[p.prompt],
            "chosen": p.chosen.text,
            "rejected": p.rejected.text,
            "source": p.source,
            "weight": p.weight,
        }
        for p in found.pairs
    ]
    _write_whole(file, "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in values))
    return ExportedPairs(len(found.pairs), len({pair.prompt for pair in found.pairs}))


def _pairs_of_people(session: Session, learner: Learner) -> ChosenPairs:
    """Return all pairs made by people, oldest first."""
    personality_id, settings, scope = learner.personality_id, learner.settings, learner.scope
    replies = read_replies(session, scope, read_weighted_votes(session, personality_id, settings.votes).by_reply)
    corrections = read_corrections(session, scope, settings.votes)
    choices = read_taste_opinions(session, personality_id, settings).choices
    return choose_pairs(
        RoundFeedback(tuple(replies), tuple(corrections), choices).by_prompt(),
        pair_by_people,
        attrgetter("recency"),
        limit=None,
        fits=lambda _pair: True,
        read=partial(read_texts, session, scope, render=learner.base.render),
    )


def import_file(settings: Settings, file: Path, personality: str = DEFAULT_PERSONALITY) -> ImportedPairs:
    """Add each line as an answer (rejected) and its correction (chosen), with the training basis "local".

    A prompt is a list of chat messages, or text: rendered text is used as it is, other text becomes a user's message.
    Raises SettingsError with the file and line of the first invalid one, before any is added. They are added a few at a
    time, so that a bot that runs waits for none of its writes; after an interruption the same file can be given again.
    """
    base = resolve_base_model(settings.model.base, settings.data.directory)
    with closing(open_database(settings)) as database:
        with database.transaction() as session:
            whose = open_personality(session, settings, personality)
        own = settings_of(settings, whose.card)
        chat = load_chat_format(base.path, own.model.template_options)
        lines = list(_read(file, chat, own.chat.system_prompt))
        if not lines:
            raise SettingsError(
                f"{file} has no pairs: write a JSON object with prompt, chosen and rejected on each line"
            )
        imported = 0
        for start in range(0, len(lines), PAIRS_AT_ONCE):
            with database.transaction() as session:
                for line in lines[start : start + PAIRS_AT_ONCE]:
                    imported += add_local_pair(session, whose.id, base.revision, line)
            time.sleep(PAUSE_S)
    return ImportedPairs(imported=imported, known=len(lines) - imported)


def render_prompt(
    prompt: str | list[dict[str, str]], chat: ChatFormat, system_prompt: str
) -> tuple[str, list[dict[str, str]]]:
    """Return a prompt in any of TRL's formats as it is served, and its messages; none if it was rendered already."""
    if isinstance(prompt, str):
        if any(token in prompt for token in chat.tokenizer.all_special_tokens):
            return prompt, []
        prompt = [{"role": "user", "content": prompt}]
    # Without a system message, some models' templates add their own.
    messages = with_system_prompt(system_prompt, prompt)
    return chat.render(messages), messages


def _read(file: Path, chat: ChatFormat, system_prompt: str) -> Iterator[LocalPair]:
    try:
        text = file.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise SettingsError(f"{file} cannot be read ({reason}): give a UTF-8 file of JSON lines") from error
    # Not splitlines: a chat message may contain other line separators, which JSON does not escape.
    for number, line in enumerate(text.split("\n"), 1):
        if line.strip():
            try:
                yield _parse(json.loads(line), chat, system_prompt)
            except json.JSONDecodeError as error:
                raise SettingsError(
                    f"{file}, line {number} is not valid JSON ({error.msg} at character {error.colno}): "
                    "write an object with prompt, chosen and rejected"
                ) from error
            except (ValueError, TypeError, RecursionError) as error:
                raise SettingsError(
                    f"{file}, line {number}: {error}; write an object with prompt, chosen and rejected"
                ) from error


def _parse(record: Any, chat: ChatFormat, system_prompt: str) -> LocalPair:
    if not isinstance(record, dict) or not all(key in record for key in KEYS):
        raise ValueError("prompt, chosen or rejected is missing")
    chosen, rejected = (_answer(record[key]) for key in ("chosen", "rejected"))
    if not chosen or not rejected or chosen == rejected:
        raise ValueError("chosen and rejected must be two different, non-empty answers")
    if not _is_prompt(record["prompt"]):
        raise ValueError("prompt must be text or a list of messages, each with a role and a content")
    prompt, messages = render_prompt(record["prompt"], chat, system_prompt)
    stored = tuple({"role": said["role"], "content": _storable(said["content"])} for said in messages)
    return LocalPair(_storable(prompt), chosen, rejected, stored)


def _is_prompt(value: Any) -> bool:
    if isinstance(value, list):
        return bool(value) and all(_is_message(message) for message in value)
    return isinstance(value, str) and bool(value.strip())


def _is_message(value: Any) -> bool:
    return isinstance(value, dict) and value.get("role") in ROLES and isinstance(value.get("content"), str)


def _answer(value: Any) -> str:
    """Return the text of an answer, given as text or as a list of exactly one assistant message."""
    if isinstance(value, list) and len(value) == 1 and _is_message(value[0]) and value[0]["role"] == "assistant":
        value = value[0]["content"]
    if not isinstance(value, str):
        raise ValueError("an answer must be text or a list with one assistant message")
    return _storable(value).strip()


def _storable(text: str) -> str:
    """Return text without NUL characters, which PostgreSQL refuses; raises ValueError on a lone surrogate."""
    text.encode()
    return text.replace("\0", "")


def _write_whole(file: Path, text: str) -> None:
    """Replace the file in one step, so that a full disk leaves the old one."""
    part = file.with_name(file.name + ".part")
    try:
        part.write_text(text, encoding="utf-8")
        part.replace(file)
    except OSError as error:
        part.unlink(missing_ok=True)
        raise SettingsError(f"{file} cannot be written ({error.strerror}): choose another place") from error
