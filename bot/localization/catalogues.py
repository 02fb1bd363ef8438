"""Reads and checks translations: the `.po` files that come with the bot, and the operator's."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from gettext import GNUTranslations
from io import BytesIO
from pathlib import Path
from string import Formatter
from typing import Any

import discord
from babel.messages import Catalog, Message
from babel.messages.mofile import write_mo
from babel.messages.pofile import PoFileError, read_po

from storage.errors import SettingsError
from storage.wording import shorten

SHIPPED = Path(__file__).with_name("catalogues")
SUFFIX = ".po"
MAX_QUOTED_CHARS = 60
CODES = frozenset(locale.value for locale in discord.Locale)
LANGUAGES = CODES | {code.partition("-")[0] for code in CODES}
"""The languages of Discord's settings, and each without its country."""


def read_catalogues(folder: Path) -> dict[str, GNUTranslations]:
    """Return the translations by language; a sentence that the operator's file lacks is taken from the bot's own.

    Raises SettingsError, with the file and the line, if one of them cannot be used.
    """
    catalogues = dict(_shipped())
    for language, read in _read_all(folder):
        if language in catalogues:
            read.add_fallback(catalogues[language])
        catalogues[language] = read
    return catalogues


@cache
def _shipped() -> dict[str, GNUTranslations]:
    """Return the translations that come with the bot; their files are read once per process."""
    return dict(_read_all(SHIPPED))


def _read_all(folder: Path) -> Iterator[tuple[str, GNUTranslations]]:
    for path in sorted(folder.glob(f"*{SUFFIX}")):
        language = path.stem.replace("_", "-")
        if language not in LANGUAGES:
            raise SettingsError(
                f"{path}: Discord has no language {shorten(language, MAX_QUOTED_CHARS)!r}: name the file after one of "
                f"{', '.join(sorted(LANGUAGES))}"
            )
        yield language, _compile(read_catalogue(path))


def read_catalogue(path: Path) -> Catalog:
    """Return the file's messages; raises SettingsError if it isn't a catalogue, or if a placeholder does not fit."""
    try:
        with path.open("rb") as file:
            catalogue = read_po(file, abort_invalid=True)
    except OSError as error:
        raise SettingsError(f"{path} cannot be read ({error.strerror}): it must be a readable file") from error
    except PoFileError as error:
        raise SettingsError(f"{path}, line {error.lineno + 1}: this is not valid in a .po file ({error})") from error
    except (ValueError, LookupError) as error:
        raise SettingsError(f"{path} is not a .po file in UTF-8 ({error}): save it again with a .po editor") from error
    for message in catalogue:
        if message.id and (fault := placeholder_fault(message)):
            raise SettingsError(f"{path}, line {message.lineno}: {fault}")
    return catalogue


def placeholder_fault(message: Message) -> str:
    """Return the error in a translation's placeholders, or an empty text."""
    allowed: set[str] = set().union(*map(_placeholders, texts_of(message.id)))
    needed = allowed - {"count"} if message.pluralizable else allowed  # "one vote" needs no number
    for text in filter(None, texts_of(message.string)):
        try:
            found = {name[:1].lower() + name[1:] for name in _placeholders(text)}  # {Reason} is {reason}, capitalized
        except ValueError as error:
            return f"the braces of {_quote(text)} do not match ({error}): copy them from the English sentence"
        if foreign := found - allowed:
            return f"{_quote(text)} has {_name(foreign)}, which the English sentence has not: correct its name"
        if missing := needed - found:
            return f"{_quote(text)} lacks {_name(missing)} of the English sentence: add it"
    return ""


def texts_of(part: Any) -> list[str]:
    """Return a message's ID or translation, or those of its singular and plurals; None means untranslated."""
    return [part] if isinstance(part, str) else list(part or ())


def _placeholders(text: str) -> set[str]:
    """Return the contents of all braces; with a format or a conversion they never equal the name of a value."""
    parts = Formatter().parse(text)
    return {
        f"{name}{f'!{how}' if how else ''}{f':{form}' if form else ''}"
        for _, name, form, how in parts
        if name is not None
    }


def _name(placeholders: set[str]) -> str:
    return f"{{{min(placeholders)}}}"


def _quote(text: str) -> str:
    return f'"{shorten(text, MAX_QUOTED_CHARS)}"'


def _compile(catalogue: Catalog) -> GNUTranslations:
    """Return the catalogue compiled for gettext, without fuzzy and empty translations."""
    compiled = BytesIO()
    write_mo(compiled, catalogue)
    compiled.seek(0)
    return GNUTranslations(compiled)
