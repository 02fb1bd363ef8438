"""What a local folder must hold before the question whether to use it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from storage.errors import BaseModelError
from storage.models.base_offer import examine_base
from storage.settings.loading import load_settings
from storage.settings.sections import Settings
from tests.tiny_model import build_tiny_base


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return build_tiny_base(tmp_path / "tiny")


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    (tmp_path / "config.toml").write_text("")
    return load_settings(tmp_path / "config.toml", environment={})


def test_a_sound_folder_is_offered(folder: Path, settings: Settings) -> None:
    assert examine_base(str(folder), settings).name == "tiny"


@pytest.mark.parametrize("size", [0, 5, 2000])
def test_weights_that_were_cut_off_are_refused(folder: Path, settings: Settings, size: int) -> None:
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:size])
    with pytest.raises(BaseModelError, match=r"model\.safetensors is cut off or damaged .*: copy it again"):
        examine_base(str(folder), settings)


@pytest.mark.parametrize("name", ["pytorch_model.bin", "model.gguf", "nothing"])
def test_a_folder_without_safetensors_is_refused(folder: Path, settings: Settings, name: str) -> None:
    (folder / "model.safetensors").rename(folder / name)
    with pytest.raises(BaseModelError, match="has no safetensors weights"):
        examine_base(str(folder), settings)


def test_a_missing_shard_is_named(folder: Path, settings: Settings) -> None:
    (folder / "model.safetensors").rename(folder / "model-00001-of-00002.safetensors")
    index = {"weight_map": {"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(BaseModelError, match=r"model-00002-of-00002\.safetensors is missing: copy it again"):
        examine_base(str(folder), settings)
