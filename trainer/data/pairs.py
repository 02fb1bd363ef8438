"""Turns votes, choices and corrections into preference pairs. Pure: no database, no files, no model.

Until a text is read, its answer is assumed to be whole and unlike all others.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache, lru_cache
from itertools import product
from typing import Any

from storage.conversations.degenerate import is_degenerate
from storage.database.enums import NOBODY, PairSource
from storage.members import Pseudonym
from storage.taste.opinions import Preference
from storage.training.feedback import RatedReply, Texts, WrittenCorrection
from storage.votes.votes import Vote
from trainer.training.rows import PreferencePair

CORRECTION_WEIGHT = 1.0
CORRECTED_SAMPLE_WEIGHT = 0.5
MAX_PAIRS_PER_PROMPT = 4
"""Maximum number of pairs from one prompt, so that a greeting answered a hundred times does not fill a round."""
MAX_CORRECTIONS_PER_PROMPT = 4
MAX_RIVALS = 8
"""Number of the best-liked answers to a prompt that are compared with as many of the least-liked ones."""
QUADRATURE_POINTS = 128
TAIL = 1e-12
"""Probability mass that the integral leaves out on each side."""


Rows = tuple[int | None, int | None, int | None]
"""The identity of a pair: (chosen reply, rejected reply, correction)."""
Backers = tuple[tuple[Pseudonym, float], ...]
"""The voters behind a pair: (voter, share of the pair's weight)."""


@dataclass(frozen=True)
class PairSide:
    """One answer of a pair, and its row: a reply, or a correction of a reply."""

    text: str | None
    """The answer; None until it is read."""
    reply_id: int | None = None
    correction_id: int | None = None
    is_cut: bool = False


@dataclass(frozen=True)
class Pair:
    """Two answers to one rendered prompt, and the voters behind the choice."""

    prompt: str
    """The prompt's digest."""
    chosen: PairSide
    rejected: PairSide
    source: PairSource
    weight: float
    backers: Backers
    """Shares sum to 1; empty if the taste ranked the answers."""

    @property
    def rows(self) -> Rows:
        return self.chosen.reply_id, self.rejected.reply_id, self.chosen.correction_id

    @property
    def is_read(self) -> bool:
        return None not in (self.chosen.text, self.rejected.text)

    @property
    def recency(self) -> tuple[int, ...]:
        """Sort key: the newest reply, then the other rows. It is unique in a round."""
        chosen, rejected, correction = (row or 0 for row in self.rows)
        return max(chosen, rejected), rejected, chosen, correction


def example_of(pair: Pair, prompt: str) -> PreferencePair:
    """Return the pair as a training example; `prompt` is the rendered prompt. The pair's texts must have been read."""
    chosen, rejected = pair.chosen.text, pair.rejected.text
    assert chosen is not None
    assert rejected is not None
    return PreferencePair(
        prompt,
        chosen,
        rejected,
        pair.weight,
        chosen_is_cut=pair.chosen.is_cut,
        rejected_is_cut=pair.rejected.is_cut,
    )


def side_of(reply: RatedReply) -> PairSide:
    return PairSide(reply.answer, reply_id=reply.id, is_cut=reply.is_cut)


@dataclass(frozen=True)
class RoundFeedback:
    """Answers, and the votes, choices and corrections on them."""

    replies: tuple[RatedReply, ...]
    corrections: tuple[WrittenCorrection, ...] = ()
    choices: tuple[Preference, ...] = ()

    @property
    def people(self) -> set[Pseudonym]:
        voters = {vote.voter for reply in self.replies for vote in reply.votes}
        writers = {correction.author for correction in self.corrections}
        return (voters | writers | {choice.voter for choice in self.choices}) - {NOBODY}

    def by_prompt(self) -> dict[str, RoundFeedback]:
        """Return the feedback on the answers to each prompt, for prompts that can make a pair."""
        prompt_of = {reply.id: reply.prompt for reply in self.replies}
        answers = group_by_prompt(self.replies)
        corrections, choices = defaultdict(list), defaultdict(list)
        for correction in self.corrections:
            corrections[prompt_of.get(correction.reply_id)].append(correction)
        for choice in self.choices:
            for prompt in {prompt_of[id_] for id_ in choice.reply_ids if id_ in prompt_of}:
                choices[prompt].append(choice)
        return {
            prompt: RoundFeedback(tuple(replies), tuple(corrections[prompt]), tuple(choices[prompt]))
            for prompt, replies in answers.items()
            if len(replies) > 1 or corrections[prompt]
        }

    def with_texts(self, texts: Texts) -> RoundFeedback:
        return RoundFeedback(
            tuple(replace(reply, answer=texts.answers.get(reply.id, reply.answer)) for reply in self.replies),
            tuple(replace(one, text=texts.corrections.get(one.id, one.text)) for one in self.corrections),
            self.choices,
        )

    def without(self, voter: Pseudonym) -> RoundFeedback:
        return RoundFeedback(
            tuple(
                replace(reply, votes=tuple(vote for vote in reply.votes if vote.voter != voter))
                for reply in self.replies
            ),
            tuple(correction for correction in self.corrections if correction.author != voter),
            tuple(choice for choice in self.choices if choice.voter != voter),
        )


def pair_by_people(feedback: RoundFeedback) -> list[Pair]:
    """Return the pairs made by corrections, by choices between answers, and by votes on several answers to a prompt."""
    chosen = [choice for choice in feedback.choices if choice.chosen is not None]
    compared = {reply_id for choice in chosen for reply_id in choice.reply_ids}
    return [
        *pair_corrections(feedback.replies, feedback.corrections),
        *pair_choices(feedback.replies, chosen),
        *pair_siblings(reply for reply in feedback.replies if reply.id not in compared),
    ]


def pair_corrections(replies: Iterable[RatedReply], corrections: Iterable[WrittenCorrection]) -> list[Pair]:
    """Prefer each correction to the answer it corrects, and to other answers to the prompt that members did not like.

    A demonstration is better than the model's own answers, of any version (DITTO, Shaikh et al. 2024, arXiv
    2406.00888).
    """
    by_id = {reply.id: reply for reply in replies}
    by_prompt = group_by_prompt(by_id.values())
    return [
        pair
        for correction, corrected in _weightiest(corrections, by_id)
        for pair in _pair_correction(correction, corrected, by_prompt[corrected.prompt])
    ]


def _weightiest(
    corrections: Iterable[WrittenCorrection], by_id: Mapping[int, RatedReply]
) -> list[tuple[WrittenCorrection, RatedReply]]:
    """Return the heaviest few corrections for each prompt, the newest among equals, with the answers they correct."""
    known = [(c, by_id[c.reply_id]) for c in corrections if c.reply_id in by_id and c.weight > 0]
    known.sort(key=lambda found: (found[0].weight, found[0].id), reverse=True)
    places = Counter[str]()
    kept = []
    for correction, corrected in known:
        places[corrected.prompt] += 1
        if places[corrected.prompt] <= MAX_CORRECTIONS_PER_PROMPT:
            kept.append((correction, corrected))
    return sorted(kept, key=lambda found: found[0].id)


def _pair_correction(
    correction: WrittenCorrection, corrected: RatedReply, siblings: Sequence[RatedReply]
) -> Iterator[Pair]:
    others = [reply for reply in siblings if reply is not corrected and reply.net <= 0]
    newest = sorted(others, key=lambda reply: reply.id)[-(MAX_PAIRS_PER_PROMPT - 1) :]
    return (prefer_correction(correction, to) for to in (corrected, *newest) if differ(to.answer, correction.text))


def prefer_correction(correction: WrittenCorrection, reply: RatedReply) -> Pair:
    is_own = reply.id == correction.reply_id
    return Pair(
        prompt=reply.prompt,
        chosen=PairSide(correction.text, correction_id=correction.id),
        rejected=side_of(reply),
        source=PairSource.CORRECTION if is_own else PairSource.CORRECTED_SAMPLE,
        weight=correction.weight * (CORRECTION_WEIGHT if is_own else CORRECTED_SAMPLE_WEIGHT),
        backers=((correction.author, 1.0),),
    )


def pair_choices(replies: Iterable[RatedReply], choices: Iterable[Preference]) -> list[Pair]:
    """Return pairs of answers to one prompt that people chose between, the better one first.

    The chosen answer must not be broken: the likelihood term would teach it, and people sometimes choose a broken one
    for fun.
    """
    by_id = {reply.id: reply for reply in replies}
    wins: dict[tuple[int, int], dict[Pseudonym, float]] = defaultdict(dict)
    for choice in choices:
        for other in choice.reply_ids:
            if choice.chosen not in (None, other) and {choice.chosen, other} <= by_id.keys():
                wins[choice.chosen or 0, other][choice.voter] = choice.weight
    by_prompt: dict[str, list[Pair]] = defaultdict(list)
    for (better_id, worse_id), voters in wins.items():
        better, worse = by_id[better_id], by_id[worse_id]
        against = sum(wins.get((worse_id, better_id), {}).values())
        weight = weight_of(probability_chosen(sum(voters.values()), against))
        is_pair = better.prompt == worse.prompt and differ(better.answer, worse.answer) and not is_broken(better)
        if is_pair and weight > 0:
            by_prompt[better.prompt].append(_prefer(better, worse, weight, PairSource.CHOICE, _shares(voters)))
    return [pair for pairs in by_prompt.values() for pair in _weightiest_pairs(pairs)]


def probability_chosen(for_it: float, against: float) -> float:
    """Return P(p > 1/2) for p ~ Beta(1 + for_it, 1 + against): most people would choose the first answer."""
    from scipy.special import betainc

    return float(1 - betainc(1 + for_it, 1 + against, 0.5))


def pair_siblings(replies: Iterable[RatedReply]) -> list[Pair]:
    """Return pairs of answers to one prompt where one is probably liked better.

    The chosen answer must be liked on balance and not broken. Otherwise the likelihood term would teach an answer that
    most members dislike because another one is worse, or a broken answer that was liked for fun. Samples are left out,
    because nobody saw them.
    """
    shown = [reply for reply in replies if not reply.is_sample]
    return [pair for answers in group_by_prompt(shown).values() for pair in _most_certain(answers)]


def _most_certain(answers: Sequence[RatedReply]) -> list[Pair]:
    votes = {reply.id: (reply.up, reply.down) for reply in answers}
    net = {id_: up - down for id_, (up, down) in votes.items()}
    liked = [reply for reply in answers if net[reply.id] > 0 and not is_broken(reply)]
    best = sorted(liked, key=lambda reply: (-net[reply.id], -reply.id))[:MAX_RIVALS]
    worst = sorted(answers, key=lambda reply: (net[reply.id], -reply.id))[:MAX_RIVALS]
    return _weightiest_pairs(
        _prefer(better, worse, weight, PairSource.SIBLINGS, backers((better, Vote.UP), (worse, Vote.DOWN)))
        for better, worse in product(best, worst)
        if differ(better.answer, worse.answer)
        if (weight := weight_of(probability_better(*votes[better.id], *votes[worse.id]))) > 0
    )


def differ(text: str | None, other: str | None) -> bool:
    return text is None or text != other


def is_broken(reply: RatedReply) -> bool:
    return reply.answer is not None and _is_degenerate(reply.answer)


@lru_cache(maxsize=64)  # leaving out each voter of a prompt asks for the same few answers again
def _is_degenerate(answer: str) -> bool:
    return is_degenerate(answer)


def _weightiest_pairs(pairs: Iterable[Pair]) -> list[Pair]:
    """Return the most certain pairs of a prompt, the newest among equals: they tell more about future answers."""
    found = sorted(pairs, key=lambda pair: (-pair.weight, tuple(-row for row in pair.recency)))
    return found[:MAX_PAIRS_PER_PROMPT]


def _prefer(better: RatedReply, worse: RatedReply, weight: float, source: PairSource, backed_by: Backers) -> Pair:
    return Pair(
        prompt=better.prompt,
        chosen=side_of(better),
        rejected=side_of(worse),
        source=source,
        weight=weight,
        backers=backed_by,
    )


def backers(*said: tuple[RatedReply, Vote]) -> Backers:
    """Return the voters of these votes on these replies, each with their share of the votes' weight."""
    weights: dict[Pseudonym, float] = defaultdict(float)
    for reply, vote in said:
        for given in reply.votes:
            if given.vote is vote:
                weights[given.voter] += given.weight
    return _shares(weights)


def _shares(weights: Mapping[Pseudonym, float]) -> Backers:
    total = sum(weights.values())
    return tuple((voter, weight / total) for voter, weight in sorted(weights.items()))


def weight_of(probability: float) -> float:
    """Weigh a pair by how far its votes exceed chance: 0 at a probability of 1/2, 1 at certainty."""
    return round(2 * probability - 1, 9)  # an integral of 0.7999999999 is the 0.8 that the settings ask for


@lru_cache(maxsize=65_536)  # most answers have one vote or two
def probability_better(up: float, down: float, other_up: float, other_down: float) -> float:
    """Return P(p > q) for p ~ Beta(1 + up, 1 + down) and q ~ Beta(1 + other_up, 1 + other_down).

    p and q are the shares of members who would like each answer, with a uniform prior. Integrated by the Gauss-Legendre
    rule: to about 1e-9, or 1e-4 where votes have fractional weight.
    """
    import numpy as np
    from scipy.special import betainc, betaincinv, betaln

    if up + down < other_up + other_down:
        # Integrate over the narrower distribution, so that the other one is smooth between the points.
        return 1 - probability_better(other_up, other_down, up, down)
    a, b = 1 + up, 1 + down
    low, high = betaincinv(a, b, TAIL), betaincinv(a, b, 1 - TAIL)
    points, weights = _quadrature()
    p = low + (high - low) * points
    density = np.exp((a - 1) * np.log(p) + (b - 1) * np.log1p(-p) - betaln(a, b))
    found = (high - low) * (weights * density * betainc(1 + other_up, 1 + other_down, p)).sum()
    return min(1.0, max(0.0, float(found)))


@cache
def _quadrature() -> tuple[Any, Any]:
    """Return the points and weights of the Gauss-Legendre rule from 0 to 1; cached, because computing them is slow."""
    import numpy as np

    points, weights = np.polynomial.legendre.leggauss(QUADRATURE_POINTS)
    return (points + 1) / 2, weights / 2


def group_by_prompt(replies: Iterable[RatedReply]) -> dict[str, list[RatedReply]]:
    by_prompt = defaultdict(list)
    for reply in replies:
        by_prompt[reply.prompt].append(reply)
    return by_prompt
