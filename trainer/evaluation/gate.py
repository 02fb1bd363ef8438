"""Vetoes at the end of a round: numbers alone decide whether a new version may be compared by people at all."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

from storage.database.enums import GateVerdict, TrainingSource
from storage.settings.sections import GateSettings
from storage.taste.liked import Excess
from storage.wording import count, gettext_noop
from trainer.evaluation.evaluate import Evaluation
from trainer.evaluation.overshoot import Overshoot
from trainer.evaluation.suites import Kind, SuiteResult

MIN_KNOWN_CASES = 5
"""With fewer facts known by the base, the gate does not judge a loss of knowledge."""
BROKEN_EXCESS = 0.5
"""A version is broken if its share of broken answers exceeds the base's by more than this."""
NO_LANGUAGE = 2.0
"""A version is broken if its loss is this many times the base's, unless the settings allow more."""
MOST_NAMED = 3
ROUNDING = 1e-9  # shares are fractions: 0.35 - 0.2 is a little more than 0.15
ORDER = (GateVerdict.FAIL, GateVerdict.NOT_ENOUGH_EVIDENCE, GateVerdict.PASS)
PEOPLE = gettext_noop("people")
NOT_A_NUMBER = gettext_noop("numbers")
OVERSHOOT = gettext_noop("overshoot")
BY_CHANCE = "this could be chance"


@dataclass(frozen=True)
class CheckResult:
    name: str
    outcome: GateVerdict
    sentence: str
    """The reason with its numbers."""


@dataclass(frozen=True)
class Verdict:
    outcome: GateVerdict
    publishable: bool
    """False if the version is broken. It is then never published, and no override helps."""
    checks: tuple[CheckResult, ...]
    """Failed checks first, then those without enough evidence, then passed ones."""

    @property
    def reason(self) -> str:
        """The sentences that decided, in one line."""
        return "; ".join(check.sentence for check in self.checks if check.outcome is self.outcome)


def decide(
    train_loss: float, evaluation: Evaluation, settings: GateSettings, *, learns_from: TrainingSource
) -> Verdict:
    """Fail if one check fails; otherwise a version that learned from votes waits until people compared it.

    A version that learned from the examples on a card passes: its owner wrote them.
    """
    missing = [name for name, number in _numbers(train_loss, evaluation) if not math.isfinite(number)]
    if missing:
        sentence = f"not a number: {', '.join(missing)}"
        return Verdict(GateVerdict.FAIL, publishable=False, checks=(_failed(NOT_A_NUMBER, sentence),))
    checks = [
        *_measures(evaluation, settings),
        *([_overshoot(evaluation.overshoot, settings)] if evaluation.overshoot else []),
        *(_suite(result, settings) for result in evaluation.suites),
        *([_people()] if learns_from is TrainingSource.VOTES else []),
    ]
    checks.sort(key=lambda check: ORDER.index(check.outcome))
    return Verdict(checks[0].outcome, publishable=not _is_broken(evaluation, settings), checks=tuple(checks))


def _numbers(train_loss: float, evaluation: Evaluation) -> Iterator[tuple[str, float]]:
    yield "the training loss", train_loss
    yield "the divergence from the base", evaluation.divergence
    yield "the loss on the retention text", evaluation.retention_loss_ratio
    yield "the loss of answers under the coherence model", evaluation.coherence_ratio
    yield "the share of broken answers", evaluation.degenerate_share - evaluation.degenerate_share_base
    yield "the share of answers alike", evaluation.alike_share - evaluation.alike_share_base
    yield "the length of answers", evaluation.answer_tokens - evaluation.answer_tokens_base


def _people() -> CheckResult:
    sentence = gettext_noop("people have not compared it with the champion yet")
    return CheckResult(PEOPLE, GateVerdict.NOT_ENOUGH_EVIDENCE, sentence)


def _is_broken(evaluation: Evaluation, settings: GateSettings) -> bool:
    excess = evaluation.degenerate_share - evaluation.degenerate_share_base
    babbles = evaluation.coherence_ratio > max(NO_LANGUAGE, settings.max_coherence_ratio)
    return excess > max(BROKEN_EXCESS, settings.max_degenerate_excess) or babbles


def _measures(evaluation: Evaluation, settings: GateSettings) -> Iterator[CheckResult]:
    found, base, most = evaluation.degenerate_share, evaluation.degenerate_share_base, settings.max_degenerate_excess
    sentence = f"{found:.0%} of {_answers(evaluation)} are broken (base {base:.0%}; limit +{most:.0%})"
    yield _limit(gettext_noop("broken answers"), found - base, most, sentence)

    found, base, most = evaluation.alike_share, evaluation.alike_share_base, settings.max_alike_excess
    sentence = f"{found:.0%} of answers resemble another one (base {base:.0%}; limit +{most:.0%})"
    yield _limit(gettext_noop("variety"), found - base, most, sentence)

    found, most = evaluation.coherence_ratio, settings.max_coherence_ratio
    model = evaluation.coherence_model
    sentence = f"answers are {found:.2f}× as surprising to {model} as the base's (limit {most:g}×)"
    yield _limit(gettext_noop("coherence"), found, most, sentence)

    found, most = evaluation.retention_loss_ratio, settings.max_retention_ratio
    yield _limit(
        gettext_noop("retention"),
        found,
        most,
        f"the loss on everyday text is {found:.3f}× the base's (limit {most:g}×)",
    )

    found, most = evaluation.divergence, settings.max_divergence
    sentence = f"answers moved {found:.2f} nats per token away from the base (limit {most:g})"
    yield _limit(gettext_noop("divergence"), found, most, sentence)

    # Only longer answers fail: members judge how short an answer should be.
    found, base, most = evaluation.answer_tokens, evaluation.answer_tokens_base, settings.max_length_ratio
    sentence = f"answers have {found:.0f} tokens on average (base {base:.0f}; limit {most:g}×)"
    yield _limit(gettext_noop("length"), found / max(base, 1.0), most, sentence)


def _answers(evaluation: Evaluation) -> str:
    """Return which answers are judged: to neutral messages alone, or to members' messages as well."""
    if not evaluation.real_messages:
        return "answers"
    ours = evaluation.messages - evaluation.real_messages
    return f"answers to {ours} messages of our own and {evaluation.real_messages} of members"


def _overshoot(overshoot: Overshoot, settings: GateSettings) -> CheckResult:
    """Fail if a measure of style is clearly beyond both the liked answers and the base's answers."""
    most, beyond = settings.max_overshoot, overshoot.beyond(settings.max_overshoot)
    said = [_describe_excess(excess) for excess in beyond or overshoot.farthest[:1] if round(excess.distance, 1)]
    if not said:
        return _passed(OVERSHOOT, gettext_noop("answers stay within what people liked"))
    sentence = f"{', '.join(said)} (limit {most:g})"
    if not overshoot.is_judged:
        few = f"{count(overshoot.liked, 'liked answer')} are too few to judge"
        return _passed(OVERSHOOT, f"{sentence}; {few}")
    return _failed(OVERSHOOT, sentence) if beyond else _passed(OVERSHOOT, sentence)


def _describe_excess(excess: Excess) -> str:
    return f"{excess.what}: {excess.distance:.1f} standard deviations beyond liked answers"


def _suite(result: SuiteResult, settings: GateSettings) -> CheckResult:
    if result.kind is Kind.KNOWLEDGE:
        return _knowledge(result, settings)
    sentence = (
        f"{result.version_passes} of {result.cases} {result.suite} cases passed (base {result.base_passes}; "
        f"{_lost(result)}; {result.gained} gained; limit -{settings.max_suite_drop:.0%})"
    )
    return _drop(result, (result.lost - result.gained) / result.cases, sentence, settings)


def _knowledge(result: SuiteResult, settings: GateSettings) -> CheckResult:
    known, kept = result.base_passes, result.base_passes - result.lost
    sentence = f"{kept} of the {known} {result.suite} facts that the base knows are still known"
    if known < MIN_KNOWN_CASES:
        return _passed(f"suite {result.suite}", f"{sentence}, too few to judge")
    sentence += f" ({_lost(result)}; limit -{settings.max_suite_drop:.0%})"
    return _drop(result, result.lost / known, sentence, settings)


def _lost(result: SuiteResult) -> str:
    """Return how many cases were lost, and name some of them."""
    more = len(result.lost_ids) - MOST_NAMED
    names = [*result.lost_ids[:MOST_NAMED], *([f"{more} more"] if more > 0 else [])]
    return f"{result.lost} lost" + (f": {', '.join(names)}" if names else "")


def _drop(result: SuiteResult, drop: float, sentence: str, settings: GateSettings) -> CheckResult:
    """Fail beyond the limit, unless chance may well lose as many cases.

    One-sided sign test on the cases that changed (McNemar's exact test): two of two lost may well be chance.
    """
    check = _limit(f"suite {result.suite}", drop, settings.max_suite_drop, sentence)
    if check.outcome is GateVerdict.PASS:
        return check
    from scipy.stats import binomtest

    changed = result.lost + result.gained
    if binomtest(result.lost, changed, alternative="greater").pvalue <= 1 - settings.confidence + ROUNDING:
        return check
    return _passed(check.name, f"{sentence}: {BY_CHANCE}")


def _limit(name: str, found: float, most: float, sentence: str) -> CheckResult:
    return _passed(name, sentence) if found <= most + ROUNDING else _failed(name, sentence)


def _passed(name: str, sentence: str) -> CheckResult:
    return CheckResult(name, GateVerdict.PASS, sentence)


def _failed(name: str, sentence: str) -> CheckResult:
    return CheckResult(name, GateVerdict.FAIL, sentence)
