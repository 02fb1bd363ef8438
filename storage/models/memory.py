"""A coarse estimate of the memory that a base needs to answer and for a round. Imports no model library.

All is one sum, `MARGIN * (weights + WORK + cache)`. It says which bases fit a machine; a round that runs out of memory
all the same computes less the next time. Measured peaks stand beside it in docs/internals/bases.md.
"""

from __future__ import annotations

from dataclasses import dataclass

from storage.models.hardware import serving_format, training_format
from storage.models.openvino.architectures import INT8_GROUP
from storage.models.openvino.verifier import is_served_as_graph
from storage.models.seeing import is_base_to_look
from storage.models.shape import NUMBER_BYTES, ModelShape
from storage.settings.sections import ModelSettings, Settings, TrainingSettings

NF4_BYTES = 0.5 + 0.127 / 8
"""4-bit NormalFloat with constants quantised twice: 4.127 bits a weight (Dettmers et al. 2023, arXiv 2305.14314)."""
GRAPH_BYTES = 1 + 2 / INT8_GROUP
"""Bytes of a weight in 8 bits; each group of weights shares a float16 scale."""
MARGIN = 1.1
"""Safety margin. With it no peak that was measured on a CPU, up to 3.09 billion parameters, is above the estimate,
without mapped files, which the system can drop (docs/internals/bases.md). No GPU was measured."""
ANSWERING_WORK = 4 * 10**8
"""Bytes of libraries, adapters and activations where a model answers."""
ROUND_WORK = 18 * 10**8
"""Bytes of libraries, training and judging in a round."""
JUDGED_GRAPHS = 2
"""Number of graphs in 8 bits that a round takes beside its model where OpenVINO answers; fitted to measured peaks."""


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


def answering_bytes(shape: ModelShape, settings: Settings, *, as_graph: bool) -> float:
    """Return the bytes for answering with one version and a full cache of keys and values; 0 if a server answers.

    A graph's cache is in 8 bits and has room for two full batches (`PipelineOptions.cached_tokens`).
    """
    model = settings.model
    if model.engine == "remote":
        return 0.0
    tokens = settings.generation.batch_size * model.context_tokens
    if as_graph:
        return MARGIN * (graph_bytes(shape) + ANSWERING_WORK + 2 * tokens * shape.kv_bytes_per_token("int8"))
    numbers = NumberFormat(serving_format(model), model.quantization)
    senses = shape.senses * numbers.number_bytes if is_base_to_look(settings) else 0
    cache = tokens * shape.kv_bytes_per_token(numbers.computed)
    return MARGIN * (weight_bytes(shape, numbers) + senses + ANSWERING_WORK + cache)


def round_bytes(shape: ModelShape, model: ModelSettings, training: TrainingSettings) -> float:
    """Return the bytes for a round, judging included."""
    weights = weight_bytes(shape, NumberFormat(training_format(training), training.quantization))
    graphs = JUDGED_GRAPHS * graph_bytes(shape) if is_served_as_graph(shape.config, model) else 0
    return MARGIN * (weights + graphs + ROUND_WORK)
