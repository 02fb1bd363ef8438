"""The engine's side of a worker: starts it, sends it requests, and tells what comes back."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import sys
import time
from collections import deque
from collections.abc import Callable
from typing import Any

from bot.engine.openvino.options import WorkerOptions
from bot.engine.protocol import AdapterRef, Finish
from bot.engine.queued import QueuedGeneration
from bot.errors import EngineStopped

log = logging.getLogger(__name__)

LINE_LIMIT = 2**24
"""Most bytes of one event."""
LEAVE_S = 2.0
LAST_WORDS = 5
"""Lines of a worker's own output that are told when it dies."""


class _Running:
    """An answer that the worker works on."""

    def __init__(self, generation: QueuedGeneration) -> None:
        self.generation = generation
        self._started_at = time.perf_counter()
        self._first_token_at: float | None = None
        self._tokens = (0, 0)

    def extend(self, event: dict[str, Any]) -> None:
        self._first_token_at = self._first_token_at or time.perf_counter()
        self._tokens = event["prompt_tokens"], event["answer_tokens"]
        self.generation.extend(event["text"])

    def complete(self, finish: Finish) -> None:
        prompt_tokens, answer_tokens = self._tokens
        self.generation.complete(
            finish,
            time.perf_counter(),
            started_at=self._started_at,
            first_token_at=self._first_token_at,
            prompt_tokens=prompt_tokens,
            answer_tokens=answer_tokens,
        )


class VersionProcess:
    """A process that answers with one version."""

    def __init__(self, options: WorkerOptions, on_change: Callable[[VersionProcess], None]) -> None:
        """`on_change` is called when it is ready, when an answer has ended, and when it is gone."""
        self._options = options
        self._on_change = on_change
        self._process: asyncio.subprocess.Process | None = None
        self._running: dict[int, _Running] = {}
        self._last_id = 0
        self._last_words: deque[str] = deque(maxlen=LAST_WORDS)
        self._reason = ""
        self._is_leaving = False
        self._task = asyncio.get_running_loop().create_task(self._live(), name="version process")
        self.is_ready = False
        self.was_ready = False
        self.is_gone = False
        self.used_at = time.perf_counter()

    @property
    def adapter(self) -> AdapterRef | None:
        return self._options.adapter

    @property
    def busy(self) -> int:
        """How many answers it works on."""
        return len(self._running)

    @property
    def failure(self) -> EngineStopped:
        """Why it is gone."""
        code = self._process.returncode if self._process else None
        words = self._reason or " ".join(self._last_words) or f"it ended with code {code}; out of memory, perhaps"
        return EngineStopped(f"the model's process is gone: {words}")

    def answer(self, generation: QueuedGeneration) -> None:
        """Begin an answer; the process is ready."""
        self._last_id += 1
        self._running[self._last_id] = _Running(generation)
        self.used_at = time.perf_counter()
        request, sampling = generation.request, generation.request.sampling
        self._send(
            {
                "id": self._last_id,
                "prompt": request.prompt,
                "seed": request.seed,
                "temperature": sampling.temperature,
                "top_p": sampling.top_p,
                "presence_penalty": sampling.presence_penalty,
                "max_new_tokens": sampling.max_new_tokens,
            }
        )

    def end(self, generation: QueuedGeneration, finish: Finish) -> bool:
        """End an answer early, with what it has; return whether it was one of this process's."""
        for id_, running in self._running.items():
            if running.generation is generation:
                del self._running[id_]
                self._send({"cancel": id_})
                running.complete(finish)
                self._on_change(self)
                return True
        return False

    async def close(self) -> None:
        """Let the process leave, or end it."""
        self._is_leaving = True
        if self._process and self._process.stdin:
            self._process.stdin.close()
        if not self.is_ready and self._process:
            self._kill()  # loading, it listens to nobody
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(asyncio.shield(self._task), LEAVE_S)
        self._kill()
        await self._task

    def _kill(self) -> None:
        if self._process and self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                self._process.kill()

    def _send(self, command: dict[str, Any]) -> None:
        assert self._process is not None
        assert self._process.stdin is not None
        with contextlib.suppress(ConnectionError, RuntimeError):  # `_live` notices that it is gone
            self._process.stdin.write(json.dumps(command).encode() + b"\n")

    async def _live(self) -> None:
        try:
            await self._listen()
        except OSError as error:
            self._reason = str(error)
        finally:
            self.is_ready, self.is_gone = False, True
            if not self._is_leaving:
                log.error("a version's process failed: %s", self.failure)
            for running in self._running.values():
                running.generation.fail(self.failure)
            self._running.clear()
            self._on_change(self)

    async def _listen(self) -> None:
        self._process = process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "bot.engine.openvino.worker",
            self._options.to_json(),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            limit=LINE_LIMIT,
            start_new_session=True,  # Ctrl-C is the bot's: it lets answers finish first
        )
        assert process.stdout is not None
        assert process.stderr is not None
        words = asyncio.get_running_loop().create_task(self._keep_last_words(process.stderr))
        async for line in process.stdout:
            self._take(json.loads(line))
        await words
        await process.wait()

    async def _keep_last_words(self, errors: asyncio.StreamReader) -> None:
        async for line in errors:
            if text := line.decode(errors="replace").strip():
                self._last_words.append(text)

    def _take(self, event: dict[str, Any]) -> None:
        if "ready" in event:
            self.is_ready = self.was_ready = True
            self._on_change(self)
        elif "failed" in event:
            self._reason = event["failed"]
        elif running := self._running.get(event["id"]):
            self._deliver(running, event)

    def _deliver(self, running: _Running, event: dict[str, Any]) -> None:
        if "error" in event:
            running.generation.fail(EngineStopped(event["error"]))
        else:
            running.extend(event)
            if event["finish"] is None:
                return
            running.complete(Finish(event["finish"]))
        del self._running[event["id"]]
        self._on_change(self)
