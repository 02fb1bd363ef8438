"""Processes that a bench starts, kills and waits for; none outlives it."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import psutil

from tests.benchmarks.faults.discord_wire import WireDiscord
from tests.benchmarks.faults.report import Seen

ROOT = Path(__file__).parents[3]
START_S = 60.0
STOP_S = 40.0
POLL_S = 0.05


class Child:
    """One process in its own session, with its log in a file; killed with all its children."""

    def __init__(self, module: str, folder: Path, environment: Mapping[str, str], name: str) -> None:
        self.log = folder / f"{name}.log"
        self._module = module
        self._folder = folder
        self._environment = {
            **{key: value for key, value in os.environ.items() if not key.startswith("REACTUNE_")},
            "PYTHONPATH": str(ROOT),
            "OMP_NUM_THREADS": "1",
            **environment,
        }
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with self.log.open("ab") as log:
            # In an empty folder: a checkout's config.toml and .env are not for it.
            self._process = subprocess.Popen(
                [sys.executable, *self._module.split()],
                cwd=self._folder,
                env=self._environment,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    @property
    def is_alive(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def kill(self) -> None:
        """Send kill -9 to the process alone, and wait for its end."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def kill_all(self) -> None:
        if self._process is not None:
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()

    def stop(self) -> int:
        """Ask the process to end, and return its code; it is killed where it does not."""
        assert self._process is not None
        self._process.terminate()
        try:
            return self._process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            self.kill_all()
            return -signal.SIGKILL

    def footprint(self) -> Seen:
        """Return what the process holds now."""
        process = psutil.Process(self.pid)
        return {
            "memory_mib": round(process.memory_info().rss / 2**20, 1),
            "open_files": process.num_fds(),
            "threads": process.num_threads(),
        }

    def keep_log(self) -> str:
        """Copy the log to where it outlives the bench, and return its path."""
        kept = Path(tempfile.gettempdir()) / f"reactune-{self.log.stem}-{self.pid}.log"
        shutil.copyfile(self.log, kept)
        return str(kept)

    def said(self, words: str) -> int:
        """Count the lines of the log that hold the words."""
        return sum(words in line for line in self.log.read_text(errors="replace").splitlines())


def children_of(pid: int) -> list[int]:
    return [int(one) for one in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


class BotProcess(Child):
    """The bot of a Discord on loopback."""

    def __init__(self, discord: WireDiscord, folder: Path, environment: Mapping[str, str]) -> None:
        super().__init__(
            "-m tests.benchmarks.faults.bot_process", folder, {**environment, **discord.environment}, "bot"
        )
        self._discord = discord

    async def start_and_wait(self) -> float:
        """Start it, and return how many seconds passed until it was on Discord."""
        began_s, logins = time.perf_counter(), self._discord.seen["logins"]
        await asyncio.to_thread(self.start)
        while self._discord.seen["logins"] == logins:
            if not self.is_alive or time.perf_counter() - began_s > START_S:
                raise RuntimeError(f"the bot did not come up: see {self.keep_log()}\n{self.log.read_text()[-2_000:]}")
            await asyncio.sleep(POLL_S)
        return time.perf_counter() - began_s

    def footprint(self) -> Seen:
        """Return what the bot's process holds now, its tasks too, which it writes down when it gets a signal."""
        tasks = self._folder / "tasks"
        tasks.unlink(missing_ok=True)
        psutil.Process(self.pid).send_signal(signal.SIGUSR1)
        give_up_s = time.monotonic() + START_S
        while not (tasks.exists() and tasks.read_text()) and time.monotonic() < give_up_s:
            time.sleep(POLL_S)
        return super().footprint() | {"tasks": int(tasks.read_text())}
