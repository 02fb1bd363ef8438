"""A process that answers with one version: it reads commands from standard input and writes events, both lines of JSON.

It is a separate process because OpenVINO GenAI holds Python's lock while it computes, which would block the bot's event
loop, and because a crash of the model must not end the bot.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import logging
import os
import sys
import threading
import traceback
from collections.abc import Callable, Collection, Iterator
from queue import SimpleQueue
from typing import Any, BinaryIO

import numpy as np
import openvino as ov
from openvino_genai import GenerationFinishReason

from bot.engine import finish_of
from storage.errors import StorageError
from storage.models.adapter_checks import AdapterMisfit
from storage.models.answer_stream import AnswerStream, Thought, ThoughtRoom, words_only
from storage.models.effect import WrongEffect
from storage.models.hardware import broken_library
from storage.models.openvino.pipeline import PipelineOptions, generation_config, load_pipeline, load_plain_tokenizer
from storage.runtime.requests import current_request, working_on

log = logging.getLogger(__name__)

Command = dict[str, Any]
Emit = Callable[[dict[str, Any]], None]


class _Answer:
    def __init__(self, handle: Any, prompt_tokens: int, end_ids: Collection[int], stream: AnswerStream) -> None:
        self._handle = handle
        self._prompt_tokens = prompt_tokens
        self._end_ids = frozenset(end_ids)
        self._stream = stream

    def cancel(self) -> None:
        self._handle.cancel()

    def read(self) -> dict[str, Any] | None:
        """Return the news since the last step, or None."""
        text, reason, has_news = "", GenerationFinishReason.NONE, False
        while self._handle.can_read():
            for output in self._handle.read().values():
                has_news, reason = True, output.finish_reason
                text += "".join(map(self._take, output.generated_ids))
        if not has_news:
            return None
        finish = finish_of(self._stream, has_stopped=reason == GenerationFinishReason.STOP)
        if finish is not None:
            text += self._stream.flush()
            if reason == GenerationFinishReason.NONE:
                self._handle.cancel()  # a thought left tokens to the answer that it may not have
        return {
            "text": text,
            "finish": finish,
            "prompt_tokens": self._prompt_tokens,
            "answer_tokens": len(self._stream.answer_ids),
        }

    def _take(self, token: int) -> str:
        return "" if token in self._end_ids or self._stream.is_at_limit else self._stream.push(token)


class VersionWorker:
    """Answers several requests at once, independently of each other, with a prefix cache."""

    def __init__(self, options: PipelineOptions, emit: Emit) -> None:
        """Load the version; raises the library's errors for a broken model, adapter or graph."""
        self._emit = emit
        self._tokenizer = load_plain_tokenizer(options.base.path)
        added = self._tokenizer.get_added_tokens_decoder()
        self._specials = {id_: token.content for id_, token in added.items() if token.special}
        self._pipeline = load_pipeline(options)
        _return_memory()
        self._answers: dict[int, _Answer] = {}

    def serve(self, commands: SimpleQueue[Command | None]) -> None:
        """Handle commands until the input ends."""
        while True:
            for command in self._received(commands):
                if command is None:
                    return
                self._obey(command)
            if self._answers:
                self._step()

    def _received(self, commands: SimpleQueue[Command | None]) -> Iterator[Command | None]:
        """Yield the commands that have arrived; wait for one if there is no answer to work on."""
        if not self._answers:
            yield commands.get()
        while not commands.empty():
            yield commands.get()

    def _obey(self, command: Command) -> None:
        if "cancel" in command:
            if answer := self._answers.pop(command["cancel"], None):
                answer.cancel()
            return
        with working_on(command["request_id"]):
            try:
                self._answers[command["id"]] = self._begin(command)
            except RuntimeError as error:
                log.error("OpenVINO refused a prompt: %s", error)
                self._emit({"id": command["id"], "error": str(error)})

    def _begin(self, command: Command) -> _Answer:
        prompt, sampling = command["prompt"], command["sampling"]
        ids = self._tokenizer.encode(prompt, add_special_tokens=False).ids
        thought = Thought(**command["thought"]) if command["thought"] else None
        longest_thought = ThoughtRoom(**command["room"]).beside(len(ids), sampling["max_new_tokens"])
        stream = AnswerStream(
            words_only(lambda ids: self._tokenizer.decode(ids, skip_special_tokens=False), self._specials, thought),
            thought,
            prompt,
            sampling["max_new_tokens"],
            longest_thought,
        )
        handle = self._pipeline.add_request(
            command["id"],
            ov.Tensor(np.array([ids], dtype=np.int64)),
            generation_config(**sampling | {"max_new_tokens": sampling["max_new_tokens"] + longest_thought}),
        )
        return _Answer(handle, len(ids), sampling["end_ids"], stream)

    def _step(self) -> None:
        self._pipeline.step()
        for id_, answer in list(self._answers.items()):
            if news := answer.read():
                self._emit({"id": id_, **news})
                if news["finish"]:
                    del self._answers[id_]


class _Relay(logging.Handler):
    """Sends log records to the bot, which logs them as its own."""

    def __init__(self, emit: Emit) -> None:
        super().__init__()
        self.setFormatter(logging.Formatter())  # without the prefix of logging.basicConfig
        self._emit = emit

    def emit(self, record: logging.LogRecord) -> None:
        self._emit(
            {
                "log": {
                    "name": record.name,
                    "levelno": record.levelno,
                    "levelname": record.levelname,
                    "msg": self.format(record),
                    "created": record.created,
                    "request_id": current_request(),
                }
            }
        )


def _read_commands(stream: BinaryIO, commands: SimpleQueue[Command | None]) -> None:
    for line in stream:
        commands.put(json.loads(line))
    commands.put(None)  # the bot has closed the pipe, or died


def _own_output() -> BinaryIO:
    """Return standard output for events only; redirect what libraries print to standard error."""
    events = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    return events


def _return_memory() -> None:
    """Return freed memory to the system: after building and compiling a graph, glibc keeps hundreds of MB."""
    with contextlib.suppress(OSError, AttributeError):  # a C library other than glibc
        ctypes.CDLL("libc.so.6").malloc_trim(0)


def main() -> None:
    output = _own_output()

    def emit(event: dict[str, Any]) -> None:
        output.write(json.dumps(event).encode() + b"\n")
        output.flush()

    logging.basicConfig(level=logging.INFO, handlers=[_Relay(emit)])
    try:
        worker = VersionWorker(PipelineOptions.from_json(sys.argv[1]), emit)
        emit({"ready": True})
        commands: SimpleQueue[Command | None] = SimpleQueue()
        threading.Thread(target=_read_commands, args=(sys.stdin.buffer, commands), daemon=True).start()
        worker.serve(commands)
    except Exception as error:
        described = str(error) if isinstance(error, StorageError) else f"{type(error).__name__}: {error}"
        emit({"failed": broken_library(error) or described, "misfit": isinstance(error, (AdapterMisfit, WrongEffect))})
        traceback.print_exc()
        sys.stderr.flush()
        os._exit(1)  # Python would wait for the reading thread


if __name__ == "__main__":
    main()
