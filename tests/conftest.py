from __future__ import annotations

import os
from pathlib import Path

# Before anything imports torch: several test processes share the cores, and tiny models gain nothing from two threads.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import hypothesis
import pytest

from storage.base_model import BaseModel, resolve_base_model

# A machine that does other work meanwhile is no defect.
hypothesis.settings.register_profile("unhurried", deadline=None)
hypothesis.settings.load_profile("unhurried")


@pytest.fixture(scope="session")
def bundled_base(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> BaseModel:
    """The bundled model, converted once for all tests of all worker processes that need it."""
    own = tmp_path_factory.getbasetemp()
    return resolve_base_model("bundled", (own if worker_id == "master" else own.parent) / "bundled")


@pytest.fixture
def bundled_data(tmp_path: Path, bundled_base: BaseModel) -> Path:
    """A data folder of its own in which the bundled model is converted already."""
    data = tmp_path / "data"
    data.mkdir()
    (data / "base").symlink_to(bundled_base.path.parent)
    return data
