"""What an engine that is not ours needs to be asked as ours are."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from bot.chat.prompting import ChatMessage
from bot.engine import EngineState, Finish, Generation, GenerationRequest, RenderedPrompt
from bot.engine.queue import QueuedGeneration
from bot.engine.rendering import Renderer
from storage.adapters.folder_store import AdapterRef
from storage.models.base_model import BaseModel
from storage.models.chat_format import load_chat_format
from storage.settings.sections import Settings


class Contender(Protocol):
    """The part of bot.services.engine.protocol.Engine that a benchmark of serving uses."""

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
        self._renderer: Renderer
        self._progress: dict[QueuedGeneration, Progress] = {}

    async def start(self) -> None:
        self._loop = asyncio.get_running_loop()
        await asyncio.to_thread(self._read_tokenizer)

    def _read_tokenizer(self) -> None:
        model = self._settings.model
        chat = load_chat_format(self._base.path, model.template_options, "PreTrainedTokenizerFast")
        self._renderer = Renderer(chat, model.context_tokens, self._settings.generation)

    async def render(self, messages: Sequence[ChatMessage]) -> RenderedPrompt:
        return await asyncio.to_thread(self._renderer.render, messages)

    def state(self) -> EngineState:
        return EngineState()

    def prepare(self, adapter: AdapterRef | None) -> None:
        """Do nothing: it has one version, from its start."""

    def refusal_of(self, _adapter: AdapterRef | None) -> None:
        return None

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
