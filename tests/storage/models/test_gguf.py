"""An adapter as llama.cpp reads it; tests/bot/engine/test_llama_cpp_server.py asks llama.cpp whether it agrees."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from storage.adapters.folder_store import AdapterRef
from storage.errors import AdapterError
from storage.models.base_model import BaseModel
from storage.models.gguf import gguf_name, write_gguf
from tests.tiny_model import change_json

HEADS, HEAD_SIZE = 4, 8


@pytest.fixture
def adapter(trained: Path) -> AdapterRef:
    return AdapterRef("ab" * 32, trained)


def read(file: Path) -> tuple[float, dict[str, np.ndarray]]:
    from gguf import GGUFReader

    reader = GGUFReader(str(file))
    alpha = reader.fields["adapter.lora.alpha"]
    return float(alpha.parts[alpha.data[0]][0]), {one.name: one.data for one in reader.tensors}


def test_every_tensor_is_there_and_queries_are_reordered(adapter: AdapterRef, base: BaseModel, tmp_path: Path) -> None:
    write_gguf(adapter, base, tmp_path / gguf_name(adapter))
    alpha, told = read(tmp_path / "abababababababab.gguf")
    weights = load_file(adapter.path / "adapter_model.safetensors")
    prefix = "base_model.model.model.layers.1.self_attn"
    assert len(told) == len(weights) == 2 * 7 * 2
    assert alpha == json.loads((adapter.path / "adapter_config.json").read_text())["lora_alpha"]
    assert np.array_equal(told["blk.1.attn_q.weight.lora_a"], weights[f"{prefix}.q_proj.lora_A.weight"])
    assert np.array_equal(told["blk.1.attn_v.weight.lora_b"], weights[f"{prefix}.v_proj.lora_B.weight"])
    ours, theirs = weights[f"{prefix}.q_proj.lora_B.weight"], told["blk.1.attn_q.weight.lora_b"]
    for row in range(HEADS * HEAD_SIZE):
        head, place = divmod(row, HEAD_SIZE)
        half, number = divmod(place, HEAD_SIZE // 2)
        assert np.array_equal(theirs[head * HEAD_SIZE + 2 * number + half], ours[row]), "halves become neighbours"


def test_strength_and_rank_stabilisation_are_in_the_scale(adapter: AdapterRef, base: BaseModel, tmp_path: Path) -> None:
    folder = shutil.copytree(adapter.path, tmp_path / "stable")
    change_json(folder / "adapter_config.json", use_rslora=True, lora_alpha=8, r=4)
    write_gguf(AdapterRef("cd" * 32, folder, strength=0.5), base, tmp_path / "a.gguf")
    assert read(tmp_path / "a.gguf")[0] == 8 * 4**0.5 * 0.5


def test_queries_of_other_architectures_keep_their_order(adapter: AdapterRef, base: BaseModel, tmp_path: Path) -> None:
    write_gguf(adapter, replace(base, architecture="Qwen2ForCausalLM"), tmp_path / "a.gguf")
    key = "base_model.model.model.layers.0.self_attn.q_proj.lora_B.weight"
    ours = load_file(adapter.path / "adapter_model.safetensors")[key]
    assert np.array_equal(read(tmp_path / "a.gguf")[1]["blk.0.attn_q.weight.lora_b"], ours)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"use_dora": True}, "uses use_dora, which llama.cpp does not support"),
        ({"rank_pattern": {"q": 1}}, "uses rank_p"),
    ],
)
def test_an_adapter_that_llama_cpp_does_not_support_is_refused(
    adapter: AdapterRef, base: BaseModel, tmp_path: Path, change: dict[str, object], sentence: str
) -> None:
    folder = shutil.copytree(adapter.path, tmp_path / "odd")
    change_json(folder / "adapter_config.json", **change)
    with pytest.raises(AdapterError, match=sentence):
        write_gguf(AdapterRef("cd" * 32, folder), base, tmp_path / "a.gguf")
    assert not list(tmp_path.glob("*.gguf"))


def test_another_architecture_is_sent_to_llama_cpps_own_converter(
    adapter: AdapterRef, base: BaseModel, tmp_path: Path
) -> None:
    with pytest.raises(AdapterError, match=r"convert it with llama.cpp's convert_lora_to_gguf.py"):
        write_gguf(adapter, replace(base, architecture="Gemma3ForCausalLM"), tmp_path / "a.gguf")
