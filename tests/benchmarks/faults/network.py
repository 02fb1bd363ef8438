"""The way to Discord: a gateway that breaks and resumes, and storms of 429, 5xx and broken connections."""

from __future__ import annotations

import asyncio
import random
from contextlib import suppress

from tests.benchmarks.faults.discord_wire import Trouble
from tests.benchmarks.faults.kills import SQLITE, Scene, stage
from tests.benchmarks.faults.report import Row, grew, notes, spread

GAPS_IN_A_LIFE = 50
LONGEST_GAP_S = 0.8
SILENT_GAPS = 2
"""Of a life: discord.py waits ever longer, up to minutes, when new connections are refused again and again."""
LONGEST_BETWEEN_S = 0.8
STORMS_IN_A_LIFE = 5
STORM_S = 5.0
TROUBLED_SHARE = 0.4
STORM_PATIENCE_S = 120.0
POLL_S = 0.05
STATUSES = (429, 429, 500, 502, 503, 504, 0)


def break_gateway(times: int, seed: int) -> Row:
    """Break the gateway's connection again and again while members vote; half of the sessions are forgotten."""
    row = Row("gateway disconnects, resumed or with a new session")
    asyncio.run(_break_gateway(times, seed, row))
    return row


async def _break_gateway(times: int, seed: int, row: Row) -> None:
    while row.times < times and not row.lost:
        async with stage(seed + row.times, SQLITE) as scene:
            await _gaps(min(GAPS_IN_A_LIFE, times - row.times), row, scene)
            await scene.finish(row)
            for kind in ("logins", "resumes"):
                row.seen[kind] = row.seen.get(kind, 0) + scene.crowd.discord.seen[kind]
        notes.print(f"{row.fault}: {row.times} of {times}; lost: {row.lost or 'nothing'}")
    row.seen |= {f"recovery_{key}": value for key, value in spread(row.seen.pop("recoveries", [])).items()}


async def _gaps(gaps: int, row: Row, scene: Scene) -> None:
    discord, rng, footprints = scene.crowd.discord, scene.rng, []
    silent = set(rng.sample(range(gaps), min(SILENT_GAPS, gaps)))
    for gap in range(gaps):
        await asyncio.sleep(rng.uniform(0, LONGEST_BETWEEN_S))
        await _until_connected(scene)
        discord.hold_silent(silent=gap in silent)
        row.times += await discord.drop(forget=rng.random() < 0.5, politely=rng.random() < 0.3)
        if gap in silent:
            await asyncio.sleep(rng.uniform(0, LONGEST_GAP_S))
            discord.hold_silent(silent=False)
        if gap % 5 == 4 or gap == gaps - 1:
            await scene.settle(row, patience_s=STORM_PATIENCE_S)
            footprints.append(scene.bot.footprint())
            if row.lost:
                return
    row.lost += grew("the bot", footprints)
    row.seen["footprints"] = [footprints[0], footprints[-1]]


async def _until_connected(scene: Scene) -> None:
    """Wait for the bot to be back, as long as discord.py may wait before it tries again."""
    with suppress(TimeoutError):
        async with asyncio.timeout(STORM_PATIENCE_S):
            while not scene.crowd.discord.is_connected:  # noqa: ASYNC110  (the wire has no event for it)
                await asyncio.sleep(POLL_S)


def storm(times: int, seed: int) -> Row:
    """Let Discord refuse, delay and lose requests on every route while members ask and vote."""
    row = Row("storms of 429, 5xx and broken connections on every route")
    asyncio.run(_storms(times, seed, row))
    return row


async def _storms(times: int, seed: int, row: Row) -> None:
    while row.times < times and not row.lost:
        async with stage(seed + row.times, SQLITE) as scene:
            footprints = []
            for _ in range(min(STORMS_IN_A_LIFE, times - row.times)):
                await _one_storm(row, scene)
                footprints.append(scene.bot.footprint())
                if row.lost:
                    return
            row.lost += grew("the bot", footprints)
            row.seen["footprints"] = [footprints[0], footprints[-1]]
            await scene.finish(row)
            for status in (*map(str, sorted(set(STATUSES) - {0})), "broken connections", "repeated sends"):
                row.seen[status] = row.seen.get(status, 0) + scene.crowd.discord.seen[status]
            row.seen["questions without an answer"] = row.seen.get("questions without an answer", 0) + unanswered(scene)
        notes.print(f"{row.fault}: {row.times} of {times}; lost: {row.lost or 'nothing'}")
    row.seen |= {f"recovery_{key}": value for key, value in spread(row.seen.pop("recoveries", [])).items()}


async def _one_storm(row: Row, scene: Scene) -> None:
    rng = random.Random(scene.rng.random())

    def weather(_method: str, _path: str) -> Trouble | None:
        if rng.random() > TROUBLED_SHARE:
            return None
        status = rng.choice(STATUSES)
        is_done = status != 429 and rng.random() < 0.3
        return Trouble(status, retry_after_s=rng.uniform(0.05, 0.5), is_done=is_done, delay_s=rng.uniform(0, 0.3))

    scene.crowd.discord.weather = weather
    await asyncio.sleep(STORM_S)
    scene.crowd.discord.weather = None
    row.times += 1
    await scene.settle(row, patience_s=STORM_PATIENCE_S)


def unanswered(scene: Scene) -> int:
    """Count the questions that no message of the bot refers to: a notice said so, and is gone by now."""
    answered = {int(answer.reference["message_id"]) for answer in scene.crowd.all_answers()}
    bot_id = scene.crowd.discord.bot_id
    messages = scene.crowd.discord.backend.messages
    asked = {m.id for channel in scene.crowd.channels for m in messages[channel].values() if m.author_id != bot_id}
    return len(asked - answered)
