"""Which number format a machine gets, and what is asked to find out."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from storage.errors import SettingsError
from storage.models.base_model import BaseModel, load_model
from storage.models.hardware import (
    cpu_multiplies_bfloat16,
    loading_options,
    require_quantization,
    serving_format,
    training_format,
)
from storage.settings.sections import ModelSettings, TrainingSettings


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


@pytest.mark.parametrize("setting", ["bfloat16", "float32"])
def test_a_format_that_was_set_is_kept(setting: str) -> None:
    assert training_format(TrainingSettings.model_validate({"dtype": setting})) == setting
    assert serving_format(ModelSettings.model_validate({"dtype": setting})) == setting


def test_auto_is_a_format_where_it_is_needed() -> None:
    assert serving_format(ModelSettings()) == training_format(TrainingSettings())
    assert serving_format(ModelSettings(engine="openvino")) in {"bfloat16", "float32"}
    assert training_format(TrainingSettings()) in {"bfloat16", "float32"}


def test_settings_are_read_without_torch_where_there_is_no_gpu() -> None:
    program = (
        "import sys; from storage.models.hardware import has_gpu; from storage.settings.loading import load_settings; "
        "load_settings(environment={}); print(has_gpu() or 'torch' not in sys.modules)"
    )
    printed = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert printed.stdout.strip() == "True"


def test_without_a_gpu_it_is_refused_before_anything_is_loaded(base: BaseModel) -> None:
    with pytest.raises(SettingsError) as refused:
        load_model(base, "float32", "4bit")
    assert str(refused.value) == (
        'training.quantization = "4bit" needs an NVIDIA GPU, which this machine does not have: set it to ""'
    )


def test_no_quantization_asks_for_nothing() -> None:
    require_quantization("")
    assert loading_options("", "float32", 0) == {}


def test_asking_imports_neither_torch_nor_bitsandbytes() -> None:
    ask = (
        "import sys\nfrom storage.models.hardware import loading_options, require_quantization\n"
        "require_quantization(''); loading_options('', 'float32', 0)\n"
        "print({'torch', 'bitsandbytes'} & sys.modules.keys())"
    )
    assert subprocess.run([sys.executable, "-c", ask], capture_output=True, text=True, check=True).stdout == "set()\n"
