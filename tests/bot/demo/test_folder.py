"""The demo's folder: only a demo's data is used and deleted, and the community is remembered."""

from __future__ import annotations

from pathlib import Path

import pytest

from bot.demo.folder import choose_community, claim_folder, note_base, noted_base
from storage.errors import SettingsError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    claim_folder(tmp_path / "demo")
    return tmp_path / "demo"


def fill(folder: Path) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "adapters").mkdir()
    (folder / "reactune.db").write_text("rows")
    return folder


def test_a_bots_folder_is_neither_used_nor_emptied(tmp_path: Path) -> None:
    bots = fill(tmp_path / "data")
    with pytest.raises(SettingsError, match=r"data is not a demo's folder: choose a new or empty folder"):
        claim_folder(bots)
    assert sorted(path.name for path in bots.iterdir()) == ["adapters", "reactune.db"]


def test_a_file_is_no_folder(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(SettingsError, match=r"cannot be used \(File exists\): choose another folder"):
        claim_folder(tmp_path / "file")


def test_an_empty_folder_and_an_earlier_demos_are_used(tmp_path: Path) -> None:
    for _ in range(2):
        claim_folder(tmp_path)
    assert choose_community(tmp_path, "", start_over=False) == ""


def test_a_restart_keeps_the_community(folder: Path) -> None:
    assert choose_community(folder, "short", start_over=False) == "short"
    claim_folder(fill(folder))
    assert choose_community(folder, "", start_over=False) == "short"
    assert (folder / "reactune.db").is_file()


def test_a_restart_keeps_the_base_and_a_new_start_forgets_it(folder: Path) -> None:
    assert noted_base(folder) == ""
    note_base(folder, "models/larger")
    choose_community(folder, "short", start_over=False)
    assert noted_base(folder) == "models/larger"
    choose_community(folder, "", start_over=True)
    assert noted_base(folder) == ""


def test_a_damaged_marker_is_mended_by_a_new_start(folder: Path) -> None:
    (folder / "demo.json").write_text("{")
    with pytest.raises(SettingsError, match="add --start-over"):
        choose_community(folder, "", start_over=False)
    assert choose_community(folder, "calm", start_over=True) == "calm"


def test_another_community_needs_a_new_start(folder: Path) -> None:
    choose_community(folder, "short", start_over=False)
    fill(folder)
    with pytest.raises(SettingsError, match=r"likes 'short': add --start-over to begin with 'calm'"):
        choose_community(folder, "calm", start_over=False)
    assert choose_community(folder, "calm", start_over=True) == "calm"
    assert [path.name for path in folder.iterdir()] == ["demo.json"]


def test_a_damaged_marker_is_named(folder: Path) -> None:
    (folder / "demo.json").write_text("[]")
    with pytest.raises(SettingsError, match=r"demo\.json cannot be read: add --start-over"):
        choose_community(folder, "", start_over=False)
