from __future__ import annotations

import asyncio
import time
from pathlib import Path

import pytest

from storage.adapters.folder_store import AdapterRef
from storage.models.base_model import BaseModel
from tests.storage.conftest import base
from tests.tiny_model import save_adapter

__all__ = ["base"]  # a fixture


@pytest.fixture(scope="session")
def adapters(base: BaseModel, tmp_path_factory: pytest.TempPathFactory) -> list[AdapterRef]:
    """Two versions of tiny bases with any context."""
    return [save_adapter(base.path, tmp_path_factory.mktemp(f"adapter-{seed}"), seed) for seed in (1, 2)]


def partial(adapter: AdapterRef, folder: Path) -> AdapterRef:
    """Return a copy of the adapter that lacks one of its tensors."""
    from safetensors.torch import load_file, save_file

    folder.mkdir()
    tensors = load_file(adapter.path / "adapter_model.safetensors")
    tensors.pop(next(iter(tensors)))
    save_file(tensors, folder / "adapter_model.safetensors")
    (folder / "adapter_config.json").write_bytes((adapter.path / "adapter_config.json").read_bytes())
    return AdapterRef("partial", folder)


class Clock:
    """The clocks of the event loop and of time.perf_counter, which a test moves ahead: long timeouts pass at once."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._ahead_s = 0.0
        loop = asyncio.get_running_loop()
        loop_time, perf_counter = loop.time, time.perf_counter
        monkeypatch.setattr(loop, "time", lambda: loop_time() + self._ahead_s)
        monkeypatch.setattr(time, "perf_counter", lambda: perf_counter() + self._ahead_s)

    def advance(self, seconds: float) -> None:
        self._ahead_s += seconds


@pytest.fixture
async def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)
