"""Imports a personality from a card, a PEFT folder or a zip of one: completely, or not at all."""

from __future__ import annotations

import contextlib
import json
import shutil
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy.orm import Session

from storage.adapters.files import CHECKSUMS_FILE, CONFIG_FILE, WEIGHTS_FILE
from storage.adapters.folder_store import AdapterStore
from storage.database.database import Database
from storage.database.enums import GateVerdict
from storage.errors import AdapterError
from storage.models.adapter_checks import largest_export, refuse_pickles, servable_config
from storage.models.base_model import BaseModel
from storage.models.personality_export import CARD_FILE
from storage.personalities.cards import Card, read_card_file, require_meant_for, require_name
from storage.personalities.personalities import (
    CARD_SUFFIX,
    Personality,
    change_card,
    create_personality,
    list_personalities,
    personality_named,
)
from storage.releases.versions import Version, learned_from_deleted_data, register, was_withdrawn_for_deletion

COPIED_BYTES = 1_000_000
TAKEN_FILES = (CONFIG_FILE, WEIGHTS_FILE, CHECKSUMS_FILE, CARD_FILE)


@dataclass(frozen=True)
class ImportedPersonality:
    """The result of an import."""

    personality: Personality
    is_new: bool
    card_changed: bool
    version: Version | None
    """The adapter's; None if only a card was imported."""


@contextlib.contextmanager
def unpacked(path: Path, limit_bytes: int) -> Iterator[Path]:
    """Yield the folder of an export; for a zip, a temporary folder with the accepted files from anywhere in it.

    Raises AdapterError if it is neither, if the zip is broken, and if it unpacks to more than `limit_bytes`.
    """
    if path.is_dir():
        yield path
        return
    with tempfile.TemporaryDirectory() as folder:
        try:
            with zipfile.ZipFile(path) as archive:
                _unpack(archive, Path(folder), path.name, limit_bytes)
        except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as error:
            raise AdapterError(f"{path.name} is not a readable zip file ({error}): export it again") from error
        except OSError as error:
            raise AdapterError(f"{path} cannot be read ({error.strerror}): check the path") from error
        yield Path(folder)


def import_personality_file(
    database: Database,
    store: AdapterStore,
    base: BaseModel,
    path: Path,
    *,
    name: str,
    model_base: str,
    by: str,
    guild_id: int | None = None,
    may_change: Callable[[Personality], None] = lambda _personality: None,
) -> ImportedPersonality:
    """Import a card, an exported folder or a zip of one into the personality of that name, and return what changed.

    `model_base` is the value of model.base. `may_change` raises if an existing personality must not be changed.
    Raises CardError, AdapterError, PersonalityNotFound and PersonalityConflict; then nothing is registered.
    """
    require_name(name)
    with store.registering():
        if path.suffix == CARD_SUFFIX:
            card: Card | None = read_card_file(path)
            digest: str | None = None
        else:
            with unpacked(path, largest_export(base)) as folder:
                card = read_export_card(folder)
                digest = import_adapter(store, folder, base)
        if card is not None:
            require_meant_for(card, model_base, path.name)
        with database.transaction() as session:
            return register_import(
                session, name, card, digest=digest, base=base, by=by, guild_id=guild_id, may_change=may_change
            )


def read_export_card(folder: Path) -> Card | None:
    """Return the card in an export's folder, or None; raises CardError on a broken one."""
    card = folder / CARD_FILE
    return read_card_file(card) if card.is_file() else None


def import_adapter(store: AdapterStore, folder: Path, base: BaseModel) -> str:
    """Publish the adapter in a PEFT folder and return its digest; raises AdapterError if it cannot be served."""
    config = servable_config(folder, base)
    with store.stage() as staging:
        shutil.copyfile(folder / WEIGHTS_FILE, staging / WEIGHTS_FILE)
        (staging / CONFIG_FILE).write_text(json.dumps(config), encoding="utf-8")
        return store.publish(staging)


def register_import(
    session: Session,
    name: str,
    card: Card | None,
    *,
    digest: str | None,
    base: BaseModel,
    by: str,
    guild_id: int | None = None,
    may_change: Callable[[Personality], None] = lambda _personality: None,
) -> ImportedPersonality:
    """Set the personality's card, and register the published adapter as a version that no gate has judged.

    With a card, a personality that does not exist is created. Raises PersonalityNotFound if there is no card either,
    PersonalityConflict if the name is taken in another server, AdapterError if the adapter was withdrawn here because
    of deleted data.
    """
    known = {personality.name for personality in list_personalities(session, guild_id, archived=None)}
    is_new, changed = name not in known, False
    if is_new and card is not None:
        personality = create_personality(session, name, card, by=by, guild_id=guild_id)
    else:
        personality = personality_named(session, name, guild_id)
        may_change(personality)
        changed = card is not None and change_card(session, personality, card, by=by)
    if digest is None:
        return ImportedPersonality(personality, is_new, changed, None)
    if was_withdrawn_for_deletion(session, digest):
        raise AdapterError(
            "this adapter was withdrawn here because it was trained on since-deleted data: import another one"
        )
    version = register(
        session,
        personality.id,
        digest=digest,
        base_name=base.name,
        base_revision=base.revision,
        parent_id=None,
        round_id=None,
        metrics={},
        verdict=GateVerdict.NOT_ENOUGH_EVIDENCE,
        trained_on_deleted_data=learned_from_deleted_data(session, digest),
    )
    return ImportedPersonality(personality, is_new, changed, version)


def _unpack(archive: zipfile.ZipFile, folder: Path, source: str, limit_bytes: int) -> None:
    members = {Path(info.filename).name: info for info in archive.infolist() if not info.is_dir()}
    refuse_pickles(members)
    taken = {name: members[name] for name in TAKEN_FILES if name in members}
    if sum(info.file_size for info in taken.values()) > limit_bytes:
        raise AdapterError(
            f"{source} unpacks to more than {limit_bytes:,} bytes, too large for an adapter of this base: export it "
            "again"
        )
    for name, info in taken.items():
        # zipfile reads at most the size that a member declares, so a false size does not unpack more.
        with archive.open(info) as packed, (folder / name).open("wb") as file:
            shutil.copyfileobj(packed, file, COPIED_BYTES)
