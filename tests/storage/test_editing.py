"""One setting of a settings file changes; comments, order and everything else stay."""

from __future__ import annotations

import os
import tomllib
from pathlib import Path

import pytest

from storage.errors import SettingsError
from storage.settings.editing import NEW_FILE, Value, require_editable, write_setting
from storage.settings.loading import load_settings

OWN = """\
# Ours.
model.threads = 2      # of four
model.base = "bundled"

[chat]
quiet_hours = "22:00-07:00"
"""


def test_only_the_line_of_the_setting_changes(tmp_path: Path) -> None:
    file = tmp_path / "reactune.toml"
    file.write_text(OWN)
    file.chmod(0o640)
    write_setting(file, "model", "base", 'org/"new"')
    before, after = (text.splitlines() for text in (OWN, file.read_text()))
    changed = [(old, new) for old, new in zip(before, after, strict=True) if old != new]
    assert changed == [('model.base = "bundled"', 'model.base = "org/\\"new\\""')]
    assert load_settings(file, environment={}).model.base == 'org/"new"'
    assert file.stat().st_mode & 0o777 == 0o640
    assert list(tmp_path.iterdir()) == [file]


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("", f'{NEW_FILE}model.base = "b"\n'),
        ("[chat]\n", 'model.base = "b"\n\n[chat]\n'),
        ("model.threads = 2\n", 'model.threads = 2\nmodel.base = "b"\n'),
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
    file = tmp_path / "reactune.toml"
    if before:
        file.write_bytes(before.encode())
    write_setting(file, "model", "base", "b")
    # tomlkit 0.15.3 keeps the quotes of the value before.
    assert file.read_bytes().decode().replace("'", '"') == after.replace("'", '"')


@pytest.mark.parametrize("value", [True, 3, [1456074443980800001, 1456074443980800002], []])
def test_numbers_lists_and_switches_are_written_too(tmp_path: Path, value: Value) -> None:
    file = tmp_path / "reactune.toml"
    file.write_text("[access]\nservers = [\n  1, # the first\n]\nroles = []\n")
    write_setting(file, "access", "servers", value)
    assert tomllib.loads(file.read_text()) == {"access": {"servers": value, "roles": []}}


def test_a_file_that_writes_it_in_another_way_is_left_alone(tmp_path: Path) -> None:
    file = tmp_path / "reactune.toml"
    file.write_text(text := '[[model]]\nbase = "a"\n')
    for edit in (require_editable, write_setting):
        with pytest.raises(SettingsError, match=rf'cannot be edited: change model\.base to "b" in {file} yourself'):
            edit(file, "model", "base", "b")
        assert file.read_text() == text


def test_a_folder_that_cannot_be_written_says_what_to_change_by_hand(tmp_path: Path) -> None:
    (tmp_path / "taken").touch()
    file = tmp_path / "taken" / "reactune.toml"
    with pytest.raises(
        SettingsError, match=rf'{file} cannot be written .*: change model\.base to "b" in {file} yourself'
    ):
        write_setting(file, "model", "base", "b")


@pytest.mark.skipif(os.geteuid() == 0, reason="nothing is read-only for root")
def test_a_read_only_file_is_refused_beforehand(tmp_path: Path) -> None:
    file = tmp_path / "reactune.toml"
    file.touch(0o400)
    with pytest.raises(SettingsError, match="is read-only"):
        require_editable(file, "model", "base", "b")
