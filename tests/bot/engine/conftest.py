from __future__ import annotations

import asyncio
import time
from pathlib import Path

import pytest

from storage.adapters.folder_store import AdapterRef
from storage.models.base_model import BaseModel
from storage.settings.loading import load_settings
from storage.settings.sections import Settings
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


def settings_for(data: Path, url: str, **changes: object) -> Settings:
    """Return settings; `changes` are of [remote], unless their names begin with another section and "__"."""
    values = {
        "REACTUNE_DATA__DIRECTORY": str(data),
        "REACTUNE_MODEL__ENGINE": "remote",
        "REACTUNE_MODEL__CONTEXT_TOKENS": "512",
        "REACTUNE_REMOTE__URL": url,
        "REACTUNE_REMOTE__FIRST_TOKEN_TIMEOUT_S": "99",
        "REACTUNE_REMOTE__CONNECT_TIMEOUT_S": "7200",  # more than any test moves its clock: a check may be on its way
        "REMOTE_API_KEY": str(changes.pop("key", "")),
    }
    for name, value in changes.items():
        section, _, key = name.rpartition("__")
        values[f"REACTUNE_{(section or 'remote').upper()}__{key.upper()}"] = str(value)
    return load_settings(environment=values)


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
