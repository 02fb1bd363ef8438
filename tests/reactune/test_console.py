"""`reactune console` gives a link to the console of this configuration's bot, and to no other."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from bot.demo.folder import (
    DEMO_DIRECTORY,
    choose_community,
    claim_folder,
    folder_overrides,
    note_latest,
    note_port,
)
from reactune.console import console
from storage.database.database import open_database
from storage.database.enums import OPERATOR
from storage.errors import SettingsError
from storage.operations.console_sessions import digest_of, find_session, redeem_link
from storage.settings.loading import load_settings
from storage.settings.sections import Settings
from tests.reactune.answering import Answering, answering


@pytest.fixture
def bot() -> Iterator[Answering]:
    with answering() as server:
        yield server


@pytest.fixture
def settings(bot: Answering, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setenv("REACTUNE_DATA__DIRECTORY", str(tmp_path / "data"))
    monkeypatch.setenv("REACTUNE_CONSOLE__PORT", str(bot.server_port))
    return load_settings()


@pytest.mark.parametrize(("option", "user_id"), [(OPERATOR, OPERATOR), (123, 123)])
def test_the_link_signs_in_who_asked(settings, bot, capsys, option, user_id):
    bot.said = json.dumps({"database": digest_of(settings)})
    console(browser=False, as_member=option, as_json=True)
    said = json.loads(capsys.readouterr().out)
    assert (said["of"], said["data"]) == ("bot", str(settings.data.directory))
    address = said["address"]
    with closing(open_database(settings)) as database, database.transaction() as session:
        found = find_session(session, redeem_link(session, address.partition("key=")[2]) or "")
    assert found is not None
    assert found.user_id == user_id


def test_a_proxy_is_not_asked_for_this_machine(settings, bot, monkeypatch):
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    bot.said = json.dumps({"database": digest_of(settings)})
    console(browser=False)


@pytest.mark.parametrize(
    ("said", "sentence"),
    [
        ('{"database": "of a demo"}', "belongs to another bot, perhaps a demo"),
        ("<html>", "no bot serves a console on port"),
        ("[]", "no bot serves a console on port"),
    ],
)
def test_no_link_is_made_for_another_program(settings, bot, said, sentence):
    bot.said = said
    with pytest.raises(SettingsError, match=sentence):
        console(browser=False)


def test_another_bot_with_the_same_settings_in_another_folder_is_told_apart(settings, bot, tmp_path, monkeypatch):
    monkeypatch.setenv("REACTUNE_DATA__DIRECTORY", "data")
    bot.said = json.dumps({"database": digest_of(load_settings())})
    console(browser=False)
    (tmp_path / "other").mkdir()
    monkeypatch.chdir(tmp_path / "other")
    with pytest.raises(SettingsError, match="belongs to another bot"):
        console(browser=False)


def test_without_a_port_it_says_how_to_switch_it_on(settings, monkeypatch):
    monkeypatch.setenv("REACTUNE_CONSOLE__PORT", "0")
    with pytest.raises(SettingsError, match=r"set console\.port, then restart the bot"):
        console(browser=False)


@pytest.fixture
def demo(bot: Answering, tmp_path: Path) -> Callable[[Path], Settings]:
    """Return a function that starts a demo in a folder, as far as the console sees it, and returns its settings."""

    def start(folder: Path) -> Settings:
        claim_folder(folder)
        choose_community(folder, "", start_over=False)
        note_port(folder, bot.server_port)
        note_latest(folder)
        settings = load_settings(environment=folder_overrides(str(folder.resolve()), bot.server_port))
        bot.said = json.dumps({"database": digest_of(settings)})
        return settings

    return start


@pytest.mark.parametrize("folder", [DEMO_DIRECTORY, Path("elsewhere/tried")])
def test_a_demo_that_runs_is_found_and_named(settings, demo, capsys, tmp_path, monkeypatch, folder):
    of_demo = demo(folder)
    if folder != DEMO_DIRECTORY:
        (tmp_path / "another").mkdir()
        monkeypatch.chdir(tmp_path / "another")
    console(browser=False)
    said = capsys.readouterr().out
    assert f"the console of the demo whose data is in {tmp_path / folder}" in said
    with closing(open_database(of_demo)) as database, database.transaction() as session:
        assert redeem_link(session, said.split()[1].partition("key=")[2]) is not None


def test_a_demo_that_has_stopped_is_not_mistaken_for_the_bot(settings, bot, demo):
    demo(DEMO_DIRECTORY)
    bot.said = "{}"
    with pytest.raises(SettingsError, match="belongs to another bot"):
        console(browser=False)


def test_without_a_demo_or_a_place_to_note_it_nothing_changes(settings, bot, tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "file"))
    note_latest(tmp_path)
    bot.said = "{}"
    with pytest.raises(SettingsError, match="belongs to another bot"):
        console(browser=False)
