"""Rough estimates of the memory that a model needs to answer and to train. Imports no model library.

A slow test compares the formulas with measured peaks (docs/internals/bases.md). A round that needs more
memory than estimated fails, and the next one computes less at once.
"""

from __future__ import annotations

from dataclasses import dataclass

from storage.models.openvino.architectures import INT8_GROUP
from storage.models.shape import NUMBER_BYTES, ModelShape

FLOAT32 = NUMBER_BYTES["float32"]
NF4_BYTES = 0.5 + 0.127 / 8
"""4-bit NormalFloat with constants quantised twice: 4.127 bits a weight (Dettmers et al. 2023, arXiv 2305.14314)."""
GRAPH_BYTES = 1 + 2 / INT8_GROUP
"""Bytes of a weight in 8 bits; each group of weights shares a float16 scale."""
ADAM_BYTES = 16
"""Bytes of a trained float32 number, its gradient and Adam's moments (Rajbhandari et al. 2020, arXiv 1910.02054)."""
COPIES_BYTES = 3 * FLOAT32
"""Copies of the adapter: at the start, at the end, and of the best pass."""
LOGIT_COPIES = 3
"""Log-probabilities of the vocabulary, the gradient to them, and the gradient to the logits."""
SERVING_LIBRARIES = 460 * 10**6
"""PyTorch, transformers and PEFT where a model answers. Measured on Linux."""
TRAINING_LIBRARIES = 640 * 10**6
"""The same libraries with TRL, datasets and the modules that training loads. Measured on Linux."""
GPU_LIBRARIES = 400 * 10**6
"""Workspaces of cuBLAS, and memory that PyTorch's allocator cannot reuse. Assumed, not measured."""
GRAPH_LIBRARIES = 183 * 10**6
"""OpenVINO's libraries in a version's process after its first answer. Measured."""
GRAPH_STEP_BYTES = 32_000
"""Activations of a step of at most 256 tokens, for each number of the feed-forward width. Measured."""
MAX_MERGED_BYTES = 2 * 2**30
"""Largest size of merged layers: in larger models an adapter costs relatively less time, and a copy more memory."""


@dataclass(frozen=True)
class NumberFormat:
    """The formats of stored weights and of computation."""

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

    A graph with 4-bit weights takes less on the disk, and in memory unless OpenVINO unpacks them to 8 bits, as measured
    on a processor with AMX.
    """
    return shape.parameters * GRAPH_BYTES


def adapter_numbers(shape: ModelShape, rank: int) -> int:
    """Return the numbers of a LoRA adapter on all linear layers: rank * (inputs + outputs) (Hu et al. 2021, s. 4.1)."""
    return rank * shape.layers * shape.adapted_width


def layer_bytes(shape: ModelShape, number_bytes: int, tokens: int) -> float:
    """Return the bytes that one layer keeps of these tokens for a backward pass (counted in transformers' Llama)."""
    numbers = 2 * shape.hidden + 5 * shape.query_width + 4 * shape.intermediate
    return tokens * (2 * shape.hidden * FLOAT32 + numbers * number_bytes)


def training_bytes(
    shape: ModelShape, format_: NumberFormat, rank: int, tokens: int, targets: int, *, checkpointing: bool, on_gpu: bool
) -> float:
    """Return the peak of a round that computes `tokens` at once; `targets` counts answers' tokens, once for each pair.

    With checkpointing only the input of each layer is kept, and one layer is computed again (Chen et al. 2016, arXiv
    1604.06174).
    """
    libraries = GPU_LIBRARIES if on_gpu else TRAINING_LIBRARIES
    adapter = adapter_numbers(shape, rank) * (ADAM_BYTES + COPIES_BYTES)
    layer = layer_bytes(shape, format_.number_bytes, tokens)
    kept = tokens * shape.hidden * format_.number_bytes if checkpointing else layer
    logits = (LOGIT_COPIES * targets + min(targets, tokens)) * shape.vocabulary * FLOAT32
    return libraries + weight_bytes(shape, format_) + adapter + shape.layers * kept + max(logits, layer)


@dataclass(frozen=True)
class ServingLoad:
    """The largest load of an engine."""

    answers: int
    """Number of answers at once."""
    tokens: int
    """Number of tokens of a prompt and its answer together."""
    versions: int
    """Number of versions in memory, besides the base."""
    rank: int
    """Rank of the versions' adapters."""
    looks: bool = False
    """True if it also looks at pictures. A description runs alone, in less memory than a batch: only weights count."""


def serving_bytes(shape: ModelShape, format_: NumberFormat, load: ServingLoad, *, on_gpu: bool = False) -> float:
    """Return the peak of transformers: the base, its vision part, adapters in float32, a merged copy, a full batch."""
    libraries = GPU_LIBRARIES if on_gpu else SERVING_LIBRARIES
    senses = shape.senses * format_.number_bytes if load.looks else 0
    adapters = load.versions * adapter_numbers(shape, load.rank) * FLOAT32
    copied = shape.matrices * format_.number_bytes
    merged = copied if load.versions and not format_.quantization and copied <= MAX_MERGED_BYTES else 0
    tokens = load.answers * load.tokens
    cache = tokens * shape.kv_bytes_per_token(format_.computed)
    logits = LOGIT_COPIES * load.answers * shape.vocabulary * FLOAT32
    batch = cache + layer_bytes(shape, format_.number_bytes, tokens) + logits
    return libraries + weight_bytes(shape, format_) + senses + adapters + merged + batch


def graph_serving_bytes(shape: ModelShape, load: ServingLoad) -> float:
    """Return OpenVINO's peak: for each version a process with its own graph and a full 8-bit cache.

    The cache has room for two full batches (`PipelineOptions.cached_tokens`). The graph's mapped file is left out,
    because the system can drop it.
    """
    cache = 2 * load.answers * load.tokens * shape.kv_bytes_per_token("int8")
    step = GRAPH_STEP_BYTES * shape.intermediate
    return load.versions * (GRAPH_LIBRARIES + graph_bytes(shape) + cache + step)
