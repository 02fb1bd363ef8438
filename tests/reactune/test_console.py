"""`reactune console` gives a link to the console of this configuration's bot, and to no other."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from bot.demo.folder import DEMO_DIRECTORY, choose_community, claim_folder, folder_overrides, note_port
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
    monkeypatch.setenv("REACTUNE_DATA__DIRECTORY", str(tmp_path / "data"))
    monkeypatch.setenv("REACTUNE_CONSOLE__PORT", str(bot.server_port))
    return load_settings()


@pytest.mark.parametrize(("option", "user_id"), [(OPERATOR, OPERATOR), (123, 123)])
def test_the_link_signs_in_who_asked(
    settings: Settings, bot: Answering, capsys: pytest.CaptureFixture[str], option: int, user_id: int
) -> None:
    bot.said = json.dumps({"database": digest_of(settings)})
    console(browser=False, as_member=option, as_json=True)
    address = json.loads(capsys.readouterr().out)["address"]
    with closing(open_database(settings)) as database, database.transaction() as session:
        found = find_session(session, redeem_link(session, address.partition("key=")[2]) or "")
    assert found is not None
    assert found.user_id == user_id


@pytest.mark.parametrize(
    ("said", "sentence"),
    [
        ('{"database": "of a demo"}', "belongs to another bot, perhaps a demo"),
        ("<html>", "no bot serves a console on port"),
        ("[]", "no bot serves a console on port"),
    ],
)
def test_no_link_is_made_for_another_program(settings: Settings, bot: Answering, said: str, sentence: str) -> None:
    bot.said = said
    with pytest.raises(SettingsError, match=sentence):
        console(browser=False)


def test_without_a_port_it_says_how_to_switch_it_on(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REACTUNE_CONSOLE__PORT", "0")
    with pytest.raises(SettingsError, match=r"set console\.port, then restart the bot"):
        console(browser=False)


def test_a_demo_that_was_started_in_this_folder_is_found(
    settings: Settings, bot: Answering, capsys: pytest.CaptureFixture[str]
) -> None:
    claim_folder(DEMO_DIRECTORY)
    choose_community(DEMO_DIRECTORY, "", start_over=False)
    note_port(DEMO_DIRECTORY, bot.server_port)
    demo = load_settings(environment=folder_overrides(str(DEMO_DIRECTORY.resolve()), bot.server_port))
    bot.said = json.dumps({"database": digest_of(demo)})
    console(browser=False, as_json=True)
    address = json.loads(capsys.readouterr().out)["address"]
    with closing(open_database(demo)) as database, database.transaction() as session:
        assert redeem_link(session, address.partition("key=")[2]) is not None


def test_a_demo_that_has_stopped_is_not_mistaken_for_the_bot(settings: Settings, bot: Answering) -> None:
    claim_folder(DEMO_DIRECTORY)
    note_port(DEMO_DIRECTORY, bot.server_port)
    with pytest.raises(SettingsError, match="no bot serves a console on port"):
        console(browser=False)
