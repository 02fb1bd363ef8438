"""A process that answers with one version: commands come as lines of JSON on its input, events leave on its output.

It is a process of its own because OpenVINO GenAI holds Python's lock while it computes, which would stop the gateway's
event loop, and because a crash of the model must not end the bot.
"""

from __future__ import annotations

import json
import os
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from queue import SimpleQueue
from typing import Any, BinaryIO

import numpy as np
import openvino as ov
from openvino_genai import ContinuousBatchingPipeline, GenerationConfig, GenerationFinishReason, SchedulerConfig
from tokenizers import Tokenizer

from bot.engine.openvino.graph_cache import GraphCache
from bot.engine.openvino.options import WorkerOptions
from bot.engine.protocol import Finish
from bot.engine.text_stream import TextStream

BLOCK_TOKENS = 32
"""Positions of a block of the cache, as OpenVINO lays it out on CPUs."""
STEP_TOKENS = 256
"""Most tokens of one step: a long prompt is read in pieces, between which answers go on."""
ROUND_ACTIVATIONS = "DYNAMIC_QUANTIZATION_GROUP_SIZE"
"""0 switches it off: it would make 8 answers together 1.7 times faster and what is said differ three times as much."""
PRECISIONS = {"bfloat16": "bf16", "float32": "f32"}

Command = dict[str, Any]
Emit = Callable[[dict[str, Any]], None]


class _Answer:
    """An answer in progress."""

    def __init__(self, handle: Any, prompt_tokens: int, stream: TextStream) -> None:
        self._handle = handle
        self._prompt_tokens = prompt_tokens
        self._answer_tokens = 0
        self._stream = stream

    def cancel(self) -> None:
        self._handle.cancel()

    def read(self, end_ids: frozenset[int]) -> dict[str, Any] | None:
        """Return what is new since the last step, if anything is."""
        text, finish, has_news = "", None, False
        while self._handle.can_read():
            for output in self._handle.read().values():
                has_news = True
                spoken = [token for token in output.generated_ids if token not in end_ids]
                self._answer_tokens += len(spoken)
                text += "".join(self._stream.push(token) for token in spoken)
                finish = finish or _finish(output.finish_reason)
        if not has_news:
            return None
        if finish is not None:
            text += self._stream.flush()
        return {
            "text": text,
            "finish": finish,
            "prompt_tokens": self._prompt_tokens,
            "answer_tokens": self._answer_tokens,
        }


class Worker:
    """Answers several requests at once, each as if it were alone, and remembers how their prompts began."""

    def __init__(self, options: WorkerOptions, emit: Emit) -> None:
        """Load the version; raises what a broken model, adapter or graph raises."""
        self._end_ids = frozenset(options.end_ids)
        self._emit = emit
        self._tokenizer = load_tokenizer(options.base.path)
        self._pipeline = _load(options)
        self._answers: dict[int, _Answer] = {}

    def serve(self, commands: SimpleQueue[Command | None]) -> None:
        """Obey until the input ends."""
        while True:
            for command in self._received(commands):
                if command is None:
                    return
                self._obey(command)
            if self._answers:
                self._step()

    def _received(self, commands: SimpleQueue[Command | None]) -> Iterator[Command | None]:
        """Yield what has come; wait for something where there is nothing to do."""
        if not self._answers:
            yield commands.get()
        while not commands.empty():
            yield commands.get()

    def _obey(self, command: Command) -> None:
        if "cancel" in command:
            if answer := self._answers.pop(command["cancel"], None):
                answer.cancel()
            return
        try:
            self._answers[command["id"]] = self._begin(command)
        except RuntimeError as error:
            self._emit({"id": command["id"], "error": str(error)})

    def _begin(self, command: Command) -> _Answer:
        ids = self._tokenizer.encode(command["prompt"], add_special_tokens=False).ids
        handle = self._pipeline.add_request(
            command["id"], ov.Tensor(np.array([ids], dtype=np.int64)), _generation_config(command, self._end_ids)
        )
        return _Answer(handle, len(ids), TextStream(self._decode))

    def _decode(self, ids: list[int]) -> str:
        return self._tokenizer.decode(ids, skip_special_tokens=True)

    def _step(self) -> None:
        self._pipeline.step()
        for id_, answer in list(self._answers.items()):
            if news := answer.read(self._end_ids):
                self._emit({"id": id_, **news})
                if news["finish"]:
                    del self._answers[id_]


def load_tokenizer(base_path: Path) -> Tokenizer:
    """Return the base's tokenizer, which cuts and pads nothing, whatever its file says."""
    tokenizer = Tokenizer.from_file(str(base_path / "tokenizer.json"))
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer


def properties(dtype: str, threads: int = 0) -> dict[str, object]:
    """Return how OpenVINO computes: with this precision and, where not 0, with so many threads."""
    precision: dict[str, object] = {ROUND_ACTIVATIONS: 0, "INFERENCE_PRECISION_HINT": PRECISIONS[dtype]}
    return precision | ({"INFERENCE_NUM_THREADS": threads} if threads else {})


def _load(options: WorkerOptions) -> Any:
    cache = GraphCache(options.base, options.folder)
    graph = cache.prepare(options.adapter)
    scheduler = SchedulerConfig()
    scheduler.max_num_seqs = options.batch_size
    scheduler.max_num_batched_tokens = STEP_TOKENS
    scheduler.enable_prefix_caching = True
    # What all answers need at once, and as much again for conversations that will go on.
    scheduler.num_kv_blocks = 2 * options.batch_size * -(-options.context_tokens // BLOCK_TOKENS)
    try:
        return ContinuousBatchingPipeline(str(graph), scheduler, "CPU", properties(options.dtype, options.threads))
    except RuntimeError:
        cache.discard(options.adapter)  # the next start makes it anew
        raise
    finally:
        cache.prune(options.kept_graphs)


def _generation_config(command: Command, end_ids: frozenset[int]) -> Any:
    config = GenerationConfig()
    config.max_new_tokens = command["max_new_tokens"]
    config.do_sample = command["temperature"] > 0
    if config.do_sample:
        config.temperature = command["temperature"]
        config.top_p = command["top_p"]
    config.presence_penalty = command["presence_penalty"]
    config.rng_seed = command["seed"]
    if end_ids:
        config.set_eos_token_id(min(end_ids))
        config.stop_token_ids = set(end_ids)
    else:
        config.ignore_eos = True
    return config


def _finish(reason: Any) -> Finish | None:
    return {GenerationFinishReason.STOP: Finish.STOP, GenerationFinishReason.LENGTH: Finish.LENGTH}.get(reason)


def _read_commands(stream: BinaryIO, commands: SimpleQueue[Command | None]) -> None:
    for line in stream:
        commands.put(json.loads(line))
    commands.put(None)  # the bot has closed it, or is gone


def _own_output() -> BinaryIO:
    """Return the output for events; whatever libraries print goes to where errors go."""
    events = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    return events


def main() -> None:
    output = _own_output()

    def emit(event: dict[str, Any]) -> None:
        output.write(json.dumps(event).encode() + b"\n")
        output.flush()

    try:
        worker = Worker(WorkerOptions.from_json(sys.argv[1]), emit)
    except Exception as error:
        emit({"failed": f"{error}"})
        raise SystemExit(1) from error
    emit({"ready": True})
    commands: SimpleQueue[Command | None] = SimpleQueue()
    threading.Thread(target=_read_commands, args=(sys.stdin.buffer, commands), daemon=True).start()
    worker.serve(commands)


if __name__ == "__main__":
    main()
