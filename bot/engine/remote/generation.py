"""An answer of a server, between the request and its end."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from bot.engine.protocol import GenerationRequest
from bot.engine.queued import QueuedGeneration
from bot.engine.remote.answering import Answer
from bot.engine.remote.replicas import Replica


class RemoteGeneration(QueuedGeneration):
    """An answer with how often it was tried, and where."""

    def __init__(
        self, request: GenerationRequest, blocks: tuple[int, ...], on_cancel: Callable[[QueuedGeneration], None]
    ) -> None:
        super().__init__(request, on_cancel)
        self.blocks = blocks
        self.attempts = 0
        self.avoided: set[Replica] = set()
        """Servers that failed it."""
        self.task: asyncio.Task[None] | None = None
        self.answer: Answer | None = None
        """What has come of it since it was asked for last."""
