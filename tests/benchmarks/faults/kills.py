"""kill -9 of the bot and of the database, restarts and a failover, at random moments under load."""

from __future__ import annotations

import asyncio

import psycopg

from tests.benchmarks.faults.postgres_nodes import Node, new_node
from tests.benchmarks.faults.report import Row
from tests.benchmarks.faults.scene import POSTGRES, SQLITE, Scene, stage, strike_again

DEAD_S = 0.6
"""At most: how long nobody starts the process again."""
RESTARTS_IN_A_LIFE = 10


def kill_bots(kills: int, seed: int, backend: str = SQLITE) -> Row:
    """Kill the bot while members ask, vote and read answers that grow."""
    row = Row(f"kill -9 of the bot, {backend}")

    async def kill(scene: Scene) -> float:
        scene.bot.kill()
        row.times += 1
        await asyncio.sleep(scene.rng.uniform(0, DEAD_S))
        return await scene.bot.start_and_wait()

    asyncio.run(strike_again(row, kills, seed, kill, backend=backend))
    return row


def kill_postgres(kills: int, seed: int) -> Row:
    """Kill every process of PostgreSQL while the bot writes to it; the bot stays up."""
    row = Row("kill -9 of PostgreSQL under a running bot")

    async def kill(scene: Scene) -> float:
        assert scene.node is not None
        await asyncio.to_thread(scene.node.kill)
        row.times += 1
        await asyncio.sleep(scene.rng.uniform(0, DEAD_S))
        await asyncio.to_thread(scene.node.start)
        return 0.0

    asyncio.run(strike_again(row, kills, seed, kill, backend=POSTGRES))
    return row


def restart_postgres(times: int, seed: int) -> Row:
    """Restart the server as an operator does; clients are cut off."""
    row = Row("PostgreSQL restarted under load")

    async def restart(scene: Scene) -> float:
        assert scene.node is not None
        await asyncio.to_thread(scene.node.restart)
        row.times += 1
        return 0.0

    asyncio.run(strike_again(row, times, seed, restart, in_a_life=RESTARTS_IN_A_LIFE, backend=POSTGRES))
    return row


def fail_over(times: int, seed: int) -> Row:
    """Kill the primary and promote its standby, which the address names as well; commits waited for both before."""
    row = Row("PostgreSQL failover to a promoted standby (synchronous)")
    for number in range(times):
        if not row.lost:
            asyncio.run(_fail_over(seed + number, row))
    return row


async def _fail_over(seed: int, row: Row) -> None:
    with new_node() as primary:
        primary.create("bot")
        standby = primary.standby()
        try:
            _wait_for_standby(primary)
            url = (
                f"postgresql+psycopg://postgres@/bot?host=127.0.0.1:{primary.port}&host=127.0.0.1:{standby.port}"
                "&target_session_attrs=read-write"
            )
            async with stage(seed, url=url) as scene:
                await asyncio.sleep(scene.rng.uniform(1.0, 3.0))
                await asyncio.to_thread(primary.kill)
                await asyncio.sleep(scene.rng.uniform(0, 1.0))
                await asyncio.to_thread(standby.promote)
                row.times += 1
                await scene.settle(row)
                await scene.finish(row)
        finally:
            standby.kill()


def _wait_for_standby(primary: Node) -> None:
    """Let commits wait until the standby has them too: what a member was told of survives the primary then."""
    with psycopg.connect(host="127.0.0.1", port=primary.port, user="postgres", autocommit=True) as connection:
        connection.execute("ALTER SYSTEM SET synchronous_standby_names = '*'")
        connection.execute("SELECT pg_reload_conf()")
