"""A bot on a server with members who use it, and what strikes it again and again."""

from __future__ import annotations

import asyncio
import random
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager, closing, nullcontext
from pathlib import Path
from typing import Any

from storage.database.database import Database, open_database
from storage.settings.loading import variable_name
from storage.settings.sections import DatabaseSettings, DataSettings, LimitSettings, Settings
from tests.benchmarks.faults.crowd import Crowd
from tests.benchmarks.faults.discord_wire import WireDiscord
from tests.benchmarks.faults.oracle import PATIENCE_S, is_unbroken, recovered
from tests.benchmarks.faults.postgres_nodes import Node, new_node
from tests.benchmarks.faults.processes import BotProcess
from tests.benchmarks.faults.report import Row, Seen, grew
from tests.benchmarks.report import notes

ACTIONS_PER_S = 25.0
STRIKES_IN_A_LIFE = 15
"""Then a new server and a new database: reading all again after each takes longer the more there is."""
BETWEEN_S = 0.05, 2.5
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

    def begin(self) -> None:
        self._living = asyncio.create_task(self.crowd.live(ACTIONS_PER_S))

    async def pause(self) -> None:
        """Let nobody act."""
        if self._living is not None:
            self._living.cancel()
            await asyncio.wait([self._living])
            self._living = None

    async def settle(self, row: Row, starting_s: float = 0.0, patience_s: float = PATIENCE_S) -> None:
        """Wait, while nobody acts, until the database holds what Discord shows; then go on."""
        await self.pause()
        seconds, lost = await recovered(
            self.database, self.crowd, lambda: self.bot.is_alive and self.crowd.discord.is_connected, patience_s
        )
        row.recoveries.append(starting_s + seconds)
        row.lost += lost[:3]
        if lost:
            row.seen["log"] = self.bot.keep_log()
        self.begin()

    async def finish(self, row: Row) -> None:
        """Stop the bot as an operator does, and look a last time."""
        await self.pause()
        code = await asyncio.to_thread(self.bot.stop)
        if code != 0:
            row.lost.append(f"the bot ended with code {code}")
        _, lost = await recovered(self.database, self.crowd, lambda: True, 5.0)
        row.lost += lost[:3]
        with self.database.snapshot() as session:
            if not is_unbroken(session):
                row.lost.append("the history of an alias is broken")
        for what, count in self.crowd.did.items():
            row.count(what, count)
        row.count("answers", len(list(self.crowd.all_answers())))
        row.count("tracebacks", self.bot.said("Traceback"))
        row.count("unforeseen", self.bot.said("Unexpected error"))


Strike = Callable[[Scene], Awaitable[float]]
"""Lets a fault happen, counts it, and returns the seconds that belong to the recovery from it."""


async def strike_again(
    row: Row,
    times: int,
    seed: int,
    strike: Strike,
    *,
    in_a_life: int = STRIKES_IN_A_LIFE,
    between_s: tuple[float, float] = BETWEEN_S,
    patience_s: float = PATIENCE_S,
    is_watched: bool = False,
    count: Callable[[Scene], None] = lambda _scene: None,
    **staged: Any,
) -> None:
    """Strike under load until the row has so many times or something is lost; each time the bot has to recover.

    What the bot holds afterwards must not grow if it `is_watched`. `count` looks at each server before its end.
    """
    while row.times < times and not row.lost:
        footprints: list[Seen] = []
        async with stage(seed + row.times, **staged) as scene:
            until = min(row.times + in_a_life, times)
            while row.times < until:
                await asyncio.sleep(scene.rng.uniform(*between_s))
                await scene.settle(row, await strike(scene), patience_s)
                if row.lost:
                    return
                if is_watched:
                    footprints.append(await asyncio.to_thread(scene.bot.footprint))
            if footprints:
                row.lost += grew("the bot", footprints)
                row.seen["footprints"] = [footprints[0], footprints[-1]]
            count(scene)
            await scene.finish(row)
        notes.print(f"{row.fault}: {row.times} of {times}; lost: {row.lost or 'nothing'}")


@asynccontextmanager
async def stage(
    seed: int,
    backend: str = SQLITE,
    *,
    environment: Mapping[str, str] | None = None,
    url: str | None = None,
) -> AsyncIterator[Scene]:
    """Yield a scene with its members at work; everything that it started is gone at the end.

    `url` is that of another database than a new one; `environment` is the bot's.
    """
    database_node = new_node() if backend == POSTGRES else nullcontext()
    with tempfile.TemporaryDirectory(prefix="reactune-faults-") as name, database_node as node:
        folder, discord = Path(name), WireDiscord()
        url = url or (node.create("bot") if node else f"sqlite:///{folder / 'data' / 'reactune.db'}")
        crowd = Crowd(discord, seed=seed)
        settings = Settings(data=DataSettings(directory=folder / "data"), database=DatabaseSettings(url=url))
        more = {
            "REACTUNE_DATABASE__URL": url,
            "REACTUNE_ARENA__CHANNEL": str(crowd.channels[0]),
            **BOT_ENVIRONMENT,
            **(environment or {}),
        }
        async with discord.serving():
            bot = BotProcess(discord, folder, more)
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
