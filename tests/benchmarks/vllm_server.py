"""vLLM's own server in a process of its own, asked through our remote engine as a bot asks it."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from typing import IO

import aiohttp

from bot.engine.remote.engine import RemoteEngine
from bot.errors import EngineStopped
from reactune.demo import free_port
from storage.database.database import open_database
from storage.models.base_model import BaseModel
from storage.runtime.processes import DETACHED
from storage.settings.sections import Settings

START_S = 900.0
"""vLLM compiles the model before it answers."""
LEAVE_S = 60.0
POLL_S = 0.5
SHOWN_CHARS = 300
KEEPER = """
import subprocess, sys, threading
process = subprocess.Popen(sys.argv[1:], stdin=subprocess.DEVNULL)
threading.Thread(target=lambda: (sys.stdin.read(), process.terminate()), daemon=True).start()
sys.exit(process.wait())
"""
"""Ends the program when the process that started it ends, however it does: that one holds its input."""


class VllmServer(RemoteEngine):
    """Starts the program, and ends it when the bench is done with it; only this machine can reach it."""

    def __init__(self, program: str, base: BaseModel, settings: Settings) -> None:
        port = free_port(0)
        self._address = f"http://127.0.0.1:{port}"
        remote = settings.remote.model_copy(update={"url": self._address, "kind": "vllm"})
        settings = settings.model_copy(update={"remote": remote})
        self._database = open_database(settings)
        super().__init__(base, settings, self._database)
        self._command = _command(program, base, settings, port)
        self._process: subprocess.Popen[bytes] | None = None
        self._log: IO[bytes]

    async def start(self) -> None:
        self._process = self._launch()
        await self._require_healthy(self._process)
        await super().start()

    def _launch(self) -> subprocess.Popen[bytes]:
        self._log = tempfile.TemporaryFile()  # noqa: SIM115  # it lives as long as the server
        return subprocess.Popen(
            [sys.executable, "-c", KEEPER, *self._command],
            env={**os.environ, "VLLM_ALLOW_RUNTIME_LORA_UPDATING": "True", "HF_HUB_OFFLINE": "1"},
            stdin=subprocess.PIPE,
            stdout=self._log,
            stderr=subprocess.STDOUT,
            **DETACHED,  # a group of its own
        )

    async def _require_healthy(self, process: subprocess.Popen[bytes]) -> None:
        """Wait until the server answers; raises EngineStopped with its last words if it does not."""
        until = time.monotonic() + START_S
        async with aiohttp.ClientSession(self._address) as session:
            while process.poll() is None and time.monotonic() < until:
                with suppress(aiohttp.ClientError):
                    async with session.get("/health") as response:
                        if response.ok:
                            return
                await asyncio.sleep(POLL_S)
        self._log.seek(0)
        words = " ".join(self._log.read().decode(errors="replace").split())
        raise EngineStopped(f"vLLM did not start: {words[-SHOWN_CHARS:]}")

    async def close(self, drain_s: float) -> None:
        await super().close(drain_s)
        self._database.close()
        if self._process:
            await asyncio.to_thread(_end, self._process)
            self._log.close()


def _command(program: str, base: BaseModel, settings: Settings, port: int) -> list[str]:
    options = {
        "served-model-name": "base-model",
        "max-lora-rank": settings.training.lora_rank,
        "max-loras": 2,
        "max-cpu-loras": settings.model.resident_adapters,
        "max-model-len": settings.model.context_tokens,
        "max-num-seqs": settings.generation.batch_size,
        "host": "127.0.0.1",
        "port": port,
    }
    named = [text for name, value in options.items() for text in (f"--{name}", str(value))]
    return [program, "serve", str(base.path), "--enable-lora", *named]


def _end(process: subprocess.Popen[bytes]) -> None:
    """End the server; where it does not leave by itself, with all processes of its group."""
    assert process.stdin is not None
    process.stdin.close()
    try:
        process.wait(LEAVE_S)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
