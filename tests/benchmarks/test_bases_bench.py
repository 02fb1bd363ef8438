from __future__ import annotations

import json
import math
import sys
from pathlib import Path
from typing import Any

import pytest

from storage.errors import SettingsError
from storage.models.base_model import BaseModel, load_model, load_tokenizer, resolve_base_model
from storage.settings.sections import Settings
from tests.benchmarks import bases
from tests.benchmarks.bases import Sides, measure
from tests.benchmarks.bases_report import contract_of, ratios_of, tables
from tests.benchmarks.bases_round import Round, Work, train_ours, train_trl
from tests.benchmarks.bases_serving import VLLM, Lengths, Serving, serve
from tests.benchmarks.gpu_check import run
from tests.benchmarks.random_base import SHAPES, outline, write_random_adapter, write_random_base
from tests.benchmarks.report import Row
from tests.benchmarks.serving_sitting import LLAMA_CPP, OPENVINO, PLAIN, TRANSFORMERS
from trainer.evaluation.measures import retention_text

BILLIONS = {"0.6b": 0.60, "1.7b": 1.72, "3b": 3.09, "smollm3": 3.08, "4b": 4.02, "8b": 8.19}
SHORT = Lengths(answer=4, answers=1, together=2, answer_together=3, prompt=40, long_prompt=150)
STAND_IN = """#!{python}
import asyncio, sys
sys.path.insert(0, {checkout!r})
from tests.remote_server import RemoteServer

async def serve():
    if sys.argv[1] == "--version":
        return print("0.99")
    assert sys.argv[1] == "serve" and "--enable-lora" in sys.argv
    await RemoteServer().start(int(sys.argv[sys.argv.index("--port") + 1]))
    await asyncio.Event().wait()

asyncio.run(serve())
"""


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> BaseModel:
    folder = tmp_path_factory.mktemp("bases")
    write_random_base("tiny", folder / "base")
    return resolve_base_model(str(folder / "base"), folder)


@pytest.fixture
def vllm(tmp_path: Path) -> str:
    """A program that answers by vLLM's recorded contract."""
    program = tmp_path / "vllm"
    program.write_text(STAND_IN.format(python=sys.executable, checkout=str(Path(__file__).parents[2])))
    program.chmod(0o755)
    return str(program)


def settings_in(folder: Path) -> Settings:
    return Settings.model_validate({"data": {"directory": folder}, "training": {"min_steps": 0}})


def test_a_random_base_predicts_neither_nothing_nor_one_word(base: BaseModel) -> None:
    import torch

    model, tokenizer = load_model(base, "bfloat16"), load_tokenizer(base.path)
    assert len(tokenizer) == model.config.vocab_size
    assert all(tokenizer.decode([id_]) for id_ in range(3, len(tokenizer)))
    ids = tokenizer("The keeper of the lighthouse wrote down what he saw.", return_tensors="pt")["input_ids"]
    with torch.inference_mode():
        logits = model(ids).logits.float()
    assert 0.5 < logits.std(-1).mean() < 2


@pytest.mark.parametrize(("size", "billions"), BILLIONS.items())
def test_sizes_are_those_of_the_models_they_are_named_after(size: str, billions: float) -> None:
    parameters = sum(math.prod(parameter.shape) for parameter in outline(SHAPES[size]).parameters())
    assert parameters / 1e9 == pytest.approx(billions, abs=0.01)


def test_an_unknown_size_is_refused_in_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"'70b' is no size: use tiny, small, .*, or the folder of a model"):
        measure("70b", Sides.on_cpu((8,)), Work())


@pytest.mark.parametrize("options", [{"device": "gpu"}, {"bits": (5,)}, {"dtype": "int8"}])
def test_an_impossible_option_is_refused_in_a_sentence(options: dict[str, Any]) -> None:
    with pytest.raises(SettingsError, match=r"^--\w+ \w+ is not possible here: use (auto|16)"):
        bases.run(**options)


@pytest.mark.slow
def test_vllm_is_started_asked_under_two_versions_and_ended(base: BaseModel, tmp_path: Path, vllm: str) -> None:
    versions = tuple(write_random_adapter(base.path, tmp_path / str(seed), seed) for seed in (1, 2))
    rows: list[Row] = []
    serve(Serving(VLLM, base, settings_in(tmp_path), versions, SHORT, retention_text(), vllm), rows.append)
    told = {row["what"]: row for row in rows}
    assert list(told) == ["start", "version", "alone", "together", "long prompt", "swap", "swap back", "difference"]
    assert told["alone"]["tokens_per_s"] > 0
    assert told["difference"]["versions_differ"]


def test_a_vllm_that_does_not_start_is_quoted(base: BaseModel, tmp_path: Path) -> None:
    program = tmp_path / "vllm"
    program.write_text("#!/bin/sh\necho it needs a GPU\nexit 1\n")
    program.chmod(0o755)
    versions = tuple(write_random_adapter(base.path, tmp_path / str(seed), seed) for seed in (1, 2))
    plan = Serving(VLLM, base, settings_in(tmp_path), versions, SHORT, retention_text(), str(program))
    with pytest.raises(Exception, match="vLLM did not start: it needs a GPU"):
        serve(plan, [].append)


def test_a_round_and_trl_train_on_the_same_pairs(base: BaseModel, tmp_path: Path) -> None:
    plan = Round(base, settings_in(tmp_path), Work(6, 20, trl_steps=1), retention_text(), tmp_path)
    rows: list[Row] = []
    train_ours(plan, rows.append)
    train_trl(plan, rows.append)
    ours, theirs = rows
    assert (ours["steps"], theirs["steps"], theirs["of_steps"]) == (2, 1, 2)
    assert (tmp_path / "adapter_model.safetensors").exists()


def test_the_report_has_ratios_and_says_what_is_missing() -> None:
    quiet = {"peak_memory_mib": 2_048, "others_cores": 0.0}
    ours = {"part": "serving", "side": OPENVINO, "weights": "8 bits"} | quiet
    plain = {"part": "serving", "side": PLAIN, "weights": "bfloat16"} | quiet
    theirs = {"part": "round", "side": "TRL", "weights": "float32"}
    rows = [
        ours | {"what": "alone", "tokens_per_s": 12.0},
        plain | {"what": "alone", "tokens_per_s": 4.0},
        {"part": "serving", "side": TRANSFORMERS, "weights": "4 bits", "what": "start", "skipped": "it needs a GPU"},
        theirs | {"what": "failure", "failed": "killed: more than 9.0 GiB"},
    ]
    ratios = {name: ratio.shown for name, ratio in ratios_of(rows).items()}
    assert ratios["openvino_8_bits_alone_ratio"] == 3.0
    shown = tables({"size": "3b", "parameters": 3e9, "pairs": 32, "prompt_tokens": 200}, rows, ratios)
    assert "| openvino | 8 bits | – | – | 12 |" in shown
    assert "| transformers | 4 bits | it needs a GPU |" in shown
    assert "- TRL, float32, round: killed: more than 9.0 GiB." in shown
    assert "- openvino 8 bits alone ratio: 3" in shown


def test_the_summary_compares_what_the_bot_chooses_with_llama_cpp() -> None:
    quiet = {"part": "serving", "others_cores": 0.0}
    chosen = quiet | {"side": OPENVINO, "weights": "chosen"}
    bare, with_version = (
        quiet | {"side": LLAMA_CPP, "weights": weights}
        for weights in ("as in the file", "as in the file, with the version")
    )
    rows = [
        chosen | {"what": "start", "seconds": 60.0, "recipe": "W4A8", "why": "it is fast"},
        chosen | {"what": "alone", "tokens_per_s": 30.0},
        chosen | {"what": "together", "tokens_per_s": 60.0},
        chosen | {"what": "long prompt", "first_token_s": 2.5, "prompt_tokens_per_s": 400.0},
        bare | {"what": "alone", "tokens_per_s": 30.0},
        bare | {"what": "together", "tokens_per_s": 15.0},
        bare | {"what": "long prompt", "first_token_s": 10.0, "prompt_tokens_per_s": 100.0},
        with_version | {"what": "alone", "tokens_per_s": 20.0},
    ]
    ratios = {name: ratio.value for name, ratio in ratios_of(rows).items()}
    assert {key: value for key, value in contract_of(rows, ratios).items() if value is not None} == {
        "llama_cpp_ratio_1": 1.0,
        "llama_cpp_ratio_8": 4.0,
        "llama_cpp_ratio_prefill": 4.0,
        "llama_cpp_ratio_1_with_version": 1.5,
        "served_by_openvino": 1,
    }
    (failed,) = [chosen | {"what": "start", "failed": "it does not start"}]
    assert contract_of([failed], {})["served_by_openvino"] == 0


@pytest.mark.bench
def test_the_check_of_a_gpu_runs_whole_on_a_cpu(tmp_path: Path, vllm: str, capfd: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "gpu-check.md"
    report = run(tiny=True, vllm=vllm, report=file)
    assert capfd.readouterr().out == ""
    (found,) = report["bases"]
    assert report["card"]["vLLM"] == "0.99"
    assert [row for row in found["rows"] if "failed" in row] == []
    assert {row["weights"] for row in found["rows"] if "skipped" in row} == {"4 bits"}
    assert {row["side"] for row in found["rows"]} == {"ours", "TRL", TRANSFORMERS, PLAIN, VLLM}
    assert all(row["versions_differ"] for row in found["rows"] if row["what"] == "difference")
    assert file.read_text(encoding="utf-8").startswith("## On a GPU, ")
    json.dumps(report)


@pytest.mark.bench
def test_a_base_is_measured_on_a_cpu() -> None:
    work = Work(pairs=4, prompt_tokens=20, lengths=SHORT)
    rows = measure("tiny", Sides.on_cpu((16, 8)), work)["rows"]
    assert [row for row in rows if "failed" in row or "skipped" in row] == []
    assert {row["side"] for row in rows} == {"ours", "TRL", OPENVINO, TRANSFORMERS, PLAIN}
