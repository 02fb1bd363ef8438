"""One setting of config.toml changes; comments, order and everything else stay."""

from __future__ import annotations

import os
import tomllib
from pathlib import Path

import pytest

from storage.errors import SettingsError
from storage.settings.editing import Value, require_editable, write_setting
from storage.settings.loading import load_settings

CONFIG = Path(__file__).parents[2] / "config.toml"


def test_only_the_line_of_the_setting_changes(tmp_path: Path) -> None:
    file = tmp_path / "config.toml"
    file.write_bytes(CONFIG.read_bytes())
    file.chmod(0o640)
    write_setting(file, "model", "base", 'org/"new"')
    before, after = (text.splitlines() for text in (CONFIG.read_text(), file.read_text()))
    changed = [(old, new) for old, new in zip(before, after, strict=True) if old != new]
    assert changed == [('base = "bundled"', 'base = "org/\\"new\\""')]
    assert load_settings(file, environment={}).model.base == 'org/"new"'
    assert file.stat().st_mode & 0o777 == 0o640
    assert list(tmp_path.iterdir()) == [file]


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("", '[model]\nbase = "b"\n'),
        ("[chat]\n", '[chat]\n\n[model]\nbase = "b"\n'),
        ("[model]\r\n[x]\r\n", '[model]\r\nbase = "b"\r\n[x]\r\n'),
        ("[model] # mine\nengine = 'auto'\n", "[model] # mine\nengine = 'auto'\nbase = \"b\"\n"),
        ("\ufeff[model]\n", '\ufeff[model]\nbase = "b"\n'),
        ("model.base = 'a'\n", 'model.base = "b"\n'),
        ("model = { base = 'a' } # one line\n", 'model = { base = "b" } # one line\n'),
        ('[model]\nbase = """\na"""\n', '[model]\nbase = "b"\n'),
        ("[model]\r\nbase = 'a' # why\r\n", '[model]\r\nbase = "b" # why\r\n'),
        (
            "[gate]\n# base = 1\n[model]\n  base='a'\n[x]\nbase=1",
            '[gate]\n# base = 1\n[model]\n  base="b"\n[x]\nbase=1',
        ),
    ],
)
def test_a_setting_is_found_or_added_where_it_belongs(tmp_path: Path, before: str, after: str) -> None:
    file = tmp_path / "config.toml"
    if before:
        file.write_bytes(before.encode())
    write_setting(file, "model", "base", "b")
    assert file.read_bytes().decode() == after


@pytest.mark.parametrize("value", [True, 3, [1456074443980800001, 1456074443980800002], []])
def test_numbers_lists_and_switches_are_written_too(tmp_path: Path, value: Value) -> None:
    file = tmp_path / "config.toml"
    file.write_text("[access]\nservers = [\n  1, # the first\n]\nroles = []\n")
    write_setting(file, "access", "servers", value)
    assert tomllib.loads(file.read_text()) == {"access": {"servers": value, "roles": []}}


def test_a_file_that_writes_it_in_another_way_is_left_alone(tmp_path: Path) -> None:
    file = tmp_path / "config.toml"
    file.write_text(text := '[[model]]\nbase = "a"\n')
    for edit in (require_editable, write_setting):
        with pytest.raises(SettingsError, match=rf'cannot be edited: change model\.base to "b" in {file} yourself'):
            edit(file, "model", "base", "b")
        assert file.read_text() == text


@pytest.mark.skipif(os.geteuid() == 0, reason="nothing is read-only for root")
def test_a_read_only_file_is_refused_beforehand(tmp_path: Path) -> None:
    file = tmp_path / "config.toml"
    file.touch(0o400)
    with pytest.raises(SettingsError, match="is read-only"):
        require_editable(file, "model", "base", "b")
