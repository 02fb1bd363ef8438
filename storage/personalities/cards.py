"""Personality cards: system prompt, sampling and example dialogues, read from TOML and written back to it."""

from __future__ import annotations

import hashlib
import json
import re
import tomllib
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any

import tomli_w
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError
from pydantic_core import ErrorDetails

from storage.errors import QUOTED_CHARS, CardError
from storage.personalities.mistakes import mistake_in
from storage.sentences import Figure, Sentence
from storage.settings.sections import GenerationSettings, Settings
from storage.wording import shorten

CARD_SUFFIX = ".toml"
MAX_NAME_CHARS = 32
NAME = re.compile(rf"[a-z0-9][a-z0-9-]{{0,{MAX_NAME_CHARS - 1}}}")
MAX_DISPLAY_NAME_CHARS = 80
"""Discord's limit for the name of a webhook."""
REFUSED_NAMES = ("everyone", "here")
REFUSED_IN_NAMES = ("@", "#", ":", "```", "discord", "clyde")
"""Refused by Discord, because its system messages and mentions use them."""
MAX_DESCRIPTION_CHARS = 300
MAX_PROMPT_CHARS = 4000
MAX_GREETING_CHARS = 4000
MAX_TURN_CHARS = 4000
MAX_TURNS = 20
MAX_EXAMPLES = 500
MAX_CARD_BYTES = 500_000
MAX_KEY_PARTS = 2
"""Maximum parts of a key such as sampling.top_p. tomllib's memory grows with their square: 60 kB need gigabytes."""
MAX_ERROR_CHARS = 300
"""Limit for error messages, because tomllib repeats keys."""

_STRINGS = re.compile(
    r'"""(?:\\[\s\S]|"(?!"")|[^"\\])*+(?:"""+)?'
    r"|'''(?:'(?!'')|[^'])*+(?:'''+)?"
    r'|"(?:\\.|[^"\\\n])*+"?'
    r"|'[^'\n]*+'?"
    r"|#[^\n]*+"
)
"""Strings and comments; an unfinished one extends to the end, so that each character is read once."""
_TURNS = frozenset({"LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI"})
"""Classes of Unicode's bidirectional algorithm by which a name could turn the text beside it around."""
_LONG_KEY = re.compile(rf"(?:\.[ \t]*+[\w-]++[ \t]*+){{{MAX_KEY_PARTS}}}")


def _plain_lines(text: str) -> str:
    """Return the text with \n as the only line break, as TOML reads it, and without NUL, which PostgreSQL rejects."""
    return text.replace("\r\n", "\n").replace("\r", "\n").replace("\0", "")


def _spoken(text: str) -> str:
    if not text.strip():
        raise ValueError(Sentence("is blank: write a message, or remove the dialogue"))
    return text.strip()


def _alternating(turns: tuple[str, ...]) -> tuple[str, ...]:
    if not turns or len(turns) % 2:
        raise ValueError(Sentence("must alternate between a person, who speaks first, and the bot, who speaks last"))
    return turns


def why_not_displayed(name: str) -> str:
    """Return why Discord would refuse the name above a message, or people misread it; "" if it is fine."""
    seen = "".join(char for char in unicodedata.normalize("NFKC", name) if unicodedata.category(char)[0] != "C")
    seen = " ".join(seen.split()).casefold()
    if len(name) > MAX_DISPLAY_NAME_CHARS:
        return Sentence("must have at most {limit} characters", limit=MAX_DISPLAY_NAME_CHARS)
    if not seen:
        return Sentence("must have letters that people can see")
    if any(unicodedata.category(char) == "Cc" or unicodedata.bidirectional(char) in _TURNS for char in name):
        return Sentence("must not contain line breaks, or characters that turn the direction of writing")
    if seen in REFUSED_NAMES:
        return Sentence("must not be {name}, which Discord refuses", name=repr(seen))
    refused = next((part for part in REFUSED_IN_NAMES if part in seen), "")
    return Sentence("must not contain {part}, which Discord refuses", part=repr(refused)) if refused else ""


def _displayed(name: str) -> str:
    if name and (mistake_in_it := why_not_displayed(name)):
        raise ValueError(mistake_in_it)
    return name


KeyPlace = tuple[int | str, ...]
"""A key of a card, such as ("examples", 0, "dialogue", 1)."""
Text = Annotated[str, AfterValidator(_plain_lines)]
Turn = Annotated[Text, Field(max_length=MAX_TURN_CHARS), AfterValidator(_spoken)]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class CardSampling(_Part):
    """Sampling of the personality's answers; a missing key means the value of [generation]."""

    temperature: Annotated[float, Field(ge=0.0, le=5.0)] | None = None
    top_p: Annotated[float, Field(gt=0.0, le=1.0)] | None = None
    presence_penalty: Annotated[float, Field(ge=0.0, le=2.0)] | None = None
    max_new_tokens: Annotated[int, Field(ge=1)] | None = None
    """Maximum length of an answer; at most generation.max_new_tokens, because prompts leave room for that many."""


class Example(_Part):
    """A dialogue that shows how the personality talks."""

    dialogue: Annotated[tuple[Turn, ...], Field(max_length=MAX_TURNS), AfterValidator(_alternating)]
    """Turns of a person and the bot; the person starts, the bot ends."""

    @property
    def digest(self) -> str:
        """The first half of the dialogue's SHA-256, 32 hex digits."""
        return _digest(self.model_dump(mode="json"))[:32]


class Card(_Part):
    display_name: Annotated[str, AfterValidator(_displayed)] = ""
    """The name above its messages; empty means the bot's, or, with a picture of its own, the personality's."""
    description: Annotated[Text, Field(max_length=MAX_DESCRIPTION_CHARS)] = ""
    """One sentence, shown in lists."""
    system_prompt: Annotated[Text, Field(max_length=MAX_PROMPT_CHARS)] = ""
    """Start of every prompt; empty means chat.system_prompt."""
    greeting: Annotated[Text, Field(max_length=MAX_GREETING_CHARS)] = ""
    """Posted when the personality is bound to a place; empty means no message."""
    base: str = ""
    """The model.base that the card is meant for; empty means any."""
    sampling: CardSampling = CardSampling()
    examples: Annotated[tuple[Example, ...], Field(max_length=MAX_EXAMPLES)] = ()

    @property
    def digest(self) -> str:
        """SHA-256 of the content, 64 hex digits; it does not depend on the order of keys or the layout of a file."""
        return _digest(self.as_dict())

    @property
    def exchanges(self) -> list[tuple[str, str]]:
        """Return (message before it, answer) for each of the bot's answers in the examples."""
        dialogues = [example.dialogue for example in self.examples]
        return [exchange for said in dialogues for exchange in zip(said[::2], said[1::2], strict=True)]

    def as_dict(self) -> dict[str, Any]:
        """Return the keys that differ from an empty card's, as in JSON and in the TOML file."""
        return self.model_dump(mode="json", exclude_defaults=True)


KEYS = (*Card.model_fields, *CardSampling.model_fields, *Example.model_fields)


@dataclass(frozen=True)
class LorebookEntry:
    """A fact that a personality knows, and its keywords."""

    keys: tuple[str, ...]
    content: str


@dataclass(frozen=True)
class CardFile:
    """The contents of a card's file, including the parts of other programs' cards."""

    card: Card
    name: str = ""
    """The personality's own name; empty if only the file has a name."""
    lorebook: tuple[LorebookEntry, ...] = ()
    notes: tuple[str, ...] = ()
    """Sentences about the used and the unused parts of the file."""
    picture: bytes | None = None
    """A PNG file, as uploaded or as made by `clean_picture`."""


def renamed(card: Card, display_name: str) -> Card:
    """Return the card with another name above its messages; raises CardError on a name that Discord would refuse."""
    name = " ".join(display_name.split())
    if name and (reason := why_not_displayed(name)):
        raise CardError("the name {problem}", problem=reason)
    return card.model_copy(update={"display_name": name})


def _digest(content: Mapping[str, Any]) -> str:
    canonical = json.dumps(content, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()


def require_name(name: str) -> str:
    """Return the name if it is a valid one; raises CardError."""
    if NAME.fullmatch(name) is None:
        raise CardError(
            "{name} is not a valid personality name: use up to 32 lower-case letters, digits and "
            "hyphens, such as night-owl",
            name=repr(shorten(name, QUOTED_CHARS)),
        )
    return name


def read_card_file(path: Path) -> Card:
    """Return the card in a file; raises CardError, which names the file and the mistake."""
    try:
        _require_small(path.stat().st_size, str(path))  # refused before it is read
        return parse_card(path.read_bytes(), str(path))
    except OSError as error:
        raise CardError(
            "{path} cannot be read ({strerror}): it must be a readable file", path=path, strerror=error.strerror
        ) from error


def parse_card(content: bytes, source: str) -> Card:
    """Return the card in a TOML file's content; raises CardError, which names `source`."""
    _require_small(len(content), source)
    try:
        text = content.decode()
        if _LONG_KEY.search(_STRINGS.sub("text", text)):
            raise CardError(
                "{source} has a key of more than {limit} parts: no key of a card has that many",
                source=source,
                limit=MAX_KEY_PARTS,
            )
        table = tomllib.loads(text)
    except (ValueError, RecursionError) as error:  # ValueError: not TOML, not UTF-8, or a number of 5,000 digits
        raise CardError(
            "{source} is not valid TOML: {problem}", source=source, problem=shorten(str(error), MAX_ERROR_CHARS)
        ) from error
    return build_card(table, source)


def build_card(table: Mapping[str, Any], source: str) -> Card:
    """Return the card with these keys; raises CardError, which names `source`."""
    try:
        card = Card.model_validate(table)
    except ValidationError as error:
        raise _refused(error.errors()[0], source) from error
    if not card.system_prompt.strip() and not card.examples:
        raise CardError("{source} does not say how to talk: add a system_prompt or [[examples]]", source=source)
    return card


def find_mistakes(table: Mapping[str, Any]) -> dict[KeyPlace, str]:
    """Return the mistakes in a card's keys, each at its place."""
    try:
        Card.model_validate(table)
    except ValidationError as error:
        return {one["loc"]: mistake_in(one) for one in error.errors()}
    return {}


def format_card(card: Card) -> str:
    """Return the card as a TOML file that reads back as the same card."""
    return tomli_w.dumps(card.as_dict(), multiline_strings=True)


def require_meant_for(card: Card, base: str, source: str) -> None:
    """Raise CardError if the card is meant for another model than `base`, the value of model.base."""
    if card.base and card.base != base:
        raise CardError(
            "{source} is for the base model {own}, but model.base is {base}: change model.base, or "
            "remove `base` from the card",
            source=source,
            own=repr(shorten(card.base, QUOTED_CHARS)),
            base=repr(base),
        )


def tuned(generation: GenerationSettings, card: Card) -> GenerationSettings:
    """Return the settings with the card's sampling; its answers are at most as long as the settings allow."""
    own = {name: value for name, value in card.sampling.model_dump().items() if value is not None}
    if "max_new_tokens" in own:
        own["max_new_tokens"] = min(own["max_new_tokens"], generation.max_new_tokens)
    return generation.model_copy(update=own)


def settings_of(settings: Settings, card: Card) -> Settings:
    """Return the settings with the personality's sampling and system prompt.

    Answers and rounds render their prompts with these, so that a version is trained with the prompt that it gets.
    """
    chat = settings.chat
    prompt = _in_language(card.system_prompt or chat.system_prompt, chat.answer_language)
    return settings.model_copy(
        update={
            "generation": tuned(settings.generation, card),
            "chat": chat.model_copy(update={"system_prompt": prompt, "answer_language": ""}),
        }
    )


def _in_language(prompt: str, language: str) -> str:
    """Return the prompt with an instruction about the language of answers, if there is one."""
    if not language:
        return prompt
    return f"{prompt} Answer in {'the language of the message' if language == 'message' else language}.".lstrip()


def _require_small(size_bytes: int, source: str) -> None:
    if size_bytes > MAX_CARD_BYTES:
        raise CardError(
            "{source} is larger than {limit} kB, the limit for a card: shorten it",
            source=source,
            limit=MAX_CARD_BYTES // 1000,
        )


def _refused(error: ErrorDetails, source: str) -> CardError:
    """Return the error for the first mistake in a card."""
    place, kind = _place(error["loc"]), error["type"]
    if kind == "extra_forbidden" and (meant := get_close_matches(str(error["loc"][-1]), KEYS, 1)):
        return CardError(
            "{source}: {place} is not a key of a card. Did you mean {meant}?",
            source=source,
            place=place,
            meant=meant[0],
        )
    if kind == "extra_forbidden":
        return CardError(
            "{source}: {place} is not a key of a card: see docs/personalities.md", source=source, place=place
        )
    if kind == "too_long" and error["loc"] == ("examples",):
        return CardError(
            "{source} has {number} examples, but the limit is {limit}: keep the best ones",
            source=source,
            number=Figure(error["ctx"]["actual_length"], ","),
            limit=MAX_EXAMPLES,
        )
    problem = mistake_in(error)
    if kind == "value_error":
        return CardError("{source}: {place} {problem}", source=source, place=place, problem=problem)
    return CardError("{source}: {place} is not valid: {problem}", source=source, place=place, problem=problem)


def _place(loc: KeyPlace) -> str:
    """Return the wrong key, counted from 1, such as "turn 2 of example 3"."""
    match loc:
        case ("examples", int(example), "dialogue", int(turn), *_):
            return Sentence("turn {turn} of example {example}", turn=turn + 1, example=example + 1)
        case ("examples", int(example), key, *_):
            return Sentence("the {key} of example {example}", key=shorten(str(key), QUOTED_CHARS), example=example + 1)
        case ("examples", int(example)):
            return Sentence("example {example}", example=example + 1)
    return ".".join(shorten(str(part), QUOTED_CHARS) for part in loc)
