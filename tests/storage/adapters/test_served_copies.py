"""Copies of versions for remote servers: whole, scaled by strength, and gone when nobody needs them."""

from __future__ import annotations

import json
import os
import resource
import time
from pathlib import Path

import pytest

from storage.adapters.folder_store import AdapterRef
from storage.adapters.shared_store import KEPT_S, ServedAdapterCopies, served_name
from storage.errors import AdapterError
from tests.storage.adapters.test_folder_store import full_disk

DIGEST = "0123456789abcdef" * 4
NAME = "reactune-0123456789abcdef"


@pytest.fixture
def adapter(tmp_path: Path) -> AdapterRef:
    folder = tmp_path / "adapter"
    folder.mkdir()
    config = {"lora_alpha": 32, "alpha_pattern": {"q_proj": 8}, "r": 16}
    (folder / "adapter_config.json").write_text(json.dumps(config))
    (folder / "adapter_model.safetensors").write_bytes(b"weights")
    return AdapterRef(DIGEST, folder)


@pytest.fixture
def copies(tmp_path: Path) -> ServedAdapterCopies:
    return ServedAdapterCopies(tmp_path / "served")


def test_a_copy_is_put_once_and_named_by_what_it_is(adapter: AdapterRef, copies: ServedAdapterCopies) -> None:
    folder = copies.put(adapter)
    assert folder.name == served_name(adapter) == NAME
    assert json.loads((folder / "adapter_config.json").read_text())["lora_alpha"] == 32
    before = folder.stat().st_ino
    assert copies.put(adapter) == folder
    assert folder.stat().st_ino == before
    assert (folder / "adapter_model.safetensors").read_bytes() == b"weights"
    assert [path.name for path in folder.parent.iterdir()] == [NAME]


def test_a_strength_scales_the_copy_and_not_the_original(adapter: AdapterRef, copies: ServedAdapterCopies) -> None:
    folder = copies.put(AdapterRef(DIGEST, adapter.path, strength=0.25))
    assert folder.name == f"{NAME}-x0.25"
    config = json.loads((folder / "adapter_config.json").read_text())
    assert (config["lora_alpha"], config["alpha_pattern"], config["r"]) == (8.0, {"q_proj": 2.0}, 16)
    assert json.loads((adapter.path / "adapter_config.json").read_text())["lora_alpha"] == 32


def test_a_withdrawn_version_loses_all_its_copies(adapter: AdapterRef, copies: ServedAdapterCopies) -> None:
    for strength in (1.0, 0.5):
        copies.put(AdapterRef(DIGEST, adapter.path, strength))
    other = copies.put(AdapterRef("f" * 64, adapter.path))
    assert copies.remove(DIGEST) == 2
    assert list(other.parent.iterdir()) == [other]


def test_copies_without_a_server_are_deleted_after_a_day(adapter: AdapterRef, copies: ServedAdapterCopies) -> None:
    folders = [copies.put(AdapterRef(letter * 64, adapter.path)) for letter in "abc"]
    long_ago = time.time() - KEPT_S - 60
    for folder in folders[:2]:
        os.utime(folder, (long_ago, long_ago))
    assert copies.sweep({folders[0].name}) == 1
    assert sorted(folder.name for folder in folders[0].parent.iterdir()) == [folders[0].name, folders[2].name]


@pytest.mark.skipif(not hasattr(resource, "RLIMIT_FSIZE"), reason="needs a limit on file sizes")
def test_a_full_disk_is_reported_and_leaves_nothing(
    adapter: AdapterRef, copies: ServedAdapterCopies, tmp_path: Path
) -> None:
    with (
        full_disk(),
        pytest.raises(AdapterError, match=r"cannot be copied to .*served .*: make it writable for this user, and free"),
    ):
        copies.put(adapter)
    assert list((tmp_path / "served").iterdir()) == []
