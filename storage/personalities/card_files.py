"""Files that hold a card: ours in TOML, and character cards of SillyTavern in JSON or PNG, which are only read."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from storage.errors import CardError, ExportRefused
from storage.personalities.cards import CARD_SUFFIX, Card, CardFile, format_card, parse_card, require_name
from storage.personalities.pictures import clean_picture
from storage.personalities.tavern.character import read_character
from storage.personalities.tavern.conversion import card_file_of
from storage.personalities.tavern.files import MAX_PICTURE_BYTES, is_png, is_tavern_file, load_json
from storage.sentences import Sentence

ITS_PICTURE = Sentence("Its picture appears beside its messages in Discord.")

TAVERN_SUFFIXES = (".json", ".png")
CARD_SUFFIXES = (CARD_SUFFIX, *TAVERN_SUFFIXES)
"""Suffixes of files that can be read; cards are always written as TOML."""


def read_any_card(path: Path) -> CardFile:
    """Return the contents of a card's file, whatever its suffix; raises CardError."""
    try:
        if path.stat().st_size > MAX_PICTURE_BYTES:  # refused before it is read
            raise CardError(
                "{path} is larger than {limit} MB, the limit for a card", path=path, limit=MAX_PICTURE_BYTES // 1000000
            )
        return parse_any_card(path.read_bytes(), path.name)
    except OSError as error:
        raise CardError(
            "{path} cannot be read ({strerror}): it must be a readable file", path=path, strerror=error.strerror
        ) from error


def parse_any_card(content: bytes, source: str) -> CardFile:
    """Return the contents of a card's file from its bytes; raises CardError, which names `source`."""
    if not is_tavern_file(content):
        if source.lower().endswith(TAVERN_SUFFIXES):
            raise CardError(
                "{source} is neither a PNG picture nor JSON, whatever its name says: download it again", source=source
            )
        return CardFile(parse_card(content, source))
    found = card_file_of(read_character(load_json(content, source), source), source)
    return replace(found, picture=content) if is_png(content) else found


def with_clean_picture(file: CardFile) -> CardFile:
    """Return the file with its picture as it can be stored, and a note about the picture."""
    if file.picture is None:
        return file
    try:
        picture = clean_picture(file.picture)
    except CardError as error:
        why = Sentence("The picture was left out: {reason}.", reason=error.sentence)
        return replace(file, picture=None, notes=(*file.notes, why))
    return replace(file, picture=picture, notes=(*file.notes, ITS_PICTURE) if picture else file.notes)


def choose_name(file: CardFile, chosen: str, filename: str) -> str:
    """Return the chosen name, else the card's own, else the file's; raises CardError on an invalid one."""
    return require_name(chosen or file.name or Path(filename).stem)


def write_card_file(card: Card, path: Path) -> None:
    """Write a new file, which reads back as the same card; raises ExportRefused."""
    try:
        with path.open("x", encoding="utf-8") as target:
            target.write(format_card(card))
    except FileExistsError as error:
        raise ExportRefused("{path} already exists: choose a new file", path=path) from error
    except OSError as error:
        raise ExportRefused(
            "{path} cannot be written ({strerror}): choose another folder", path=path, strerror=error.strerror
        ) from error
