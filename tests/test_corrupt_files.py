"""Damaged files of every kind: they are read, or a sentence says what is wrong; `reactune bench faults` tries more."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from storage.errors import SettingsError
from storage.settings.loading import load_settings
from tests.benchmarks.faults.corrupt import Kind, check, kinds

EXAMPLES = 15
SLOW_TO_READ = ("config.toml", "imported pairs", "base model", "SQLite", "backup")
FEW = 5
MENDED = ("verdict on graphs",)
"""Files that are made again if they cannot be read."""


@pytest.fixture(scope="module")
def every_kind(tmp_path_factory: pytest.TempPathFactory) -> list[Kind]:
    return kinds(tmp_path_factory.mktemp("corrupt"), slow=False)


@pytest.mark.filterwarnings("ignore")
def test_a_damaged_file_is_read_or_refused_with_a_sentence(every_kind: list[Kind]) -> None:
    for kind in every_kind:
        examples = FEW if kind.name.startswith(SLOW_TO_READ) else EXAMPLES
        refused = check(kind, examples)
        assert refused > 0 or kind.name in MENDED, f"no damaged file was refused: {kind.name}"


@pytest.fixture
def in_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_an_env_file_that_is_not_text_gets_a_clear_error(in_folder: Path) -> None:
    (in_folder / ".env").write_bytes(b"DISCORD_TOKEN=\xff")
    with pytest.raises(SettingsError, match=r"\.env cannot be read .*: rewrite it as UTF-8 text"):
        load_settings()
