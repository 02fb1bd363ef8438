"""The gate on real weights: versions of four styles pass, damaged ones fail, though the base is its own judge."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch

from storage.adapters.folder_store import AdapterRef
from storage.database.enums import GateVerdict, TrainingSource
from storage.models.base_model import BaseModel, resolve_base_model
from storage.settings.sections import DataSettings, GateSettings, ModelSettings, Settings, TrainingSettings
from tests.trainer.contexts import quiet, serving_of
from tests.trainer.evaluation.styles import ENDLESS, damaged, read_styles, train_style
from trainer.evaluation.context import ServedContext
from trainer.evaluation.evaluate import Evaluation, EvaluationModels, evaluate
from trainer.evaluation.gate import Verdict, decide

VARIABLE = "REACTUNE_REAL_BASE"
NOISE = 32.0
"""Standard deviations of the adapter's own weights. With 8, and with one layer set to zero, answers are as before."""
GARBLE = 100.0
"""With 30 in one layer, answers still make sense."""

pytestmark = pytest.mark.bench


@dataclass(frozen=True)
class RealGate:
    base: BaseModel
    folder: Path

    def adapter(self, style: str) -> Path:
        """Return the folder of an adapter that learned the style, trained once."""
        folder = self.folder / style
        if not folder.exists():
            folder.mkdir()
            train_style(self.base, style, folder)
        return folder

    def judge(self, adapter: Path, style: str) -> tuple[Evaluation, Verdict]:
        """Judge it without suites, as a version that learned the style's examples."""
        settings = Settings(
            data=DataSettings(directory=self.folder / "data"),
            model=ModelSettings(engine="transformers"),
            training=TrainingSettings(threads=0),
            gate=GateSettings(coherence_model="base"),
        )
        found = evaluate(
            serving_of(settings, self.base),
            AdapterRef(adapter.name, adapter),
            EvaluationModels((), None),
            ServedContext(model_answers=tuple(read_styles()[style])),
            quiet,
        )
        print(f"{adapter.name}: {found}")
        return found, decide(1.0, found, settings.gate, learns_from=TrainingSource.EXAMPLES)


@pytest.fixture(scope="module")
def gate(tmp_path_factory: pytest.TempPathFactory) -> RealGate:
    if not (path := os.environ.get(VARIABLE)):
        pytest.skip(f"set {VARIABLE} to the folder of a real base, such as an instruct model of 0.5 billion parameters")
    folder = tmp_path_factory.mktemp("gate")
    return RealGate(resolve_base_model(path, folder / "data"), folder)


@pytest.mark.parametrize("style", sorted(read_styles()))
def test_version_that_learned_a_style_passes(gate: RealGate, style: str) -> None:
    _, verdict = gate.judge(gate.adapter(style), style)
    assert verdict.outcome is GateVerdict.PASS, verdict.reason


@pytest.mark.parametrize("style", sorted(read_styles()))
def test_version_of_far_too_great_strength_fails(gate: RealGate, style: str) -> None:
    doubled = damaged(gate.adapter(style), gate.folder / f"{style}-doubled", lambda _name, up: up * 2)
    assert gate.judge(doubled, style)[1].outcome is GateVerdict.FAIL


def test_version_with_noise_fails(gate: RealGate) -> None:
    torch.manual_seed(0)
    noisy = damaged(
        gate.adapter("casual"),
        gate.folder / "noise",
        lambda _name, up: up + NOISE * up.float().std() * torch.randn(up.shape),
    )
    assert gate.judge(noisy, "casual")[1].outcome is GateVerdict.FAIL


def test_version_with_a_garbled_layer_fails(gate: RealGate) -> None:
    torch.manual_seed(0)
    garbled = damaged(
        gate.adapter("casual"),
        gate.folder / "garbled",
        lambda name, up: GARBLE * up.float().std() * torch.randn(up.shape) if ".layers.2." in name else up,
    )
    assert gate.judge(garbled, "casual")[1].outcome is GateVerdict.FAIL


def test_version_that_does_not_end_its_answers_fails(gate: RealGate) -> None:
    found, verdict = gate.judge(gate.adapter(ENDLESS), "short")
    assert found.cut_share > found.cut_share_base
    assert "endings" in {check.name for check in verdict.checks if check.outcome is GateVerdict.FAIL}
