from __future__ import annotations

from pathlib import Path

import pytest

from tests.tiny_model import build_tiny_base, save_adapter


@pytest.fixture
def tiny(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, no_encoder: None) -> None:
    """A tiny base with random weights, a round of seconds, and no rest between two lessons of a taste."""
    settings = {
        "MODEL__BASE": build_tiny_base(tmp_path / "tiny", positions=2048),
        "MODEL__ENGINE": "transformers",
        "GENERATION__MAX_NEW_TOKENS": 8,
        "PAIRS__RANKED_PROMPTS": 4,
        "PAIRS__RANKED_ANSWERS": 4,
        "TRAINING__MIN_PAIRS": 1,
        "TRAINING__MIN_STEPS": 1,
        "GATE__COHERENCE_MODEL": "base",
        "GATE__TOLERANCE": '{"broken": 10}',
    }
    for name, value in settings.items():
        monkeypatch.setenv(f"REACTUNE_{name}", str(value))
    monkeypatch.setattr("tests.benchmarks.community.HELD_OUT_PROMPTS", 3)
    monkeypatch.setattr("bot.chat.tastes.REST", 0.0)


@pytest.fixture
def base(tmp_path: Path) -> Path:
    return build_tiny_base(tmp_path / "base")


@pytest.fixture
def starter(base: Path, tmp_path: Path) -> Path:
    return save_adapter(base, tmp_path / "starter", seed=1).path
