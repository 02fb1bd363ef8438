"""llama.cpp's own server, from the wheels of xllamacpp, with an adapter rewritten as it wants it."""

from __future__ import annotations

import asyncio
import json
import os
import time
from importlib.metadata import distribution
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import aiohttp
import numpy as np
from gguf import GGUFWriter
from numpy.typing import NDArray

from bot.engine.protocol import Finish, GenerationRequest
from bot.engine.queued import QueuedGeneration
from storage.adapters import AdapterRef
from storage.base_model import BUNDLED_FILE, BUNDLED_PACKAGE, BaseModel
from storage.settings import Settings
from tests.benchmarks.contender import Progress, RenderingContender

LAYERS = {
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}
EVENT = b"data: "


def is_installed() -> bool:
    return find_spec("xllamacpp") is not None


def write_lora(adapter: AdapterRef, base: BaseModel, file: Path) -> None:
    """Write a PEFT adapter of a Llama model as the GGUF that llama.cpp reads."""
    from storage.graphs.graph import read_tensors
    from storage.graphs.support import require_supported

    model = require_supported(base.path)
    heads = {"attn_q": model["num_attention_heads"], "attn_k": model["num_key_value_heads"]}
    config = json.loads((adapter.path / "adapter_config.json").read_text(encoding="utf-8"))
    writer = GGUFWriter(str(file), "llama")
    writer.add_type("adapter")
    writer.add_string("adapter.type", "lora")
    writer.add_float32("adapter.lora.alpha", float(config["lora_alpha"]) * adapter.strength)
    for key, tensor in read_tensors([adapter.path / "adapter_model.safetensors"]).items():
        number, _, rest = key.partition("layers.")[2].partition(".")
        module, _, kind = rest.partition(".lora_")
        layer, side = LAYERS[module], "lora_a" if kind.startswith("A") else "lora_b"
        rows = _interleaved(tensor, heads[layer]) if side == "lora_b" and layer in heads else tensor
        writer.add_tensor(f"blk.{number}.{layer}.weight.{side}", np.ascontiguousarray(rows, dtype=np.float16))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _interleaved(rows: NDArray[np.float32], heads: int) -> NDArray[np.float32]:
    """Return rows, (H * D, rank), in llama.cpp's order: it rotates neighbours, transformers the halves of a head."""
    return rows.reshape(heads, 2, -1, rows.shape[1]).swapaxes(1, 2).reshape(rows.shape)


class LlamaCpp(RenderingContender):
    """Answers from the bundled GGUF as it is, with as many places and as much context for each as ours."""

    def __init__(self, base: BaseModel, settings: Settings, lora: Path | None) -> None:
        super().__init__(base, settings)
        self._lora = lora
        self._server: Any = None
        self._session: aiohttp.ClientSession
        self._tasks: dict[QueuedGeneration, asyncio.Task[None]] = {}

    async def start(self) -> None:
        await super().start()
        self._server = await asyncio.to_thread(self._serve)
        self._session = aiohttp.ClientSession(self._server.listening_address, timeout=aiohttp.ClientTimeout())

    def _serve(self) -> Any:
        import xllamacpp

        parameters = xllamacpp.CommonParams()
        parameters.model.path = str(distribution(BUNDLED_PACKAGE).locate_file(BUNDLED_FILE))
        parameters.verbosity = 0  # errors only
        parameters.n_parallel = self._settings.generation.batch_size
        parameters.n_ctx = self._settings.generation.batch_size * self._settings.model.context_tokens
        threads = self._settings.model.threads or len(os.sched_getaffinity(0))
        parameters.cpuparams.n_threads = parameters.cpuparams_batch.n_threads = threads
        if self._lora:
            parameters.lora_adapters = [xllamacpp.CommonAdapterLoraInfo(str(self._lora), 1.0)]
        return xllamacpp.Server(parameters)

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
