"""Decides from numbers alone whether a new version may be promoted: pass, fail or not enough evidence."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from storage.database.enums import GateVerdict
from storage.settings.sections import GateSettings
from trainer.evaluation.evaluate import Evaluation
from trainer.evaluation.suites import Kind, SuiteResult

MIN_KNOWN_CASES = 5
"""With fewer facts known by the base, the gate does not judge a loss of knowledge."""
BROKEN_EXCESS = 0.5
"""A version is broken if its share of broken answers exceeds the base's by more than this."""
NO_LANGUAGE = 2.0
"""A version is broken if its loss is this many times the base's, unless the settings allow more."""
MOST_NAMED = 3
DRAWS = 2_000
ROUNDING = 1e-9  # shares are fractions: 0.35 - 0.2 is a little more than 0.15
ORDER = (GateVerdict.FAIL, GateVerdict.NOT_ENOUGH_EVIDENCE, GateVerdict.PASS)
BY_CHANCE = "this could be chance"


@dataclass(frozen=True)
class EvidenceKind:
    """Words for one kind of held-out answers."""

    noun: str
    win: str
    """The behaviour in an answer that counts for the new version."""

    @property
    def name(self) -> str:
        return f"held-out {self.noun}s"


PAIRS = EvidenceKind("pair", "prefers the members' choice more than its parent does")
EXAMPLES = EvidenceKind("example", "finds the shown answer likelier than its parent does")


@dataclass(frozen=True)
class HeldOut:
    """A pair, or an example answer, that was not trained on. Those with the same prompt are resampled together."""

    prompt: str
    margin: float
    """Above 0 if the version prefers the chosen answer, or the shown one, more than its parent does; in nats."""
    weight: float
    """At least 0."""

    @property
    def score(self) -> float:
        """1 is a win, 0 a loss, 0.5 a draw."""
        return 0.5 if self.margin == 0 else float(self.margin > 0)


@dataclass(frozen=True)
class WinInterval:
    share: float
    """Weighted share of wins."""
    low: float
    high: float


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
        if self.outcome is GateVerdict.PASS:
            return next(check.sentence for check in self.checks if check.name in (PAIRS.name, EXAMPLES.name))
        return "; ".join(check.sentence for check in self.checks if check.outcome is self.outcome)


def decide(
    train_loss: float,
    held_out: Sequence[HeldOut],
    evaluation: Evaluation,
    settings: GateSettings,
    seed: int,
    *,
    evidence: EvidenceKind = PAIRS,
) -> Verdict:
    """Fail if one check fails; otherwise report too little evidence if one check does; otherwise pass.

    `seed` is the bootstrap's: equal arguments give equal verdicts.
    """
    missing = [name for name, number in _numbers(train_loss, held_out, evaluation) if not math.isfinite(number)]
    if missing:
        sentence = f"not a number: {', '.join(missing)}"
        return Verdict(GateVerdict.FAIL, publishable=False, checks=(_failed("numbers", sentence),))
    checks = [
        _held_out(held_out, evidence, settings, seed),
        *_measures(evaluation, settings),
        *(_suite(result, settings) for result in evaluation.suites),
    ]
    checks.sort(key=lambda check: ORDER.index(check.outcome))
    return Verdict(checks[0].outcome, publishable=not _is_broken(evaluation, settings), checks=tuple(checks))


def _numbers(train_loss: float, held_out: Sequence[HeldOut], evaluation: Evaluation) -> Iterator[tuple[str, float]]:
    yield "the training loss", train_loss
    yield "the margins of held-out pairs", sum(pair.margin for pair in held_out)
    yield "the weights of held-out pairs", sum(pair.weight for pair in held_out)
    yield "the divergence from the base", evaluation.divergence
    yield "the loss on the retention text", evaluation.retention_loss_ratio
    yield "the loss of answers under the coherence model", evaluation.coherence_ratio
    yield "the share of broken answers", evaluation.degenerate_share - evaluation.degenerate_share_base
    yield "the length of answers", evaluation.answer_tokens - evaluation.answer_tokens_base


def _is_broken(evaluation: Evaluation, settings: GateSettings) -> bool:
    excess = evaluation.degenerate_share - evaluation.degenerate_share_base
    babbles = evaluation.coherence_ratio > max(NO_LANGUAGE, settings.max_coherence_ratio)
    return excess > max(BROKEN_EXCESS, settings.max_degenerate_excess) or babbles


def _held_out(held_out: Sequence[HeldOut], evidence: EvidenceKind, settings: GateSettings, seed: int) -> CheckResult:
    counted = [one for one in held_out if one.weight > 0]
    needed = settings.min_holdout_pairs
    if len(counted) < needed:
        found = {0: f"no {evidence.noun}s were", 1: f"only 1 {evidence.noun} was"}.get(
            len(counted), f"only {len(counted)} {evidence.noun}s were"
        )
        return _undecided(evidence.name, f"{found} held out of training, but {needed} are needed to judge the version")
    interval = win_interval(counted, settings.confidence, seed)
    won = sum(one.margin > 0 for one in counted)
    found = (
        f"in {won} of {len(counted)} {evidence.name} the new version {evidence.win} "
        f"({interval.share:.0%} by weight; {settings.confidence:.0%} interval {interval.low:.0%} to {interval.high:.0%}"
    )
    if interval.low > 0.5:
        return _passed(evidence.name, f"{found}, above half)")
    if interval.high < 0.5:
        return _failed(evidence.name, f"{found}, below half)")
    return _undecided(evidence.name, f"{found}): {BY_CHANCE}")


def win_interval(held_out: Sequence[HeldOut], confidence: float, seed: int) -> WinInterval:
    """Return the weighted share of wins with its interval, the wider end of two methods on each side.

    The percentile bootstrap resamples prompts. It shows how much they differ, but shrinks to a point if all agree,
    which happens by chance with a few. So the exact binomial interval (Clopper and Pearson 1934) is computed too: each
    prompt is a trial, and the number of trials is what the weights are worth (Kish 1965: square of the sum over the sum
    of squares). Random votes then count as a win in at most (1 - confidence) / 2 of all cases. Needs a positive weight.
    """
    import numpy as np

    prompts = sorted({one.prompt for one in held_out})
    index = {prompt: i for i, prompt in enumerate(prompts)}
    weights, wins = np.zeros(len(prompts)), np.zeros(len(prompts))
    for one in held_out:
        weights[index[one.prompt]] += one.weight
        wins[index[one.prompt]] += one.weight * one.score
    wins, weights = wins[weights > 0], weights[weights > 0]
    share = float(wins.sum() / weights.sum())
    times = np.random.default_rng(seed).multinomial(len(weights), np.full(len(weights), 1 / len(weights)), size=DRAWS)
    drawn = np.quantile((times @ wins) / (times @ weights), [(1 - confidence) / 2, (1 + confidence) / 2])
    exact = _exact_interval(share, float(weights.sum() ** 2 / (weights**2).sum()), confidence)
    return WinInterval(share, low=min(float(drawn[0]), exact[0]), high=max(float(drawn[1]), exact[1]))


def _exact_interval(share: float, trials: float, confidence: float) -> tuple[float, float]:
    """Clopper and Pearson's interval; beta quantiles extend it to fractions of a trial."""
    from scipy.stats import beta

    tail, won, lost = (1 - confidence) / 2, share * trials, (1 - share) * trials
    low = float(beta.ppf(tail, won, lost + 1)) if won > 0 else 0.0
    high = float(beta.ppf(1 - tail, won + 1, lost)) if lost > 0 else 1.0
    return low, high


def _measures(evaluation: Evaluation, settings: GateSettings) -> Iterator[CheckResult]:
    found, base, most = evaluation.degenerate_share, evaluation.degenerate_share_base, settings.max_degenerate_excess
    sentence = f"{found:.0%} of answers are broken (base {base:.0%}; limit +{most:.0%})"
    yield _limit("broken answers", found - base, most, sentence)

    found, most = evaluation.coherence_ratio, settings.max_coherence_ratio
    model = evaluation.coherence_model
    sentence = f"answers are {found:.2f}× as surprising to {model} as the base's (limit {most:g}×)"
    yield _limit("coherence", found, most, sentence)

    found, most = evaluation.retention_loss_ratio, settings.max_retention_ratio
    yield _limit("retention", found, most, f"the loss on everyday text is {found:.3f}× the base's (limit {most:g}×)")

    found, most = evaluation.divergence, settings.max_divergence
    sentence = f"answers moved {found:.2f} nats per token away from the base (limit {most:g})"
    yield _limit("divergence", found, most, sentence)

    # Only longer answers fail: members judge how short an answer should be.
    found, base, most = evaluation.answer_tokens, evaluation.answer_tokens_base, settings.max_length_ratio
    sentence = f"answers have {found:.0f} tokens on average (base {base:.0f}; limit {most:g}×)"
    yield _limit("length", found / max(base, 1.0), most, sentence)


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
    """Fail beyond the limit, but only if chance seldom loses as many cases.

    One-sided sign test on the cases that changed (McNemar's exact test): two of two lost may well be chance.
    """
    check = _limit(f"suite {result.suite}", drop, settings.max_suite_drop, sentence)
    if check.outcome is GateVerdict.PASS:
        return check
    from scipy.stats import binomtest

    changed = result.lost + result.gained
    if binomtest(result.lost, changed, alternative="greater").pvalue <= 1 - settings.confidence + ROUNDING:
        return check
    return _undecided(check.name, f"{sentence}: {BY_CHANCE}")


def _limit(name: str, found: float, most: float, sentence: str) -> CheckResult:
    return _passed(name, sentence) if found <= most + ROUNDING else _failed(name, sentence)


def _passed(name: str, sentence: str) -> CheckResult:
    return CheckResult(name, GateVerdict.PASS, sentence)


def _undecided(name: str, sentence: str) -> CheckResult:
    return CheckResult(name, GateVerdict.NOT_ENOUGH_EVIDENCE, sentence)


def _failed(name: str, sentence: str) -> CheckResult:
    return CheckResult(name, GateVerdict.FAIL, sentence)
