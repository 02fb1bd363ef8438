"""Engines that are not ours, asked as ours are; here llama.cpp's own server, from the wheels of xllamacpp."""

from __future__ import annotations

import asyncio
import json
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import aiohttp

from bot.chat.prompting import ChatMessage
from bot.engine import Finish, Generation, GenerationRequest, RenderedPrompt
from bot.engine.queue import QueuedGeneration
from bot.engine.rendering import Renderer
from storage.adapters.folder_store import AdapterRef
from storage.models.base_model import BaseModel
from storage.models.chat_format import load_chat_format
from storage.settings.sections import Settings
from tests.llama_server import serve

EVENT = b"data: "


class Contender(Protocol):
    """The part of bot.engine.Engine that a benchmark of serving uses."""

    async def start(self) -> None: ...

    async def close(self, drain_s: float) -> None: ...

    async def render(self, messages: Sequence[ChatMessage]) -> RenderedPrompt: ...

    def prepare(self, adapter: AdapterRef | None) -> None: ...

    def submit(self, request: GenerationRequest) -> Generation: ...


@dataclass
class Progress:
    """How far an answer has come; a reading of time.perf_counter(), and tokens."""

    first_token_at: float | None = None
    tokens: int = 0

    def note_token(self) -> None:
        self.first_token_at = self.first_token_at or time.perf_counter()
        self.tokens += 1


class RenderingContender:
    """Renders as our engines do, so that all get the same prompts and hold a tokenizer in memory."""

    def __init__(self, base: BaseModel, settings: Settings) -> None:
        self._base = base
        self._settings = settings
        self._progress: dict[QueuedGeneration, Progress] = {}

    async def start(self) -> None:
        self._loop = asyncio.get_running_loop()
        model = self._settings.model
        chat = await asyncio.to_thread(
            load_chat_format, self._base.path, model.template_options, "PreTrainedTokenizerFast"
        )
        self._renderer = Renderer(chat, model.context_tokens, self._settings.generation)

    async def render(self, messages: Sequence[ChatMessage]) -> RenderedPrompt:
        return await asyncio.to_thread(self._renderer.render, messages)

    def prepare(self, adapter: AdapterRef | None) -> None:
        """Do nothing: it has one version, from its start."""

    def cancel(self, generation: QueuedGeneration) -> None:
        """End an answer with what it has; what computes it sees that by itself."""
        if not generation.has_ended:
            progress = self._progress.get(generation, Progress())
            generation.complete(
                Finish.CANCELLED,
                time.perf_counter(),
                first_token_at=progress.first_token_at,
                answer_tokens=progress.tokens,
            )


class LlamaCpp(RenderingContender):
    """Answers from a GGUF file, or the bundled one, with as many places and as much context for each as ours."""

    def __init__(self, base: BaseModel, settings: Settings, lora: Path | None, model: Path | None = None) -> None:
        super().__init__(base, settings)
        self._lora = lora
        self._model = model
        self._tasks: dict[QueuedGeneration, asyncio.Task[None]] = {}

    async def start(self) -> None:
        await super().start()
        self._server = await asyncio.to_thread(
            serve,
            [self._lora] if self._lora else [],
            places=self._settings.generation.batch_size,
            context_tokens=self._settings.model.context_tokens,
            threads=self._settings.model.threads or len(os.sched_getaffinity(0)),
            model=self._model,
        )
        self._session = aiohttp.ClientSession(self._server.listening_address, timeout=aiohttp.ClientTimeout())

    async def close(self, drain_s: float) -> None:
        await self._session.close()
        self._server = None

    def submit(self, request: GenerationRequest) -> QueuedGeneration:
        generation = QueuedGeneration(request, self._give_up)
        task = asyncio.get_running_loop().create_task(self._answer(generation), name="answer of llama.cpp")
        self._tasks[generation] = task
        task.add_done_callback(lambda _task: self._tasks.pop(generation))
        return generation

    def _give_up(self, generation: QueuedGeneration) -> None:
        """The server ends an answer whose connection is gone."""
        self.cancel(generation)
        if task := self._tasks.get(generation):
            task.cancel()

    async def _answer(self, generation: QueuedGeneration) -> None:
        try:
            async with self._session.post("/completions", json=_body(generation.request)) as response:
                response.raise_for_status()
                await _read(response, generation, self._progress.setdefault(generation, Progress()))
        except aiohttp.ClientError as error:
            generation.fail(error)


def _body(request: GenerationRequest) -> dict[str, Any]:
    return {
        "prompt": request.prompt,
        "stream": True,
        "cache_prompt": True,
        "n_predict": request.sampling.max_new_tokens,
        "temperature": request.sampling.temperature,
        "top_p": request.sampling.top_p,
        "top_k": 0,  # off
        "min_p": 0,
        "presence_penalty": request.sampling.presence_penalty,
        "seed": request.seed,
    }


async def _read(response: aiohttp.ClientResponse, generation: QueuedGeneration, progress: Progress) -> None:
    async for line in response.content:
        if not line.startswith(EVENT):
            continue
        event = json.loads(line.removeprefix(EVENT))
        progress.note_token()
        generation.extend(event["content"])
        if event["stop"]:
            has_end = event["stop_type"] == "eos"  # which is counted among the tokens
            generation.complete(
                Finish.STOP if has_end else Finish.LENGTH,
                time.perf_counter(),
                first_token_at=progress.first_token_at,
                prompt_tokens=event["tokens_evaluated"],
                answer_tokens=event["tokens_predicted"] - has_end,
            )
