"""An outage of Discord is two lines in the log: one when the connection is lost, one when it is back."""

from __future__ import annotations

import asyncio
import inspect
import logging
import os
import signal
import subprocess
import sys
from pathlib import Path

import discord
import pytest

from bot.operations.gateway import ATTEMPTS, RECONNECTING, Gateway
from tests.benchmarks.faults.discord_wire import WireDiscord

HANG_S = 60


@pytest.fixture
def gateway(monkeypatch) -> Gateway:
    """A gateway whose outages all take 12 s."""
    for name in RECONNECTING:
        monkeypatch.setattr(logging.getLogger(name), "filters", [])  # bots that other tests restarted leave theirs
    moments = iter(range(0, 10_000, 12))
    watched = Gateway(now=lambda: float(next(moments)))
    watched.watch_logs()
    return watched


def attempt() -> None:
    refused = ConnectionRefusedError("no route")
    logging.getLogger("discord.shard").error(
        "Attempting a reconnect for shard ID %s in %.2fs", 0, 1.5, exc_info=refused
    )


def test_failed_attempts_are_one_warning_and_their_tracebacks_debug(gateway, caplog):
    caplog.set_level(logging.DEBUG)
    gateway.lost()
    for _ in range(3):
        attempt()
    assert not gateway.is_connected
    gateway.found()
    assert gateway.is_connected
    told = [(record.levelname, record.getMessage()) for record in caplog.records if record.levelno > logging.DEBUG]
    assert told == [
        ("WARNING", "Discord is unreachable (no route); reconnecting."),
        ("INFO", "Discord is reachable again, after 12 s."),
    ]
    assert sum(record.exc_info is not None for record in caplog.records) == 3


def test_each_outage_is_reported_and_a_reconnect_at_once_is_not(gateway, caplog):
    caplog.set_level(logging.INFO)
    gateway.lost()
    gateway.found()
    assert not caplog.records
    for _ in range(2):
        attempt()
        gateway.found()
    assert len(caplog.records) == 4


def test_other_lines_of_discord_py_stay(gateway, caplog):
    logging.getLogger("discord.client").error("Ignoring exception in on_message", exc_info=ValueError("a defect"))
    assert [record.getMessage() for record in caplog.records] == ["Ignoring exception in on_message"]


def test_discord_py_still_reports_attempts_in_these_words():
    source = inspect.getsource(discord.shard) + inspect.getsource(discord.client)
    assert [words for words in ATTEMPTS if f"'{words}" not in source] == []


@pytest.mark.slow
async def test_over_the_wire_an_outage_and_a_stop_are_three_lines_without_a_traceback(tmp_path: Path):
    wire, log = WireDiscord(), tmp_path / "log"
    environment = os.environ | {
        "REACTUNE_METRICS__PORT": "0",
        "REACTUNE_CONSOLE__PORT": "0",
        "REACTUNE_DATA__DIRECTORY": str(tmp_path),
    }
    async with wire.serving():
        with log.open("w") as file:
            command = [sys.executable, "-m", "tests.benchmarks.faults.bot_process"]
            bot = subprocess.Popen(command, stderr=file, env=environment | wire.environment)  # noqa: ASYNC220
        try:
            await until(lambda: "Connected to Discord" in log.read_text())
            wire.is_silent = True
            await wire.drop(forget=True)
            await until(lambda: "unreachable" in log.read_text())
            wire.is_silent = False
            await until(lambda: "reachable again" in log.read_text())
            bot.send_signal(signal.SIGTERM)
            assert await asyncio.to_thread(bot.wait, HANG_S) == 0
        finally:
            bot.kill()
            bot.wait()
    lines = log.read_text().splitlines()
    shown = [line.partition(": ")[2] for line in lines]
    assert "Traceback" not in log.read_text()
    assert [line for line in lines if "voice" in line] == []
    after = shown[shown.index(next(line for line in shown if "unreachable" in line)) :]
    assert len(after) == 3
    assert after[1].startswith("Discord is reachable again, after ")
    assert after[2] == "Stopped."


async def until(is_so) -> None:
    async with asyncio.timeout(HANG_S):
        while not is_so():  # noqa: ASYNC110  (a file has no event)
            await asyncio.sleep(0.05)
