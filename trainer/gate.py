"""Whether a new adapter may be promoted, decided from numbers alone."""

from __future__ import annotations

import math
from dataclasses import dataclass

from storage.settings import GateSettings
from trainer.dpo import DpoMetrics
from trainer.judge import Judgement


@dataclass(frozen=True)
class Verdict:
    passed: bool
    reasons: tuple[str, ...]
    """One sentence for each check with its numbers, failed checks first."""


@dataclass(frozen=True)
class _Check:
    passed: bool
    sentence: str


def decide(metrics: DpoMetrics, judgement: Judgement, settings: GateSettings) -> Verdict:
    """Fail on numbers that are none, on too much divergence and on too many broken answers; say why either way."""
    checks = [
        _finite(metrics, judgement),
        _divergence(judgement, settings),
        _degenerate(judgement, settings),
        _held_out(metrics),
    ]
    checks.sort(key=lambda check: check.passed)
    return Verdict(all(check.passed for check in checks), tuple(check.sentence for check in checks))


def _finite(metrics: DpoMetrics, judgement: Judgement) -> _Check:
    numbers = {
        "training loss": metrics.train_loss,
        "held-out margin": metrics.holdout_margin or 0.0,
        "held-out accuracy": metrics.holdout_accuracy or 0.0,
        "divergence": judgement.divergence,
        "share of broken answers": judgement.degenerate_share,
        "the base's share of broken answers": judgement.degenerate_share_base,
    }
    broken = [name for name, number in numbers.items() if not math.isfinite(number)]
    if broken:
        return _Check(False, f"not a number: {', '.join(broken)}")
    return _Check(True, f"the training loss is {metrics.train_loss:.2f} over {metrics.steps} steps")


def _divergence(judgement: Judgement, settings: GateSettings) -> _Check:
    found, most = judgement.divergence, settings.max_divergence
    passed = found <= most
    relation = "within" if passed else "above"
    return _Check(passed, f"answers moved {found:.2f} nats per token from the base, {relation} the limit of {most:.2f}")


def _degenerate(judgement: Judgement, settings: GateSettings) -> _Check:
    share, base, most = judgement.degenerate_share, judgement.degenerate_share_base, settings.max_degenerate_excess
    passed = share - base <= most + 1e-9  # shares are fractions: 0.35 - 0.2 is a little more than 0.15
    relation = "within" if passed else "above"
    return _Check(
        passed, f"{share:.0%} of answers are broken, the base's {base:.0%}, {relation} the limit of +{most:.0%}"
    )


def _held_out(metrics: DpoMetrics) -> _Check:
    if metrics.holdout_accuracy is None or metrics.holdout_margin is None:
        return _Check(True, "no pairs were held out, so nothing is known about new prompts")
    return _Check(
        True,
        f"{metrics.holdout_accuracy:.0%} of {metrics.holdout_pairs} held-out pairs are preferred as their voters did "
        f"(mean margin {metrics.holdout_margin:+.2f} nats)",
    )
