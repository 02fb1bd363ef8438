"""Converts a character of SillyTavern to a card of ours, with a sentence about everything that has no place."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Sequence
from typing import Any

from storage.errors import CardError
from storage.personalities.cards import (
    MAX_DESCRIPTION_CHARS,
    MAX_EXAMPLES,
    MAX_GREETING_CHARS,
    MAX_NAME_CHARS,
    MAX_PROMPT_CHARS,
    MAX_TURN_CHARS,
    NAME,
    Card,
    CardFile,
    LorebookEntry,
    build_card,
    why_not_displayed,
)
from storage.personalities.tavern.character import Character, Entry
from storage.personalities.tavern.dialogues import Dialogues, parse_dialogues
from storage.sentences import Figure, Sentence, counted, joined
from storage.wording import gettext_noop, shorten

OURS = "reactune"
"""The extension with the parts that only our cards have."""
TAG = re.compile(r"</?[A-Za-z][^<>]*>")
"""HTML in a name, which other programs show as bold or coloured."""
OWN_KEYS = frozenset({"base", "sampling", "display_name"})
MAX_CALLED_CHARS = 100
MAX_SHOWN = 12
MAX_SHOWN_CHARS = 40
PLACELESS = {
    "alternate_greetings": gettext_noop("other greetings"),
    "assets": gettext_noop("pictures and sounds"),
    "character_version": gettext_noop("the character's version"),
    "creation_date": gettext_noop("dates"),
    "creator": gettext_noop("the creator's name"),
    "creator_notes_multilingual": gettext_noop("notes in other languages"),
    "group_only_greetings": gettext_noop("greetings for groups"),
    "modification_date": gettext_noop("dates"),
    "source": gettext_noop("links to where it comes from"),
    "tags": gettext_noop("tags"),
}
"""Keys without a place in a card of ours, and their names for people."""
NOBODY = "the character"
"""Stands for a character without a name."""

_CHARACTER = re.compile(r"\{\{\s*char\s*\}\}|<(?:char|bot)>", re.IGNORECASE)
_PERSON = re.compile(r"(?:\{\{\s*user\s*\}\}|<user>)(?P<own>['’]s\b)?", re.IGNORECASE)
_OTHER = re.compile(r"\{\{[^{}]*\}\}")
_LOOKED_BACK = 3
"""Number of characters before a person's name that show whether it begins a sentence."""
MAX_ENTRIES = 1_000
MAX_KEYS_CHARS = 200
_DECORATOR = re.compile(r"^@@.*\n?", re.MULTILINE)
"""A rule of version 3 for when an entry applies."""
_PATTERN = re.compile(r"/.+/[a-z]*", re.DOTALL)
BETWEEN = "\n\n"
_SENTENCE_END = re.compile(r"[.!?…。！？][\"'”’)\]*_]?\s|\n")


def card_file_of(character: Character, source: str) -> CardFile:
    """Return the card, its lorebook and the sentences; raises CardError, which names `source`."""
    called = shorten(" ".join(TAG.sub("", character.nickname or character.name).split()), MAX_CALLED_CHARS)
    macros = Macros(called)
    dialogues = parse_dialogues(character.mes_example, called, macros.speak)
    prompt, rest = prompt_of(character, called, dialogues.samples, macros)
    if not prompt and not dialogues.examples:
        raise CardError(
            "{source} does not say how to talk: it needs a description, a prompt or example dialogues", source=source
        )
    display_name, refused = _display_name(called)
    greeting, about = macros.speak(character.first_mes), macros.describe(character.creator_notes)
    own = {
        "description": _one_line(about),
        "system_prompt": prompt,
        "greeting": shorten(greeting, MAX_GREETING_CHARS),
        "examples": [{"dialogue": turns} for turns in dialogues.examples],
    }
    card = build_card({"display_name": display_name} | _extension_of(character) | own, source)
    entries = list(entries_of(character.character_book.entries, macros))
    lorebook = [*([LorebookEntry((f"more about {called or NOBODY}",), rest)] if rest else []), *entries]
    notes = [
        _what_was_taken(card),
        *refused,
        *_what_was_cut(rest, greeting, about),
        *_what_the_dialogues_lack(dialogues),
        *_what_the_lorebook_lacks(len(character.character_book.entries) - len(entries), lorebook),
        *_what_has_no_place(character, macros),
    ]
    return CardFile(card, personality_name(character.name), tuple(lorebook[:MAX_ENTRIES]), tuple(notes))


def personality_name(name: str) -> str:
    """Return a valid personality name that reads like this one; empty if there is none."""
    if NAME.fullmatch(name):
        return name
    plain = unicodedata.normalize("NFKD", TAG.sub("", name)).encode("ascii", "ignore").decode().lower()
    return re.sub(r"[^a-z0-9]+", "-", plain).strip("-")[:MAX_NAME_CHARS].strip("-")


def _display_name(called: str) -> tuple[str, list[str]]:
    """Return (name above its messages, sentences if it differs from the card's); "" if its plain name is enough."""
    if not called or personality_name(called) == called:
        return "", []
    reason = why_not_displayed(called)
    if not reason:
        return called, []
    return "", [Sentence("Its name is not shown above its messages: a name there {reason}.", reason=reason)]


def _one_line(text: str) -> str:
    if len(text) <= MAX_DESCRIPTION_CHARS:
        return text
    return shorten(" ".join(text.split()), MAX_DESCRIPTION_CHARS)


def _extension_of(character: Character) -> dict[str, Any]:
    own = character.extensions.get(OURS)
    return {key: value for key, value in own.items() if key in OWN_KEYS} if isinstance(own, dict) else {}


def _what_was_taken(card: Card) -> Sentence:
    taken = [
        Sentence("a prompt of {number} characters", number=_in_thousands(len(card.system_prompt))),
        Sentence("a greeting of {number} characters", number=_in_thousands(len(card.greeting)))
        if card.greeting
        else "",
        counted("{count} example dialogue", "{count} example dialogues", len(card.examples)),
        Sentence("its sampling") if card.sampling.model_dump(exclude_none=True) else "",
    ]
    return Sentence("Taken from the character card: {things}.", things=joined(", ", [*filter(None, taken)]))


def _what_was_cut(rest: str, greeting: str, about: str) -> Iterator[Sentence]:
    if rest:
        yield Sentence(
            "The prompt has room for {room} characters; the other {others} became an entry of the lorebook.",
            room=_in_thousands(MAX_PROMPT_CHARS),
            others=_in_thousands(len(rest)),
        )
    if len(greeting) > MAX_GREETING_CHARS:
        yield Sentence(
            "The greeting of {length} characters was cut to {most}.",
            length=_in_thousands(len(greeting)),
            most=_in_thousands(MAX_GREETING_CHARS),
        )
    if len(about) > MAX_DESCRIPTION_CHARS:
        yield Sentence(
            "The creator's notes were cut to {most} characters, which describe it in lists.", most=MAX_DESCRIPTION_CHARS
        )


def _what_the_dialogues_lack(dialogues: Dialogues) -> Iterator[Sentence]:
    if dialogues.samples:
        yield Sentence("Example dialogues in which nobody else speaks became part of the prompt.")
    if dialogues.left_out:
        yield counted(
            "{count} turn of the example dialogues was left out: a dialogue begins with a person and ends with the "
            "character, a turn has at most {length} characters, and there are at most {most} dialogues.",
            "{count} turns of the example dialogues were left out: a dialogue begins with a person and ends with the "
            "character, a turn has at most {length} characters, and there are at most {most} dialogues.",
            dialogues.left_out,
            length=_in_thousands(MAX_TURN_CHARS),
            most=MAX_EXAMPLES,
        )


def _what_the_lorebook_lacks(off: int, lorebook: Sequence[LorebookEntry]) -> Iterator[Sentence]:
    if off:
        yield counted(
            "{count} entry of the lorebook was left out: switched off, or empty.",
            "{count} entries of the lorebook were left out: switched off, or empty.",
            off,
        )
    if len(lorebook) > MAX_ENTRIES:
        yield Sentence(
            "Of the lorebook's {entries} entries, the first {most} were taken.",
            entries=_in_thousands(len(lorebook)),
            most=_in_thousands(MAX_ENTRIES),
        )
    if lorebook:
        yield Sentence(
            "The lorebook is looked up by words and meaning, so its own rules (order, depth, patterns, second keys, "
            "always there) have no effect."
        )


def _what_has_no_place(character: Character, macros: Macros) -> Iterator[Sentence]:
    names = [
        Sentence(PLACELESS[key]) if key in PLACELESS else key
        for key, value in (character.model_extra or {}).items()
        if value
    ]
    left_out = _shown(names)
    if extensions := [key for key, value in character.extensions.items() if value and key != OURS]:
        left_out.append(Sentence("extensions ({names})", names=joined(", ", _shown(extensions))))
    if left_out:
        yield Sentence("Left out, because there is no place for it here: {things}.", things=joined(", ", left_out))
    if macros.removed:
        removed = joined(", ", _shown(macros.removed))
        yield Sentence("Macros that mean nothing here were removed: {macros}.", macros=removed)


def _shown(names: Sequence[str]) -> list[str]:
    """Return the first names, each once, and the number of further ones."""
    once = list(dict.fromkeys(shorten(name, MAX_SHOWN_CHARS) for name in names))
    more = len(once) - MAX_SHOWN
    return [*once[:MAX_SHOWN], *([Sentence("{number} more", number=_in_thousands(more))] if more > 0 else [])]


def _in_thousands(number: int) -> Figure:
    return Figure(number, ",")


class Macros:
    """Replaces the macros of one card."""

    def __init__(self, character: str) -> None:
        self._character = character
        self.removed: list[str] = []
        """Removed macros, which mean nothing here, such as {{time}}."""

    def describe(self, text: str) -> str:
        """Return a text about a conversation; its person becomes "the user"."""
        return self._replace(text, "the user", "the user's")

    def speak(self, text: str) -> str:
        """Return words spoken to a person; the person becomes "you"."""
        return self._replace(text, "you", "your")

    def _replace(self, text: str, person: str, own: str) -> str:
        named = _CHARACTER.sub(lambda found: self._character or _in_place(found, NOBODY), text)
        named = _PERSON.sub(lambda found: _in_place(found, own if found["own"] else person), named)
        self.removed += _OTHER.findall(named)
        return _OTHER.sub("", named)


def _in_place(found: re.Match[str], words: str) -> str:
    """Return the words, with a capital letter where they begin a sentence."""
    before = found.string[max(0, found.start() - _LOOKED_BACK) : found.start()].rstrip(' *"“')
    return words.capitalize() if not before or before.endswith((".", "!", "?", "\n")) else words


def entries_of(entries: Sequence[Entry], macros: Macros) -> Iterator[LorebookEntry]:
    """Yield the entries that are switched on and not empty, without their rules."""
    for number, entry in enumerate(entries, start=1):
        content = macros.describe(_DECORATOR.sub("", entry.content)).strip()
        if entry.enabled and content:
            yield LorebookEntry(tuple(_keys(entry, macros)) or (f"entry {number}",), content)


def _keys(entry: Entry, macros: Macros) -> Iterator[str]:
    """Yield the entry's title and keys, each once, without patterns."""
    seen: set[str] = set()
    room = MAX_KEYS_CHARS
    for word in (entry.comment or entry.name, *(() if entry.use_regex else entry.keys)):
        key = " ".join(macros.describe(word).split())
        room -= len(key)
        if room >= 0 and key and key.casefold() not in seen and not _PATTERN.fullmatch(key):
            seen.add(key.casefold())
            yield key


def prompt_of(character: Character, name: str, samples: Sequence[str], macros: Macros) -> tuple[str, str]:
    """Return (the prompt, the text that did not fit).

    `samples` are words of the character that show how it talks. A card with nothing but a system prompt keeps it
    unchanged.
    """
    about = [
        macros.describe(character.description),
        _labelled("Personality", macros.describe(character.personality)),
        _labelled("Scenario", macros.describe(character.scenario)),
        _labelled(f"How {name or NOBODY} talks", BETWEEN.join(samples)),
    ]
    own = macros.describe(character.system_prompt)
    introduction = f"You are {name}." if name and not own.strip() and any(map(str.strip, about)) else ""
    parts = [own, introduction, *about, macros.describe(character.post_history_instructions)]
    return _fit([part for part in parts if part.strip()])


def _labelled(label: str, text: str) -> str:
    return f"{label}: {text}" if text.strip() else ""


def _fit(parts: list[str]) -> tuple[str, str]:
    """Return (the parts as one text within the limit, the text cut off the ends of the longest)."""
    cut_off: list[str] = []
    while (excess := len(BETWEEN.join(parts)) - MAX_PROMPT_CHARS) > 0:
        longest = max(range(len(parts)), key=lambda at: len(parts[at]))
        text = parts[longest]
        room = max(len(text) - excess, 0)
        end = max((found.end() for found in _SENTENCE_END.finditer(text, 0, room)), default=room)
        parts[longest], rest = text[:end].rstrip(), text[end:].strip()
        cut_off.append(rest)
    return BETWEEN.join(filter(None, parts)), BETWEEN.join(cut_off)
