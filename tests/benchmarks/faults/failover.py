"""PostgreSQL restarted under load, and a standby that takes over when the primary is killed."""

from __future__ import annotations

import asyncio

import psycopg

from tests.benchmarks.faults.kills import POSTGRES, stage
from tests.benchmarks.faults.postgres_nodes import Node, new_node
from tests.benchmarks.faults.report import Row, notes, spread

RESTARTS_IN_A_LIFE = 10


def restart_postgres(times: int, seed: int) -> Row:
    """Restart the server as an operator does; clients are cut off."""
    row = Row("PostgreSQL restarted under load")
    asyncio.run(_restart(times, seed, row))
    row.seen |= {f"recovery_{key}": value for key, value in spread(row.seen.pop("recoveries", [])).items()}
    return row


async def _restart(times: int, seed: int, row: Row) -> None:
    while row.times < times and not row.lost:
        async with stage(seed + row.times, POSTGRES) as scene:
            assert scene.node is not None
            for _ in range(min(RESTARTS_IN_A_LIFE, times - row.times)):
                await asyncio.sleep(scene.rng.uniform(0.1, 1.5))
                await asyncio.to_thread(scene.node.restart)
                row.times += 1
                await scene.settle(row)
                if row.lost:
                    return
            await scene.finish(row)
        notes.print(f"{row.fault}: {row.times} of {times}; lost: {row.lost or 'nothing'}")


def fail_over(times: int, seed: int) -> Row:
    """Kill the primary and promote its standby, which the address names as well; commits waited for both before."""
    row = Row("PostgreSQL failover to a promoted standby (synchronous)")
    for number in range(times):
        if not row.lost:
            asyncio.run(_fail_over(seed + number, row))
    row.seen |= {f"recovery_{key}": value for key, value in spread(row.seen.pop("recoveries", [])).items()}
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
            async with stage(seed, "", url=url) as scene:
                await asyncio.sleep(scene.rng.uniform(1.0, 3.0))
                await asyncio.to_thread(primary.kill)
                await asyncio.sleep(scene.rng.uniform(0, 1.0))
                await asyncio.to_thread(standby.promote)
                row.times += 1
                await scene.settle(row)
                await scene.finish(row)
        finally:
            standby.kill()
    notes.print(f"{row.fault}: {row.times}; lost: {row.lost or 'nothing'}")


def _wait_for_standby(primary: Node) -> None:
    """Let commits wait until the standby has them too: what a member was told of survives the primary then."""
    with psycopg.connect(host="127.0.0.1", port=primary.port, user="postgres", autocommit=True) as connection:
        connection.execute("ALTER SYSTEM SET synchronous_standby_names = '*'")
        connection.execute("SELECT pg_reload_conf()")
