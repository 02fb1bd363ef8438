"""The way to Discord: a gateway that breaks and resumes, and storms of 429, 5xx and broken connections."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from tests.benchmarks.faults.discord_wire import Trouble, Weather
from tests.benchmarks.faults.report import Row
from tests.benchmarks.faults.scene import Scene, strike_again

GAPS_IN_A_LIFE, GAPS_IN_A_ROW = 50, 5
LONGEST_GAP_S = 0.8
SILENT_SHARE = 0.04
"""discord.py waits ever longer, up to minutes, when new connections are refused again and again."""
LONGEST_BETWEEN_S = 0.8
STORMS_IN_A_LIFE = 5
STORM_S = 5.0
TROUBLED_SHARE = 0.4
STORM_PATIENCE_S = 120.0
OFTEN: Mapping[str, Any] = {"between_s": (0, 0), "patience_s": STORM_PATIENCE_S, "is_watched": True}
POLL_S = 0.05
STATUSES = (429, 429, 500, 502, 503, 504, 0)


def break_gateway(times: int, seed: int) -> Row:
    """Break the gateway's connection again and again while members vote; half of the sessions are forgotten."""
    row = Row("gateway disconnects, resumed or with a new session")

    async def cut_off(scene: Scene) -> float:
        for _ in range(GAPS_IN_A_ROW):
            await asyncio.sleep(scene.rng.uniform(0, LONGEST_BETWEEN_S))
            await _until_connected(scene)
            row.times += await _cut_off_once(scene)
        return 0.0

    def count(scene: Scene) -> None:
        for kind in ("logins", "resumes"):
            row.count(kind, scene.crowd.discord.seen[kind])

    asyncio.run(strike_again(row, times, seed, cut_off, in_a_life=GAPS_IN_A_LIFE, count=count, **OFTEN))
    return row


async def _cut_off_once(scene: Scene) -> int:
    discord, rng = scene.crowd.discord, scene.rng
    discord.is_silent = rng.random() < SILENT_SHARE
    broken = await discord.drop(forget=rng.random() < 0.5, politely=rng.random() < 0.3)
    if discord.is_silent:
        await asyncio.sleep(rng.uniform(0, LONGEST_GAP_S))
        discord.is_silent = False
    return broken


async def _until_connected(scene: Scene) -> None:
    """Wait for the bot to be back, as long as discord.py may wait before it tries again."""
    with suppress(TimeoutError):
        async with asyncio.timeout(STORM_PATIENCE_S):
            while not scene.crowd.discord.is_connected:  # noqa: ASYNC110  (the wire has no event for it)
                await asyncio.sleep(POLL_S)


def storm(times: int, seed: int) -> Row:
    """Let Discord refuse, delay and lose requests on every route while members ask and vote."""
    row = Row("storms of 429, 5xx and broken connections on every route")

    async def one_storm(scene: Scene) -> float:
        scene.crowd.discord.weather = _weather(scene.rng.random())
        await asyncio.sleep(STORM_S)
        scene.crowd.discord.weather = None
        row.times += 1
        return 0.0

    def count(scene: Scene) -> None:
        for status in (*map(str, sorted(set(STATUSES) - {0})), "broken connections", "repeated sends"):
            row.count(status, scene.crowd.discord.seen[status])
        row.count("questions without an answer", unanswered(scene))

    asyncio.run(strike_again(row, times, seed, one_storm, in_a_life=STORMS_IN_A_LIFE, count=count, **OFTEN))
    return row


def _weather(seed: float) -> Weather:
    rng = random.Random(seed)

    def weather(_method: str, _path: str) -> Trouble | None:
        if rng.random() > TROUBLED_SHARE:
            return None
        status = rng.choice(STATUSES)
        is_done = status != 429 and rng.random() < 0.3
        return Trouble(status, retry_after_s=rng.uniform(0.05, 0.5), is_done=is_done, delay_s=rng.uniform(0, 0.3))

    return weather


def unanswered(scene: Scene) -> int:
    """Count the questions that no message of the bot refers to: a notice said so, and is gone by now."""
    answered = {int(answer.reference["message_id"]) for answer in scene.crowd.all_answers()}
    bot_id = scene.crowd.discord.bot_id
    messages = scene.crowd.discord.backend.messages
    asked = {m.id for channel in scene.crowd.channels for m in messages[channel].values() if m.author_id != bot_id}
    return len(asked - answered)
