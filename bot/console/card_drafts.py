"""A card as somebody types it on the page: in fields, or whole as TOML. A mistake stands at its field."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from bot.console.page import SentForm
from bot.localization.sentences import gettext, sentence
from storage.errors import CardError
from storage.personalities.cards import (
    MAX_CARD_BYTES,
    MAX_EXAMPLES,
    MAX_TURNS,
    Card,
    CardSampling,
    KeyPlace,
    build_card,
    find_mistakes,
    format_card,
    parse_card,
)

TEXTS = ("display_name", "description", "system_prompt", "greeting", "base")
NUMBERS = tuple(CardSampling.model_fields)
NO_NUMBER = "Write a number, such as 0.7."
NOTHING_SAID = "It must say how to talk: write a system prompt, or an example."

_BEFORE_THOUSANDS = re.compile(r"[.,](?=000$)")


@dataclass(frozen=True)
class CardDraft:
    texts: Mapping[str, str]
    """The fields of one text or number, by key of the card."""
    dialogues: list[list[str]]
    toml: str
    before: str
    """The digest of the card that was opened."""
    mistakes: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, card: Card) -> CardDraft:
        numbers = {name: "" if value is None else f"{value:g}" for name, value in card.sampling}
        texts = {name: getattr(card, name) for name in TEXTS} | numbers
        return cls(texts, [list(one.dialogue) for one in card.examples], format_card(card), card.digest)


def turn_field(dialogue: int, turn: int) -> str:
    return f"turn-{dialogue}-{turn}"


def read_draft(form: SentForm, opened: Card) -> tuple[CardDraft, Card | None]:
    """Return what somebody typed, and the card in it; None, and the mistakes, if there are any."""
    draft = replace(CardDraft.of(opened), before=form.text("before", ""))
    toml = form.text("toml", "", limit=MAX_CARD_BYTES)
    if toml:
        draft = replace(draft, toml=toml)
        try:
            return draft, parse_card(toml.encode(), "this")
        except CardError as error:
            return replace(draft, mistakes={"toml": sentence(str(error))}), None
    texts = {name: form.text(name, "", limit=None) for name in (*TEXTS, *NUMBERS)}
    draft = replace(draft, texts=texts, dialogues=list(_typed_dialogues(form)))
    places = [place for place, turns in enumerate(draft.dialogues) if any(turns)]
    table = _table_of(draft, places)
    mistakes = {_field_at(place, places): _words(problem) for place, problem in find_mistakes(table).items()}
    mistakes |= {name: NO_NUMBER for name in NUMBERS if texts[name] and _number(texts[name]) is None}
    if not mistakes and not draft.texts["system_prompt"] and not places:
        mistakes = {"system_prompt": NOTHING_SAID}
    return replace(draft, mistakes=mistakes), None if mistakes else build_card(table, "the card")


def _typed_dialogues(form: SentForm) -> Iterator[list[str]]:
    for dialogue in range(MAX_EXAMPLES + 1):
        names = [name for turn in range(MAX_TURNS) if form.has(name := turn_field(dialogue, turn))]
        if names:
            yield [form.text(name, limit=None) for name in names]


def _table_of(draft: CardDraft, places: list[int]) -> dict[str, Any]:
    """Return the keys of the card; `places` are the dialogues that are not empty."""
    numbers = {name: _number(draft.texts[name]) for name in NUMBERS}
    return {
        **{name: draft.texts[name] for name in TEXTS},
        "sampling": {name: number for name, number in numbers.items() if number is not None},
        "examples": [{"dialogue": draft.dialogues[place]} for place in places],
    }


def _number(text: str) -> float | None:
    """Return the number; None if there is none."""
    try:
        return float(_BEFORE_THOUSANDS.sub("", text).replace(",", "."))
    except ValueError:
        return None


def _field_at(place: KeyPlace, places: list[int]) -> str:
    """Return the field of a key; `places` are the places of the examples in the form."""
    match place:
        case ("examples", int(example), "dialogue", int(turn), *_):
            return turn_field(places[example], turn)
        case ("examples", int(example), *_):
            return turn_field(places[example], 0)
        case ("sampling", str(name), *_):
            return name
    return str(place[0])


def _words(problem: str) -> str:
    said = gettext(problem)
    return sentence(said if said.startswith("it ") else f"it {said}")
