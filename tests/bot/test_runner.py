"""What happens when Discord refuses the bot, and when two bots would answer."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import threading
from contextlib import closing

import aiohttp
import discord
import pytest
from pydantic import SecretStr
from sqlalchemy import select

from bot.app import ReactuneBot
from bot.errors import ConnectionRefused, DiscordUnreachable
from bot.runner import run_bot
from storage.database.database import open_database
from storage.database.enums import Outcome
from storage.database.tables import AlertRow, ReplyRow
from storage.errors import DataDirectoryInUse, TokenInUse
from storage.runtime.processes import BOT, sole_process, sole_token
from tests.bot.environment import Env, changed

TOKEN = "not.a.token"


class RefusedBot(ReactuneBot):
    """Discord's answer to a login, without Discord."""

    refusal: Exception | None = None
    asked_for: list[tuple[bool, bool]]
    """Message content and members, at each attempt."""
    lacks: tuple[bool, bool]

    async def start(self, token: str, *, reconnect: bool = True) -> None:
        asked = (self.intents.message_content, self.intents.members)
        self.asked_for.append(asked)
        if self.refusal and any(asks and lacks for asks, lacks in zip(asked, self.lacks, strict=True)):
            raise self.refusal


@pytest.fixture
def attempts() -> list[tuple[bool, bool]]:
    return []


@pytest.fixture
def refused(attempts):
    """Return a factory of bots that Discord refuses with the given error."""

    def factory(error: Exception | None, lacks: tuple[bool, bool] = (True, False)):
        def create(settings) -> RefusedBot:
            bot = RefusedBot(settings, engine=None, base=None, fixed_basis=None)
            bot.refusal, bot.asked_for, bot.lacks = error, attempts, lacks
            return bot

        return create

    return factory


@pytest.fixture
def with_token(settings):
    return settings.model_copy(update={"discord_token": SecretStr(TOKEN)})


def test_a_missing_token_says_where_to_get_one(settings):
    with pytest.raises(ConnectionRefused, match=r"not set: run `reactune init`, or copy \.env\.example to \.env"):
        run_bot(settings)


def test_a_wrong_token_says_what_to_do_and_does_not_show_it(with_token, refused):
    with pytest.raises(ConnectionRefused, match="Discord does not accept DISCORD_TOKEN") as raised:
        run_bot(with_token, refused(discord.LoginFailure("Improper token has been passed.")))
    assert TOKEN not in str(raised.value)


class _Socket:
    """As much of a closed socket as discord.py reads."""

    def __init__(self, code: int) -> None:
        self.close_code = code


@pytest.mark.parametrize("lacks_intent", [False, True])
def test_a_token_reset_while_the_bot_runs_is_announced_on_return(with_token, refused, lacks_intent):
    settings = changed(with_token, "discord", members_intent=lacks_intent)
    reset = refused(discord.ConnectionClosed(_Socket(4004), shard_id=None))
    refuse_intent = refused(discord.PrivilegedIntentsRequired(None))
    with pytest.raises(ConnectionRefused, match="Discord does not accept DISCORD_TOKEN"):
        run_bot(settings, lambda asked: (refuse_intent if asked.discord.members_intent else reset)(asked))
    with closing(open_database(with_token)) as database, database.snapshot() as session:
        assert [row.key for row in session.scalars(select(AlertRow))] == ["token"]


@pytest.mark.parametrize(
    "error",
    [
        aiohttp.ClientConnectionError("no route"),
        OSError("no network"),
        discord.ConnectionClosed(_Socket(4000), shard_id=None),
    ],
)
def test_an_unreachable_discord_is_a_sentence(with_token, refused, error):
    with pytest.raises(DiscordUnreachable, match="Discord cannot be reached: check this machine's network"):
        run_bot(with_token, refused(error))


def test_a_missing_intent_is_reported_and_the_bot_serves_without_it(with_token, refused, attempts, caplog):
    run_bot(with_token, refused(discord.PrivilegedIntentsRequired(None)))
    assert attempts == [(True, False), (False, False)]
    assert "answers only mentions, direct messages" in caplog.text
    assert "Message Content Intent" in caplog.text


@pytest.mark.parametrize(
    ("lacks", "tried"),
    [
        ((False, True), [(True, True), (True, False)]),
        ((True, True), [(True, True), (True, False), (False, False)]),
    ],
)
def test_the_members_intent_is_given_up_first(with_token, refused, attempts, caplog, lacks, tried):
    settings = changed(with_token, "discord", members_intent=True)
    run_bot(settings, refused(discord.PrivilegedIntentsRequired(None), lacks))
    assert attempts == tried
    assert "departures are noticed only once a day" in caplog.text
    assert ("answers only mentions" in caplog.text) is lacks[0]


def test_a_second_bot_on_the_data_folder_is_refused(with_token, refused):
    with (
        sole_process(BOT, with_token.data.directory),
        pytest.raises(DataDirectoryInUse, match="another bot is using"),
    ):
        run_bot(with_token, refused(None))


def test_a_second_bot_with_the_token_is_refused(with_token, refused):
    with sole_token(TOKEN), pytest.raises(TokenInUse, match="same DISCORD_TOKEN"):
        run_bot(with_token, refused(None))


async def test_without_the_intent_mentions_and_direct_messages_are_served(settings, engine, new_bot):
    bot = new_bot(changed(settings, "discord", message_content_intent=False))
    approved = discord.Intents.all()
    approved.message_content = False
    env = Env(bot, approved_intents=approved)
    channel = env.create_guild("Server").create_text_channel("general")
    ada = env.guild.add_member(env.create_user("ada"))
    await env.start()
    assert bot.user is not None
    await ada.send(channel, f"{bot.user.mention} hi")
    assert channel.last_message.content == "answer 1\n-# base"
    await ada.send_dm("hello")
    assert ada.user.dm_channel.last_message.content == "answer 2\n-# base"
    await ada.send(channel, "no mention, no answer")
    assert len(engine.requests) == 2
    await bot.close()
    await env.shutdown()
    env.raise_errors()


async def test_closing_lets_an_answer_finish_its_sentence(place, env, engine, rows):
    begun = asyncio.Event()

    async def closing() -> None:
        begun.set()
        engine.interlude = None
        await engine.close(0)

    engine.answers = ["one two three"]
    engine.interlude = closing
    answer = await place.ask("hi")
    assert begun.is_set()
    assert answer.content.startswith("one\n-# base · stopped, the bot is restarting")
    assert rows(ReplyRow)[0].answer == "one"


SERVE = """
import asyncio, sys
from bot.app import ReactuneBot
from bot.runner import run_bot
from storage.models.base_model import BaseModel
from storage.settings.loading import load_settings
from tests.bot.scripted_engine import ScriptedEngine
from pathlib import Path

class Idle(ReactuneBot):
    async def start(self, token, *, reconnect=True):
        await self.setup_hook()
        print("serving", flush=True)
        while not self.is_closed():
            await asyncio.sleep(0.05)

def create(settings):
    base = BaseModel("tiny", Path("unused"), "0" * 16, "LlamaForCausalLM")
    return Idle(settings, engine=ScriptedEngine(), base=base, fixed_basis=None)

for _ in range(2):
    run_bot(load_settings(), create)
    print("stopped", flush=True)
"""


@pytest.mark.slow
def test_a_signal_ends_the_bot_in_order(tmp_path):
    """One process serves twice, because it imports for seconds."""
    environment = os.environ | {
        "REACTUNE_DATA__DIRECTORY": str(tmp_path),
        "REACTUNE_DISCORD__SYNC_COMMANDS": "false",
        "DISCORD_TOKEN": f"token-{os.getpid()}",
    }
    process = subprocess.Popen([sys.executable, "-c", SERVE], stdout=subprocess.PIPE, text=True, env=environment)
    # A bot that hangs must not hang the tests.
    watchdog = threading.Timer(300, process.kill)
    watchdog.start()
    assert process.stdout is not None
    for number in (signal.SIGTERM, signal.SIGINT):
        assert process.stdout.readline() == "serving\n"
        process.send_signal(number)
        assert process.stdout.readline() == "stopped\n"
    assert process.wait() == 0
    watchdog.cancel()
    process.stdout.close()


DIE_WHILE_STREAMING = """
import asyncio, os, signal, sys
from pathlib import Path
from bot.app import ReactuneBot
from storage.models.base_model import BaseModel
from storage.database.tables import Basis
from storage.settings.loading import load_settings
from tests.bot.environment import Env
from tests.bot.scripted_engine import ScriptedEngine

async def die():
    os.kill(os.getpid(), signal.SIGKILL)

async def main():
    engine = ScriptedEngine()
    base = BaseModel("tiny", Path("unused"), "0" * 16, "LlamaForCausalLM")
    bot = ReactuneBot(load_settings(), engine=engine, base=base, fixed_basis=Basis.LOCAL)
    env = Env(bot)
    channel = env.create_guild("Server").create_text_channel("general")
    ada = env.guild.add_member(env.create_user("ada"))
    await env.start()
    await ada.send(channel, f"{bot.user.mention} first")
    await ada.react(channel.last_message, "👍")
    engine.answers, engine.interlude = ["one two three"], die
    await ada.send(channel, f"{bot.user.mention} second")

asyncio.run(main())
"""


@pytest.fixture
def killed_while_streaming(settings) -> None:
    """One answer with a vote, and one that a bot of an earlier life never finished."""
    environment = os.environ | {
        "REACTUNE_DATA__DIRECTORY": str(settings.data.directory),
        "REACTUNE_CHAT__EDIT_INTERVAL_S": "0",
        "REACTUNE_ACCESS__SERVERS": "0",
        "REACTUNE_CHAT__COOLDOWN_S": "0",
        "REACTUNE_CHAT__SECOND_ANSWERS": "0",
    }
    killed = subprocess.run([sys.executable, "-c", DIE_WHILE_STREAMING], env=environment, timeout=300, check=False)
    assert killed.returncode == -signal.SIGKILL


@pytest.mark.slow
async def test_a_bot_killed_while_streaming_loses_no_vote_and_marks_the_answer(
    killed_while_streaming, env, rows, votes
):
    assert [row.outcome for row in rows(ReplyRow)] == [Outcome.COMPLETE, Outcome.INTERRUPTED]
    assert votes(1)
    assert not votes(2)
