"""`reactune init`: from nothing to a bot that can start, with Discord's API on loopback and keys typed ahead."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterator
from contextlib import closing
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TypeVar
from urllib.parse import urlsplit

import discord
import pytest
from discord.http import Route
from prompt_toolkit.application import create_app_session
from prompt_toolkit.input import PipeInput, create_pipe_input
from prompt_toolkit.output import DummyOutput

from reactune.app import main
from reactune.init import command, prompts
from reactune.init.discord_side import PERMISSIONS
from storage.database.database import open_database
from storage.database.enums import Rule, Scope
from storage.personalities.bindings import BindingPlace, active_personality_at
from storage.releases.versions import list_versions, read_alias
from storage.servers import find_setup
from storage.settings.loading import load_settings
from tests.reactune.discord_api import BOT, application
from tests.tiny_model import build_tiny_base
from tests.trainer.rounds.quick import run_saying_hello
from trainer.rounds import worker

T = TypeVar("T")

HOME, OTHER = 1456074443980800101, 1456074443980800102
TOKEN = "MTQ1NjA3NDQ0Mzk4MDgwMDAwMQ.right-one_1"
ENTER, DOWN, UP, SPACE = "\r", "\x1b[B", "\x1b[A", " "
LOUNGE, BOTS = 1456074443980800201, 1456074443980800202
CHANNELS = [
    {"id": str(id_), "name": name, "type": 0, "position": 0, "permission_overwrites": []}
    for id_, name in ((LOUNGE, "lounge"), (BOTS, "bots"))
]
CARD = {"spec": "chara_card_v2", "spec_version": "2.0", "data": {"name": "Mia", "description": "Mia is calm."}}


class Discord(ThreadingHTTPServer):
    """What a login reads: the bot, its application and its servers. Each request may find it changed."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Answer)
        self.flags = [discord.ApplicationFlags(gateway_message_content_limited=True)]
        """Of this and later requests; the last one stays."""
        self.servers: list[dict[int, str]] = [{HOME: "Home"}]
        self.permissions = discord.Permissions(309774642240)
        """Of everybody in each server."""

    def answer(self, path: str) -> object:
        if path == "/users/@me":
            return BOT
        if path == "/oauth2/applications/@me":
            return application(_next(self.flags))
        if path == "/users/@me/guilds":
            return [{"id": str(id_), "name": name} for id_, name in _next(self.servers).items()]
        kind = path.removeprefix("/guilds/").partition("/")[2]
        id_ = path.split("/")[2]
        if kind == "channels":
            return CHANNELS
        if kind == f"members/{BOT['id']}":
            return {"user": BOT, "roles": [], "joined_at": "2026-11-01T00:00:00+00:00", "flags": 0}
        assert not kind, path
        everyone = {"id": id_, "name": "@everyone", "permissions": str(self.permissions.value), "position": 0}
        return {"id": id_, "name": _next(self.servers)[int(id_)], "owner_id": "1", "roles": [everyone], "emojis": []}


def _next(planned: list[T]) -> T:
    return planned.pop(0) if len(planned) > 1 else planned[0]


class Answer(BaseHTTPRequestHandler):
    server: Discord

    def do_GET(self) -> None:
        is_right = self.headers["Authorization"] == f"Bot {TOKEN}"
        found = (
            self.server.answer(urlsplit(self.path).path) if is_right else {"message": "401: Unauthorized", "code": 0}
        )
        body = json.dumps(found).encode()
        self.send_response(200 if is_right else 401)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def api(monkeypatch: pytest.MonkeyPatch) -> Iterator[Discord]:
    with Discord() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        monkeypatch.setattr(Route, "BASE", f"http://127.0.0.1:{server.server_port}")
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def keys(monkeypatch: pytest.MonkeyPatch) -> Iterator[PipeInput]:
    monkeypatch.setattr(prompts, "require_terminal", lambda: None)
    with create_pipe_input() as pipe, create_app_session(pipe, DummyOutput()):
        yield pipe


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder for .env, reactune.toml and data, in which the command runs; what starts is noted."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DISCORD_TOKEN", raising=False)
    monkeypatch.setattr("sys.argv", ["reactune", "init"])
    monkeypatch.setattr(command, "run", lambda _: (tmp_path / "started").touch())
    return tmp_path


def run_init(keys: PipeInput | None = None) -> object:
    """Return the exit code; after the keys that were typed, the terminal closes."""
    if keys is not None:
        keys.close()
    with pytest.raises(SystemExit) as ended:
        main()
    return ended.value.code


def what_answers_in(folder: Path, server: int) -> tuple[str, dict[int, Rule], int]:
    """Return the personality, the rules of channels, and how often the server was set up."""
    settings = load_settings(folder / "reactune.toml", environment={})
    with closing(open_database(settings)) as database, database.transaction() as session:
        name = active_personality_at(session, [BindingPlace(Scope.SERVER, server)]).personality.name
        found = find_setup(session, server)
        return name, dict(found.choices.rules) if found else {}, found.generation if found else 0


def test_from_nothing_to_a_bot_that_starts(api, keys, folder, capsys):
    off = discord.ApplicationFlags()
    api.flags = [off, off, *api.flags]  # a login reads them twice
    api.servers = [{}, {HOME: "Home", OTHER: "Other"}]
    keys.send_text("not a token\r" + "wrong.token\r" + TOKEN + ENTER)
    keys.send_text(ENTER)  # the intent is on now
    keys.send_text(SPACE + DOWN + SPACE + ENTER)  # the other server, not the first one
    keys.send_text(ENTER)  # the bundled base
    keys.send_text(DOWN + SPACE + ENTER)  # every message in #bots
    keys.send_text(DOWN + ENTER + "y")
    (folder / "personalities").mkdir()
    (folder / "personalities" / "pirate.toml").write_text('system_prompt = "You are a pirate."\n')
    assert run_init(keys) == 0
    said = capsys.readouterr().err
    for sentence in (
        "That is not a token",
        "Discord does not accept this token",
        "Message Content Intent is off. Turn it on here: https://discord.com/developers/applications/1456074443980800001",
        "Discord knows this bot as reactune",
    ):
        assert sentence in said
    assert TOKEN not in said
    assert (folder / ".env").read_text() == f"DISCORD_TOKEN='{TOKEN}'\n"
    assert (folder / ".env").stat().st_mode & 0o777 == 0o600
    assert load_settings(folder / "reactune.toml", environment={}).access.servers == (OTHER,)
    assert what_answers_in(folder, OTHER) == ("pirate", {BOTS: Rule.ALWAYS}, 1)
    assert "Try it: write hello in #bots." in said
    assert (folder / "started").exists()


def test_a_second_start_keeps_what_is_set(api, keys, folder, capsys):
    api.servers = [{HOME: "Home", OTHER: "Other"}]
    gone = 1456074443980800103
    (folder / ".env").write_text(f"DISCORD_TOKEN={TOKEN}  # mine\n")
    (folder / "reactune.toml").write_text(before := f"[access] # who\nservers = [{gone}, {OTHER}]\n")
    keys.send_text(ENTER * 4 + "n")
    assert run_init(keys) == 0
    assert (folder / "reactune.toml").read_text().replace(f"{OTHER}, {gone}", f"{gone}, {OTHER}") == before
    assert (folder / ".env").read_text() == f"DISCORD_TOKEN={TOKEN}  # mine\n"
    assert what_answers_in(folder, OTHER) == ("default", {}, 0)
    assert not (folder / "started").exists()
    assert re.search(r"Start it with: `\S*reactune run`\n", capsys.readouterr().err)


def test_a_refused_token_of_the_environment_is_not_asked_for(api, keys, folder, monkeypatch, capsys):
    monkeypatch.setenv("DISCORD_TOKEN", "an.old.one")
    assert run_init(keys) == 2
    assert "Discord does not accept DISCORD_TOKEN" in capsys.readouterr().err
    assert list(folder.iterdir()) == []


def test_what_a_variable_overrides_is_said(api, keys, folder, monkeypatch, capsys):
    monkeypatch.setenv("DISCORD_TOKEN", TOKEN)
    monkeypatch.setenv("REACTUNE_ACCESS__SERVERS", "[]")
    keys.send_text(ENTER * 4 + "n")
    assert run_init(keys) == 0
    said = "REACTUNE_ACCESS__SERVERS in the environment overrides access.servers in reactune.toml: remove it there."
    assert said in capsys.readouterr().err


def test_a_bot_for_every_server_and_without_message_content_stays_so(api, keys, folder):
    api.flags = [discord.ApplicationFlags()]
    (folder / ".env").write_text(f"DISCORD_TOKEN={TOKEN}\n")
    (folder / "reactune.toml").write_text("[access]\nservers = [0]\n")
    keys.send_text(DOWN + ENTER + ENTER * 3 + "n")  # go without
    assert run_init(keys) == 0
    settings = load_settings(folder / "reactune.toml", environment={})
    assert settings.access.servers == (0,)
    assert not settings.discord.message_content_intent


def test_a_base_that_cannot_be_used_is_asked_for_again(api, keys, folder, capsys):
    (folder / ".env").write_text(f"DISCORD_TOKEN={TOKEN}\n")
    (folder / "empty").mkdir()
    keys.send_text(ENTER + UP + ENTER + "empty" + ENTER)  # the last choice: another base
    keys.send_text(ENTER * 3 + "n")
    assert run_init(keys) == 0
    assert "empty cannot be used" in " ".join(capsys.readouterr().err.split())
    assert load_settings(folder / "reactune.toml", environment={}).model.base == "bundled"


def test_a_character_card_is_imported_and_answers_in_the_server(api, keys, folder, capsys):
    (folder / ".env").write_text(f"DISCORD_TOKEN={TOKEN}\n")
    base = build_tiny_base(folder / "tiny")
    (folder / "reactune.toml").write_text(f'[model]\nbase = "{base}"\n')
    (folder / "mia.json").write_text(json.dumps(CARD))
    keys.send_text(ENTER * 3)
    for file in ("none.json", "mia.json"):
        keys.send_text(UP + ENTER + file + ENTER)
    keys.send_text("n")
    assert run_init(keys) == 0
    said = " ".join(capsys.readouterr().err.split())
    assert "There is no file none.json." in said
    assert "mia was created" in said
    assert what_answers_in(folder, HOME) == ("mia", {}, 1)


def test_a_first_version_is_offered_and_can_be_made_later(api, keys, folder, capsys):
    (folder / ".env").write_text(f"DISCORD_TOKEN={TOKEN}\n")
    write_card(folder, examples=8)
    keys.send_text(ENTER * 5 + "n")
    assert run_init(keys) == 0
    said = " ".join(capsys.readouterr().err.split())
    assert "First version: default can learn the 8 examples on its card now." in said
    assert "train --from examples --personality default" in said


def test_a_first_version_is_made_at_once_if_the_operator_agrees(api, keys, folder, capsys, monkeypatch):
    monkeypatch.setattr(worker, "_run_in_process", run_saying_hello)
    (folder / ".env").write_text(f"DISCORD_TOKEN={TOKEN}\n")
    base = build_tiny_base(folder / "tiny")
    model = f'[model]\nbase = "{base}"\nengine = "transformers"\n[gate]\ncoherence_model = "base"\n'
    (folder / "reactune.toml").write_text(f"{model}[generation]\nmax_new_tokens = 8\n")
    write_card(folder, examples=8)
    keys.send_text(ENTER * 4 + "yn")
    assert run_init(keys) == 0
    said = " ".join(capsys.readouterr().err.split())
    assert "v1 learned from 6 example answers" in said
    assert "The same messages, before and after" in said
    assert "v1: Hello." in said
    assert "model promote v1 --personality default" in said
    settings = load_settings(folder / "reactune.toml", environment={})
    with closing(open_database(settings)) as database, database.snapshot() as session:
        (version,) = list_versions(session, 1)
        assert read_alias(session, 1).version is None
    assert version.name == "v1"


def write_card(folder: Path, examples: int) -> None:
    shown = "".join(f'[[examples]]\ndialogue = ["How are you, {n}?", "Fine."]\n' for n in range(examples))
    (folder / "personalities").mkdir()
    (folder / "personalities" / "default.toml").write_text(shown)


def test_without_a_terminal_one_sentence_says_what_to_do(folder, capsys):
    assert run_init() == 2
    assert "this isn't a terminal: run it in one" in capsys.readouterr().err


def test_a_discord_that_cannot_be_reached_is_said(api, keys, folder, monkeypatch, capsys):
    monkeypatch.setattr(Route, "BASE", "http://127.0.0.1:1")
    keys.send_text(TOKEN + ENTER)
    assert run_init(keys) == 1
    assert "Discord cannot be reached: check this machine's network" in capsys.readouterr().err
    assert list(folder.iterdir()) == []


def test_permissions_that_are_missing_are_named(api, keys, folder, capsys):
    (folder / ".env").write_text(f"DISCORD_TOKEN={TOKEN}\n")
    api.permissions = discord.Permissions(view_channel=True, send_messages=True, read_message_history=True)
    keys.send_text(ENTER * 2 + SPACE + ENTER * 2 + "n")
    assert run_init(keys) == 0
    assert "In #lounge I need Add Reactions." in capsys.readouterr().err


def test_the_invitation_asks_for_what_the_readme_lists():
    assert f"&permissions={PERMISSIONS.value}`" in (Path(__file__).parents[2] / "README.md").read_text()


def test_a_token_that_cannot_be_kept_is_said(api, keys, folder, capsys):
    (folder / ".env").mkdir()
    keys.send_text(TOKEN + ENTER)
    assert run_init(keys) == 2
    said = " ".join(capsys.readouterr().err.split())
    assert TOKEN not in said
    assert ".env cannot be " in said
