"""Judges the adapter that a round trained, again at lower strengths if it fails, and asks what answers until now."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from math import isfinite
from pathlib import Path
from typing import Any

from storage.adapters.folder_store import AdapterRef, AdapterStore
from storage.database.enums import GateVerdict, TrainingSource
from storage.models.hardware import cpu_threads, free_unused_models
from storage.releases.before_after import measured_before
from storage.releases.versions import read_alias
from storage.settings.sections import GateSettings
from storage.taste.examples import NO_EXAMPLES, Examples
from trainer.base import ShownExamples, ask_alone
from trainer.evaluation.gate import NOT_A_NUMBER, Verdict, decide
from trainer.evaluation.results import Evaluation
from trainer.evaluation.sampling import Serving, open_adapter
from trainer.progress import Phase, begin_phase
from trainer.round_context import RoundContext
from trainer.training.strength import MILDER, record_effect, save_weaker
from trainer.training.train import TrainingMetrics

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

    serving: Serving
    gate: GateSettings
    learns_from: TrainingSource
    store: AdapterStore
    evaluate: Callable[[AdapterRef], Evaluation]

    def judge(self, staging: Path, metrics: TrainingMetrics) -> Trained:
        """Put the adapter through the gate, after freeing the model of its training or of the last judgement."""
        free_unused_models()
        evaluation = self.evaluate(AdapterRef(self.store.seal(staging), staging))
        verdict = decide(metrics.train_loss, evaluation, self.gate, learns_from=self.learns_from)
        return Trained(staging, verdict, metrics, evaluation)

    def mend(self, whole: Trained, starter: Path | None, stages: ExitStack) -> Trained:
        """Return the adapter at the highest strength that passes, or unchanged; `stages` removes the new folders."""
        for share in MILDER if whole.goes_too_far else ():
            failed = whole.verdict.checks[0].name
            log.info("The new version fails the check “%s”; trying %s of its strength.", failed, f"{share:.0%}")
            staging = stages.enter_context(self.store.stage())
            save_weaker(whole.staging, staging, share, starter)
            free_unused_models()  # the model that was judged; there may be no room for two
            record_effect(staging, self.serving.base.model, self.serving.training)
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


def ask_before(context: RoundContext, examples: Examples, messages: Sequence[str]) -> dict[str, Any]:
    """Return the measurement of the champion's answers, one to each message; empty if it cannot answer.

    As in blind pairs, the base is asked with its `examples` and an order, and gives a single answer to each.
    """
    if not messages:
        return {}
    free_unused_models()
    serving, base = context.serving, context.base
    champion = context.database.fetch(read_alias, context.personality_id).version
    shown = ShownExamples(NO_EXAMPLES if champion else examples, base, serving.generation)
    plain = [ask_alone(message, serving.system_prompt, base.render) for message in messages]
    prompts = [(shown.before(asked) or asked).prompt for asked in plain]
    advance = begin_phase(context.report, Phase.BEFORE, len(prompts))
    try:
        sampler = serving.open(open_adapter(context.store, champion, base.model))
        with cpu_threads(serving.training.threads):
            samples = sampler.answer(prompts, serving.generation, serving.training.seed, advance)
    except Exception:  # a finished training must not be lost because of three answers
        log.exception("What answers now could not be asked, so the round has no answers from before.")
        return {}
    return measured_before(champion, [sample.text for sample in samples])
