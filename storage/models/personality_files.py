"""Exports a personality as a PEFT folder with its card, which peft can load without Reactune."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy.orm import Session

from storage.adapters.folder_store import FILES, AdapterStore
from storage.database.enums import SOURCE_WORDS, GateVerdict, PairSource, TrainingSource
from storage.errors import ExportRefused
from storage.models.base_model import UNKNOWN_LICENCE, BaseModel, licence_of
from storage.personalities import cards, personalities
from storage.releases.versions import Version, line_of_parents, name_of, require_files
from storage.settings.sections import Settings
from storage.training.rounds import Round, find_round
from storage.wording import count

CARD_FILE = "card.toml"
README_FILE = "README.md"

OUTCOMES = {
    GateVerdict.PASS: "passed",
    GateVerdict.FAIL: "failed",
    GateVerdict.NOT_ENOUGH_EVIDENCE: "being compared",
}
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
    """The card's system prompt, or else the one in the settings."""
    versions: tuple[Version, ...]
    rounds: tuple[Round | None, ...]


def read_provenance(
    session: Session, personality: personalities.Personality, version: Version, settings: Settings
) -> Provenance:
    """Return the version's origin; raises VersionWithdrawn."""
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
            for name in FILES:
                shutil.copyfile(source / name, target / name)
            (target / CARD_FILE).write_text(cards.format_card(origin.personality.card), encoding="utf-8")
            known = base if origin.versions[0].base_revision == base.revision else None
            (target / README_FILE).write_text(model_card(origin, known), encoding="utf-8")
        except OSError:
            shutil.rmtree(target, ignore_errors=True)
            raise
    except FileExistsError as error:
        raise ExportRefused("{target} already exists: choose a new folder", target=target) from error
    except OSError as error:
        raise ExportRefused(
            "{target} cannot be written ({strerror}): choose another folder", target=target, strerror=error.strerror
        ) from error


def zip_version(store: AdapterStore, base: BaseModel, origin: Provenance) -> bytes:
    """Return the export as a zip file."""
    with tempfile.TemporaryDirectory() as folder:
        export_version(store, base, origin, Path(folder) / "export")
        archive = shutil.make_archive(str(Path(folder) / "packed"), "zip", Path(folder) / "export")
        return Path(archive).read_bytes()


def model_card(origin: Provenance, base: BaseModel | None) -> str:
    """Return the model card as Markdown, with the metadata that model hubs read; it names no people.

    `base` is the version's base, or None if another one is configured now.
    """
    version, personality = origin.versions[0], origin.personality
    licence = licence_of(base) if base else UNKNOWN_LICENCE
    sees = base is not None and base.architecture.endswith("ForConditionalGeneration")
    model_class = "AutoModelForImageTextToText" if sees else "AutoModelForCausalLM"
    parts = [
        f"---\nlibrary_name: peft\nbase_model: {version.base_name}\nlicense: {licence}\ntags: [lora, trl]\n---",
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
        "## History and training data",
        "\n".join(_lineage(origin)),
        "## Measured",
        "\n".join(_measured(origin.rounds[0])),
        f"Digest of the adapter: `{version.digest}`",
    ]
    return "\n\n".join(filter(None, parts)) + "\n"


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
    sources = _sources(round_.learned_from.get("pairs_by_source", {}))
    votes = count(round_.learned_from.get("votes", 0), "vote")
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
    checks = [f"- {check['name']}: {check['sentence']} ({OUTCOMES[check['outcome']]})" for check in gate["checks"]]
    return [f"The checks: **{OUTCOMES[gate['verdict']]}**.", "", *checks]
