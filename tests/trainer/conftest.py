from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from storage.database.database import Database, open_database
from storage.models.base_model import BaseModel, resolve_base_model
from storage.settings.sections import Settings
from tests.few_questions import ask_few_questions
from tests.seeding import tiny_settings
from tests.shared_encoder import SharedEncoder
from tests.tiny_model import build_tiny_base


@pytest.fixture(scope="session")
def tiny_base(tmp_path_factory: pytest.TempPathFactory) -> BaseModel:
    """A base model that trains in a second and babbles."""
    folder = tmp_path_factory.mktemp("tiny")
    return resolve_base_model(str(build_tiny_base(folder / "tiny")), folder / "data")


@pytest.fixture
def settings(tmp_path: Path, tiny_base: BaseModel, migrated_file: Path) -> Settings:
    shutil.copyfile(migrated_file, tmp_path / "reactune.db")
    return tiny_settings(tmp_path, tiny_base.path)


@pytest.fixture
def database(settings: Settings) -> Iterator[Database]:
    with closing(open_database(settings)) as opened:
        yield opened


@pytest.fixture(autouse=True)
def _rounds_share_an_encoder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trainer.data.drawing.BundledEncoder", SharedEncoder)


@pytest.fixture
def few_questions(monkeypatch: pytest.MonkeyPatch) -> None:
    ask_few_questions(monkeypatch)
