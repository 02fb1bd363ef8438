from __future__ import annotations

from pathlib import Path

import pytest

from storage.base_model import BaseModel, resolve_base_model


@pytest.fixture(scope="session")
def bundled_base(tmp_path_factory: pytest.TempPathFactory) -> BaseModel:
    """The bundled model, converted once for all tests that need it."""
    return resolve_base_model("bundled", tmp_path_factory.mktemp("bundled"))


@pytest.fixture
def bundled_data(tmp_path: Path, bundled_base: BaseModel) -> Path:
    """A data folder of its own in which the bundled model is converted already."""
    data = tmp_path / "data"
    data.mkdir()
    (data / "base").symlink_to(bundled_base.path.parent)
    return data
