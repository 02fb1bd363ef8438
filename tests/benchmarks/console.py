"""How soon the pages of the console are there, on a server with many answers and on one with a handful.

The bot is the real one, without a model; simcord replaces Discord.
"""

from __future__ import annotations

import asyncio
import tempfile
import time
from contextlib import closing
from pathlib import Path
from statistics import median

import aiohttp
from sqlalchemy import update

from bot.app import ReactuneBot
from reactune.demo import free_port
from storage.database.database import open_database
from storage.database.enums import OPERATOR, Basis, GateVerdict
from storage.database.tables import ReplyRow
from storage.models.base_model import BaseModel
from storage.operations.console_sessions import link_address, make_link
from storage.settings.loading import load_settings
from storage.settings.sections import Settings
from tests.benchmarks.filled_server import VOTES_PER_ANSWER, fill_server
from tests.benchmarks.report import Row, report
from tests.bot.environment import Env
from tests.bot.scripted_engine import ScriptedEngine
from tests.past import add_version
from tests.seeding import BASE_REVISION

TIMES = 5
CHALLENGED = 10
PAGES = (
    "/",
    "/label",
    "/answers",
    "/answers?kind=disliked",
    "/answers?kind=suggested",
    "/answers/1",
    "/knowledge",
    "/versions",
    "/rounds",
    "/personalities",
    "/playground",
    "/trust",
)
PARTS = (
    "/overview/waiting",
    "/overview/status",
    "/overview/taste",
    "/overview/report",
    "/overview/health",
    "/versions/list",
    "/trust/stored",
)
"""What pages load after they are shown."""


def run(*, answers: int = 100_000) -> Row:
    """Return the milliseconds of each page, with so many answers and with a handful."""
    many, few = (asyncio.run(_measure(size)) for size in (answers, 0))
    rows = [
        {"page": page, "is_part": page in PARTS, "ms": ms, "few_ms": few[page], "ratio": round(ms / few[page], 1)}
        for page, ms in many.items()
    ]
    summary = {
        "slowest_page_ms": max(row["ms"] for row in rows if not row["is_part"]),
        "slowest_part_ms": max(row["ms"] for row in rows if row["is_part"]),
    }
    return report(rows, summary, "aiohttp", "jinja2", "sqlalchemy", answers=answers, votes=answers * VOTES_PER_ANSWER)


async def _measure(answers: int) -> dict[str, float]:
    with tempfile.TemporaryDirectory() as folder:
        settings = _settings(Path(folder))
        _fill(settings, max(4, answers))
        base = BaseModel("stand-in", Path(folder), BASE_REVISION, "")
        env = Env(ReactuneBot(settings, engine=ScriptedEngine(), base=base, fixed_basis=Basis.LOCAL))
        env.create_guild("Server")
        await env.start()
        try:
            return await _visit(settings)
        finally:
            await env.bot.close()
            await env.shutdown()


def _fill(settings: Settings, answers: int) -> None:
    """Add answers; a version that waits for people's choices has given every tenth of them."""
    with closing(open_database(settings)) as database:
        personality_id, _ = fill_server(database, answers)
        with database.transaction() as session:
            verdict = GateVerdict.NOT_ENOUGH_EVIDENCE
            version = add_version(session, personality_id=personality_id, base_name="stand-in", verdict=verdict)
            session.execute(update(ReplyRow).where(ReplyRow.id % CHALLENGED == 0).values(version_id=version.id))


def _settings(folder: Path) -> Settings:
    return load_settings(
        environment={
            "REACTUNE_DATA__DIRECTORY": str(folder),
            "REACTUNE_CONSOLE__PORT": str(free_port(0)),
            "REACTUNE_METRICS__PORT": "0",
            "REACTUNE_ACCESS__SERVERS": "0",
        }
    )


async def _visit(settings: Settings) -> dict[str, float]:
    """Return the median milliseconds of each page. A page that is not there at all raises ClientResponseError."""
    with closing(open_database(settings)) as database:
        link = link_address(settings.console.port, database.call(make_link, OPERATOR, "bench"))
    root = link.partition("/enter")[0]
    jar = aiohttp.CookieJar(unsafe=True)
    async with aiohttp.ClientSession(cookie_jar=jar, connector=aiohttp.TCPConnector(force_close=True)) as browser:
        async with browser.post(f"{root}/enter", data={"key": link.partition("key=")[2]}, raise_for_status=True):
            pass
        return {page: median([await _get(browser, root + page) for _ in range(TIMES)]) for page in (*PAGES, *PARTS)}


async def _get(browser: aiohttp.ClientSession, address: str) -> float:
    began = time.perf_counter()
    async with browser.get(address, raise_for_status=True) as response:
        await response.read()
    return round(1e3 * (time.perf_counter() - began), 1)
