from __future__ import annotations

import sys
from importlib.machinery import PathFinder
from importlib.metadata import DistributionFinder
from pathlib import Path
from typing import Any

import pytest

from storage.base_model import BaseModel, resolve_base_model
from storage.settings import Settings
from tests.seeding import tiny_settings
from tests.tiny_model import build_tiny_base
from trainer.preference_model import ENCODER_PACKAGE


@pytest.fixture(scope="session")
def tiny_base(tmp_path_factory: pytest.TempPathFactory) -> BaseModel:
    """A base model that trains in a second and babbles."""
    folder = tmp_path_factory.mktemp("tiny")
    return resolve_base_model(str(build_tiny_base(folder / "tiny")), folder / "data")


@pytest.fixture
def settings(tmp_path: Path, tiny_base: BaseModel) -> Settings:
    return tiny_settings(tmp_path, tiny_base.path)


class _WithoutEncoder(DistributionFinder):
    """Finds all that is installed, but for the encoder."""

    find_spec = PathFinder.find_spec

    def find_distributions(self, context: DistributionFinder.Context = DistributionFinder.Context()) -> Any:  # noqa: B008
        return [] if context.name == ENCODER_PACKAGE else PathFinder.find_distributions(context)


@pytest.fixture
def no_encoder(monkeypatch: pytest.MonkeyPatch) -> None:
    """The package of the sentence encoder is not installed."""
    finders = [_WithoutEncoder() if finder is PathFinder else finder for finder in sys.meta_path]
    monkeypatch.setattr(sys, "meta_path", finders)
