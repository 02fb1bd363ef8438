"""Reads and checks a character card of SillyTavern, with nothing left out yet."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from storage.errors import QUOTED_CHARS, CardError
from storage.personalities.cards import Text
from storage.personalities.mistakes import mistake_in
from storage.sentences import Sentence
from storage.wording import shorten

SPECS = ("chara_card_v2", "chara_card_v3")
FIRST_VERSION_KEYS = frozenset({"description", "personality", "scenario", "first_mes", "mes_example"})
"""Keys of a card of version 1, which has at least one of them besides its name."""


class _Part(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True)


class Entry(_Part):
    keys: tuple[Text, ...] = ()
    content: Text = ""
    enabled: bool = True
    name: Text = ""
    comment: Text = ""
    """The entry's title in SillyTavern."""
    use_regex: bool = False
    """True if its keys are patterns."""


class Lorebook(_Part):
    entries: tuple[Entry, ...] = ()


class Character(_Part):
    """The keys of a card's `data` that have a place here; the others are in `model_extra`."""

    model_config = ConfigDict(extra="allow", frozen=True)

    name: Text = ""
    nickname: Text = ""
    description: Text = ""
    personality: Text = ""
    scenario: Text = ""
    system_prompt: Text = ""
    post_history_instructions: Text = ""
    first_mes: Text = ""
    mes_example: Text = ""
    creator_notes: Text = ""
    character_book: Lorebook = Lorebook()
    extensions: dict[str, Any] = Field(default_factory=dict)


def read_character(table: Mapping[str, Any], source: str) -> Character:
    """Return the character in a card's JSON object; raises CardError, which names `source`."""
    data = _data_of(table, source)
    try:
        return Character.model_validate(data)
    except ValidationError as error:
        first = error.errors()[0]
        place = _place(first["loc"])
        raise CardError(
            "{source}: {place} is not valid: {problem}",
            source=source,
            place=place,
            problem=mistake_in(first),
        ) from error


def _data_of(table: Mapping[str, Any], source: str) -> Mapping[str, Any]:
    spec, data = table.get("spec"), table.get("data")
    if spec in SPECS and isinstance(data, dict):
        return data
    if spec is None and "name" in table and FIRST_VERSION_KEYS & table.keys():
        return table
    found = (
        Sentence("its spec is {spec}", spec=repr(shorten(spec, QUOTED_CHARS)))
        if isinstance(spec, str)
        else Sentence("it has no spec")
    )
    raise CardError(
        "{source} is JSON, but not a character card ({found}): export it as one of {kinds}",
        source=source,
        found=found,
        kinds=Sentence("{first} or {second}", first=SPECS[0], second=SPECS[1]),
    )


def _place(loc: tuple[int | str, ...]) -> str:
    """Return the wrong key such as "keys of entry 3 of its lorebook", counted from 1."""
    match loc:
        case ("character_book", "entries", int(entry), str(key), *_):
            return Sentence("{key} of entry {entry} of its lorebook", key=key, entry=entry + 1)
        case ("character_book", "entries", int(entry)):
            return Sentence("entry {entry} of its lorebook", entry=entry + 1)
    return ".".join(shorten(str(part), QUOTED_CHARS) for part in loc)
