"""OpenVINO pipelines: a version's graph, loaded to answer, and how its answers are drawn.

Imports OpenVINO only to build one: the bot's own process uses this module.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter
from tokenizers import Tokenizer

from storage.adapters.folder_store import AdapterRef
from storage.models.base_model import BaseModel
from storage.models.effect import EffectCheck, EffectRecord, WrongEffect, read_effect
from storage.models.openvino.graph_cache import GraphCache, verdict_file
from storage.models.openvino.recipes import GraphRecipe, read_verdict

BLOCK_TOKENS = 32
"""Positions in a block of the cache, as OpenVINO lays it out on CPUs."""
STEP_TOKENS = 256
"""Maximum number of tokens of one step: a long prompt is read in pieces, so that other answers continue in between."""
ROUND_ACTIVATIONS = "DYNAMIC_QUANTIZATION_GROUP_SIZE"
PIN_THREADS = "ENABLE_CPU_PINNING"
"""The option is on by default: a pinned thread whose core is busy cannot move, and all other threads wait for it."""
PRECISIONS = {"bfloat16": "bf16", "float16": "f16", "float32": "f32"}


@dataclass(frozen=True)
class PipelineOptions:
    base: BaseModel
    folder: Path
    adapter: AdapterRef | None
    batch_size: int
    """Maximum number of answers generated at once."""
    cached_tokens: int
    """Number of tokens of prompts and answers whose keys and values are cached."""
    threads: int
    dtype: str
    """Format of activations: a key of PRECISIONS."""
    recipe: GraphRecipe
    kept_graphs: int
    """Number of graphs to keep on disk, the most recently used."""

    def to_json(self) -> str:
        return TypeAdapter(PipelineOptions).dump_json(self).decode()

    @classmethod
    def from_json(cls, text: str) -> PipelineOptions:
        return TypeAdapter(cls).validate_json(text)


def load_pipeline(options: PipelineOptions) -> Any:
    """Return the version's pipeline; raises WrongEffect, and the errors of broken models, adapters and graphs."""
    from openvino_genai import ContinuousBatchingPipeline, SchedulerConfig

    cache = GraphCache(options.base, options.folder, options.recipe.weight_bits)
    graph = cache.prepare(options.adapter)
    scheduler = SchedulerConfig()
    scheduler.max_num_seqs = options.batch_size
    scheduler.max_num_batched_tokens = STEP_TOKENS
    scheduler.enable_prefix_caching = True
    scheduler.num_kv_blocks = -(-options.cached_tokens // BLOCK_TOKENS)
    try:
        computing = properties(options.dtype, options.recipe, options.threads)
        pipeline = ContinuousBatchingPipeline(str(graph), scheduler, "CPU", computing)
    finally:
        cache.prune(options.kept_graphs)
    if options.adapter:
        _require_effect(pipeline, options, options.adapter, graph)
    return pipeline


def _require_effect(pipeline: Any, options: PipelineOptions, adapter: AdapterRef, graph: Path) -> None:
    """Raise WrongEffect if the graph's effect is not the trainer's; without a record there is nothing to compare.

    The graph was built from all of the adapter's tensors, and its checksums name the version.
    """
    effect = read_effect(adapter.path)
    if effect is None:
        return
    found = _log_probabilities(pipeline, effect.tokens)
    base = _log_probabilities_of_base(verdict_file(options.folder, options.dtype), effect)
    if fault := EffectCheck(adapter, effect, effect.tokens).fault(found, base):
        raise WrongEffect(adapter, fault, f"delete {graph}, so that its graph is built again, or roll back")


def _log_probabilities_of_base(verdict: Path, effect: EffectRecord) -> Sequence[float]:
    """Return the base graph's log-probabilities of the record's text; the trainer's if those are unknown.

    4-bit weights change log-probabilities by more than an adapter may differ from its record.
    """
    found = read_verdict(verdict)
    measured = found.effect if found else None
    return measured.log_probabilities if measured and measured.tokens == effect.tokens else effect.base


def _log_probabilities(pipeline: Any, tokens: Sequence[int]) -> list[float]:
    """Return the log-probability of each token except the first, in nats; the pipeline must be new.

    OpenVINO gives none for tokens in its prefix cache.
    """
    import numpy as np
    import openvino as ov
    from openvino_genai import GenerationConfig

    config = GenerationConfig()
    config.max_new_tokens = 1
    config.echo = True
    config.logprobs = 1
    config.set_eos_token_id(0)  # it insists on one
    handle = pipeline.add_request(0, ov.Tensor(np.array([tokens], dtype=np.int64)), generation_config=config)
    while pipeline.has_non_finished_requests():
        pipeline.step()
    (output,) = handle.read_all()
    found: list[float] = output.generated_log_probs[1 : len(tokens)]
    return found


def load_plain_tokenizer(base_path: Path) -> Tokenizer:
    """Return the base's tokenizer without truncation and padding, even if its file sets them."""
    tokenizer = Tokenizer.from_file(str(base_path / "tokenizer.json"))
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer


def properties(dtype: str, recipe: GraphRecipe, threads: int = 0) -> dict[str, object]:
    """Return OpenVINO's properties for this precision, recipe and, unless it is 0, number of threads."""
    always: dict[str, object] = {
        ROUND_ACTIVATIONS: recipe.activation_group,
        PIN_THREADS: False,
        "INFERENCE_PRECISION_HINT": PRECISIONS[dtype],
    }
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
