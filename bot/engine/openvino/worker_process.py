"""The engine's side of a worker: starts the process, sends it requests, and handles its events."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import asdict
from queue import SimpleQueue
from typing import IO, Any

from bot.engine import Finish
from bot.engine.queue import QueuedGeneration
from bot.engine.rendering import Renderer
from bot.errors import BotError, EngineStopped, VersionRefused
from storage.adapters.folder_store import AdapterRef
from storage.models.openvino.pipeline import PipelineOptions
from storage.runtime.processes import DETACHED

log = logging.getLogger(__name__)

LEAVE_S = 2.0
HUNG_S = 30.0
"""A process that is silent for this long while it has answers to work on is considered hung."""
LAST_WORDS_CHARS = 300
"""Characters of a dead worker's output to quote."""


class _Running:
    """An answer that the worker is generating."""

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
    """A process that answers with one version. Threads wait for its pipes; everything else runs on the event loop."""

    def __init__(self, options: PipelineOptions, on_change: Callable[[VersionProcess], None]) -> None:
        """`on_change` is called when the process is ready, when an answer has ended, and when the process has ended."""
        self._options = options
        self._on_change = on_change
        self._loop = asyncio.get_running_loop()
        self._process: subprocess.Popen[Any] | None = None
        self._commands: SimpleQueue[dict[str, Any] | None] = SimpleQueue()
        self._running: dict[int, _Running] = {}
        self._last_id = 0
        self.reason = ""
        """The reason why the process ended."""
        self._is_closing = False
        self._gone = asyncio.Event()
        self.has_settled = asyncio.Event()
        """Set once the process is ready or has ended."""
        self.is_misfit = False
        """The process ended because the adapter does not fit the base, or because it did not answer as the version."""
        self.is_ready = False
        self.was_ready = False
        self.used_at = 0.0  # of idle versions, those that were never used are unloaded first
        self._heard_at = time.perf_counter()
        threading.Thread(target=self._live, name="version", daemon=True).start()

    @property
    def adapter(self) -> AdapterRef | None:
        return self._options.adapter

    @property
    def busy(self) -> int:
        """Number of answers that it is generating."""
        return len(self._running)

    @property
    def is_gone(self) -> bool:
        return self._gone.is_set()

    @property
    def failure(self) -> BotError:
        if self.is_misfit:
            return VersionRefused(self.reason)
        return EngineStopped(f"the model's process ended: {self.reason}")

    def answer(self, generation: QueuedGeneration, renderer: Renderer) -> None:
        """Start an answer to a prompt of this renderer; the process must be ready."""
        self.used_at = time.perf_counter()
        if not self._running:
            self._heard_at = self.used_at
        self._last_id += 1
        self._running[self._last_id] = _Running(generation)
        request, chat = generation.request, renderer.chat
        sampling = asdict(request.sampling) | {"seed": request.seed, "end_ids": sorted(chat.end_ids)}
        self._commands.put(
            {
                "id": self._last_id,
                "request_id": generation.request_id,
                "prompt": renderer.served(request.prompt),
                "sampling": sampling,
                "thought": asdict(chat.thought) if chat.thought else None,
                "room": asdict(renderer.room),
            }
        )

    def end(self, generation: QueuedGeneration, finish: Finish) -> None:
        """End an answer early with the text so far."""
        (id_,) = (id_ for id_, running in self._running.items() if running.generation is generation)
        self._commands.put({"cancel": id_})
        self._running.pop(id_).complete(finish)
        if finish is Finish.TIMEOUT and time.perf_counter() - self._heard_at > HUNG_S and self._process:
            self.is_ready = False  # the next request waits for a new process
            self._process.kill()

    async def close(self) -> None:
        """Let the process exit, or kill it."""
        self._is_closing = True
        self._commands.put(None)
        if self.is_ready:  # while it loads, it reads no commands
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._gone.wait(), LEAVE_S)
        if self._process:
            self._process.kill()
        await self._gone.wait()

    def _take(self, event: dict[str, Any]) -> None:
        self._heard_at = time.perf_counter()
        if "ready" in event:
            self.is_ready = self.was_ready = True
            self.has_settled.set()
            self._on_change(self)
        elif "log" in event:
            _log_for_worker(event["log"])
        elif "failed" in event:
            self.reason, self.is_misfit = event["failed"], event["misfit"]
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

    def _note_end(self, last_words: str) -> None:
        self.reason = self.reason or last_words
        self.is_ready = False
        self._gone.set()
        self.has_settled.set()
        if not self._is_closing:
            log.error("A version cannot answer: %s", self.failure)
        for running in self._running.values():
            running.generation.fail(self.failure)
        self._running.clear()
        self._on_change(self)

    # Everything below runs on separate threads.

    def _live(self) -> None:
        last_words = ""
        try:
            with tempfile.TemporaryFile() as errors:
                last_words = self._listen(errors)
        except Exception as error:  # whatever it is, waiting requests must fail
            last_words = str(error)
        finally:
            if self._process:
                self._process.kill()
            self._commands.put(None)
            self._post(self._note_end, last_words)

    def _listen(self, errors: IO[bytes]) -> str:
        """Handle the events of the process until it ends, and return its last words."""
        self._process = process = subprocess.Popen(
            [sys.executable, "-m", "bot.engine.openvino.worker", self._options.to_json()],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            **DETACHED,  # on Ctrl-C the bot lets answers finish first
        )
        assert process.stdin is not None
        assert process.stdout is not None
        if self._is_closing:
            process.kill()
        threading.Thread(target=self._send, args=(process.stdin,), name="version commands", daemon=True).start()
        with process.stdout:
            for line in process.stdout:
                self._post(self._take, json.loads(line))
        code = process.wait()
        errors.seek(0)
        words = errors.read().decode(errors="replace").strip()[-LAST_WORDS_CHARS:]
        return words or f"exit code {code}, perhaps out of memory"

    def _send(self, pipe: IO[bytes]) -> None:
        with contextlib.suppress(OSError), pipe:  # `_listen` notices that the process has ended
            while (command := self._commands.get()) is not None:
                pipe.write(json.dumps(command).encode() + b"\n")
                pipe.flush()

    def _post(self, callback: Callable[..., None], *arguments: object) -> None:
        # If the loop is closed, nobody can read the answer any more.
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(callback, *arguments)


def _log_for_worker(record: dict[str, Any]) -> None:
    """Log a worker's record here, so that one configuration decides where records go."""
    logger = logging.getLogger(record["name"])
    if logger.isEnabledFor(record["levelno"]):
        logger.handle(logging.makeLogRecord(record))
