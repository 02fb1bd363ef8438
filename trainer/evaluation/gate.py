"""Judges a version at the end of a round: only numbers decide whether people may compare it at all."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

from storage.database.enums import GateVerdict, TrainingSource
from storage.sentences import Figure, Sentence, counted, joined
from storage.settings.sections import GateSettings, TolerantCheck
from storage.taste.liked import Excess
from storage.training.rounds import GateCheck
from trainer.evaluation.results import Evaluation, Overshoot
from trainer.evaluation.suites import Kind, SuiteResult

MIN_KNOWN_CASES = 5
"""Minimum number of facts that the base must know before the gate judges a loss of knowledge."""
BROKEN_EXCESS = 0.5
"""A version is broken if its share of broken answers exceeds the base's by more than this."""
MAX_FIT_LOSS = 0.1
"""Largest loss, beyond chance, of the probability that the judge finds an answer's own message among six.

Measured with 24 answers under the bundled model and Gemma 3 270M: by hand, brief, casual or a pirate's -0.40 to -0.08
(German -0.33 under Gemma, 0.09 under a base of 0.5B; the bundled model cannot read it), the base's of another seed at
most 0.01, a version's for warm words 0.00 and less; of that version at twice its strength, which says "You're welcome.
What's your favorite drink?", -0.03, 0.12, 0.13 and 0.14; one sentence to everything 0.18 to 0.40, answers of other
messages 0.16 to 0.49.
"""
MAX_DISORDER_EXCESS = 0.05
"""Largest disorder above that of good answers.

Measured on an instruct model of 0.5 billion parameters, as its own judge: its answers 0.17; hand-written ones 0.51
(short), 0.65 (casual), 0.66 (German), 0.68 (pirate); versions that learned casual and pirate ones 0.43 and 0.51; the
pirate version at twice its strength, a heap of words, 0.74.
"""
NO_LANGUAGE = 0.95
"""Disorder above which a version is broken: shuffled words have 1 under every judge."""
MAX_REPEATED_EXCESS = 0.05
"""Largest share of answers that repeat examples, above the base's.

Measured with 72 answers under the bundled base: its own, with and without examples shown, 0, the bundled starter's
0.01, after 6 passes over its card 0.01, after 12 (no early stop) 0.06, after 18 0.10, after 30 over eight 0.19.
"""
MAX_COHERENCE_RATIO = 1.1
"""Largest loss of answers under the coherence model, over the highest of liked, human-written and base answers."""
MAX_RETENTION_RATIO = 1.05
"""Largest loss on the retention text, as a multiple of the base's."""
MAX_MOVE = 3.0
"""Largest mean KL divergence from the base on neutral prompts, in nats per token."""
MAX_LENGTH_RATIO = 3.0
"""Largest mean length of an answer, as a multiple of the base's."""
MAX_OVERSHOOT = 1.0
"""How far a version may go beyond the answers that members liked, in standard deviations of a measure."""
MAX_SUITE_DROP = 0.1
"""Largest share of a suite's cases that only the base passes, minus those that only the version passes."""
CONFIDENCE = 0.95
"""Confidence that a suite lost cases, by a one-sided sign test: five lost of five fail, four of four do not."""
MAX_BROKEN_EXCESS = 0.15
"""Largest share of broken answers above the base's: of 24 answers, four more fail."""
MAX_ALIKE_EXCESS = 0.25
"""Largest share of answers that resemble another one, above the base's: a style brings answers closer together."""
MAX_CUT_EXCESS = 0.25
"""Largest share of answers without an end, above the base's."""
LEAST_ENGLISH = 0.5
"""Minimum share of English answers: below it, the shipped suites, which look for English words, judge nothing."""
MOST_NAMED = 3
ROUNDING = 1e-9  # shares are fractions: 0.35 - 0.2 is a little more than 0.15
ORDER = (GateVerdict.FAIL, GateVerdict.NOT_ENOUGH_EVIDENCE, GateVerdict.PASS)
PEOPLE = Sentence("people")
NOT_A_NUMBER = Sentence("numbers")
OVERSHOOT = Sentence("overshoot")


@dataclass(frozen=True)
class Verdict:
    outcome: GateVerdict
    publishable: bool
    """False if the version is broken: it is then never published, and no admin can override that."""
    checks: tuple[GateCheck, ...]
    """Failed checks first, then undecided ones, then passed ones."""

    @property
    def reason(self) -> Sentence:
        """The sentences of the deciding checks, in one line."""
        return joined("; ", [check.sentence for check in self.checks if check.outcome is self.outcome])


def decide(
    train_loss: float, evaluation: Evaluation, settings: GateSettings, *, learns_from: TrainingSource
) -> Verdict:
    """Fail if one check fails; otherwise a version that learned from votes waits until people have compared it.

    A version that learned from the examples on a card passes, because the card's owner wrote them.
    """
    missing = [name for name, number in _numbers(train_loss, evaluation) if not math.isfinite(number)]
    if missing:
        sentence = Sentence("not a number: {names}", names=joined(", ", missing))
        return Verdict(GateVerdict.FAIL, publishable=False, checks=(_failed(NOT_A_NUMBER, sentence),))
    checks = [
        *_answers(evaluation, settings),
        *_sense(evaluation, settings),
        *_distance(evaluation, settings),
        *_length(evaluation, settings),
        *([_overshoot(evaluation.overshoot, settings)] if evaluation.overshoot else []),
        *(_suite(result, settings) for result in evaluation.suites),
        *([_people()] if learns_from is TrainingSource.VOTES else []),
    ]
    checks.sort(key=lambda check: ORDER.index(check.outcome))
    return Verdict(checks[0].outcome, publishable=not _is_broken(evaluation, settings), checks=tuple(checks))


def _numbers(train_loss: float, evaluation: Evaluation) -> Iterator[tuple[Sentence, float]]:
    yield Sentence("the training loss"), train_loss
    yield Sentence("the divergence from the base"), evaluation.divergence
    yield Sentence("the loss on the retention text"), evaluation.retention_loss_ratio
    yield Sentence("the loss of answers under the coherence model"), evaluation.coherence_ratio
    yield Sentence("how well answers fit their messages"), evaluation.fitness.clear_loss
    yield Sentence("the loss of answers in random order"), evaluation.disorder - evaluation.disorder_good
    yield Sentence("the share of broken answers"), evaluation.degenerate_share - evaluation.degenerate_share_base
    yield Sentence("the share of similar answers"), evaluation.alike_share - evaluation.alike_share_base
    yield Sentence("the share of repeated examples"), evaluation.repeated_share - evaluation.repeated_share_base
    yield Sentence("the length of answers"), evaluation.answer_tokens - evaluation.answer_tokens_base
    yield Sentence("the share of answers without an end"), evaluation.cut_share - evaluation.cut_share_base


def _people() -> GateCheck:
    sentence = Sentence("members have not compared it with the version in use yet")
    return GateCheck(PEOPLE, GateVerdict.NOT_ENOUGH_EVIDENCE, sentence)


def _is_broken(evaluation: Evaluation, settings: GateSettings) -> bool:
    excess = evaluation.degenerate_share - evaluation.degenerate_share_base
    no_language = max(NO_LANGUAGE, evaluation.disorder_good + MAX_DISORDER_EXCESS)
    return (
        excess > max(BROKEN_EXCESS, _most("broken", MAX_BROKEN_EXCESS, settings)) or evaluation.disorder > no_language
    )


def _answers(evaluation: Evaluation, settings: GateSettings) -> Iterator[GateCheck]:
    """Check for answers that are broken, alike or copied."""
    found, base = evaluation.degenerate_share, evaluation.degenerate_share_base
    most = _most("broken", MAX_BROKEN_EXCESS, settings)
    values = _shares(found, base, most)
    sentence = Sentence("{share} of answers are broken (base {base}; limit +{limit})", **values)
    if evaluation.real_messages:
        sentence = Sentence(
            "{share} of answers to {ours} messages of our own and {theirs} of members are broken (base {base}; limit "
            "+{limit})",
            **values,
            ours=evaluation.messages - evaluation.real_messages,
            theirs=evaluation.real_messages,
        )
    yield _limit(Sentence("broken answers"), found - base, most, sentence)

    found, base = evaluation.alike_share, evaluation.alike_share_base
    most = _most("variety", MAX_ALIKE_EXCESS, settings)
    sentence = Sentence(
        "{share} of answers resemble another one (base {base}; limit +{limit})", **_shares(found, base, most)
    )
    yield _limit(Sentence("variety"), found - base, most, sentence)

    found, base, most = evaluation.repeated_share, evaluation.repeated_share_base, MAX_REPEATED_EXCESS
    sentence = Sentence(
        "{share} of answers repeat examples of other messages word for word (base {base}; limit +{limit})",
        **_shares(found, base, most),
    )
    yield _limit(Sentence("repeated examples"), found - base, most, sentence)


def _sense(evaluation: Evaluation, settings: GateSettings) -> Iterator[GateCheck]:
    """Check, by the coherence model, that answers are language and fit their messages."""
    found, most = evaluation.coherence_ratio, _most("coherence", MAX_COHERENCE_RATIO, settings, of=1.0)
    sentence = Sentence(
        "answers are {ratio}× as surprising to {model} as good ones (limit {limit}×)",
        ratio=Figure(found, ".2f"),
        model=evaluation.coherence_model,
        limit=Figure(most, "g"),
    )
    yield _limit(Sentence("coherence"), found, most, sentence)

    fitness = evaluation.fitness
    sentence = Sentence(
        "{model} is {share} sure which of six messages an answer belongs to (base {base}; limit -{limit})",
        share=_share(fitness.probability),
        model=evaluation.coherence_model,
        base=_share(fitness.probability_base),
        limit=_share(MAX_FIT_LOSS),
    )
    if fitness.clear_loss <= MAX_FIT_LOSS < fitness.loss:
        sentence = Sentence("{check}: this could be chance", check=sentence)
    yield _limit(Sentence("fit"), fitness.clear_loss, MAX_FIT_LOSS, sentence)

    found, most = evaluation.disorder, evaluation.disorder_good + MAX_DISORDER_EXCESS
    sentence = Sentence(
        "answers are {ratio}× as surprising to {model} as their words in random order (good ones {good}×; limit "
        "{limit}×)",
        ratio=Figure(found, ".2f"),
        model=evaluation.coherence_model,
        good=Figure(evaluation.disorder_good, ".2f"),
        limit=Figure(most, ".2f"),
    )
    yield _limit(Sentence("word order"), found, most, sentence)


def _distance(evaluation: Evaluation, settings: GateSettings) -> Iterator[GateCheck]:
    """Check how far the version moved from the base."""
    found, most = evaluation.retention_loss_ratio, _most("retention", MAX_RETENTION_RATIO, settings, of=1.0)
    sentence = Sentence(
        "the loss on everyday text is {ratio}× the base's (limit {limit}×)",
        ratio=Figure(found, ".3f"),
        limit=Figure(most, "g"),
    )
    yield _limit(Sentence("retention"), found, most, sentence)

    found, most = evaluation.divergence, _most("divergence", MAX_MOVE, settings)
    sentence = Sentence(
        "answers moved {distance} away from the base (limit {limit})",
        distance=Figure(found, ".2f"),
        limit=Figure(most, "g"),
    )
    yield _limit(Sentence("divergence"), found, most, sentence)


def _length(evaluation: Evaluation, settings: GateSettings) -> Iterator[GateCheck]:
    """Check that answers end in time."""
    # Only longer answers fail: members judge how short an answer should be.
    found, base = evaluation.answer_tokens, evaluation.answer_tokens_base
    most = _most("length", MAX_LENGTH_RATIO, settings, of=1.0)
    sentence = Sentence(
        "answers have {tokens} tokens on average (base {base}; limit {limit}×)",
        tokens=Figure(found, ".0f"),
        base=Figure(base, ".0f"),
        limit=Figure(most, "g"),
    )
    yield _limit(Sentence("length"), found / max(base, 1.0), most, sentence)

    found, base = evaluation.cut_share, evaluation.cut_share_base
    sentence = Sentence(
        "{share} of answers are cut off at the length limit (base {base}; limit +{limit})",
        **_shares(found, base, MAX_CUT_EXCESS),
    )
    yield _limit(Sentence("endings"), found - base, MAX_CUT_EXCESS, sentence)


def _share(share: float) -> Figure:
    return Figure(share, ".0%")


def _shares(found: float, base: float, most: float) -> dict[str, Figure]:
    return {"share": _share(found), "base": _share(base), "limit": _share(most)}


def _overshoot(overshoot: Overshoot, settings: GateSettings) -> GateCheck:
    """Fail if a measure of style is clearly beyond both the liked answers and the base's answers."""
    most = _most("overshoot", MAX_OVERSHOOT, settings)
    beyond = overshoot.beyond(most)
    said = [_describe_excess(excess) for excess in beyond or overshoot.farthest[:1] if round(excess.distance, 1)]
    if not said:
        return _passed(OVERSHOOT, Sentence("answers stay within what members liked"))
    values = {"excesses": joined(", ", said), "limit": Figure(most, "g")}
    if not overshoot.is_judged:
        sentence = counted(
            "{excesses} (limit {limit}); {count} liked answer is too few to judge",
            "{excesses} (limit {limit}); {count} liked answers are too few to judge",
            overshoot.liked,
            **values,
        )
        return _passed(OVERSHOOT, sentence)
    sentence = Sentence("{excesses} (limit {limit})", **values)
    return _failed(OVERSHOOT, sentence) if beyond else _passed(OVERSHOOT, sentence)


def _describe_excess(excess: Excess) -> Sentence:
    distance = Figure(excess.distance, ".1f")
    return Sentence("{what}: {distance} standard deviations beyond liked answers", what=excess.what, distance=distance)


def _suite(result: SuiteResult, settings: GateSettings) -> GateCheck:
    if result.english_share < LEAST_ENGLISH:
        sentence = Sentence(
            "not judged: only {share} of the answers to {suite} cases are in English",
            share=_share(result.english_share),
            suite=result.suite,
        )
        return _passed(_name(result), sentence)
    if result.kind is Kind.KNOWLEDGE:
        return _knowledge(result, settings)
    check = _behaviour(result, settings)
    if check.outcome is GateVerdict.FAIL and result.served:
        beside_served = _behaviour(result.served, settings)
        if beside_served.outcome is GateVerdict.PASS:
            sentence = Sentence(
                "{check}, but the base with its examples passes only {passed}",
                check=check.sentence,
                passed=result.served.base_passes,
            )
            return _passed(check.name, sentence)
    return check


def _behaviour(result: SuiteResult, settings: GateSettings) -> GateCheck:
    sentence = Sentence(
        "{passed} of {cases} {suite} cases passed (base {base}; {lost}; {gained} gained; limit -{limit})",
        passed=result.version_passes,
        cases=result.cases,
        suite=result.suite,
        base=result.base_passes,
        lost=_lost(result),
        gained=result.gained,
        limit=_share(_most("suites", MAX_SUITE_DROP, settings)),
    )
    return _drop(result, (result.lost - result.gained) / result.cases, sentence, settings)


def _knowledge(result: SuiteResult, settings: GateSettings) -> GateCheck:
    known = result.base_passes
    values = {"kept": known - result.lost, "known": known, "suite": result.suite}
    if known < MIN_KNOWN_CASES:
        sentence = Sentence(
            "{kept} of the {known} {suite} facts that the base knows are still known, too few to judge", **values
        )
        return _passed(_name(result), sentence)
    sentence = Sentence(
        "{kept} of the {known} {suite} facts that the base knows are still known ({lost}; limit -{limit})",
        **values,
        lost=_lost(result),
        limit=_share(_most("suites", MAX_SUITE_DROP, settings)),
    )
    return _drop(result, result.lost / known, sentence, settings)


def _name(result: SuiteResult) -> Sentence:
    return Sentence("suite {name}", name=result.suite)


def _lost(result: SuiteResult) -> Sentence:
    """Return a sentence with the number of lost cases and the names of some."""
    more = len(result.lost_ids) - MOST_NAMED
    names = [*result.lost_ids[:MOST_NAMED], *([Sentence("{number} more", number=more)] if more > 0 else [])]
    if not names:
        return Sentence("{number} lost", number=result.lost)
    return Sentence("{number} lost: {names}", number=result.lost, names=joined(", ", names))


def _drop(result: SuiteResult, drop: float, sentence: str, settings: GateSettings) -> GateCheck:
    """Fail beyond the limit, unless chance could easily lose as many cases.

    One-sided sign test on the cases that changed (McNemar's exact test): two of two lost can be chance.
    """
    check = _limit(_name(result), drop, _most("suites", MAX_SUITE_DROP, settings), sentence)
    if check.outcome is GateVerdict.PASS:
        return check
    from scipy.stats import binomtest

    changed = result.lost + result.gained
    if binomtest(result.lost, changed, alternative="greater").pvalue <= 1 - CONFIDENCE + ROUNDING:
        return check
    return _passed(check.name, Sentence("{check}: this could be chance", check=sentence))


def _most(check: TolerantCheck, usual: float, settings: GateSettings, *, of: float = 0.0) -> float:
    """Return the limit of a check: its usual one, moved away from `of`, the base's own value, by the tolerance."""
    return of + (usual - of) * settings.tolerance.get(check, 1.0)


def _limit(name: str, found: float, most: float, sentence: str) -> GateCheck:
    return _passed(name, sentence) if found <= most + ROUNDING else _failed(name, sentence)


def _passed(name: str, sentence: str) -> GateCheck:
    return GateCheck(name, GateVerdict.PASS, sentence)


def _failed(name: str, sentence: str) -> GateCheck:
    return GateCheck(name, GateVerdict.FAIL, sentence)
