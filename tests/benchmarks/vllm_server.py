"""vLLM's own server in a process of its own, asked through our remote engine as a bot asks it."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from typing import IO

import aiohttp

from bot.chat.prompting import ChatMessage
from bot.engine import Generation, GenerationRequest, RenderedPrompt
from bot.engine.remote.engine import RemoteEngine
from bot.errors import EngineStopped
from storage.adapters.folder_store import AdapterRef
from storage.database.database import Database, open_database
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


class VllmServer:
    """Starts the program, and ends it when the bench is done with it; only this machine can reach it."""

    def __init__(self, program: str, base: BaseModel, settings: Settings) -> None:
        self._program = program
        self._base = base
        self._settings = settings
        self._process: subprocess.Popen[bytes] | None = None
        self._log: IO[bytes]
        self._database: Database
        self._engine: RemoteEngine | None = None

    async def start(self) -> None:
        address = f"http://127.0.0.1:{_free_port()}"
        self._process = self._launch(address)
        await self._require_healthy(address)
        remote = self._settings.remote.model_copy(update={"url": address, "kind": "vllm"})
        settings = self._settings.model_copy(update={"remote": remote})
        self._database = await asyncio.to_thread(open_database, settings)
        self._engine = RemoteEngine(self._base, settings, self._database)
        await self._engine.start()

    def _launch(self, address: str) -> subprocess.Popen[bytes]:
        self._log = tempfile.TemporaryFile()  # noqa: SIM115  # it lives as long as the server
        return subprocess.Popen(
            [sys.executable, "-c", KEEPER, *self._command(address)],
            env={**os.environ, "VLLM_ALLOW_RUNTIME_LORA_UPDATING": "True", "HF_HUB_OFFLINE": "1"},
            stdin=subprocess.PIPE,
            stdout=self._log,
            stderr=subprocess.STDOUT,
            **DETACHED,  # a group of its own
        )

    def _command(self, address: str) -> list[str]:
        settings = self._settings
        options = {
            "served-model-name": "base-model",
            "max-lora-rank": settings.training.lora_rank,
            "max-loras": 2,
            "max-cpu-loras": settings.model.resident_adapters,
            "max-model-len": settings.model.context_tokens,
            "max-num-seqs": settings.generation.batch_size,
            "host": "127.0.0.1",
            "port": address.rpartition(":")[2],
        }
        named = [text for name, value in options.items() for text in (f"--{name}", str(value))]
        return [self._program, "serve", str(self._base.path), "--enable-lora", *named]

    async def _require_healthy(self, address: str) -> None:
        """Wait until the server answers; raises EngineStopped with its last words if it does not."""
        assert self._process is not None
        until = time.monotonic() + START_S
        async with aiohttp.ClientSession(address) as session:
            while self._process.poll() is None and time.monotonic() < until:
                try:
                    async with session.get("/health") as response:
                        if response.ok:
                            return
                except aiohttp.ClientError:
                    pass
                await asyncio.sleep(POLL_S)
        raise EngineStopped(f"vLLM did not start: {self._last_words()}")

    def _last_words(self) -> str:
        self._log.seek(0)
        return " ".join(self._log.read().decode(errors="replace").split())[-SHOWN_CHARS:]

    async def close(self, drain_s: float) -> None:
        if self._engine:
            await self._engine.close(drain_s)
            self._database.close()
        if self._process:
            await asyncio.to_thread(_end, self._process)
            self._log.close()

    async def render(self, messages: Sequence[ChatMessage]) -> RenderedPrompt:
        assert self._engine is not None
        return await self._engine.render(messages)

    def prepare(self, adapter: AdapterRef | None) -> None:
        assert self._engine is not None
        self._engine.prepare(adapter)

    def submit(self, request: GenerationRequest) -> Generation:
        assert self._engine is not None
        return self._engine.submit(request)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _end(process: subprocess.Popen[bytes]) -> None:
    """End the server; where it does not leave by itself, with all processes of its group."""
    assert process.stdin is not None
    process.stdin.close()
    try:
        process.wait(LEAVE_S)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
