"""Models on the hub: what is refused before anything large is downloaded, and downloads that continue."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import huggingface_hub.constants
import pytest

from storage.errors import BaseModelError
from storage.models.base_model import resolve_base_model
from storage.models.base_offer import examine_base, require_disk_space
from storage.models.hub import download, find_downloaded, find_on_hub
from storage.settings.sections import DataSettings, ModelSettings, Settings
from tests.hub import COMMIT, TOKEN, FakeHub, serving_hub
from tests.tiny_model import build_tiny_base, change_json

HUB_ID = "ann/tiny"


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = build_tiny_base(tmp_path_factory.mktemp("model"))
    (folder / "README.md").write_text("---\nlicense: other\nlicense_name: tiny-terms\n---\n")
    (folder / "LICENSE").write_text("Be nice to it.")
    return folder


@pytest.fixture(scope="module")
def served() -> Iterator[FakeHub]:
    with serving_hub() as hub:
        yield hub


@pytest.fixture
def hub(served: FakeHub, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeHub:
    """A hub with one model; huggingface_hub reads its address when it is imported."""
    monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", served.url)
    monkeypatch.setattr(
        huggingface_hub.constants,
        "HUGGINGFACE_CO_URL_TEMPLATE",
        served.url + "/{repo_id}/resolve/{revision}/{filename}",
    )
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.delenv("HF_TOKEN", raising=False)
    served.folders, served.asked, served.bytes_left, served.commit, served.refusal = {}, [], None, COMMIT, None
    served.gated.clear()
    served.add(HUB_ID, shutil.copytree(model, tmp_path / "served"))
    return served


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    model = ModelSettings(engine="transformers")
    return Settings(data=DataSettings(directory=tmp_path / "data"), model=model)


def test_a_model_is_known_before_its_weights_are_downloaded(hub: FakeHub, settings: Settings, tmp_path: Path) -> None:
    offer = examine_base(HUB_ID, settings)
    assert (offer.licence, offer.licence_text) == ("tiny-terms", "Be nice to it.")
    files = hub.folders[HUB_ID]
    assert offer.weight_bytes == (files / "model.safetensors").stat().st_size
    assert offer.download_bytes == sum(path.stat().st_size for path in files.iterdir())
    assert hub.asked == []
    assert not (tmp_path / "hub").exists()


def test_a_download_that_was_interrupted_continues_where_it_stopped(
    hub: FakeHub, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("time.sleep", lambda _seconds: None)  # between the library's own attempts
    monkeypatch.setattr(huggingface_hub.constants, "DOWNLOAD_CHUNK_SIZE", 1_000)
    hub.bytes_left = 5_000
    with pytest.raises(BaseModelError, match="try again, which continues where it stopped"):
        download(find_on_hub(HUB_ID), lambda _done, _total: None)
    assert find_downloaded(HUB_ID) is None
    hub.asked, hub.bytes_left = [], None
    seen: list[tuple[int, int]] = []
    folder = download(find_on_hub(HUB_ID), lambda done, total: seen.append((done, total)))
    assert ("GET", "model.safetensors", "bytes=5000-") in hub.asked
    assert (folder / "model.safetensors").read_bytes() == (hub.folders[HUB_ID] / "model.safetensors").read_bytes()
    assert seen == sorted(seen)
    assert seen[-1][0] == seen[-1][1] == sum(path.stat().st_size for path in hub.folders[HUB_ID].iterdir())
    assert find_on_hub(HUB_ID).missing_bytes == 0


def test_a_repository_that_moves_during_the_download_gives_what_was_examined(hub: FakeHub, settings: Settings) -> None:
    offer = examine_base(HUB_ID, settings)
    hub.commit = "d" * 40
    offer.download(lambda _done, _total: None)
    assert find_downloaded(HUB_ID).name == COMMIT


def test_a_downloaded_model_needs_no_hub_and_stays_as_it_is(hub: FakeHub, tmp_path: Path) -> None:
    first = resolve_base_model(HUB_ID, tmp_path / "data")
    hub.folders.clear()
    said: list[str] = []
    assert resolve_base_model(HUB_ID, tmp_path / "data", said.append) == first
    assert said == []


def test_a_model_of_which_another_program_fetched_small_files_is_downloaded(
    hub: FakeHub, settings: Settings, tmp_path: Path
) -> None:
    for name in ("config.json", "tokenizer.json"):
        huggingface_hub.hf_hub_download(HUB_ID, name, cache_dir=tmp_path / "hub")
    assert examine_base(HUB_ID, settings).download_bytes > 0
    assert resolve_base_model(HUB_ID, tmp_path / "data").name == HUB_ID
    assert find_downloaded(HUB_ID) is not None


def test_a_gated_model_says_where_its_terms_are_accepted(
    hub: FakeHub, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.gated.add(HUB_ID)
    with pytest.raises(BaseModelError, match=rf"gated: accept its terms at {hub.url}/ann/tiny, .* set it as HF_TOKEN"):
        examine_base(HUB_ID, settings)
    monkeypatch.setenv("HF_TOKEN", "hf_of_somebody_else")
    with pytest.raises(BaseModelError, match="the account of the token in HF_TOKEN may not read it"):
        examine_base(HUB_ID, settings)
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    assert examine_base(HUB_ID, settings).name == HUB_ID


def test_a_repository_that_does_not_exist_is_refused(hub: FakeHub, settings: Settings) -> None:
    with pytest.raises(BaseModelError, match="ann/missing does not exist on the hub, or is private: check"):
        examine_base("ann/missing", settings)


def test_without_a_network_it_says_so(hub: FakeHub, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(BaseModelError, match=r"the hub at http://127\.0\.0\.1:9 is unreachable") as said:
        examine_base(HUB_ID, settings)
    assert "continues where it stopped" not in str(said.value), "nothing was downloaded"


@pytest.mark.parametrize(
    ("status", "text", "token", "sentence"),
    [
        (401, "", TOKEN, r"does not accept the token in HF_TOKEN \(HTTP 401\): replace it"),
        (404, "", "", "ann/tiny does not exist on the hub at http.*: check the spelling"),
        (200, "<html>Please log in.</html>", "", "such as with the page of a proxy: check the connection, HTTPS_PROXY"),
        (418, "", "", r"the hub refused ann/tiny \(HTTP 418\): try again later"),
    ],
)
def test_an_answer_that_is_no_model_says_what_to_do(
    hub: FakeHub, settings: Settings, monkeypatch: pytest.MonkeyPatch, status: int, text: str, token: str, sentence: str
) -> None:
    hub.refusal = status, text
    monkeypatch.setenv("HF_TOKEN", token)
    with pytest.raises(BaseModelError, match=sentence):
        examine_base(HUB_ID, settings)


@pytest.mark.parametrize("variable", ["HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"])
def test_a_hub_that_is_switched_off_says_which_variable_does_it(
    hub: FakeHub, settings: Settings, monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    for one in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"):
        monkeypatch.delenv(one, raising=False)
    monkeypatch.setenv(variable, "1")
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(BaseModelError, match=f"because {variable} is set: unset it"):
        examine_base(HUB_ID, settings)


def spoil(hub: FakeHub, how: str) -> None:
    folder = hub.folders[HUB_ID]
    weights = folder / "model.safetensors"
    if how == "pickles":
        weights.rename(folder / "pytorch_model.bin")
    elif how == "gguf":
        weights.rename(folder / "model.gguf")
    elif how == "quantised":
        change_json(folder / "config.json", quantization_config={"quant_method": "awq"})
    elif how == "no text model":
        change_json(folder / "config.json", model_type="qwen2_5_vl")
    elif how == "unknown":
        change_json(folder / "config.json", model_type="llama9")
    elif how == "no template":
        (folder / "chat_template.jinja").unlink()
    elif how == "broken template":
        (folder / "chat_template.jinja").write_text("{{ messages.nowhere.content }}")
    elif how == "custom code":
        change_json(folder / "config.json", auto_map={"AutoModel": "x.Y"}, model_type="unheard-of")
    elif how == "missing shard":
        index = {"weight_map": {"a": "model-00001-of-00002.safetensors"}}
        (folder / "model.safetensors.index.json").write_text(json.dumps(index))


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ("pickles", "only pickles such as pytorch_model.bin, which can run code"),
        ("gguf", "GGUF files only, which rounds cannot train"),
        ("quantised", r"the weights in ann/tiny are quantised already \(awq\)"),
        ("no text model", "no text model for LlamaForCausalLM in .*ann/tiny"),
        ("unknown", "does not know the model_type 'llama9' in .*ann/tiny"),
        ("no template", "ann/tiny has no chat template"),
        ("broken template", "template"),
        ("custom code", "ann/tiny needs custom Python code"),
        ("missing shard", "ann/tiny lacks model-00001-of-00002.safetensors"),
    ],
)
def test_what_cannot_be_used_is_refused_before_the_download(
    hub: FakeHub, settings: Settings, tmp_path: Path, how: str, said: str
) -> None:
    spoil(hub, how)
    with pytest.raises(BaseModelError, match=said) as refused:
        examine_base(HUB_ID, settings)
    assert "reactune-" not in str(refused.value), "no temporary folder"
    assert hub.asked == []
    assert not (tmp_path / "hub").exists()


def test_a_disk_that_is_too_small_is_noticed(hub: FakeHub, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    offer = examine_base(HUB_ID, settings)
    require_disk_space(offer, settings)
    monkeypatch.setattr(shutil, "disk_usage", lambda _folder: shutil._ntuple_diskusage(9, 9, 9))
    with pytest.raises(BaseModelError, match=r"ann/tiny needs .* MB in .* free: free some space, set HF_HOME"):
        require_disk_space(offer, settings)
