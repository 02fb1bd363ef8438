"""What OpenVINO answers for each architecture: the same as transformers, token by token, as it is served."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from openvino import opset13 as op

from storage.adapters.folder_store import AdapterRef
from storage.models.base_model import BaseModel, load_whole
from storage.models.memory import graph_bytes
from storage.models.openvino import comparison, graph
from storage.models.openvino.architectures import Rotary
from storage.models.openvino.graph import build_graph
from storage.models.openvino.graph_cache import MODEL_FILE
from storage.models.openvino.pipeline import generation_config, properties
from storage.models.openvino.recipes import MAX_DIVERGENCE, W8A16
from storage.models.openvino.rotary import rotary_tables
from storage.models.openvino.support import UnsupportedModel, require_supported, unsupported_because
from storage.models.shape import shape_of
from storage.settings.sections import ModelSettings
from tests import families
from tests.families import BY_NAME, build_family

PROMPT_TOKENS, ANSWER_TOKENS = 80, 24
"""Longer than the window of families.WINDOWED, and than one step of the pipeline here."""
NO_TOKEN = 999_999
TRAINED = {"original_max_position_embeddings": 64}
LLAMA3 = {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0, **TRAINED}
LINEAR = {"rope_type": "linear", "factor": 4.0}
YARN = {"rope_type": "yarn", "factor": 8.0, **TRAINED}
SHORT = [1.0 + 0.2 * number for number in range(8)]
LONGROPE = {"rope_type": "longrope", "short_factor": SHORT, "long_factor": [2.0] * 8, **TRAINED}


@pytest.fixture
def save(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    def save(name: str, **text: Any) -> Path:
        """Write a family's model with weights so large that every layer counts, norms and biases included."""
        import torch
        import transformers

        family = BY_NAME[name]
        changed = replace(family, text={**family.text, **text})
        monkeypatch.setattr(families, "BY_NAME", {name: changed})
        folder = build_family(name, tmp_path / "base")
        model = getattr(transformers, family.architecture).from_pretrained(folder)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(1)
            for parameter_name, parameter in model.named_parameters():
                if "embed_tokens" not in parameter_name:
                    parameter.data.add_(torch.randn_like(parameter) * 0.3)
        model.save_pretrained(folder)
        return folder

    return save


@pytest.fixture
def exact(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave weights as they are: rounded ones would change which token is likeliest. The adapter stays a strong one."""

    def keep(blocks: Iterator[Any]) -> Any:
        return op.constant(np.concatenate(list(blocks)))

    monkeypatch.setattr(graph, "round_to_int8", keep)
    monkeypatch.setattr(comparison, "_scale_change", lambda *_: None)


def expected_tokens(folder: Path, prompt: list[int], adapter: Path) -> list[int]:
    import torch

    model = load_whole(folder, "float32")
    comparison._adapt(model, folder, adapter, prompt)
    model.generation_config.eos_token_id = None
    with torch.inference_mode():
        tokens = model.generate(torch.tensor([prompt]), max_new_tokens=ANSWER_TOKENS, do_sample=False)
    return [int(token) for token in tokens[0][len(prompt) :]]


def pipeline(folder: Path, adapter: Path, workshop: Path) -> Callable[[list[list[int]]], list[list[int]]]:
    """Return a function that asks the version several prompts at once and returns the tokens of the answers."""
    import openvino as ov
    from openvino_genai import ContinuousBatchingPipeline, SchedulerConfig

    workshop.mkdir()
    model = build_graph(folder, AdapterRef("adapter", adapter), 8)
    ov.save_model(model, workshop / MODEL_FILE, compress_to_fp16=False)
    scheduler = SchedulerConfig()
    scheduler.num_kv_blocks, scheduler.max_num_batched_tokens, scheduler.enable_prefix_caching = 64, 64, True
    exact = properties("float32", W8A16, 1) | {"KV_CACHE_PRECISION": "f32"}
    made = ContinuousBatchingPipeline(str(workshop), scheduler, "CPU", exact)
    config = generation_config(
        temperature=0.0, top_p=1.0, presence_penalty=0.0, max_new_tokens=ANSWER_TOKENS, seed=0, end_ids={NO_TOKEN}
    )

    def ask(prompts: list[list[int]]) -> list[list[int]]:
        handles = [made.add_request(number, ov.Tensor(np.array([ids])), config) for number, ids in enumerate(prompts)]
        answers: list[list[int]] = [[] for _ in prompts]
        while made.has_non_finished_requests():
            made.step()
            for handle, answer in zip(handles, answers, strict=True):
                while handle.can_read():
                    answer += [token for output in handle.read().values() for token in output.generated_ids]
        return answers

    return ask


def a_prompt(seed: int, tokens: int = PROMPT_TOKENS) -> list[int]:
    return [int(token) for token in np.random.default_rng(seed).integers(10, 300, tokens)]


@pytest.mark.usefixtures("exact")
@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("gemma3", {}),
        ("lfm2", {}),
        ("llama3", {"rope_parameters": {**LLAMA3, "rope_theta": 1e4}}),
        ("mistral", {"sliding_window": 16}),
        ("phi3", {"partial_rotary_factor": 0.5, "sliding_window": 40}),
        ("qwen2", {"use_sliding_window": True, "sliding_window": 16, "max_window_layers": 1}),
        ("qwen3_5", {}),
        ("smollm3", {"use_sliding_window": True, "sliding_window": 24}),
    ],
)
def test_answers_are_those_of_transformers(
    save: Callable[..., Path], tmp_path: Path, name: str, text: Mapping[str, Any]
) -> None:
    folder = save(name, **text)
    first, other = a_prompt(1), a_prompt(2, 30)
    expected = expected_tokens(folder, first, tmp_path / "adapter")
    assert len(set(expected)) > 2, "the test needs a model that says several things"
    ask = pipeline(folder, tmp_path / "adapter", tmp_path / "graph")
    assert ask([first, other])[0] == expected
    assert ask([first]) == [expected], "what was read before is used again"


@pytest.mark.parametrize("scaling", [LLAMA3, LINEAR, YARN, LONGROPE], ids=lambda scaling: scaling["rope_type"])
def test_scaled_positions_are_those_of_transformers(scaling: Mapping[str, Any]) -> None:
    from transformers import LlamaConfig
    from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

    rotary = Rotary(500.0, 16, scaling, 512)
    config = LlamaConfig(head_dim=16, max_position_embeddings=512, rope_parameters={**scaling, "rope_theta": 500.0})
    frequencies, factor = ROPE_INIT_FUNCTIONS[scaling["rope_type"]](config)
    angles = np.outer(np.arange(100), np.tile(frequencies.numpy(), 2))
    cosine, sine = rotary_tables(rotary, 100)
    np.testing.assert_allclose(cosine, factor * np.cos(angles), atol=1e-4)
    np.testing.assert_allclose(sine, factor * np.sin(angles), atol=1e-4)


def test_a_context_beyond_the_trained_positions_of_longrope_names_the_setting(save: Callable[..., Path]) -> None:
    scaling = {**LONGROPE, "rope_theta": 1e4}
    folder = save("phi3", rope_parameters=scaling, original_max_position_embeddings=128)
    base = BaseModel("phi3", folder, "0" * 16, "Phi3ForCausalLM")
    assert unsupported_because(base, ModelSettings(context_tokens=128)) == ""
    assert unsupported_because(base, ModelSettings(context_tokens=512)) == (
        "model.context_tokens = 512 is above 128, its graph's limit"
    )


def test_a_base_whose_attention_is_capped_is_refused(save: Callable[..., Path]) -> None:
    with pytest.raises(UnsupportedModel, match="it caps attention scores"):
        require_supported(save("gemma3", attn_logit_softcapping=50.0))


def test_four_bits_keep_what_an_adapter_changes_and_no_compiled_graph_is_left_when_the_next_one_is_made(
    save: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A graph takes as much memory as the base, and may have the file mapped that is written next."""
    monkeypatch.setattr(comparison, "SMALL_PARAMETERS", 0)
    write, compile_graph = comparison._Ours._write, comparison._Ours._compile
    made: list[weakref.ref[Any]] = []
    alive: list[int] = []

    def count() -> None:
        alive.append(sum(graph() is not None for graph in made))

    def counting_write(ours: Any, *arguments: Any) -> None:
        count()
        write(ours, *arguments)

    def counting_compile(ours: Any, recipe: Any) -> Any:
        count()
        compiled = compile_graph(ours, recipe)
        made.append(weakref.ref(compiled))
        return compiled

    monkeypatch.setattr(comparison._Ours, "_write", counting_write)
    monkeypatch.setattr(comparison._Ours, "_compile", counting_compile)
    *_, found = comparison.compare_graphs(save("qwen3"), "float32", tmp_path).measured
    assert found.recipe == "W4A8"
    assert 0 < found.base < MAX_DIVERGENCE
    assert found.adapter < comparison.ADAPTER_CHANGE / 10
    assert len(made) == 6
    assert alive == [0] * 10


def test_a_graph_is_as_large_as_predicted(tmp_path: Path) -> None:
    import transformers

    config = transformers.LlamaConfig(
        vocab_size=8_000,
        hidden_size=256,
        intermediate_size=512,
        num_hidden_layers=2,
        num_attention_heads=4,
        max_position_embeddings=64,
        tie_word_embeddings=True,
    )
    folder = tmp_path / "base"
    transformers.LlamaForCausalLM(config).save_pretrained(folder)
    graph.ov.save_model(build_graph(folder, None, 8), tmp_path / MODEL_FILE, compress_to_fp16=False)
    size = (tmp_path / MODEL_FILE).with_suffix(".bin").stat().st_size
    assert size == pytest.approx(graph_bytes(shape_of(folder)), rel=0.03)


def test_a_graph_whose_windows_the_pipeline_would_not_see_is_refused(
    save: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = save("mistral", sliding_window=500)
    assert comparison.compare_graphs(folder, "bfloat16", tmp_path)

    def everything(made: Any, _tokens: int) -> Any:
        return made._mask

    monkeypatch.setattr(graph._Graph, "_window", everything)
    with pytest.raises(UnsupportedModel, match="does not see that some of its layers have a window"):
        comparison.compare_graphs(folder, "float32", tmp_path)
