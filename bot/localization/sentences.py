"""Says sentences, numbers and lists in the present language, which is the reader's.

English sentences are the message IDs of gettext. The present language is a context variable: new tasks and threads of
asyncio.to_thread inherit it. It is English until somebody speaks another language.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import date, datetime
from gettext import NullTranslations
from typing import Literal

from babel import Locale
from babel.dates import format_date, format_skeleton
from babel.lists import format_list
from babel.numbers import format_decimal, format_percent
from babel.units import format_unit

from storage.sentences import Figure, Sentence
from storage.wording import Duration

SIGNIFICANT = 6
"""Digits of a number in the form "g"."""
MOST_WRITTEN = 1e15
"""Largest number that is written out: Babel fails on much larger ones."""
SEVERAL = 2
"""A count in place of fractions, which take the plural."""


@dataclass(frozen=True)
class Language:
    code: str
    """Discord's code of the language, such as "de" or "pt-BR"."""
    translations: NullTranslations

    @property
    def locale(self) -> Locale:
        """Return the language's rules for numbers, dates and lists, from Unicode's CLDR."""
        return Locale.parse(self.code, sep="-")


ENGLISH = Language("en-US", NullTranslations())
_present: ContextVar[Language] = ContextVar("language", default=ENGLISH)


def language_name(code: str) -> str:
    """Return a language's own name, such as "Deutsch", for Discord's code; for that of the USA "English"."""
    name = Locale.parse(code.removesuffix("-US"), sep="-").get_display_name() or code
    return name[0].upper() + name[1:]


def speak(language: Language) -> None:
    """Set the present language for the rest of the task."""
    _present.set(language)


@contextmanager
def speaking(language: Language) -> Iterator[None]:
    token = _present.set(language)
    try:
        yield
    finally:
        _present.reset(token)


def gettext(message: str, /, **values: object) -> str:
    """Return the translation of an English sentence, with its placeholders filled; numbers are written as there.

    A sentence without values is not a template: its braces stay. A stored sentence has values of its own.
    """
    if isinstance(message, Sentence):
        return _stored(message)
    # The translation of an empty message is the header of the catalogue.
    return _fill(_present.get().translations.gettext(message), values) if message else ""


def ngettext(singular: str, plural: str, count: float, /, **values: object) -> str:
    """Like `gettext`, in the form that the language uses for a number, which is the value `count`; 7.5 is a plural."""
    whole = int(count) if float(count).is_integer() else SEVERAL
    found = _present.get().translations.ngettext(singular, plural, whole)
    return _fill(found, {"count": number(count, 1), **values})


def translated(text: str) -> str:
    """Return a stored text: a sentence of ours in the present language, and people's words unchanged."""
    return gettext(text) if isinstance(text, Sentence) else text


def number(value: float, decimals: int = 0) -> str:
    """Return a number with at most `decimals` decimals, such as "1,234.5" or "1.234,5"."""
    return format_decimal(round(value, decimals), locale=_present.get().locale)


def decimal(value: float, decimals: int) -> str:
    """Return a number with exactly `decimals` decimals, such as "0.50" or "0,50"."""
    return format_decimal(round(value, decimals), f"#,##0.{'0' * decimals}", locale=_present.get().locale)


def percent(share: float, decimals: int = 0) -> str:
    """Return a share, such as "30%" or "30 %", with at most `decimals` decimals."""
    return format_percent(round(share, decimals + 2), locale=_present.get().locale, decimal_quantization=False)


def day(value: date | datetime) -> str:
    """Return a date, such as "28 Nov 2026", as the language writes it."""
    return format_date(value, "medium", locale=_present.get().locale)


def day_of_year(value: date) -> str:
    """Return a date without its year, such as "Nov 28" or "28. Nov."."""
    return format_skeleton("MMMd", value, locale=_present.get().locale)


def duration(value: Duration) -> str:
    """Return "3 min" or, in another language, its words, such as "3 Minuten"."""
    locale = _present.get().locale
    count, unit = value.rounded
    return str(value) if locale.language == "en" else format_unit(count, f"duration-{unit}", locale=locale)


def listing(items: Sequence[str], link: Literal["standard", "or"] = "standard") -> str:
    """Return "a, b, and c", or with "or"."""
    return format_list(items, style=link, locale=_present.get().locale)


def _fill(sentence: str, values: Mapping[str, object]) -> str:
    """Fill in the values; a placeholder such as {Reason} is {reason} with a capital letter, as German wants it."""
    written = {name: _written(value) for name, value in values.items()}
    large = {
        capitalized(name): capitalized(value) if isinstance(value, str) else value for name, value in written.items()
    }
    return sentence.format(**large | written) if values else sentence


def _written(value: object) -> object:
    if isinstance(value, Sentence):
        return _stored(value)
    if isinstance(value, Figure):
        return _figure(value)
    if isinstance(value, Duration):
        return duration(value)
    return number(value, 3) if isinstance(value, int | float) else value


def _stored(sentence: Sentence) -> str:
    """Return the translation of a stored sentence; in English it is finished."""
    if _present.get() is ENGLISH:
        return str(sentence)
    if sentence.plural:
        values = dict(sentence.values)
        return ngettext(sentence.template, sentence.plural, round(float(str(values.pop("count"))), 1), **values)
    return gettext(sentence.template, **sentence.values)


def _figure(figure: Figure) -> str:
    """Return a number in its form, such as ".0%", ".2f", "," or "g", as the language writes it."""
    if not abs(figure.value) < MOST_WRITTEN:  # or it is not a number
        return str(figure)
    if figure.form in ("g", ","):
        return number(figure.value, SIGNIFICANT)
    decimals = int(figure.form[1:-1])
    if figure.form.endswith("%"):
        return percent(figure.value, decimals)
    return decimal(figure.value, decimals) if decimals else number(figure.value)


def in_quotes(text: str) -> str:
    return gettext("“{text}”", text=text)


def reasoned(claim: str, reason: str) -> str:
    """Return "claim: reason", as the language writes it when both are sentences."""
    return gettext("{claim}: {reason}", claim=claim, reason=reason)


def sentence(text: str) -> str:
    """Return the text with a capital letter and one full stop."""
    return capitalized(text) + ("" if text.endswith((".", "!", "?")) else ".")


def capitalized(text: str) -> str:
    """Return the text with a capital letter; a first word that is a name, such as v1, stays."""
    first = next(iter(text.split(maxsplit=1)), "").rstrip(",:")
    return text[0].upper() + text[1:] if first.isalpha() else text
