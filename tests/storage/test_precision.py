"""Which number format a machine gets, and what is asked to find out."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from storage.precision import cpu_multiplies_bfloat16, number_format
from storage.settings import ModelSettings, TrainingSettings


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
    assert number_format(setting, may_use_gpu=True) == setting
    assert ModelSettings.model_validate({"dtype": setting}).number_format == setting


def test_auto_is_a_format_where_it_is_needed() -> None:
    assert ModelSettings().number_format == number_format("auto", may_use_gpu=True)
    assert ModelSettings(engine="openvino").number_format == number_format("auto", may_use_gpu=False)
    assert TrainingSettings().number_format in {"bfloat16", "float32"}


def test_settings_are_read_without_torch_where_there_is_no_gpu() -> None:
    program = (
        "import sys; from storage.devices import has_gpu; from storage.settings import load_settings; "
        "load_settings(environment={}); print(has_gpu() or 'torch' not in sys.modules)"
    )
    printed = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert printed.stdout.strip() == "True"
