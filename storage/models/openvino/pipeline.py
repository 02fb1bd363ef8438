"""A version's graph, ready to generate by OpenVINO GenAI: several answers at once, each as if it were alone."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Any

from openvino_genai import ContinuousBatchingPipeline, GenerationConfig, SchedulerConfig
from tokenizers import Tokenizer

from storage.models.openvino.cache import GraphCache
from storage.models.openvino.options import PipelineOptions

BLOCK_TOKENS = 32
"""Positions of a block of the cache, as OpenVINO lays it out on CPUs."""
STEP_TOKENS = 256
"""Most tokens of one step: a long prompt is read in pieces, between which answers go on."""
ROUND_ACTIVATIONS = "DYNAMIC_QUANTIZATION_GROUP_SIZE"
"""0 switches it off: it would make 8 answers together 1.7 times faster and what is said differ three times as much."""
PIN_THREADS = "ENABLE_CPU_PINNING"
"""On by default: a thread whose core is taken could not move to another one, and all the rest would wait for it."""
PRECISIONS = {"bfloat16": "bf16", "float32": "f32"}


def load_pipeline(options: PipelineOptions) -> Any:
    """Return the version's pipeline; raises what a broken model, adapter or graph raises."""
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
    """Return the base's tokenizer, which cuts and pads nothing, whatever its file says."""
    tokenizer = Tokenizer.from_file(str(base_path / "tokenizer.json"))
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer


def properties(dtype: str, threads: int = 0) -> dict[str, object]:
    """Return how OpenVINO computes: with this precision and, where not 0, with so many threads."""
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
    """Return how to generate one answer; a temperature of 0 is greedy."""
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
