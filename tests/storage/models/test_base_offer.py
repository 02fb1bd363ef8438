"""What a local folder must hold before the question whether to use it."""

from __future__ import annotations

from pathlib import Path

import pytest

from storage.errors import BaseModelError
from storage.models.base_model import require_loadable
from storage.models.base_offer import examine_base
from storage.settings.loading import load_settings
from storage.settings.sections import Settings
from tests.families import FAMILIES, build_family
from tests.tiny_model import build_tiny_base, change_json


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return build_tiny_base(tmp_path / "tiny")


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    (tmp_path / "config.toml").write_text("")
    return load_settings(tmp_path / "config.toml", environment={})


def test_a_sound_folder_is_offered(folder: Path, settings: Settings) -> None:
    assert examine_base(str(folder), settings).name == "tiny"


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (
            {"model_type": "llama9"},
            "transformers does not know the model_type 'llama9' in .*: upgrade transformers, or",
        ),
        ({"hidden_size": 64}, r"has the shape \(\d+, 32\), but its config.json says \(\d+, 64\): copy the model again"),
        (
            {"num_attention_heads": "four"},
            r"cannot load the model that .*config\.json describes .*: copy the model again",
        ),
        ({"num_hidden_layers": 3}, r"lacks 7 weights of a text model, such as model\.layers\.2\."),
        ({"quantization_config": {}}, "quantised already"),
        ({"architectures": ["BertModel"], "model_type": "bert"}, "lacks .* weights of a text model"),
        (
            {"architectures": ["Qwen2_5_VLForConditionalGeneration"], "model_type": "qwen2_5_vl"},
            "transformers has no text model for Qwen2_5_VLForConditionalGeneration",
        ),
    ],
)
def test_what_transformers_cannot_load_is_refused_unless_a_server_answers(
    folder: Path, settings: Settings, changes: dict[str, object], said: str
) -> None:
    change_json(folder / "config.json", **changes)
    with pytest.raises(BaseModelError, match=said):
        examine_base(str(folder), settings)


@pytest.mark.parametrize("family", [family.name for family in FAMILIES])
def test_each_family_can_be_loaded(family: str, tmp_path: Path) -> None:
    require_loadable(build_family(family, tmp_path / family))


def test_a_server_may_load_what_transformers_cannot(folder: Path, settings: Settings) -> None:
    change_json(folder / "config.json", hidden_size=64)
    served = settings.model_copy(update={"model": settings.model.model_copy(update={"engine": "remote"})})
    assert examine_base(str(folder), served).name == "tiny"
