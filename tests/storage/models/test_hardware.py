"""Which number format a machine gets, and what is asked to find out."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers

from bot.engine.transformers.resident_model import ResidentModel
from storage.errors import BaseModelError, SettingsError
from storage.models import hardware
from storage.models.base_model import BaseModel, load_model, load_on_device, load_tokenizer
from storage.models.hardware import (
    cpu_multiplies_bfloat16,
    describe_unlike,
    loading_options,
    require_quantization,
    require_training,
    serving_format,
    training_format,
)
from storage.models.memory import NumberFormat
from storage.settings.sections import ModelSettings, Settings, TrainingSettings
from trainer.base import RoundBase
from trainer.evaluation.sampling import Sampler
from trainer.training.memory_plan import USUAL
from trainer.training.recipes import training_options
from trainer.training.train import load_policy


@pytest.mark.parametrize(
    ("description", "expected"),
    [
        ("model name\t: AMD EPYC\nflags\t\t: fpu avx512f avx512_bf16 avx512vbmi\nbugs\t\t: none\n", True),
        ("flags\t\t: fpu avx512f amx_bf16\n", True),
        ("Features\t: fp asimd i8mm bf16\nCPU part\t: 0xd4f\n", True),
        ("flags\t\t: fpu avx2 avx512f avx512_vnni\nbugs\t\t: bf16\n", False),
        ("Features\t: fp asimd\n", False),
        ("processor\t: 0\n", False),
    ],
)
def test_a_cpu_is_known_by_its_flags(tmp_path: Path, description: str, expected: bool) -> None:
    file = tmp_path / "cpuinfo"
    file.write_text(description)
    assert cpu_multiplies_bfloat16(file) is expected


def test_a_cpu_that_says_nothing_multiplies_float32_only(tmp_path: Path) -> None:
    assert not cpu_multiplies_bfloat16(tmp_path / "cpuinfo")


@pytest.mark.parametrize("setting", ["bfloat16", "float16", "float32"])
def test_a_format_that_was_set_is_kept(setting: str) -> None:
    assert training_format(TrainingSettings.model_validate({"dtype": setting})) == setting
    assert serving_format(ModelSettings.model_validate({"dtype": setting})) == setting


def test_auto_is_a_format_where_it_is_needed() -> None:
    assert serving_format(ModelSettings()) == training_format(TrainingSettings())
    assert serving_format(ModelSettings(engine="openvino")) in {"bfloat16", "float32"}
    assert training_format(TrainingSettings()) in {"bfloat16", "float32"}


def test_a_base_too_large_for_float16_is_refused_by_engine_and_training(base: BaseModel, tmp_path: Path) -> None:
    model = load_on_device(base.path, "float16", "", setting="model.dtype")
    (soup,) = load_tokenizer(base.path)("Soup", add_special_tokens=False)["input_ids"][-1:]
    with torch.no_grad():  # the numbers of a real text, not of a few tokens that no text has
        model.get_input_embeddings().weight[soup] = 6e4
    model.save_pretrained(tmp_path / "large", safe_serialization=True)
    for file in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(base.path / file, tmp_path / "large")
    with pytest.raises(BaseModelError, match=r'too large for float16: set model\.dtype = "float32"'):
        load_on_device(tmp_path / "large", "float16", "", setting="model.dtype")
    with pytest.raises(BaseModelError, match=r'too large for float16: set training\.dtype = "float32"'):
        load_policy(replace(base, path=tmp_path / "large"), None, TrainingSettings(dtype="float16"), longest=8)


def test_settings_and_quantization_are_read_without_torch_where_there_is_no_gpu() -> None:
    program = (
        "import sys\nfrom storage.models.hardware import has_gpu, loading_options, require_quantization\n"
        "from storage.settings.loading import load_settings\n"
        "require_quantization(''); loading_options('', 'float32', 0); load_settings(environment={})\n"
        "print({'torch', 'bitsandbytes'} & sys.modules.keys(), has_gpu() or 'torch' not in sys.modules)"
    )
    printed = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert printed.stdout == "set() True\n"


def test_without_a_gpu_it_is_refused_before_anything_is_loaded(base: BaseModel) -> None:
    with pytest.raises(SettingsError) as refused:
        load_model(base, "float32", "4bit")
    assert str(refused.value) == (
        '"4bit" weights (model.quantization, training.quantization) need an NVIDIA GPU, which this machine does not '
        'have: set both to ""'
    )


def test_training_in_float16_is_refused_without_a_gpu() -> None:
    require_training(TrainingSettings(dtype="float32"))
    with pytest.raises(
        SettingsError, match=r'training.dtype = "float16" needs a GPU, and this machine has none: set it to "auto"'
    ):
        require_training(TrainingSettings(dtype="float16"))


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pretend that there is a GPU that cannot multiply bfloat16, and bitsandbytes."""
    monkeypatch.setattr(hardware, "has_gpu", lambda: True)
    monkeypatch.setattr(hardware, "_gpu_multiplies_bfloat16", lambda: False)
    monkeypatch.setattr(hardware, "find_spec", lambda _name: True)
    monkeypatch.setattr(transformers.BitsAndBytesConfig, "post_init", lambda _config: None)
    hardware._resolve_format.cache_clear()


@pytest.fixture(autouse=True)
def forget_formats() -> Iterator[None]:
    yield
    hardware._resolve_format.cache_clear()


@pytest.mark.usefixtures("gpu")
def test_a_gpu_without_bfloat16_gets_float16() -> None:
    assert training_format(TrainingSettings()) == serving_format(ModelSettings()) == "float16"
    assert serving_format(ModelSettings(engine="openvino")) != "float16", "it computes on the CPU"
    options = training_options(Path("out"), TrainingSettings(), USUAL, validates=False)
    assert (options["fp16"], options["bf16"]) == (True, False)


@pytest.mark.usefixtures("gpu")
def test_one_setting_quantises_what_answers_and_what_is_judged(
    base: BaseModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def load(path: Path, **options: Any) -> Any:
        asked.append(options)
        plain = {name: options[name] for name in ("dtype", "local_files_only", "output_loading_info")}
        return original(path, **plain)

    original = transformers.AutoModelForCausalLM.from_pretrained
    monkeypatch.setattr(transformers.AutoModelForCausalLM, "from_pretrained", load)
    settings = Settings(model=ModelSettings(quantization="4bit", dtype="bfloat16"))
    assert describe_unlike(settings) == ""
    ResidentModel(base.path, settings.model)
    Sampler.load(
        RoundBase(base, ModelSettings()),
        None,
        NumberFormat(training_format(settings.training), settings.training.quantization),
    )
    for options, computed in zip(asked, (torch.bfloat16, torch.float16), strict=True):
        config = options["quantization_config"]
        assert (config.load_in_4bit, config.bnb_4bit_quant_type) == (True, "nf4")
        assert (config.bnb_4bit_compute_dtype, options["device_map"]) == (computed, {"": 0})


def test_a_round_on_other_weights_than_the_bots_is_named() -> None:
    settings = Settings(training=TrainingSettings(quantization="4bit"))
    assert 'set model.quantization = "4bit" too' in describe_unlike(settings)
    assert describe_unlike(Settings()) == ""


def test_no_quantization_asks_for_nothing() -> None:
    require_quantization("")
    assert loading_options("", "float32", 0) == {}
