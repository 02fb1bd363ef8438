"""The estimate of memory beside measured peaks."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from storage.models.memory import answering_bytes, graph_bytes, round_bytes
from storage.models.shape import ModelShape
from storage.settings.sections import ModelSettings, Settings, TrainingSettings
from tests.benchmarks.random_base import SHAPES

GIB = 2**30
ARCHITECTURES = {"qwen3": "Qwen3ForCausalLM", "qwen2": "Qwen2ForCausalLM"}
GRAPHS = Settings(model=ModelSettings(engine="openvino"), training=TrainingSettings(dtype="bfloat16"))
PLAIN = Settings(model=ModelSettings(engine="transformers", dtype="bfloat16"))
ROUNDING = 0.05 * GIB


@dataclass(frozen=True)
class Measured:
    """Peaks in GiB, from tests/benchmarks/results/bases.md, 28 November 2026.

    `graph` and `judging` count a graph's mapped file.
    """

    size: str
    graph: float
    plain: float
    training: float
    judging: float


PEAKS = (
    Measured("small", graph=0.5, plain=0.6, training=1.0, judging=1.8),
    Measured("1.7b", graph=4.8, plain=4.6, training=6.7, judging=9.9),
    Measured("3b", graph=7.3, plain=7.1, training=10.5, judging=15.8),
)


@pytest.mark.parametrize("peaks", PEAKS, ids=lambda peaks: peaks.size)
def test_no_measured_peak_is_above_the_estimate(peaks: Measured) -> None:
    config = SHAPES[peaks.size]
    shape = ModelShape.of({**config, "architectures": [ARCHITECTURES[config["model_type"]]]})
    mapped = graph_bytes(shape)  # the system drops a mapped file where memory is short
    estimates = {
        answering_bytes(shape, GRAPHS, as_graph=True): peaks.graph * GIB - mapped,
        answering_bytes(shape, PLAIN, as_graph=False): peaks.plain * GIB,
        round_bytes(shape, GRAPHS.model, GRAPHS.training): max(peaks.training * GIB, peaks.judging * GIB - mapped),
    }
    for estimate, measured in estimates.items():
        assert measured - ROUNDING <= estimate <= 1.5 * measured


def test_a_round_without_graphs_holds_one_model() -> None:
    shape = ModelShape.of({**SHAPES["8b"], "architectures": [ARCHITECTURES["qwen3"]]})
    with_graphs, without = (round_bytes(shape, own.model, GRAPHS.training) for own in (GRAPHS, PLAIN))
    at_4_bits = round_bytes(shape, PLAIN.model, TrainingSettings(dtype="bfloat16", quantization="4bit"))
    assert at_4_bits < without < with_graphs
