"""One answer of one server: asked for, read as it comes, and counted."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Mapping
from contextlib import aclosing

from bot.engine.protocol import Finish, GenerationRequest
from bot.engine.queue import QueuedGeneration
from bot.engine.remote.adapter_loading import NOT_FOUND, Fields, Versions, VllmVersions
from bot.engine.remote.errors import Faulty, Refused
from bot.engine.remote.replicas import Replica
from bot.engine.remote.server import Usage
from bot.engine.rendering import Renderer

log = logging.getLogger(__name__)


FINISHES = {"stop": Finish.STOP, "length": Finish.LENGTH}


class Answer:
    """What has come so far."""

    def __init__(
        self, request: GenerationRequest, renderer: Renderer, ends: Mapping[int, str], started_at: float
    ) -> None:
        """`ends` are the tokens that end an answer, {id: text}; `started_at` is a reading of time.perf_counter()."""
        self.request = request
        self.ends = ends
        self.started_at = started_at
        self.first_token_at: float | None = None
        self.model = ""
        self.text = ""
        self.prompt_ids: list[int] = []
        self._pieces = 0
        self.usage: Usage | None = None
        self._renderer = renderer

    async def read_prompt(self) -> None:
        self.prompt_ids = await asyncio.to_thread(self._renderer.ids, self.request.prompt)

    def take(self, text: str, usage: Usage | None) -> None:
        self.usage = usage or self.usage
        if text:
            self.first_token_at = self.first_token_at or time.perf_counter()
            self._pieces += 1
            self.text += text

    @property
    def prompt_tokens(self) -> int:
        """As the server counts them, or as they are here where it does not say."""
        return self.usage.prompt_tokens if self.usage else len(self.prompt_ids)

    def answer_tokens(self, finish: Finish) -> int:
        """Return them without the token that ended the answer; of one that was cut short, about as many."""
        if self.usage is None:
            return self._pieces
        return max(0, self.usage.answer_tokens - (finish is Finish.STOP))

    async def billed_tokens(self) -> int:
        if self.usage:
            return self.usage.answer_tokens
        return len(await asyncio.to_thread(self._renderer.ids, self.text))


async def answer(so_far: Answer, extend: Callable[[str], None], replica: Replica, versions: Versions) -> Finish:
    """Have the server answer, `extend` with each piece of text, and return how the answer ended.

    Raises ServerError. A server that has forgotten the version, for it was started anew, loads it once more.
    """
    await so_far.read_prompt()
    body = versions.sampling(so_far.request, so_far.ends)
    body["prompt"] = so_far.prompt_ids if versions.wants_tokens else so_far.request.prompt
    try:
        return await _attempt(body, so_far, extend, replica, versions)
    except Refused as error:
        if error.status != NOT_FOUND or so_far.request.adapter is None:
            raise
        log.warning("%s has forgotten a version, which it loads again: %s", replica.server.url, error)
        versions.forget(replica, so_far.request.adapter)
    return await _attempt(body, so_far, extend, replica, versions)


async def _attempt(
    body: Fields, so_far: Answer, extend: Callable[[str], None], replica: Replica, versions: Versions
) -> Finish:
    finish: str | None = None
    async with versions.naming(replica, so_far.request.adapter) as names:
        so_far.model = names["model"]
        async with aclosing(replica.server.complete(body | names)) as pieces:
            async for piece in pieces:
                if isinstance(versions, VllmVersions) and piece.model != so_far.model:
                    raise Faulty(replica.server.url, f"answers as {piece.model}, and was asked for {so_far.model}")
                replica.heard_at = time.perf_counter()
                so_far.take(piece.text, piece.usage)
                extend(piece.text)
                finish = piece.finish or finish
    if finish not in FINISHES:
        raise Faulty(replica.server.url, f"ended an answer for a reason of its own ({finish})")
    _compare_counts(so_far, replica)
    return FINISHES[finish]


def _compare_counts(so_far: Answer, replica: Replica) -> None:
    """Say once where a server reads a prompt otherwise than it was rendered."""
    here, there = len(so_far.prompt_ids), so_far.prompt_tokens
    if here != there and not replica.reads_otherwise:
        replica.reads_otherwise = True
        log.warning(
            "%s reads %d tokens where the tokenizer of model.base counts %d: it serves another model, or adds tokens.",
            replica.server.url,
            there,
            here,
        )


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
