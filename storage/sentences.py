"""Sentences that are stored in finished English and can still be translated.

A stored sentence is its English text. It also keeps its template and values, which the bot translates when it shows the
sentence. Logs, the command line and exports use the plain text.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Self

from storage.wording import Duration, tenths

MARK = "\x1e"
"""ASCII's record separator: the part of a stored text after the last one is not shown."""
PLAIN = "null"
"""Follows the mark after a text that contains a mark itself."""


@dataclass(frozen=True)
class Figure:
    """A number that a sentence writes in a given form, such as ".0%", ".2f", "," or "g"."""

    value: float
    form: str

    def __str__(self) -> str:
        return format(self.value, self.form)


Value = str | int | float | Figure | Duration
"""Values that a sentence can store; a sentence among them is translated too."""


class Sentence(str):
    """An English sentence with the template that the bot translates; without values its braces are no placeholders.

    A value is a name or a quotation, which stays as it is, a number, a Figure, a Duration, or a sentence of its own.
    With a plural, the value `count` chooses between the two templates.
    """

    template: str
    plural: str
    values: Mapping[str, Value]

    def __new__(cls, template: str, plural: str = "", /, **values: object) -> Self:
        kept = {name: value if isinstance(value, Value) else str(value) for name, value in values.items()}
        made = super().__new__(cls, _english(template, plural, kept))
        made.template, made.plural, made.values = template, plural, kept
        return made

    def __reduce__(self) -> tuple[Any, ...]:
        return _read, (_parts(self),)


def counted(singular: str, plural: str, count: float, /, **values: object) -> Sentence:
    """Return a sentence in the form that fits `count`, which is also a value, rounded to tenths."""
    return Sentence(singular, plural, count=count, **values)


def joined(separator: str, parts: Sequence[str]) -> Sentence:
    """Return sentences and other texts in a row."""
    values = {f"part{place}": part for place, part in enumerate(parts)}
    return Sentence(separator.join(f"{{{name}}}" for name in values), **values)


def to_stored(text: str) -> str:
    """Return the text in its stored form: a sentence with its template, any other text unchanged."""
    if isinstance(text, Sentence):
        return f"{text}{MARK}{json.dumps(_parts(text))}"
    return f"{text}{MARK}{PLAIN}" if MARK in text else text


def from_stored(stored: str) -> str:
    """Return the text from its stored form; rows from before there were templates hold plain English."""
    text, mark, parts = stored.rpartition(MARK)
    if not mark:
        return stored
    try:
        found = json.loads(parts)
        made = text if found is None else _read(found)
    except (ValueError, LookupError, TypeError, AttributeError):
        return stored  # somebody typed the mark in an earlier release
    return made if made == text else text


def _english(template: str, plural: str, values: Mapping[str, Value]) -> str:
    if not values:
        return template
    written = {name: str(value) for name, value in values.items()}
    if plural:
        written["count"] = tenths(float(written["count"]))
        template = template if written["count"] == "1" else plural
    return template.format(**written)


def _parts(sentence: Sentence) -> list[Any]:
    """Return a sentence for JSON; its values are texts, numbers, lists for sentences and objects for others."""
    return [sentence.template, sentence.plural, {name: _part(value) for name, value in sentence.values.items()}]


def _part(value: Value) -> Any:
    if isinstance(value, Sentence):
        return _parts(value)
    return asdict(value) if isinstance(value, Figure | Duration) else value


def _read(parts: list[Any]) -> Sentence:
    template, plural, values = parts
    return Sentence(template, plural, **{name: _read_part(value) for name, value in values.items()})


def _read_part(value: Any) -> Value:
    if isinstance(value, list):
        return _read(value)
    kind = Duration if isinstance(value, dict) and "seconds" in value else Figure
    return kind(**value) if isinstance(value, dict) else value
