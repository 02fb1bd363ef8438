from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from storage.adapters.folder_store import WEIGHTS_FILE
from storage.models.base_model import BaseModel
from tests.tiny_model import save_adapter
from trainer.training.strength import save_weaker

SHARE = 0.25


@pytest.fixture(scope="module")
def adapters(base: BaseModel, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Two adapters of one base."""
    folder = tmp_path_factory.mktemp("adapters")
    return tuple(save_adapter(base.path, folder / str(seed), seed=seed).path for seed in (1, 2))


def weakened(adapters: tuple[Path, Path], folder: Path, *, continues: bool) -> dict[str, torch.Tensor]:
    starter, learned = adapters
    folder.mkdir()
    save_weaker(learned, folder, SHARE, starter if continues else None)
    return load_file(folder / WEIGHTS_FILE)


def test_a_new_adapter_changes_the_base_by_this_share(adapters: tuple[Path, Path], tmp_path: Path) -> None:
    learned = load_file(adapters[1] / WEIGHTS_FILE)
    weaker = weakened(adapters, tmp_path / "weaker", continues=False)
    inputs = [name for name in learned if ".lora_A." in name]
    assert inputs
    for name in inputs:
        to = name.replace(".lora_A.", ".lora_B.")
        torch.testing.assert_close(weaker[to] @ weaker[name], SHARE * learned[to] @ learned[name])


def test_what_continues_a_starter_goes_this_share_of_the_way(adapters: tuple[Path, Path], tmp_path: Path) -> None:
    start, end = (load_file(adapter / WEIGHTS_FILE) for adapter in adapters)
    weaker = weakened(adapters, tmp_path / "weaker", continues=True)
    assert weaker.keys() == end.keys()
    for name, weight in weaker.items():
        torch.testing.assert_close(weight, start[name] + SHARE * (end[name] - start[name]))
