from __future__ import annotations

import asyncio
import shutil
import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import discord
import pytest
import pytest_asyncio
import yarl
from discord.gateway import DiscordWebSocket
from discord.http import Route
from sqlalchemy import event, select
from sqlalchemy.orm import Session

from bot.app import ReactuneBot
from bot.guards.error_handler import is_expected
from storage.adapters.folder_store import AdapterStore
from storage.database.database import Database, open_database
from storage.database.enums import Basis, GateVerdict
from storage.database.tables import Base
from storage.models.base_model import BaseModel
from storage.models.bundled import Encoder
from storage.releases.promotion import promote
from storage.releases.versions import NewVersion, Version, id_of, read_alias, register
from storage.servers import ServerChoices, apply_setup, find_setup
from storage.settings.loading import load_settings, variable_name
from storage.settings.sections import LimitSettings, Settings
from storage.votes.votes import Vote, votes_on
from tests.bot.environment import Env
from tests.bot.recorded_discord import RecordedDiscord, until
from tests.bot.scripted_engine import ScriptedEngine
from tests.shared_encoder import SharedEncoder
from tests.storage.adapters.test_folder_store import publish


@pytest.fixture
def overrides() -> dict[str, str]:
    """Environment variables of the bot under test; a test module may override the fixture."""
    return {}


@pytest.fixture
def settings(tmp_path: Path, migrated_file: Path, overrides: dict[str, str]) -> Settings:
    (tmp_path / "data").mkdir(exist_ok=True)
    shutil.copyfile(migrated_file, tmp_path / "data" / "reactune.db")
    quick = {
        "REACTUNE_DATA__DIRECTORY": str(tmp_path / "data"),
        "REACTUNE_PERSONALITIES__DIRECTORY": str(tmp_path / "personalities"),
        "REACTUNE_ACCESS__SERVERS": "0",
        "REACTUNE_CHAT__EDIT_INTERVAL_S": "0",
        "REACTUNE_CHAT__COOLDOWN_S": "0",
        "REACTUNE_CHAT__SECOND_ANSWERS": "0",
        "REACTUNE_CHAT__DRAIN_S": "1",
        "REACTUNE_GATE__COHERENCE_MODEL": "base",
        "REACTUNE_METRICS__PORT": "0",
        "REACTUNE_CONSOLE__PORT": "0",
    }
    for window in LimitSettings.model_fields:
        quick[variable_name("limits", window)] = "0"
    return load_settings(environment=quick | overrides)


@pytest.fixture(autouse=True)
def _tastes_learn_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """The simulator would wait for the rest after each vote."""
    monkeypatch.setattr("bot.chat.tastes.REST", 0.0)


@pytest.fixture(autouse=True)
def _candidates_take_no_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a busy machine, tests would begin fewer of them."""
    monkeypatch.setattr("bot.chat.candidates.MOST_EXTRA", 1e6)


@pytest.fixture
def engine() -> ScriptedEngine:
    return ScriptedEngine()


@pytest.fixture
def base(tmp_path: Path) -> BaseModel:
    return BaseModel(name="tiny", path=tmp_path / "base", revision="0123456789abcdef", architecture="LlamaForCausalLM")


@pytest.fixture
def fixed_basis() -> Basis | None:
    return Basis.LOCAL


@pytest.fixture
def load_encoder() -> Callable[[], Encoder]:
    return SharedEncoder


@pytest.fixture
def new_bot(
    settings: Settings,
    engine: ScriptedEngine,
    base: BaseModel,
    fixed_basis: Basis | None,
    load_encoder: Callable[[], Encoder],
) -> Callable[..., ReactuneBot]:
    """Make a bot, with other settings if some are given."""

    def make(settings: Settings = settings) -> ReactuneBot:
        return ReactuneBot(settings, engine=engine, base=base, fixed_basis=fixed_basis, load_encoder=load_encoder)

    return make


@pytest_asyncio.fixture
async def env(new_bot: Callable[..., ReactuneBot]) -> AsyncIterator[Env]:
    running = Env(new_bot())
    await running.start()
    yield running
    await running.bot.close()
    await running.shutdown()
    # The simulator also notes the errors that the bot turned into a sentence.
    assert [error for error in running.errors if not is_expected(error)] == []


@pytest.fixture
def restart(env: Env, engine: ScriptedEngine, new_bot: Callable[[], ReactuneBot]) -> Callable[..., Awaitable[None]]:
    """Return a function that starts the bot anew, or another one in its place."""

    async def run(bot: ReactuneBot | None = None) -> None:
        old = env.bot
        await env.restart_bot(bot or new_bot())
        await old.close()
        engine.closed = False  # the old bot closed it

    return run


@dataclass
class Place:
    """A server with a channel, two members and an admin."""

    env: Env
    channel: Any
    ada: Any
    bo: Any
    grace: Any

    @property
    def mention(self) -> str:
        assert self.env.bot.user is not None
        return self.env.bot.user.mention

    async def ask(self, text: str, who: Any = None) -> discord.Message:
        """Send a mention and return the last message of the answer."""
        await (who or self.ada).send(self.channel, f"{self.mention} {text}")
        return self.last

    async def open_thread(self, started: discord.Message) -> Any:
        """Let ada make a thread from a message, and return it."""
        self.env.backend.create_thread(self.channel.id, "t", self.ada.id, message_id=started.id)
        await self.env.settle()
        return next(thread for thread in self.channel.threads if thread.id == started.id)

    async def take_roles(self, who: Any) -> None:
        """Take all roles from a member."""
        guild_id = self.channel.guild.id
        for role_id in list(self.env.backend.guilds[guild_id].members[who.id].role_ids):
            self.env.backend.remove_member_role(guild_id, who.id, role_id)
        await self.env.settle()

    @property
    def last(self) -> discord.Message:
        assert self.channel.last_message is not None
        return self.channel.last_message

    @property
    def contents(self) -> list[str]:
        return [message.content for message in self.channel.history()]


@pytest.fixture
def place(env: Env) -> Place:
    guild = env.create_guild("Server")
    channel = guild.create_text_channel("general")
    admins = guild.create_role("admins", permissions=discord.Permissions(manage_guild=True))
    ada, bo = (guild.add_member(env.create_user(name)) for name in ("ada", "bo"))
    grace = guild.add_member(env.create_user("grace"), roles=[admins])
    return Place(env, channel, ada, bo, grace)


@pytest.fixture
def past_the_bot(settings: Settings, env: Env) -> Iterator[Database]:
    """The bot's database, opened a second time."""
    with closing(open_database(settings)) as database:
        yield database


@pytest.fixture
def rows(past_the_bot: Database) -> Callable[[type[Base]], list[Any]]:
    """Return every row of a table, oldest first."""

    def read(table: type[Base]) -> list[Any]:
        with past_the_bot.snapshot() as session:
            return list(session.scalars(select(table)))

    return read


@pytest.fixture
def query(past_the_bot: Database) -> Callable[[Callable[[Session], Any]], Any]:
    """Run a function of storage in its own transaction."""

    def run(work: Callable[[Session], Any]) -> Any:
        with past_the_bot.transaction() as session:
            return work(session)

    return run


@pytest.fixture
def votes(query: Callable[[Callable[[Session], Any]], Any]) -> Callable[[int], dict[int, Vote]]:
    """Return {user id: vote} of a reply."""
    return lambda reply_id: query(lambda session: votes_on(session, reply_id))


@pytest.fixture
def lock_database(settings: Settings, env: Env) -> Iterator[Callable[[], None]]:
    """Lock the database as another program does, until the bot has met the lock once."""
    path = settings.data.directory / "reactune.db"
    with closing(sqlite3.connect(path, timeout=60.0, check_same_thread=False)) as other_program:

        def lock() -> None:
            engine = env.bot.services.database.engine
            event.listen(engine, "checkout", lambda connection, *_: connection.execute("PRAGMA busy_timeout = 1"))
            event.listen(engine, "handle_error", lambda _context: other_program.rollback())
            other_program.execute("BEGIN IMMEDIATE")

        yield lock


@pytest.fixture
def add_version(settings, base, query):
    """Publish an adapter and register it as the next version."""

    def make(
        value: float = 1.0,
        verdict: GateVerdict = GateVerdict.PASS,
        metrics: dict[str, Any] | None = None,
        *,
        whose: int = 1,
        round_id: int | None = None,
    ) -> Version:
        digest = publish(AdapterStore(settings.data.directory / "adapters"), value=value)

        def write(session):
            new = NewVersion(
                digest=digest,
                base_name=base.name,
                base_revision=base.revision,
                parent_id=id_of(read_alias(session, whose).version),
                round_id=round_id,
                metrics=metrics or {},
                verdict=verdict,
            )
            return register(session, whose, new)

        return query(write)

    return make


@pytest.fixture
def waiting(add_version):
    """Add a version that waits for people's choices."""
    return lambda value: add_version(value, GateVerdict.NOT_ENOUGH_EVIDENCE)


@pytest.fixture
def release(add_version, query):
    """Add a version and make it champion."""

    def make(value: float = 1.0, whose: int = 1) -> Version:
        version = add_version(value, whose=whose)

        def write(session):
            generation = read_alias(session, whose).generation
            promote(session, whose, version, expected_generation=generation, by="test", reason="")

        query(write)
        return version

    return make


@pytest.fixture
def server_chooses(env: Env, place: Place, query: Callable[[Callable[[Session], Any]], Any]) -> Callable[..., Any]:
    """Store choices of a server, as `/setup` does, and return the server's ID."""

    async def store(guild: Any = None, **choices: Any) -> int:
        guild_id = (guild or place.channel.guild).id

        def write(session: Session) -> None:
            before = find_setup(session, guild_id)
            generation = before.generation if before else 0
            apply_setup(session, guild_id, ServerChoices(**choices), None, expected_generation=generation, by="test")

        query(write)
        await env.bot.services.setups.load()
        return guild_id

    return store


@pytest.fixture
def online(new_bot: Callable[..., ReactuneBot], monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """Run a bot against a Discord over the wire."""

    async def at_once(*_: object, **__: object) -> None:
        """Not the five seconds between two logins."""

    @asynccontextmanager
    async def run(on: RecordedDiscord, finishing_s: float = 0.2) -> AsyncIterator[ReactuneBot]:
        monkeypatch.setattr(Route, "BASE", on.url)
        monkeypatch.setattr(DiscordWebSocket, "DEFAULT_GATEWAY", yarl.URL(on.gateway_url))
        monkeypatch.setattr(ReactuneBot, "before_identify_hook", at_once)
        monkeypatch.setattr("bot.app.FINISHING_S", finishing_s)  # short, for what waits for the end of slow mode
        bot = new_bot()
        bot._connection.guild_ready_timeout = 0.1  # its only server comes at once
        running = asyncio.create_task(bot.start("token"))
        try:
            await until(lambda: bot.is_ready() and bot.services.model_loaded.is_set())
            yield bot
        finally:
            await bot.close()
            await running

    return run


@pytest.fixture
def read(settings: Settings) -> Iterator[Callable[[Callable[[Session], Any]], Any]]:
    """Run a function of storage, past the bot."""
    with closing(open_database(settings)) as database:

        def run(work: Callable[[Session], Any]) -> Any:
            with database.snapshot() as session:
                return work(session)

        yield run
