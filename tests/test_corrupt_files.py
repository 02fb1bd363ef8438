"""Damaged files of every kind that the program reads: it works, or a sentence of ours says what is wrong.

Each kind writes a sound file, lets Hypothesis damage it, and reads it as the program does. Whatever is raised other
than the errors named here, a changed input and a hang are defects.
"""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import hashlib
import json
import re
import shutil
import tempfile
import time
import zipfile
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from sqlalchemy import text
from sqlalchemy.exc import DatabaseError as DamagedDatabase

from bot.engine.transformers.engine import LocalEngine
from bot.errors import BotError
from bot.knowledge.extraction import extract
from storage.adapters.folder_store import AdapterStore
from storage.adapters.stores import open_store
from storage.backups.backup import make_backup, restore_backup
from storage.conversations.prompt_bank import read_bank
from storage.database.database import open_database
from storage.errors import SettingsError, StorageError
from storage.models.base_model import BaseModel, load_tokenizer, resolve_base_model
from storage.models.openvino.graph_cache import GraphCache, graph_folder
from storage.models.openvino.verifier import Verifier
from storage.models.personality_imports import import_adapter, read_export_card, unpacked
from storage.personalities.card_files import read_any_card
from storage.personalities.cards import Card, format_card, read_card_file
from storage.personalities.personalities import ensure_personality
from storage.releases.versions import NewVersion, Version, list_versions, register
from storage.settings.loading import load_settings
from storage.settings.sections import (
    DataSettings,
    GateSettings,
    GenerationSettings,
    KnowledgeSettings,
    ModelSettings,
    Settings,
)
from tests.bot.knowledge.test_extraction import docx, pdf
from tests.storage.personalities.test_tavern import card_of, picture_of
from tests.tiny_model import build_tiny_base
from trainer.errors import TrainerError
from trainer.evaluation.suites import load_suites
from trainer.exchange import import_file

OURS = (StorageError, BotError, TrainerError)
LONGEST_S = 20.0
EXAMPLES = 15
SLOW_TO_READ = ("config.toml", "imported pairs", "base model", "SQLite", "backup")
FEW = 5
MENDED = ("verdict on graphs",)
"""Files that are made again if they cannot be read."""
TOKENS = (
    b"",
    b"\x00",
    b"\xff\xfe",
    b"\xef\xbb\xbf",
    b"[" * 50_000,
    b'{"a":' * 50_000,
    b"null",
    b"-1",
    b"1e999",
    b"NaN",
    b"9" * 5_000,
    b'"""',
    b"\r\n",
    "👍".encode(),
    b"\xf0\x9f",
    b"../../../etc/passwd",
    b"%s%n{0}",
    b"true",
    b"\n\n\n",
    b"=",
)


def _damaged(sound: bytes) -> st.SearchStrategy[bytes]:
    """Return a strategy of files that were this one: bits flipped, parts cut, repeated, replaced, or all of it gone."""
    place = st.integers(0, max(len(sound) - 1, 0))

    def flip(places: list[int]) -> bytes:
        content = bytearray(sound)
        for where in places:
            if content:
                content[where] ^= 1 << (where % 8)
        return bytes(content)

    def replace(where: int, length: int, token: bytes) -> bytes:
        return sound[:where] + token + sound[where + length :]

    return st.one_of(
        st.builds(flip, st.lists(place, min_size=1, max_size=8)),
        st.builds(lambda where: sound[:where], place),
        st.builds(replace, place, st.integers(0, 40), st.sampled_from(TOKENS) | st.binary(max_size=30)),
        st.binary(max_size=300),
        st.builds(lambda where: sound[where:] + sound[:where], place),
    )


@dataclass(frozen=True)
class Kind:
    """A kind of file: what a sound one holds, and how the program reads it."""

    name: str
    sound: bytes
    read: Callable[[bytes], object]
    """Takes a damaged content."""


def _check(kind: Kind, examples: int, *, shrinks: bool = True) -> int:
    """Read `examples` damaged files, and return how many were refused; raises at the first defect, made small."""
    refused = 0

    @settings(
        max_examples=examples,
        deadline=None,
        database=None,
        derandomize=True,
        suppress_health_check=list(HealthCheck),
        phases=(Phase.generate, Phase.shrink) if shrinks else (Phase.generate,),
    )
    @given(_damaged(kind.sound))
    def read(content: bytes) -> None:
        nonlocal refused
        began_s = time.perf_counter()
        try:
            kind.read(content)
        except OURS as error:
            refused += 1
            if not str(error).strip() or "Traceback" in str(error):
                raise AssertionError("the error is no sentence") from error
        assert time.perf_counter() - began_s < LONGEST_S, "it took too long"

    read()
    return refused


def _kinds(folder: Path, base: BaseModel) -> list[Kind]:
    """Return the kinds that are read quickly; `folder` is theirs to write in."""
    every = [*_text_kinds(folder), *_adapter_kinds(folder, base), *_model_kinds(folder), *_database_kinds(folder)]
    return [*every, _verdict_kind(folder, base), *_backup_kinds(folder, base)]


def _slow_kinds(folder: Path, base: BaseModel) -> list[Kind]:
    """Return the kinds that are read by a process, or with a model."""
    return [*_document_kinds(), *_weight_kinds(folder), *_graph_kinds(folder, base)]


def _file(path: Path, read: Callable[[Path], object]) -> Callable[[bytes], object]:
    """Return a reader of contents that looks whether the file is as it was afterwards."""

    def write_and_read(content: bytes) -> object:
        path.write_bytes(content)
        try:
            return read(path)
        finally:
            assert path.read_bytes() == content, "the file was changed"

    return write_and_read


# Text


def _text_kinds(folder: Path) -> list[Kind]:
    root = Path(__file__).parents[1]
    case = {"id": "one", "prompt": "What is 2 + 2?", "must": ["4"], "must_not": ["5"]}
    suite = (json.dumps(case) + "\n" + json.dumps({**case, "id": "two"}) + "\n").encode()
    card = format_card(Card(description="A test", system_prompt="Be brief.")).encode()
    pairs = b'{"prompt": "hi", "chosen": "hello", "rejected": "go away"}\n'
    tiny = Settings.model_validate({"data": {"directory": folder / "pairs"}, "model": {"base": str(folder / "tiny")}})
    with closing(open_database(tiny)):
        pass

    def read_dotenv(_: Path) -> object:
        with contextlib.chdir(folder):
            return load_settings(folder / "empty.toml")

    (folder / "empty.toml").touch()
    return [
        Kind(
            "config.toml",
            re.sub(rb"(?m)^# (?=\w+\.\w+ = )", b"", (root / "config.toml").read_bytes()),
            _file(folder / "config.toml", lambda path: load_settings(path, environment={})),
        ),
        Kind(".env", b'DISCORD_TOKEN="abc"\nREACTUNE_CHAT__COOLDOWN_S=3\n', _file(folder / ".env", read_dotenv)),
        Kind("personality card", card, _file(folder / "card.toml", read_card_file)),
        Kind("character card (JSON)", card_of(), _file(folder / "character.json", read_any_card)),
        Kind("character card (PNG)", picture_of(card_of()), _file(folder / "character.png", read_any_card)),
        Kind(
            "gate suite",
            suite,
            _file(folder / "own.jsonl", lambda path: load_suites(GateSettings(suites=(path,)))),
        ),
        Kind(
            "prompt bank",
            b"# ours\nWhat is rain?\nTell me a joke.\n",
            _file(folder / "bank.txt", lambda p: read_bank(str(p))),
        ),
        Kind("imported pairs", pairs, _file(folder / "pairs.jsonl", lambda path: import_file(tiny, path))),
    ]


# Adapters, exports and models


def _adapter_kinds(folder: Path, base: BaseModel) -> list[Kind]:
    sound = _make_adapter(folder / "made", base)
    store = AdapterStore(folder / "adapters")
    with store.stage() as staging:
        shutil.copytree(sound, staging, dirs_exist_ok=True)
        digest = store.publish(staging)
    published = folder / "adapters" / digest
    found = [
        _in_folder(
            f"published adapter: {name}", published, name, lambda: AdapterStore(folder / "adapters").path(digest)
        )
        for name in ("adapter_config.json", "adapter_model.safetensors", "SHA256SUMS")
    ]

    def take() -> None:
        read_export_card(sound)
        import_adapter(store, sound, base)

    (sound / "card.toml").write_text(format_card(Card(system_prompt="Be brief.")), encoding="utf-8")
    found += [
        _in_folder(f"imported adapter: {name}", sound, name, take)
        for name in ("adapter_config.json", "adapter_model.safetensors", "card.toml")
    ]
    packed = folder / "export.zip"
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in ("adapter_config.json", "adapter_model.safetensors", "card.toml"):
            archive.write(sound / name, name)

    def unpack(path: Path) -> None:
        with unpacked(path, 10_000_000) as unpacked_folder:
            read_export_card(unpacked_folder)
            import_adapter(store, unpacked_folder, base)

    return [*found, Kind("exported zip", packed.read_bytes(), _file(packed, unpack))]


def _in_folder(title: str, folder: Path, name: str, read: Callable[[], object]) -> Kind:
    """Return a kind that damages one file of a folder, and mends it afterwards."""
    sound = (folder / name).read_bytes()

    def write_and_read(content: bytes) -> object:
        (folder / name).write_bytes(content)
        before = _digest(folder)
        try:
            return read()
        finally:
            assert _digest(folder) == before, "the folder was changed"
            (folder / name).write_bytes(sound)

    return Kind(title, sound, write_and_read)


def _digest(folder: Path) -> str:
    parts = [f"{path.name} {hashlib.sha256(path.read_bytes()).hexdigest()}" for path in sorted(folder.iterdir())]
    return "\n".join(parts)


def _make_adapter(folder: Path, base: BaseModel) -> Path:
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(base.path, local_files_only=True)
    config = LoraConfig(r=2, target_modules="all-linear", task_type="CAUSAL_LM", revision=base.revision)
    get_peft_model(model, config).save_pretrained(folder)
    (folder / "README.md").unlink(missing_ok=True)
    return folder


def _model_kinds(folder: Path) -> list[Kind]:
    tiny = folder / "damaged"
    shutil.copytree(folder / "tiny", tiny)

    def load() -> None:
        base = resolve_base_model(str(tiny), folder / "damaged-data")
        load_tokenizer(base.path)

    return [
        _in_folder(f"base model: {name}", tiny, name, load)
        for name in ("config.json", "tokenizer.json", "tokenizer_config.json")
    ]


def _weight_kinds(folder: Path) -> list[Kind]:
    """Weights that answer: an altered file is another model, and an unloadable one is reported."""
    tiny = folder / "weights"
    shutil.copytree(folder / "tiny", tiny)

    async def answer() -> None:
        engine = LocalEngine(tiny, ModelSettings(dtype="float32"), GenerationSettings(max_new_tokens=2))
        try:
            await engine.start()
        finally:
            await engine.close(0.0)

    return [_in_folder("base model: model.safetensors", tiny, "model.safetensors", lambda: asyncio.run(answer()))]


def _verdict_kind(folder: Path, base: BaseModel) -> Kind:
    data = folder / "graph-data"
    verifier = Verifier(base, data, ModelSettings(base=str(base.path), dtype="float32"))
    verdict = graph_folder(base, data) / "verified-float32.json"
    verdict.parent.mkdir(parents=True)
    return Kind(
        "verdict on graphs", b'{"refused": "other words come first"}', _file(verdict, lambda _: verifier.verdict)
    )


def _graph_kinds(folder: Path, base: BaseModel) -> list[Kind]:
    """Graphs of a version: an altered one is made again, with the same weights."""
    cache = GraphCache(base, folder / "graphs", 8)
    made = cache.prepare(None)
    sound = {path.name: path.read_bytes() for path in made.iterdir()}

    def reader(name: str) -> Callable[[bytes], object]:
        def damage(content: bytes) -> None:
            (made / name).write_bytes(content)
            cache.prepare(None)
            assert (made / "openvino_model.bin").read_bytes() == sound["openvino_model.bin"], "other weights"
            _about, *sums = (made / "SHA256SUMS").read_text().splitlines()
            for digest, file in (line.split("  ") for line in sums):
                assert hashlib.sha256((made / file).read_bytes()).hexdigest() == digest, "the graph was not mended"

        return damage

    return [Kind(f"graph: {name}", content, reader(name)) for name, content in sound.items()]


def _database_kinds(folder: Path) -> list[Kind]:
    where = folder / "database"
    where.mkdir()
    url = {"database": {"url": f"sqlite:///{where / 'reactune.db'}?timeout=0.1"}}
    with closing(open_database(Settings.model_validate(url))):
        pass
    sound = (where / "reactune.db").read_bytes()

    def read(content: bytes) -> None:
        for path in where.iterdir():
            path.unlink()
        (where / "reactune.db").write_bytes(content)
        # Past the start SQLite itself says that a page is damaged: members read a sentence, the log the cause.
        with (
            closing(open_database(Settings.model_validate(url))) as database,
            contextlib.suppress(DamagedDatabase, UnicodeDecodeError),
            database.snapshot() as session,
        ):
            session.execute(text("SELECT * FROM replies")).all()

    return [Kind("SQLite database", sound, read)]


def _backup_kinds(folder: Path, base: BaseModel) -> list[Kind]:
    """Backups, and what is packed in them, where gzip's checksum does not help: all is restored, or nothing."""
    file = folder / "backup.tar.gz"
    lived_in = Settings(data=DataSettings(directory=folder / "lived-in"))
    with open_store(lived_in).stage() as staging:
        shutil.copytree(_make_adapter(folder / "backed-up", base), staging, dirs_exist_ok=True)
        digest = open_store(lived_in).publish(staging)
    with closing(open_database(lived_in)) as database, database.transaction() as session:
        common = {"base_name": base.name, "base_revision": base.revision, "parent_id": None, "round_id": None}
        register(session, ensure_personality(session), NewVersion(digest=digest, metrics={}, **common))
    make_backup(lived_in, file, _silently)
    sound, read = file.read_bytes(), _file(file, _restore)
    return [
        Kind("backup", sound, read),
        Kind("backup: tar", gzip.decompress(sound), lambda content: read(gzip.compress(content, 1))),
    ]


def _restore(file: Path) -> None:
    with tempfile.TemporaryDirectory(prefix="reactune-restored-") as name:
        new = Settings(data=DataSettings(directory=Path(name)))
        try:
            restore_backup(new, file, _silently)
        except StorageError:
            assert not _versions_in(new), "a part of a damaged backup was restored"
            raise
        (version,) = _versions_in(new)
        open_store(new).path(version.digest)


def _versions_in(settings: Settings) -> list[Version]:
    with closing(open_database(settings)) as database, database.transaction() as session:
        return list_versions(session, ensure_personality(session))


def _silently(_progress: str) -> None:
    """Nobody watches."""


# Documents


def _document_kinds() -> list[Kind]:
    settings = KnowledgeSettings()

    def reader(name: str) -> Callable[[bytes], object]:
        return lambda content: asyncio.run(extract(content, name, settings))

    return [
        Kind(f"document: {name}", content, reader(name))
        for name, content in (
            ("a.txt", b"Rain falls.\n\nSnow too.\n"),
            ("a.md", b"# Title\n\nText with [a link](https://example.org).\n\n- one\n- two\n"),
            ("a.html", b"<html><body><h1>Title</h1><p>Text</p><table><tr><td>1</td></tr></table></body></html>"),
            ("a.docx", docx()),
            ("a.pdf", pdf("Rain falls.")),
        )
    ]


# Tests


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> BaseModel:
    folder = tmp_path_factory.mktemp("corrupt")
    return resolve_base_model(str(build_tiny_base(folder / "tiny")), folder / "data")


@pytest.mark.filterwarnings("ignore")
def test_a_damaged_file_is_read_or_refused_with_a_sentence(base: BaseModel) -> None:
    for kind in _kinds(base.path.parent, base):
        examples = FEW if kind.name.startswith(SLOW_TO_READ) else EXAMPLES
        refused = _check(kind, examples)
        assert refused > 0 or kind.name in MENDED, f"no damaged file was refused: {kind.name}"


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_damaged_documents_weights_and_graphs_are_read_refused_or_made_again(base: BaseModel) -> None:
    for kind in _slow_kinds(base.path.parent, base):
        _check(kind, FEW, shrinks=False)


@pytest.fixture
def in_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_an_env_file_that_is_not_text_gets_a_clear_error(in_folder: Path) -> None:
    (in_folder / ".env").write_bytes(b"DISCORD_TOKEN=\xff")
    with pytest.raises(SettingsError, match=r"\.env cannot be read .*: rewrite it as UTF-8 text"):
        load_settings()
