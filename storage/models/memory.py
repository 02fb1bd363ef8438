"""How much memory a model needs to answer and to train, by formulas. Imports no model library.

Each formula names its source. Those of training are sums of what lives at the same moment, read from the code of
trainer/training and of the libraries; `reactune bench memory` compares them with measured peaks (docs/bases.md).
"""

from __future__ import annotations

from dataclasses import dataclass

from storage.models.openvino.architectures import INT8_GROUP
from storage.models.shape import NUMBER_BYTES, ModelShape

FLOAT32 = NUMBER_BYTES["float32"]
NF4_BYTES = 0.5 + 0.127 / 8
"""4-bit NormalFloat with constants quantised twice: 4.127 bits a weight (Dettmers et al. 2023, arXiv 2305.14314)."""
GRAPH_BYTES = 1 + 2 / INT8_GROUP
"""Of a weight in 8 bits; a group shares a float16 scale."""
ADAM_BYTES = 16
"""A trained number in float32 with its gradient and Adam's two moments (Rajbhandari et al. 2020, arXiv 1910.02054)."""
COPIES_BYTES = 3 * FLOAT32
"""Copies of the adapter: at the start, at the end, and of the best pass."""
LOGIT_COPIES = 3
"""Of each target: log-probabilities of the vocabulary, the loss's gradient to them, and the gradient to the logits."""
FORWARD_COPIES = 2
"""Without gradients: the targets' logits, and their log-probabilities."""
SERVING_LIBRARIES = 460 * 10**6
"""PyTorch, transformers and PEFT where a model answers. Measured on Linux."""
TRAINING_LIBRARIES = 640 * 10**6
"""The same with TRL, datasets and what they load when training starts. Measured on Linux."""
GPU_LIBRARIES = 400 * 10**6
"""Workspaces of cuBLAS and what PyTorch's allocator cannot reuse. Assumed, not measured."""
GRAPH_LIBRARIES = 183 * 10**6
"""OpenVINO in a version's process that has answered. Measured."""
GRAPH_STEP_BYTES = 32_000
"""Of a step's activations, at most 256 tokens, for each number of the feed-forward width. Measured."""
MAX_MERGED_BYTES = 2 * 2**30
"""Maximum size of a merged version's layers: in larger models an adapter costs relatively less time, and a copy more
memory."""


@dataclass(frozen=True)
class RunSize:
    """Tokens that one forward and backward pass computes together."""

    tokens: int
    """Columns of the tree, or of all rows together with their padding."""
    kept: int
    """Columns that are projected to the vocabulary."""
    targets: int
    """Tokens of all answers; an answer counts once for each of its pairs."""
    square: int = 0
    """Tokens that attend to each other: all of a tree's, or those of one row. 0: all."""


@dataclass(frozen=True)
class NumberFormat:
    """How weights are kept and computed with."""

    computed: str
    """bfloat16, float16 or float32."""
    quantization: str = ""
    """"4bit", or "" for weights in `computed`."""

    @property
    def number_bytes(self) -> int:
        return NUMBER_BYTES[self.computed]


def weight_bytes(shape: ModelShape, format_: NumberFormat) -> float:
    """Return the bytes of a base's weights. With 4 bits, bitsandbytes leaves embeddings, head and norms as they are."""
    if not format_.quantization:
        return shape.parameters * format_.number_bytes
    return shape.matrices * NF4_BYTES + (shape.parameters - shape.matrices) * format_.number_bytes


def graph_bytes(shape: ModelShape) -> float:
    """Return the bytes of the base's OpenVINO graph with 8-bit weights, in memory or on disk.

    Those of a graph with 4-bit weights are fewer on the disk, and in memory except where OpenVINO unpacks them to 8
    bits, measured on a processor with AMX.
    """
    return shape.parameters * GRAPH_BYTES


def adapter_numbers(shape: ModelShape, rank: int) -> int:
    """Return the numbers of a LoRA adapter on all linear layers: rank * (inputs + outputs) (Hu et al. 2021, s. 4.1)."""
    return rank * shape.layers * shape.adapted_width


@dataclass(frozen=True)
class TrainingWay:
    """How a round trains, as far as memory is concerned."""

    format: NumberFormat
    rank: int
    """Of the LoRA adapter."""
    eager: bool = False
    """Plain attention instead of PyTorch's fused one."""
    checkpointing: bool = False
    on_gpu: bool = False


def activation_bytes(shape: ModelShape, way: TrainingWay, run: RunSize) -> float:
    """Return what one layer keeps for its backward pass (counted in transformers' Llama with PEFT's LoRA).

    Norms keep their inputs in float32. Fused attention keeps queries, keys, values and its output, all as wide as the
    queries (Dao et al. 2022, arXiv 2205.14135); eager attention also the scores of all heads, in float32 and as
    computed with. The frozen layers keep nothing: their inputs are kept for the adapter.
    """
    number = way.format.number_bytes
    norms = 2 * shape.hidden * FLOAT32
    rest = (2 * shape.hidden + 5 * shape.query_width + 4 * shape.intermediate + 7 * way.rank) * number
    scores = shape.heads * (run.square or run.tokens) * (FLOAT32 + (number if number != FLOAT32 else 0))
    return run.tokens * (norms + rest + (scores if way.eager else 0))


def training_bytes(shape: ModelShape, way: TrainingWay, run: RunSize) -> float:
    """Return the peak of a training process's memory: at the loss's gradient, when all activations are there.

    With checkpointing only the input of each layer is kept, and one layer's activations are computed again (Chen et al.
    2016, arXiv 1604.06174).
    """
    layer = activation_bytes(shape, way, run)
    kept = run.tokens * shape.hidden * way.format.number_bytes if way.checkpointing else layer
    logits = (LOGIT_COPIES * run.targets + run.kept) * shape.vocabulary * FLOAT32
    return trained_bytes(shape, way) + shape.layers * kept + max(logits, layer)


def reference_bytes(shape: ModelShape, way: TrainingWay, run: RunSize) -> float:
    """Return the peak while log-probabilities are computed without gradients: one layer at a time, then the logits."""
    logits = (run.kept * way.format.number_bytes + FORWARD_COPIES * run.targets * FLOAT32) * shape.vocabulary
    return trained_bytes(shape, way) + max(logits, activation_bytes(shape, way, run))


def trained_bytes(shape: ModelShape, way: TrainingWay) -> float:
    """Return what a training process holds all the time: libraries, the frozen weights, the adapter, Adam's moments."""
    adapter = adapter_numbers(shape, way.rank) * (ADAM_BYTES + COPIES_BYTES)
    libraries = GPU_LIBRARIES if way.on_gpu else TRAINING_LIBRARIES
    return libraries + weight_bytes(shape, way.format) + adapter


@dataclass(frozen=True)
class ServingLoad:
    """What an engine answers at most."""

    answers: int
    """At once."""
    tokens: int
    """Of a prompt and its answer together."""
    versions: int
    """In memory, besides the base."""
    rank: int
    """Of their adapters."""
    looks: bool = False
    """At pictures too. A description runs alone and needs less than a batch, so only what sees counts."""


def answering_bytes(shape: ModelShape, format_: NumberFormat, load: ServingLoad) -> float:
    """Return what a batch of answers takes: keys and values, and one layer's activations while prompts are read."""
    tokens = load.answers * load.tokens
    layer = activation_bytes(shape, TrainingWay(format_, rank=0), RunSize(tokens, load.answers, load.answers))
    logits = LOGIT_COPIES * load.answers * shape.vocabulary * FLOAT32
    return tokens * shape.kv_bytes_per_token(format_.computed) + layer + logits


def loaded_bytes(shape: ModelShape, format_: NumberFormat, load: ServingLoad) -> float:
    """Return the bytes of the weights that transformers loads: the base's, with its vision part if it looks."""
    return weight_bytes(shape, format_) + (shape.senses * format_.number_bytes if load.looks else 0)


def serving_bytes(shape: ModelShape, format_: NumberFormat, load: ServingLoad, *, on_gpu: bool = False) -> float:
    """Return the peak of transformers: the base, the adapters in float32, a merged copy, and a full batch."""
    copied = shape.matrices * format_.number_bytes
    merged = copied if load.versions and not format_.quantization and copied <= MAX_MERGED_BYTES else 0
    adapters = load.versions * adapter_numbers(shape, load.rank) * FLOAT32
    libraries = GPU_LIBRARIES if on_gpu else SERVING_LIBRARIES
    return libraries + loaded_bytes(shape, format_, load) + adapters + merged + answering_bytes(shape, format_, load)


def graph_serving_bytes(shape: ModelShape, load: ServingLoad) -> float:
    """Return the peak of OpenVINO: for each version a process with its own graph and a full cache in 8 bits.

    The cache has room for two full batches (`PipelineOptions.cached_tokens`).
    """
    return load.versions * graph_version_bytes(shape, 2 * load.answers * load.tokens)


def graph_version_bytes(shape: ModelShape, cached_tokens: int) -> float:
    """Return the peak of one version's graph with a full cache in 8 bits.

    The mapped file of the graph is left out: the system can drop it.
    """
    cache = cached_tokens * shape.kv_bytes_per_token("int8")
    step = GRAPH_STEP_BYTES * shape.intermediate
    return GRAPH_LIBRARIES + graph_bytes(shape) + cache + step
