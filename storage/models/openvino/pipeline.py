"""How OpenVINO GenAI loads a version's graph and generates with it.

Imports OpenVINO only to load or generate: the bot's own process uses the options.
"""

from __future__ import annotations

import json
from collections.abc import Collection
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer

from storage.adapters.folder_store import AdapterRef
from storage.models.base_model import BaseModel
from storage.models.openvino.cache import GraphCache

BLOCK_TOKENS = 32
"""Positions in a block of the cache, as OpenVINO lays it out on CPUs."""
STEP_TOKENS = 256
"""Maximum tokens of one step: a long prompt is read in pieces, so that other answers continue in between."""
ROUND_ACTIVATIONS = "DYNAMIC_QUANTIZATION_GROUP_SIZE"
"""0 disables it: it makes 8 answers at once 1.7 times faster, but answers differ three times as much."""
PIN_THREADS = "ENABLE_CPU_PINNING"
"""On by default: a pinned thread whose core is busy cannot move to another one, and all other threads wait for it."""
PRECISIONS = {"bfloat16": "bf16", "float32": "f32"}


@dataclass(frozen=True)
class PipelineOptions:
    base: BaseModel
    folder: Path
    adapter: AdapterRef | None
    batch_size: int
    """Maximum answers generated at once."""
    cached_tokens: int
    """Tokens of prompts and answers whose keys and values are cached."""
    threads: int
    dtype: str
    """Format of activations: bfloat16 or float32."""
    kept_graphs: int
    """Number of graphs to keep on disk, the most recently used."""

    def to_json(self) -> str:
        return json.dumps(asdict(self), default=str)

    @classmethod
    def from_json(cls, text: str) -> PipelineOptions:
        values = json.loads(text)
        base = {**values["base"], "path": Path(values["base"]["path"])}
        adapter = values["adapter"] and {**values["adapter"], "path": Path(values["adapter"]["path"])}
        return cls(
            **{
                **values,
                "base": BaseModel(**base),
                "folder": Path(values["folder"]),
                "adapter": AdapterRef(**adapter) if adapter else None,
            }
        )


def load_pipeline(options: PipelineOptions) -> Any:
    """Return the version's pipeline; raises what a broken model, adapter or graph raises."""
    from openvino_genai import ContinuousBatchingPipeline, SchedulerConfig

    cache = GraphCache(options.base, options.folder)
    graph = cache.prepare(options.adapter)
    scheduler = SchedulerConfig()
    scheduler.max_num_seqs = options.batch_size
    scheduler.max_num_batched_tokens = STEP_TOKENS
    scheduler.enable_prefix_caching = True
    scheduler.num_kv_blocks = -(-options.cached_tokens // BLOCK_TOKENS)
    try:
        return ContinuousBatchingPipeline(str(graph), scheduler, "CPU", properties(options.dtype, options.threads))
    finally:
        cache.prune(options.kept_graphs)


def load_plain_tokenizer(base_path: Path) -> Tokenizer:
    """Return the base's tokenizer without truncation and padding, whatever its file says."""
    tokenizer = Tokenizer.from_file(str(base_path / "tokenizer.json"))
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer


def properties(dtype: str, threads: int = 0) -> dict[str, object]:
    """Return OpenVINO's properties for this precision and, unless it is 0, this number of threads."""
    always = {ROUND_ACTIVATIONS: 0, PIN_THREADS: False, "INFERENCE_PRECISION_HINT": PRECISIONS[dtype]}
    return always | ({"INFERENCE_NUM_THREADS": threads} if threads else {})


def generation_config(
    *,
    temperature: float,
    top_p: float,
    presence_penalty: float,
    max_new_tokens: int,
    seed: int,
    end_ids: Collection[int],
) -> Any:
    """Return OpenVINO's configuration for one answer; a temperature of 0 is greedy."""
    from openvino_genai import GenerationConfig

    config = GenerationConfig()
    config.max_new_tokens = max_new_tokens
    config.do_sample = temperature > 0
    if config.do_sample:
        config.temperature = temperature
        config.top_p = top_p
    config.presence_penalty = presence_penalty
    config.rng_seed = seed
    if end_ids:
        config.set_eos_token_id(min(end_ids))
        config.stop_token_ids = set(end_ids)
    else:
        config.ignore_eos = True
    return config
