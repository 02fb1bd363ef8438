from __future__ import annotations

import pytest

from storage.models.base_model import BaseModel


@pytest.fixture(scope="session")
def base(tiny_base: BaseModel) -> BaseModel:
    return tiny_base
