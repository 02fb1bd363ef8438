"""Judges the adapter that a round trained. One that fails is judged again at lower strengths."""

from __future__ import annotations

import logging
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from math import isfinite
from pathlib import Path
from typing import Any

from storage.adapters.folder_store import AdapterRef, AdapterStore
from storage.database.enums import GateVerdict, TrainingSource
from storage.models.base_model import BaseModel
from storage.models.hardware import free_unused_models
from storage.settings.sections import Settings
from trainer.evaluation.context import ServedContext
from trainer.evaluation.evaluate import Evaluation, EvaluationModels, evaluate
from trainer.evaluation.gate import NOT_A_NUMBER, Verdict, decide
from trainer.progress import ReportProgress
from trainer.training.train import TrainingMetrics

MILDER = (0.75, 0.5, 0.25)
"""Fractions of the chosen strength, tried in this order until the version no longer goes too far."""

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Trained:
    """An adapter that is not published yet, and its verdict."""

    staging: Path
    verdict: Verdict
    metrics: TrainingMetrics
    evaluation: Evaluation

    @property
    def fails(self) -> bool:
        return self.verdict.outcome is GateVerdict.FAIL

    @property
    def goes_too_far(self) -> bool:
        """True if a lower strength may pass."""
        return self.fails and self.verdict.checks[0].name != NOT_A_NUMBER

    @property
    def numbers(self) -> dict[str, Any]:
        numbers: dict[str, Any] = _json(asdict(self.metrics) | asdict(self.evaluation))
        return numbers


@dataclass(frozen=True)
class RoundJudge:
    """Puts the adapters of one round through the gate."""

    base: BaseModel
    models: EvaluationModels
    context: ServedContext
    settings: Settings
    learns_from: TrainingSource
    store: AdapterStore
    report: ReportProgress

    def judge(self, staging: Path, metrics: TrainingMetrics) -> Trained:
        """Put the adapter through the gate, after freeing the model of its training or of the last judgement."""
        free_unused_models()
        adapter = AdapterRef(self.store.seal(staging), staging)
        evaluation = evaluate(self.base, adapter, self.models, self.context, settings=self.settings, report=self.report)
        verdict = decide(metrics.train_loss, evaluation, self.settings.gate, learns_from=self.learns_from)
        return Trained(staging, verdict, metrics, evaluation)

    def mend(self, whole: Trained, starter: Path | None, stages: ExitStack) -> Trained:
        """Return the adapter at the highest strength that passes, or unchanged; `stages` removes the new folders."""
        from trainer.training.strength import record_effect, save_weaker

        for share in MILDER if whole.goes_too_far else ():
            failed = whole.verdict.checks[0].name
            log.info("The new version fails the check “%s”; trying %s of its strength.", failed, f"{share:.0%}")
            staging = stages.enter_context(self.store.stage())
            save_weaker(whole.staging, staging, share, starter)
            free_unused_models()  # the model that was judged; there may be no room for two
            record_effect(staging, self.base, self.settings.training)
            metrics = replace(whole.metrics, strength=whole.metrics.strength * share, lowered_for=failed)
            milder = self.judge(staging, metrics)
            if not milder.fails:
                return milder
        return whole


def _json(value: Any) -> Any:
    """Return the value with None in place of NaN, which JSON does not know and PostgreSQL refuses."""
    if isinstance(value, float):
        return value if isfinite(value) else None
    if isinstance(value, dict):
        return {name: _json(part) for name, part in value.items()}
    return [_json(part) for part in value] if isinstance(value, (list, tuple)) else value
