"""Personalities taken elsewhere and back: plain peft loads them, and nothing that could do harm is taken."""

from __future__ import annotations

import shutil
import threading
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM

from storage.adapters.folder_store import WEIGHTS_FILE, AdapterStore
from storage.database.database import Database
from storage.database.enums import GateVerdict
from storage.database.tables import VersionRow
from storage.errors import AdapterError, ExportRefused, PersonalityNotFound
from storage.models.adapter_checks import largest_export, require_base
from storage.models.base_model import BaseModel
from storage.models.personality_files import (
    CARD_FILE,
    README_FILE,
    Provenance,
    export_version,
    read_provenance,
    zip_version,
)
from storage.models.personality_imports import (
    ImportRequest,
    import_adapter,
    read_export_card,
    register_card,
    register_import,
    unpacked,
)
from storage.personalities.cards import Card, CardFile, Example
from storage.personalities.personalities import create_personality, personality_named
from storage.settings.sections import Settings
from tests.past import add_round, add_version

LIMIT = 10_000_000
AS_COPY = ImportRequest("grace", "bundled", "copy")
KEEPER = Card(system_prompt="You keep a lighthouse.", examples=(Example(dialogue=("Hi", "Evening.")),))
GATE = {"verdict": "pass", "checks": [{"name": "retention", "outcome": "pass", "sentence": "the loss is 1.010"}]}


@pytest.fixture
def database(on_sqlite: Database) -> Database:
    """What is exported is files: one kind of database tells it all."""
    return on_sqlite


@pytest.fixture
def origin(database: Database, store: AdapterStore, trained: Path, base: BaseModel) -> Provenance:
    """keeper v1, made by a round of 12 pairs."""
    with store.stage() as staging:
        shutil.copytree(trained, staging, dirs_exist_ok=True)
        digest = store.publish(staging)
    with database.transaction() as session:
        keeper = create_personality(session, "keeper", KEEPER, by="grace")
        learned_from = {"pairs_by_source": {"siblings": 9, "correction": 3}, "votes": 40}
        whose = {"personality_id": keeper.id}
        round_id = add_round(session, 1, metrics={"pairs": 12}, learned_from=learned_from, gate=GATE, **whose)
        of_base = {"base_name": base.name, "base_revision": base.revision}
        version = add_version(session, round_id, digest=digest, **of_base, **whose)
        return read_provenance(session, keeper, version, Settings())


@pytest.fixture
def export(origin: Provenance, store: AdapterStore, base: BaseModel, tmp_path: Path) -> Path:
    export_version(store, base, origin, tmp_path / "export")
    return tmp_path / "export"


def logits(model: torch.nn.Module) -> torch.Tensor:
    with torch.inference_mode():
        return model(input_ids=torch.arange(10)[None]).logits  # type: ignore[no-any-return]


# Out


def test_plain_peft_loads_an_export_and_computes_the_same(export: Path, trained: Path, base: BaseModel) -> None:
    loaded, made = (
        PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base.path), folder)
        for folder in (export, trained)
    )
    assert torch.equal(logits(loaded), logits(made))
    assert not torch.equal(logits(loaded), logits(AutoModelForCausalLM.from_pretrained(base.path)))


def test_the_model_card_says_base_lineage_data_numbers_and_licence(export: Path, base: BaseModel) -> None:
    text = (export / README_FILE).read_text()
    assert text.startswith("---\nlibrary_name: peft\nbase_model: tiny\nlicense: unknown\n")
    assert (
        "- **v1**, from base: 12 pairs (9 from answers to the same question, 3 from suggestions), from 40 votes" in text
    )
    assert "- retention: the loss is 1.010 (passed)" in text
    assert base.revision in text
    assert "System prompt: *You keep a lighthouse.*" in text
    assert "grace" not in text


def test_nothing_is_overwritten(export: Path, origin: Provenance, store: AdapterStore, base: BaseModel) -> None:
    with pytest.raises(ExportRefused, match="already exists"):
        export_version(store, base, origin, export)
    with pytest.raises(ExportRefused, match="cannot be written"):
        export_version(store, base, origin, export / README_FILE / "x")


# Back in


def test_a_zipped_export_comes_back_byte_for_byte(
    origin: Provenance, store: AdapterStore, base: BaseModel, tmp_path: Path
) -> None:
    (tmp_path / "keeper.zip").write_bytes(zip_version(store, base, origin))
    elsewhere = AdapterStore(tmp_path / "elsewhere")
    with unpacked(tmp_path / "keeper.zip", LIMIT) as folder:
        assert read_export_card(folder) == KEEPER
        digest = import_adapter(elsewhere, folder, base)
    assert digest == origin.versions[0].digest
    require_base(elsewhere.path(digest), base)


def test_an_imported_adapter_is_a_version_that_no_gate_has_judged(
    database: Database, base: BaseModel, export: Path
) -> None:
    with database.transaction() as session:
        imported = register_import(session, KEEPER, "d" * 64, base, AS_COPY)
        assert imported.is_new
        assert (imported.version.name, imported.version.verdict) == ("v1", GateVerdict.NOT_ENOUGH_EVIDENCE)
        changed = CardFile(Card(system_prompt="x"))
        again = register_card(session, changed, "x.toml", AS_COPY)
        assert (again.is_new, again.card_changed, again.version) == (False, True, None)
        assert personality_named(session, "copy").card.system_prompt == "x"
        with pytest.raises(PersonalityNotFound):
            register_import(session, None, "d" * 64, base, replace(AS_COPY, name="nobody"))


def test_plain_peft_output_is_taken(store: AdapterStore, trained: Path, base: BaseModel) -> None:
    require_base(store.path(import_adapter(store, trained, base)), base)
    assert read_export_card(trained) is None


@pytest.mark.parametrize("name", ["adapter_model.bin", "optimizer.pt", "x.pkl"])
def test_pickles_are_refused(store: AdapterStore, export: Path, base: BaseModel, name: str, tmp_path: Path) -> None:
    (export / name).write_bytes(b"\x80\x04.")
    with pytest.raises(AdapterError, match="may contain a pickle"):
        import_adapter(store, export, base)
    archive = shutil.make_archive(str(tmp_path / "packed"), "zip", export)
    with pytest.raises(AdapterError, match="may contain a pickle"), unpacked(Path(archive), LIMIT):
        pass


def test_a_sweep_leaves_an_import_alone_until_its_row_is_written(
    store: AdapterStore, export: Path, base: BaseModel
) -> None:
    with store.registering():
        digest = import_adapter(store, export, base)
        assert AdapterStore(store.path(digest).parent).sweep(set) == 0
    store.path(digest)
    assert store.sweep(set) == 1


def test_a_sweep_knows_an_adapter_that_was_imported_just_before_it(
    store: AdapterStore, export: Path, base: BaseModel
) -> None:
    rows: set[str] = set()

    def import_it() -> None:
        with store.registering():
            rows.add(import_adapter(store, export, base))

    importing = threading.Thread(target=import_it)

    def read_known() -> set[str]:
        known = set(rows)
        importing.start()
        importing.join(timeout=0.3)  # it could write its row here
        return known

    store.sweep(read_known)
    importing.join()
    store.path(*rows)


def test_an_import_of_what_learned_from_deleted_data_says_so(
    database: Database, base: BaseModel, origin: Provenance
) -> None:
    with database.transaction() as session:
        session.get_one(VersionRow, origin.versions[0].id).trained_on_deleted_data = True
        digest = origin.versions[0].digest
        imported = register_import(session, KEEPER, digest, base, AS_COPY)
    assert imported.version.trained_on_deleted_data


def test_a_file_that_is_not_a_zip_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x.zip").write_bytes(b"PK no")
    with pytest.raises(AdapterError, match=r"x\.zip is not a readable zip file"), unpacked(tmp_path / "x.zip", LIMIT):
        pass
    with pytest.raises(AdapterError, match="cannot be read"), unpacked(tmp_path / "none.zip", LIMIT):
        pass


def test_a_zip_bomb_is_not_unpacked(tmp_path: Path, base: BaseModel) -> None:
    limit = largest_export(base)
    with zipfile.ZipFile(tmp_path / "x.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(WEIGHTS_FILE, b"\0" * (limit + 1))
    with pytest.raises(AdapterError, match="unpacks to more than"), unpacked(tmp_path / "x.zip", limit):
        pass


def test_a_zip_with_a_broken_member_is_refused(export: Path, tmp_path: Path) -> None:
    path = Path(shutil.make_archive(str(tmp_path / "x"), "zip", export))
    content = bytearray(path.read_bytes())
    content[len(content) // 2 : len(content) // 2 + 200] = b"\xff" * 200
    path.write_bytes(content)
    with pytest.raises(AdapterError, match="not a readable zip"), unpacked(path, LIMIT):
        pass


def test_only_the_files_that_are_taken_are_unpacked_whatever_their_folder(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        archive.writestr(f"../../deep/{CARD_FILE}", "system_prompt = 'x'")
        archive.writestr("../evil.py", "boom")
    with unpacked(tmp_path / "x.zip", LIMIT) as folder:
        assert [path.name for path in folder.iterdir()] == [CARD_FILE]
