"""Our remote engine on llama.cpp's server: beside llama.cpp asked plainly, this is what the way over HTTP costs."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bot.chat.prompting import ChatMessage
from bot.engine import EngineState, Generation, GenerationRequest, RenderedPrompt
from bot.engine.refusals import Refusal
from bot.engine.remote.engine import RemoteEngine
from storage.adapters.folder_store import AdapterRef
from storage.database.database import Database, open_database
from storage.models.base_model import BaseModel
from storage.settings.sections import Settings
from tests.llama_server import serve


class Remote:
    """Server and engine share a process, whose memory is measured."""

    def __init__(self, base: BaseModel, settings: Settings, lora: Path | None) -> None:
        self._base = base
        self._settings = settings
        self._loras = [lora] if lora else []
        self._server: Any = None
        self._database: Database
        self._engine: RemoteEngine

    async def start(self) -> None:
        self._server = await asyncio.to_thread(self._serve)
        there = {"url": self._server.listening_address, "kind": "llama.cpp", "connect_timeout_s": 60.0}
        settings = self._settings.model_copy(update={"remote": self._settings.remote.model_copy(update=there)})
        self._database = await asyncio.to_thread(open_database, settings)
        self._engine = RemoteEngine(self._base, settings, self._database)
        await self._engine.start()

    def _serve(self) -> Any:
        return serve(
            self._loras,
            places=self._settings.generation.batch_size,
            context_tokens=self._settings.model.context_tokens,
            threads=self._settings.model.threads or len(os.sched_getaffinity(0)),
        )

    async def close(self, drain_s: float) -> None:
        await self._engine.close(drain_s)
        self._database.close()
        self._server = None

    async def render(self, messages: Sequence[ChatMessage]) -> RenderedPrompt:
        return await self._engine.render(messages)

    def state(self) -> EngineState:
        return self._engine.state()

    def prepare(self, adapter: AdapterRef | None) -> None:
        """The server has it, or never will."""

    def refusal_of(self, adapter: AdapterRef | None) -> Refusal | None:
        return self._engine.refusal_of(adapter)

    def submit(self, request: GenerationRequest) -> Generation:
        return self._engine.submit(request)
