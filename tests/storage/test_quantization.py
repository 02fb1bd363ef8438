"""Weights in four bits are refused in a sentence where this machine cannot hold them."""

from __future__ import annotations

import subprocess
import sys

import pytest

from storage.base_model import BaseModel, load_model
from storage.errors import SettingsError
from storage.quantization import loading_options, require_quantization


def test_without_a_gpu_it_is_refused_before_anything_is_loaded(base: BaseModel) -> None:
    with pytest.raises(SettingsError) as refused:
        load_model(base, "float32", "4bit")
    assert str(refused.value) == (
        'training.quantization = "4bit" needs a GPU of NVIDIA, which this machine has not: set it to ""'
    )


def test_no_quantization_asks_for_nothing() -> None:
    require_quantization("")
    assert loading_options("", "float32", 0) == {}


def test_asking_imports_neither_torch_nor_bitsandbytes() -> None:
    ask = (
        "import sys\nfrom storage.quantization import loading_options, require_quantization\n"
        "require_quantization(''); loading_options('', 'float32', 0)\n"
        "print({'torch', 'bitsandbytes'} & sys.modules.keys())"
    )
    assert subprocess.run([sys.executable, "-c", ask], capture_output=True, text=True, check=True).stdout == "set()\n"
