"""Exports and imports a personality as a PEFT folder with its cards, which peft loads without Reactune too."""

from __future__ import annotations

import contextlib
import json
import shutil
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy.orm import Session

from storage.adapters.folder_store import CHECKSUMS_FILE, CONFIG_FILE, WEIGHTS_FILE, AdapterStore
from storage.database.database import Database
from storage.database.enums import SOURCE_WORDS, GateVerdict, PairSource, TrainingSource
from storage.errors import AdapterError, ExportRefused
from storage.models.adapter_checks import largest_export, refuse_pickles, servable_config
from storage.models.base_model import UNKNOWN_LICENCE, BaseModel, licence_of
from storage.personalities import cards, personalities
from storage.releases.versions import (
    Version,
    learned_from_deleted_data,
    line_of_parents,
    name_of,
    register,
    require_files,
    was_withdrawn_for_deletion,
)
from storage.settings.sections import Settings
from storage.training.rounds import Round, find_round
from storage.wording import count

CARD_FILE = "card.toml"
README_FILE = "README.md"
COPIED_BYTES = 1_000_000
TAKEN_FILES = (CONFIG_FILE, WEIGHTS_FILE, CHECKSUMS_FILE, CARD_FILE)

USE = """\
```python
from peft import PeftModel
from transformers import {model_class}, AutoTokenizer

model = {model_class}.from_pretrained("path or hub id of {base}")
model = PeftModel.from_pretrained(model, "this folder")
tokenizer = AutoTokenizer.from_pretrained("path or hub id of {base}")
```"""


@dataclass(frozen=True)
class Provenance:
    """A version's origin: the version and its ancestors, newest first, with the round that made each."""

    personality: personalities.Personality
    system_prompt: str
    """The card's, or else the one in the settings."""
    versions: tuple[Version, ...]
    rounds: tuple[Round | None, ...]


def read_provenance(
    session: Session, personality: personalities.Personality, version: Version, settings: Settings
) -> Provenance:
    """Return where the version comes from; raises VersionWithdrawn."""
    require_files(version)
    line = tuple(line_of_parents(session, version.id))
    rounds = tuple(find_round(session, v.round_id) if v.round_id else None for v in line)
    return Provenance(personality, cards.settings_of(settings, personality.card).chat.system_prompt, line, rounds)


def export_version(store: AdapterStore, base: BaseModel, origin: Provenance, target: Path) -> None:
    """Write the version's adapter, the personality's card and a model card into a new folder.

    Raises ExportRefused if the folder exists or cannot be written, AdapterError on damaged files.
    """
    source = store.path(origin.versions[0].digest)
    try:
        target.mkdir(parents=True)
        try:
            for name in (CONFIG_FILE, WEIGHTS_FILE, CHECKSUMS_FILE):
                shutil.copyfile(source / name, target / name)
            (target / CARD_FILE).write_text(cards.format_card(origin.personality.card), encoding="utf-8")
            known = base if origin.versions[0].base_revision == base.revision else None
            (target / README_FILE).write_text(model_card(origin, known), encoding="utf-8")
        except OSError:
            shutil.rmtree(target, ignore_errors=True)
            raise
    except FileExistsError as error:
        raise ExportRefused(f"{target} already exists: choose a new folder") from error
    except OSError as error:
        raise ExportRefused(f"{target} cannot be written ({error.strerror}): choose another folder") from error


def zip_version(store: AdapterStore, base: BaseModel, origin: Provenance) -> bytes:
    """Return the export as a zip file."""
    with tempfile.TemporaryDirectory() as folder:
        export_version(store, base, origin, Path(folder) / "export")
        archive = shutil.make_archive(str(Path(folder) / "packed"), "zip", Path(folder) / "export")
        return Path(archive).read_bytes()


def model_card(origin: Provenance, base: BaseModel | None) -> str:
    """Return the model card as Markdown, with the metadata that model hubs read; it names no people.

    `base` is the version's, or None if another one is configured now.
    """
    version, personality = origin.versions[0], origin.personality
    licence = licence_of(base) if base else UNKNOWN_LICENCE
    sees = base is not None and base.architecture.endswith("ForConditionalGeneration")
    model_class = "AutoModelForImageTextToText" if sees else "AutoModelForCausalLM"
    parts = [
        _metadata(version, licence),
        f"# {personality.name} {version.name}",
        personality.card.description,
        f"A LoRA adapter that gives **{version.base_name}** a personality, made with Reactune. It changes how the "
        "model talks; it adds no facts.",
        "## Use",
        USE.format(base=version.base_name, model_class=model_class),
        f"System prompt: *{' '.join(origin.system_prompt.split())}*",
        "## Base",
        f"{version.base_name}; its weights and tokenizer have the digest `{version.base_revision}`. "
        f"Licence of the base: {licence}.",
        "## Lineage and training data",
        "\n".join(_lineage(origin)),
        "## Measured",
        "\n".join(_measured(origin.rounds[0])),
        f"Digest of the adapter: `{version.digest}`",
    ]
    return "\n\n".join(filter(None, parts)) + "\n"


def _metadata(version: Version, licence: str) -> str:
    return f"---\nlibrary_name: peft\nbase_model: {version.base_name}\nlicense: {licence}\ntags: [lora, trl]\n---"


def _lineage(origin: Provenance) -> Iterator[str]:
    parents = [*origin.versions[1:], None]
    for version, parent, round_ in zip(origin.versions, parents, origin.rounds, strict=True):
        made = _made_from(round_) if round_ else "imported"
        yield f"- **{version.name}**, from {name_of(parent)}: {made}"
    if origin.versions[0].trained_on_deleted_data:
        yield "- It learned from data that a member later deleted."


def _made_from(round_: Round) -> str:
    metrics = round_.metrics
    if round_.learns_from is TrainingSource.EXAMPLES:
        return f"{count(metrics.get('pairs', 0), 'example answer')} from the card"
    sources = _sources(round_.evidence.get("pairs_by_source", {}))
    votes = count(round_.evidence.get("votes", 0), "vote")
    return f"{count(metrics.get('pairs', 0), 'pair')}{sources}, from {votes}"


def _sources(by_source: Mapping[str, int]) -> str:
    words = ", ".join(
        f"{number} from {SOURCE_WORDS[PairSource(source)]}" for source, number in by_source.items() if number
    )
    return f" ({words})" if words else ""


def _measured(round_: Round | None) -> Sequence[str]:
    gate: Mapping[str, Any] = round_.gate if round_ else {}
    if not gate:
        return ["It was not measured here."]
    checks = [f"- {check['name']}: {check['sentence']} ({check['outcome']})" for check in gate["checks"]]
    return [f"The gate's verdict is **{gate['verdict']}**.", "", *checks]


@dataclass(frozen=True)
class ImportedPersonality:
    personality: personalities.Personality
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
    may_change: Callable[[personalities.Personality], None] = lambda _personality: None,
) -> ImportedPersonality:
    """Import a card, an exported folder or a zip of one into the personality of that name, and return what changed.

    `model_base` is the value of model.base. `may_change` raises if an existing personality must not be changed.
    Raises CardError, AdapterError, PersonalityNotFound and PersonalityConflict; then nothing is registered.
    """
    cards.require_name(name)
    with store.registering():
        if path.suffix == personalities.CARD_SUFFIX:
            card: cards.Card | None = cards.read_card_file(path)
            digest: str | None = None
        else:
            with unpacked(path, largest_export(base)) as folder:
                card = read_export_card(folder)
                digest = import_adapter(store, folder, base)
        if card is not None:
            cards.require_meant_for(card, model_base, path.name)
        with database.transaction() as session:
            return register_import(
                session, name, card, digest=digest, base=base, by=by, guild_id=guild_id, may_change=may_change
            )


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


def register_import(
    session: Session,
    name: str,
    card: cards.Card | None,
    *,
    digest: str | None,
    base: BaseModel,
    by: str,
    guild_id: int | None = None,
    may_change: Callable[[personalities.Personality], None] = lambda _personality: None,
) -> ImportedPersonality:
    """Set the personality's card, and register the published adapter as a version that no gate has judged.

    With a card, a personality that does not exist is created. Raises PersonalityNotFound if there is no card either,
    PersonalityConflict if the name is taken in another server, AdapterError if the adapter was withdrawn here because
    of deleted data.
    """
    known = {personality.name for personality in personalities.list_personalities(session, guild_id, archived=None)}
    is_new, changed = name not in known, False
    if is_new and card is not None:
        personality = personalities.create_personality(session, name, card, by=by, guild_id=guild_id)
    else:
        personality = personalities.personality_named(session, name, guild_id)
        may_change(personality)
        changed = card is not None and personalities.change_card(session, personality, card, by=by)
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
