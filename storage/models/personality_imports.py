"""Imports a personality: a card in any format, or an adapter with its card as `personality_files` exports it."""

from __future__ import annotations

import contextlib
import json
import shutil
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from sqlalchemy.orm import Session

from storage.adapters.folder_store import CONFIG_FILE, FILES, WEIGHTS_FILE, AdapterStore
from storage.database.database import Database
from storage.database.enums import GateVerdict
from storage.errors import AdapterError, PersonalityConflict
from storage.models.adapter_checks import largest_export, refuse_pickles, servable_config
from storage.models.base_model import BaseModel
from storage.models.personality_files import CARD_FILE
from storage.personalities import cards, personalities
from storage.personalities.card_files import choose_name, read_any_card, with_clean_picture
from storage.personalities.pictures import set_picture
from storage.releases.versions import (
    NewVersion,
    Version,
    learned_from_deleted_data,
    register,
    was_withdrawn_for_deletion,
)

ZIP_SUFFIX = ".zip"
COPIED_BYTES = 1_000_000
TAKEN_FILES = (*FILES, CARD_FILE)


@dataclass(frozen=True)
class ImportRequest:
    by: str
    model_base: str
    """The value of model.base: a card may be meant for other bases only."""
    name: str = ""
    """The personality's name; if empty, it is the card's own, or else the file's."""
    guild_id: int | None = None
    """The server of a new personality; None for one of the operator's."""
    may_change: Callable[[personalities.Personality], None] = lambda _personality: None
    """Raises an error if an existing personality must not be changed."""


@dataclass(frozen=True)
class ImportedPersonality:
    personality: personalities.Personality
    is_new: bool
    card_changed: bool
    version: Version | None
    """The version with the adapter; None if only a card was imported."""
    lorebook: tuple[cards.LorebookEntry, ...] = ()
    """The card's lorebook, which belongs in a server's documents; it is not stored yet."""
    notes: tuple[str, ...] = ()
    """Sentences about the parts of the card that were used, and those that were not."""


@contextlib.contextmanager
def unpacked(path: Path, limit_bytes: int) -> Iterator[Path]:
    """Yield the folder of an export; for a zip, a temporary folder with the accepted files from anywhere in it.

    Raises AdapterError if the path is neither, if the zip is broken, or if it unpacks to more than `limit_bytes`.
    """
    if path.is_dir():
        yield path
        return
    with tempfile.TemporaryDirectory() as folder:
        try:
            with zipfile.ZipFile(path) as archive:
                _unpack(archive, Path(folder), path.name, limit_bytes)
        except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as error:
            raise AdapterError(
                "{name} is not a readable zip file ({error}): export it again", name=path.name, error=error
            ) from error
        except OSError as error:
            raise AdapterError(
                "{path} cannot be read ({strerror}): check the path", path=path, strerror=error.strerror
            ) from error
        yield Path(folder)


def import_personality_file(
    database: Database, store: AdapterStore, base: BaseModel, path: Path, request: ImportRequest
) -> ImportedPersonality:
    """Import a card in any format, an exported folder or a zip of one into a personality, and return the changes.

    Raises CardError, AdapterError, PersonalityNotFound and PersonalityConflict; nothing is registered then.
    """
    if not path.is_dir() and path.suffix.lower() != ZIP_SUFFIX:
        file = with_clean_picture(read_any_card(path))
        with database.transaction() as session:
            return register_card(session, file, path.name, request)
    named = replace(request, name=request.name or path.stem)
    cards.require_name(named.name)
    with store.registering():
        with unpacked(path, largest_export(base)) as folder:
            card = read_export_card(folder)
            digest = import_adapter(store, folder, base)
        if card is not None:
            cards.require_meant_for(card, request.model_base, path.name)
        with database.transaction() as session:
            return register_import(session, card, digest, base, named)


def read_export_card(folder: Path) -> cards.Card | None:
    """Return the card in an export's folder, or None; raises CardError on a broken one."""
    card = folder / CARD_FILE
    return cards.read_card_file(card) if card.is_file() else None


def import_adapter(store: AdapterStore, folder: Path, base: BaseModel) -> str:
    """Publish the adapter in a PEFT folder and return its digest; raises AdapterError if it cannot be served."""
    config = servable_config(folder, base)
    with store.stage() as staging:
        shutil.copyfile(folder / WEIGHTS_FILE, staging / WEIGHTS_FILE)
        (staging / CONFIG_FILE).write_text(json.dumps(config), encoding="utf-8")
        return store.publish(staging)


def register_card(session: Session, file: cards.CardFile, filename: str, request: ImportRequest) -> ImportedPersonality:
    """Set the file's card for the personality with the chosen name, else the card's own name, else the file's.

    The file's picture must be clean. Raises CardError and PersonalityConflict, the latter also if the name comes only
    from the card and the personality exists: nobody saw that name before.
    """
    cards.require_meant_for(file.card, request.model_base, filename)
    name = choose_name(file, request.name, filename)

    def may_change_named(personality: personalities.Personality) -> None:
        if not request.name and file.name:
            raise PersonalityConflict(
                "{filename} calls itself {name}, and that personality exists: repeat with the name "
                "{name} to change its card, or with another name",
                filename=filename,
                name=name,
            )
        request.may_change(personality)

    imported = _set_card(session, file.card, replace(request, name=name, may_change=may_change_named))
    if file.picture is not None:
        set_picture(session, imported.personality.id, file.picture)
    return replace(imported, lorebook=file.lorebook, notes=file.notes)


def register_import(
    session: Session, card: cards.Card | None, digest: str, base: BaseModel, request: ImportRequest
) -> ImportedPersonality:
    """Set the personality's card, and register the published adapter as a version that no gate has judged.

    If there is a card, a missing personality is created. Raises PersonalityNotFound if there is no card either,
    PersonalityConflict if the name is taken in another server, AdapterError if the adapter was withdrawn here because
    of deleted data.
    """
    imported = _set_card(session, card, request)
    if was_withdrawn_for_deletion(session, digest):
        raise AdapterError(
            "this adapter was withdrawn here because it was trained on since-deleted data: import another one"
        )
    version = register(
        session,
        imported.personality.id,
        NewVersion(
            digest=digest,
            base_name=base.name,
            base_revision=base.revision,
            parent_id=None,
            round_id=None,
            metrics={},
            verdict=GateVerdict.NOT_ENOUGH_EVIDENCE,
            trained_on_deleted_data=learned_from_deleted_data(session, digest),
        ),
    )
    return replace(imported, version=version)


def _set_card(session: Session, card: cards.Card | None, request: ImportRequest) -> ImportedPersonality:
    """Create the personality; if it exists, change its card."""
    name, guild_id, by = request.name, request.guild_id, request.by
    known = {personality.name for personality in personalities.list_personalities(session, guild_id, archived=None)}
    if card is not None and name not in known:
        return ImportedPersonality(
            personalities.create_personality(session, name, card, by=by, guild_id=guild_id), True, False, None
        )
    personality = personalities.personality_named(session, name, guild_id)
    request.may_change(personality)
    changed = card is not None and personalities.change_card(session, personality, card, by=by)
    return ImportedPersonality(personality, False, changed, None)


def _unpack(archive: zipfile.ZipFile, folder: Path, source: str, limit_bytes: int) -> None:
    members = {Path(info.filename).name: info for info in archive.infolist() if not info.is_dir()}
    refuse_pickles(members)
    taken = {name: members[name] for name in TAKEN_FILES if name in members}
    if sum(info.file_size for info in taken.values()) > limit_bytes:
        raise AdapterError(
            "{source} unpacks to more than {limit} bytes, too large for an adapter of this base: export it again",
            source=source,
            limit=limit_bytes,
        )
    for name, info in taken.items():
        # zipfile reads at most the size that a member declares, so a false size cannot unpack more.
        with archive.open(info) as packed, (folder / name).open("wb") as file:
            shutil.copyfileobj(packed, file, COPIED_BYTES)
