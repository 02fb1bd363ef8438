"""kill -9 of the bot, of the database and of the trainer, at random moments under load."""

from __future__ import annotations

import asyncio
import random
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, closing, contextmanager
from pathlib import Path

from storage.database.database import Database, open_database
from storage.settings.loading import variable_name
from storage.settings.sections import DatabaseSettings, DataSettings, LimitSettings, Settings
from tests.benchmarks.faults.crowd import CHANNELS, Crowd
from tests.benchmarks.faults.discord_wire import WireDiscord
from tests.benchmarks.faults.oracle import PATIENCE_S, is_unbroken, recovered
from tests.benchmarks.faults.postgres_nodes import Node, new_node
from tests.benchmarks.faults.processes import BotProcess
from tests.benchmarks.faults.report import Row, notes, spread

ACTIONS_PER_S = 25.0
KILLS_IN_A_LIFE = 15
"""Then a new server and a new database: reading all again after each kill takes longer the more there is."""
LONGEST_LIFE_S = 2.5
DEAD_S = 0.6
"""At most: how long nobody starts the process again."""
SQLITE, POSTGRES = "SQLite", "PostgreSQL"

BOT_ENVIRONMENT = {
    "REACTUNE_CHAT__COOLDOWN_S": "0",
    "REACTUNE_CHAT__EDIT_INTERVAL_S": "0.1",
    "REACTUNE_CHAT__DRAIN_S": "2",
    "REACTUNE_GATE__COHERENCE_MODEL": "base",
    "REACTUNE_DATA__DIRECTORY": "data",
    "REACTUNE_ACCESS__SERVERS": "0",
    "REACTUNE_METRICS__PORT": "0",
    "REACTUNE_CONSOLE__PORT": "0",
    **{variable_name("limits", window): "0" for window in LimitSettings.model_fields},
}


def kill_bots(kills: int, seed: int, backend: str = SQLITE) -> Row:
    """Kill the bot while members ask, vote and read answers that grow."""
    row = Row(f"kill -9 of the bot, {backend}")
    asyncio.run(_in_lives(kills, seed, row, lambda n, s: _life_of_bot(n, s, row, backend)))
    return row


def kill_postgres(kills: int, seed: int) -> Row:
    """Kill every process of PostgreSQL while the bot writes to it; the bot stays up."""
    row = Row("kill -9 of PostgreSQL under a running bot")
    asyncio.run(_in_lives(kills, seed, row, lambda n, s: _life_of_postgres(n, s, row)))
    return row


async def _in_lives(kills: int, seed: int, row: Row, live: Callable[[int, int], object]) -> None:
    while row.times < kills and not row.lost:
        await live(min(KILLS_IN_A_LIFE, kills - row.times), seed + row.times)  # type: ignore[misc]
        notes.print(f"{row.fault}: {row.times} of {kills}; lost: {row.lost or 'nothing'}")
    times = row.seen.pop("recoveries", [])
    row.seen |= {f"recovery_{key}": value for key, value in spread(times).items()}


async def _life_of_bot(kills: int, seed: int, row: Row, backend: str) -> None:
    async with stage(seed, backend) as scene:
        for _ in range(kills):
            await asyncio.sleep(scene.rng.uniform(0.05, LONGEST_LIFE_S))
            scene.bot.kill()
            row.times += 1
            await asyncio.sleep(scene.rng.uniform(0, DEAD_S))
            await scene.settle(row, await scene.bot.start_and_wait())
            if row.lost:
                return
        await scene.finish(row)


async def _life_of_postgres(kills: int, seed: int, row: Row) -> None:
    async with stage(seed, POSTGRES) as scene:
        assert scene.node is not None
        for _ in range(kills):
            await asyncio.sleep(scene.rng.uniform(0.05, LONGEST_LIFE_S))
            await asyncio.to_thread(scene.node.kill)
            row.times += 1
            await asyncio.sleep(scene.rng.uniform(0, DEAD_S))
            await asyncio.to_thread(scene.node.start)
            await scene.settle(row)
            if row.lost:
                return
        await scene.finish(row)


class Scene:
    """A bot on a server with members, and the database that it should have filled."""

    def __init__(
        self, bot: BotProcess, crowd: Crowd, database: Database, node: Node | None, rng: random.Random
    ) -> None:
        self.bot = bot
        self.crowd = crowd
        self.database = database
        self.node = node
        self.rng = rng
        self._living: asyncio.Task[None] | None = None

    def begin(self, actions_per_s: float = ACTIONS_PER_S) -> None:
        self._living = asyncio.create_task(self.crowd.live(actions_per_s))

    async def pause(self) -> None:
        """Let nobody act."""
        if self._living is not None:
            self._living.cancel()
            await asyncio.wait([self._living])
            self._living = None

    async def settle(self, row: Row, starting_s: float = 0.0, patience_s: float = PATIENCE_S) -> None:
        """Wait, while nobody acts, until the database holds what Discord shows; then go on."""
        await self.pause()
        seconds, loss = await recovered(self.database, self.crowd, self._is_there, patience_s)
        row.seen.setdefault("recoveries", []).append(starting_s + seconds)
        row.lost += loss.what[:3]
        if loss:
            row.seen["log"] = self.bot.keep_log()
        self.begin()

    def _is_there(self) -> bool:
        return self.bot.is_alive and self.crowd.discord.is_connected

    async def finish(self, row: Row) -> None:
        """Stop the bot as an operator does, and look a last time."""
        await self.pause()
        code = await asyncio.to_thread(self.bot.stop)
        if code != 0:
            row.lost.append(f"the bot ended with code {code}")
        _, loss = await recovered(self.database, self.crowd, lambda: True, 5.0)
        row.lost += loss.what[:3]
        with self.database.snapshot() as session:
            if not is_unbroken(session):
                row.lost.append("the history of an alias is broken")
        for what, count in self.crowd.did.items():
            row.seen[what] = row.seen.get(what, 0) + count
        row.seen["answers"] = row.seen.get("answers", 0) + len(list(self.crowd.all_answers()))
        row.seen["tracebacks"] = row.seen.get("tracebacks", 0) + self.bot.said("Traceback")
        row.seen["unforeseen"] = row.seen.get("unforeseen", 0) + self.bot.said("Unexpected error")


@asynccontextmanager
async def stage(
    seed: int,
    backend: str,
    *,
    environment: dict[str, str] | None = None,
    url: str | None = None,
    preloaded: Mapping[str, str] | None = None,
    channels: int = CHANNELS,
) -> AsyncIterator[Scene]:
    """Yield a scene with its members at work; everything that it started is gone at the end.

    `url` is that of another database than a new one; `preloaded` are variables that the bot's process is made with.
    """
    with tempfile.TemporaryDirectory(prefix="reactune-faults-") as name, database_node(backend) as node:
        folder, discord = Path(name), WireDiscord()
        url = url or (node.create("bot") if node else f"sqlite:///{folder / 'data' / 'reactune.db'}")
        crowd = Crowd(discord, seed=seed, channels=channels)
        settings = Settings(data=DataSettings(directory=folder / "data"), database=DatabaseSettings(url=url))
        more = {
            "REACTUNE_DATABASE__URL": url,
            "REACTUNE_ARENA__CHANNEL": str(crowd.channels[0]),
            **BOT_ENVIRONMENT,
            **(environment or {}),
        }
        async with discord.serving():
            bot = BotProcess(discord, folder, more, preloaded or {})
            try:
                await bot.start_and_wait()
                with closing(open_database(settings)) as database:
                    scene = Scene(bot, crowd, database, node, random.Random(seed))
                    scene.begin()
                    try:
                        yield scene
                    finally:
                        await scene.pause()
            finally:
                bot.kill_all()


@contextmanager
def database_node(backend: str) -> Iterator[Node | None]:
    if backend != POSTGRES:
        yield None
        return
    with new_node() as node:
        yield node
