"""Whether a new version may be promoted, decided from numbers alone: pass, fail or not enough evidence."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from storage.database.enums import GateVerdict
from storage.settings.sections import GateSettings
from trainer.evaluation.bootstrap import Contest, win_interval
from trainer.evaluation.evaluate import Evaluation
from trainer.evaluation.suites import Kind, SuiteResult

MIN_KNOWN_CASES = 5
"""Fewest facts known by the base from which a loss of knowledge is concluded."""
BROKEN_EXCESS = 0.5
"""Share of broken answers above the base's beyond which a version only repeats itself."""
NO_LANGUAGE = 2.0
"""Ratio to the base's loss beyond which answers are no language any more, where the settings do not allow more."""
MOST_NAMED = 3
ROUNDING = 1e-9  # shares are fractions: 0.35 - 0.2 is a little more than 0.15
ORDER = (GateVerdict.FAIL, GateVerdict.NOT_ENOUGH_EVIDENCE, GateVerdict.PASS)


@dataclass(frozen=True)
class EvidenceKind:
    """What held-out answers are called, and what one that speaks for the version says."""

    noun: str
    speaks: str

    @property
    def name(self) -> str:
        return f"held-out {self.noun}s"


PAIRS = EvidenceKind("pair", "leans to the voters' choice more than its parent does")
EXAMPLES = EvidenceKind("example", "finds the answer shown likelier than its parent does")


@dataclass(frozen=True)
class HeldOut:
    """One pair, or one example answer, that nothing was trained on."""

    prompt: str
    margin: float
    """Above 0 where the version prefers the chosen answer, or the one shown, more than its parent does, in nats."""
    weight: float


@dataclass(frozen=True)
class GateCheck:
    name: str
    outcome: GateVerdict
    sentence: str
    """The reason with its numbers."""


@dataclass(frozen=True)
class Verdict:
    outcome: GateVerdict
    publishable: bool
    """False where the version is broken: then it is never published, whoever wants it."""
    checks: tuple[GateCheck, ...]
    """Failed first, then those without enough evidence, then passed."""

    @property
    def reason(self) -> str:
        """One line of the sentences that decided."""
        if self.outcome is GateVerdict.PASS:
            return next(check.sentence for check in self.checks if check.name in (PAIRS.name, EXAMPLES.name))
        return "; ".join(check.sentence for check in self.checks if check.outcome is self.outcome)


def decide(
    train_loss: float,
    held_out: Sequence[HeldOut],
    judgement: Evaluation,
    settings: GateSettings,
    seed: int,
    *,
    witness: EvidenceKind = PAIRS,
) -> Verdict:
    """Fail if one check fails; else say that there is not enough evidence if one check says so; else pass.

    `seed` is that of the bootstrap: equal arguments give equal verdicts.
    """
    missing = [name for name, number in _numbers(train_loss, held_out, judgement) if not math.isfinite(number)]
    if missing:
        sentence = f"not a number: {', '.join(missing)}"
        return Verdict(GateVerdict.FAIL, publishable=False, checks=(GateCheck("numbers", GateVerdict.FAIL, sentence),))
    checks = [
        _held_out(held_out, witness, settings, seed),
        _broken_answers(judgement, settings),
        _coherence(judgement, settings),
        _retention(judgement, settings),
        _divergence(judgement, settings),
        _length(judgement, settings),
        *(_suite(result, settings) for result in judgement.suites),
    ]
    checks.sort(key=lambda check: ORDER.index(check.outcome))
    return Verdict(checks[0].outcome, publishable=not _is_broken(judgement, settings), checks=tuple(checks))


def _numbers(train_loss: float, held_out: Sequence[HeldOut], judgement: Evaluation) -> Iterator[tuple[str, float]]:
    yield "the training loss", train_loss
    yield "the margins of held-out pairs", sum(pair.margin for pair in held_out)
    yield "the weights of held-out pairs", sum(pair.weight for pair in held_out)
    yield "the divergence from the base", judgement.divergence
    yield "the loss on the retention text", judgement.retention_loss_ratio
    yield "the loss of answers under the coherence model", judgement.coherence_ratio
    yield "the share of broken answers", judgement.degenerate_share - judgement.degenerate_share_base
    yield "the length of answers", judgement.answer_tokens - judgement.answer_tokens_base


def _is_broken(judgement: Evaluation, settings: GateSettings) -> bool:
    excess = judgement.degenerate_share - judgement.degenerate_share_base
    babbles = judgement.coherence_ratio > max(NO_LANGUAGE, settings.max_coherence_ratio)
    return excess > max(BROKEN_EXCESS, settings.max_degenerate_excess) or babbles


def _held_out(held_out: Sequence[HeldOut], witness: EvidenceKind, settings: GateSettings, seed: int) -> GateCheck:
    counted = [one for one in held_out if one.weight > 0]
    if len(counted) < settings.min_holdout_pairs:
        noun = witness.noun
        found = {0: f"no {noun}s were", 1: f"1 {noun} was"}.get(len(counted), f"{len(counted)} {noun}s were")
        sentence = f"{found} held out of training, {settings.min_holdout_pairs} are needed to tell whether it is better"
        return GateCheck(witness.name, GateVerdict.NOT_ENOUGH_EVIDENCE, sentence)
    contests = [Contest(one.prompt, _score(one.margin), one.weight) for one in counted]
    interval = win_interval(contests, settings.confidence, seed)
    won = sum(one.margin > 0 for one in counted)
    said = (
        f"in {won} of {len(counted)} {witness.name} it {witness.speaks} "
        f"({interval.share:.0%} by weight, {settings.confidence:.0%} interval "
        f"{interval.low:.0%} to {interval.high:.0%})"
    )
    if interval.low > 0.5:
        return GateCheck(witness.name, GateVerdict.PASS, f"{said}, which is above half")
    if interval.high < 0.5:
        return GateCheck(witness.name, GateVerdict.FAIL, f"{said}, which is below half")
    return GateCheck(witness.name, GateVerdict.NOT_ENOUGH_EVIDENCE, f"{said}, which may as well be chance")


def _score(margin: float) -> float:
    return 0.5 if margin == 0 else float(margin > 0)


def _broken_answers(judgement: Evaluation, settings: GateSettings) -> GateCheck:
    share, base, most = judgement.degenerate_share, judgement.degenerate_share_base, settings.max_degenerate_excess
    return _limit(
        "broken answers",
        share - base,
        most,
        f"{share:.0%} of answers are broken, the base's {base:.0%}",
        f"+{most:.0%}",
    )


def _coherence(judgement: Evaluation, settings: GateSettings) -> GateCheck:
    found, most = judgement.coherence_ratio, settings.max_coherence_ratio
    said = f"answers surprise {judgement.coherence_model} {found:.2f} times as much as the base's"
    return _limit("coherence", found, most, said, f"{most:.2f}")


def _retention(judgement: Evaluation, settings: GateSettings) -> GateCheck:
    found, most = judgement.retention_loss_ratio, settings.max_retention_ratio
    return _limit("retention", found, most, f"the loss on everyday text is {found:.3f} times the base's", f"{most:.3f}")


def _divergence(judgement: Evaluation, settings: GateSettings) -> GateCheck:
    found, most = judgement.divergence, settings.max_divergence
    return _limit("divergence", found, most, f"answers moved {found:.2f} nats per token from the base", f"{most:.2f}")


def _length(judgement: Evaluation, settings: GateSettings) -> GateCheck:
    """Longer alone fails: how short an answer should be is for the members to judge."""
    found, base, most = judgement.answer_tokens, judgement.answer_tokens_base, settings.max_length_ratio
    said = f"answers have {found:.0f} tokens, the base's {base:.0f}"
    return _limit("length", found / max(base, 1.0), most, said, f"{most:.1f} times as many")


def _suite(result: SuiteResult, settings: GateSettings) -> GateCheck:
    return _knowledge(result, settings) if result.kind is Kind.KNOWLEDGE else _behaviour(result, settings)


def _behaviour(result: SuiteResult, settings: GateSettings) -> GateCheck:
    said = (
        f"{result.suite}: {result.version_passes} of {result.cases} cases are passed, {result.base_passes} by the base "
        f"({result.lost} lost{_named(': ', result.lost_ids)}, {result.gained} gained)"
    )
    drop = (result.lost - result.gained) / result.cases
    return _unless_by_chance(_drop(result, drop, said, settings), result, settings.confidence)


def _knowledge(result: SuiteResult, settings: GateSettings) -> GateCheck:
    known, kept = result.base_passes, result.base_passes - result.lost
    said = f"{result.suite}: {kept} of the {known} facts that the base knows are still known"
    if known < MIN_KNOWN_CASES:
        return GateCheck(f"suite {result.suite}", GateVerdict.PASS, f"{said}, which are too few to say much")
    said += f" ({_named('lost: ', result.lost_ids)})" if result.lost else ""
    return _unless_by_chance(_drop(result, result.lost / known, said, settings), result, settings.confidence)


def _drop(result: SuiteResult, drop: float, said: str, settings: GateSettings) -> GateCheck:
    return _limit(f"suite {result.suite}", drop, settings.max_suite_drop, said, f"-{settings.max_suite_drop:.0%}")


def _unless_by_chance(check: GateCheck, result: SuiteResult, confidence: float) -> GateCheck:
    """Return the check, which fails only where a version that changes cases either way seldom loses as many.

    One-sided sign test on the cases that changed (McNemar's exact test): losing two of two is a coin's work.
    """
    if check.outcome is GateVerdict.PASS:
        return check
    from scipy.stats import binomtest

    changed = result.lost + result.gained
    if binomtest(result.lost, changed, alternative="greater").pvalue <= 1 - confidence + ROUNDING:
        return check
    return GateCheck(check.name, GateVerdict.NOT_ENOUGH_EVIDENCE, f"{check.sentence}, which may as well be chance")


def _named(introduction: str, lost_ids: Sequence[str]) -> str:
    more = len(lost_ids) - MOST_NAMED
    names = [*lost_ids[:MOST_NAMED], *([f"{more} more"] if more > 0 else [])]
    return introduction + ", ".join(names) if names else ""


def _limit(name: str, found: float, most: float, said: str, limit: str) -> GateCheck:
    passed = found <= most + ROUNDING
    relation = "within" if passed else "beyond"
    return GateCheck(name, GateVerdict.PASS if passed else GateVerdict.FAIL, f"{said}, {relation} the limit of {limit}")
