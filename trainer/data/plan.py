"""A round's training data: pairs from people, capped by voter, and pairs that the taste ranked.

Pairs are chosen by ids and votes, and only texts of chosen pairs are read. Pure except for that reading.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from itertools import chain
from typing import Any

from storage.database.enums import Split
from storage.releases.versions import StartingPoint
from storage.sentences import counted
from storage.settings.sections import Settings, TrainingSettings
from storage.taste.opinions import count_feedback
from storage.training.feedback import Texts
from storage.training.rounds import ManifestPair, RoundVoter
from trainer.data.pairs import Pair, RoundFeedback, Rows, example_of, pair_by_people
from trainer.data.survey import ReadTexts, Survey
from trainer.data.taste_pairs import rank_by_taste, weigh_by_taste
from trainer.data.voters import cap_voters, moved_share, round_voters, shares
from trainer.training.rows import PreferencePair

VOTER_CAP = "voter cap"
MIN_WEIGHT = 1e-6
LIGHT = 0.25
TASTE_SHARE = 0.25
"""Share of a full round for pairs that the taste ranked: no single wrong vote can turn one of them."""
VALIDATED = 4
"""One in this many of people's prompts is kept from training: its pairs decide when training stops."""
Fits = Callable[[PreferencePair], bool]
"""Returns whether a pair is short enough to train on."""


@dataclass(frozen=True)
class TrainingPlan:
    """The pairs that a round trains on and validates with, as in its manifest."""

    train: tuple[Pair, ...]
    validation: tuple[Pair, ...]
    prompts: Mapping[str, str]
    """Rendered prompts by digest."""
    voters: tuple[RoundVoter, ...]
    learned_from: dict[str, Any]
    start: StartingPoint

    @property
    def pairs(self) -> int:
        return len(self.train) + len(self.validation)

    @property
    def manifest(self) -> list[ManifestPair]:
        parts = ((self.train, Split.TRAIN), (self.validation, Split.VALIDATION))
        return [_pair_line(pair, split) for pairs, split in parts for pair in pairs]


def make_plan(survey: Survey, settings: Settings, fits: Fits) -> TrainingPlan:
    """Choose a round's pairs; equal surveys, texts and settings give equal plans.

    The survey's session must still be open, because only the texts of chosen pairs are read.
    """
    most = settings.training.max_pairs
    choose = partial(choose_pairs, fits=fits, read=survey.read)
    of_people = choose(survey.feedback.by_prompt(), pair_by_people, _heavy_and_newest, most)
    fresh = RoundFeedback(survey.ranked if survey.taste.may_rank else ()).by_prompt()
    rank = partial(rank_by_taste, survey.taste, survey.measures, survey.relevance, settings.pairs.min_probability)
    of_taste = choose(fresh, rank, _surest, most)
    said = of_people.pairs
    weighed = weigh_by_taste(survey.taste, said, of_people.feedback) if survey.taste.may_teach else said
    moved = moved_share(said, weighed)
    uncapped, ranked = _share_room(weighed, of_taste.pairs, most)
    capped = cap_voters(uncapped, settings.votes.max_voter_share)
    train, validation = _watched([pair for pair in capped if pair.weight > MIN_WEIGHT], ranked, settings.training)
    contradicted, too_long = len(of_people.pairs) - len(weighed), of_people.too_long + of_taste.too_long
    notes = _notes(survey, settings, contradicted=contradicted, too_long=too_long)
    return TrainingPlan(
        train=tuple(train),
        validation=tuple(validation),
        prompts=of_people.prompts | of_taste.prompts,
        voters=round_voters(capped, ranked, _influential(of_people, most), survey.taste_weights, moved),
        learned_from=_learned_from(uncapped, capped, survey, by_taste=bool(ranked or moved))
        | {
            "pairs_by_source": dict(Counter(pair.source for pair in train)),
            "notes": list(notes),
        },
        start=survey.start,
    )


def _heavy_and_newest(pair: Pair) -> tuple[bool, tuple[int, ...]]:
    """Return a sort key: light pairs get only the room that heavier ones leave, however new they are."""
    return pair.weight < LIGHT, tuple(-row for row in pair.recency)


def _surest(pair: Pair) -> tuple[float, tuple[int, ...]]:
    return -pair.weight, pair.recency


def _share_room(of_people: Sequence[Pair], ranked: Sequence[Pair], most: int) -> tuple[list[Pair], list[Pair]]:
    """Return the surest pairs of both, at most `most` in all; the taste fills the room that people leave."""
    kept = list(ranked[: max(int(most * TASTE_SHARE), most - len(of_people))])
    surest = sorted(of_people, key=lambda pair: -pair.weight)  # of equals, the newest stay first
    return surest[: most - len(kept)], kept


def _influential(chosen: ChosenPairs, most: int) -> Iterable[RoundFeedback]:
    """Return the feedback that decided the pairs: all of it, or in a full round only that on the pairs' prompts.

    Leaving out each voter of every prompt would take minutes on a large server.
    """
    if len(chosen.pairs) < most:
        return chosen.feedback.values()
    return [chosen.feedback[prompt] for prompt in dict.fromkeys(pair.prompt for pair in chosen.pairs)]


def _watched(
    of_people: Sequence[Pair], ranked: Sequence[Pair], settings: TrainingSettings
) -> tuple[list[Pair], list[Pair]]:
    """Return (pairs to train on, validation pairs). Only people's pairs validate, and only if training may stop early.

    A hash of the prompt decides, so that no pair moves when others come.
    """
    if not settings.patience:
        return [*of_people, *ranked], []
    watched = [pair for pair in of_people if _rank(pair.prompt) % VALIDATED == 0]
    train = [*(pair for pair in of_people if _rank(pair.prompt) % VALIDATED), *ranked]
    return (train, watched) if train else (watched, [])


def _rank(prompt: str) -> int:
    return int.from_bytes(hashlib.sha256(prompt.encode()).digest()[:8], "big")


def _learned_from(
    uncapped: Sequence[Pair], capped: Sequence[Pair], survey: Survey, *, by_taste: bool
) -> dict[str, Any]:
    """Return numbers, without names, that admins should know about the votes behind the round."""
    votes = survey.votes
    before, after = (sum(pair.weight for pair in pairs) for pairs in (uncapped, capped))
    removed = {rule: taken / votes.given for rule, taken in votes.removed.items() if taken}
    voters = shares(uncapped).keys() | (survey.taste_weights.keys() if by_taste else set())
    return {
        "votes": votes.given,
        "counts": asdict(count_feedback(votes, survey.taste.opinions)),
        "removed_shares": removed | {VOTER_CAP: 1 - after / before if after < before else 0.0},
        "voters": len(voters),
    }


def _notes(survey: Survey, settings: Settings, *, contradicted: int, too_long: int) -> Iterator[str]:
    """Yield sentences about unused feedback and the reasons; the last two are numbers of pairs."""
    if survey.start.note:
        yield survey.start.note
    if unheard := sum(correction.weight == 0 for correction in survey.feedback.corrections):
        yield counted(
            "{count} suggested answer by new accounts or new members not counted",
            "{count} suggested answers by new accounts or new members not counted",
            unheard,
        )
    if settings.pairs.ranked_prompts and not survey.taste.may_rank:
        yield survey.taste.why_unsure
    if contradicted:
        yield counted(
            "{count} pair from people's votes left out, because all other votes say the opposite",
            "{count} pairs from people's votes left out, because all other votes say the opposite",
            contradicted,
        )
    if too_long:
        yield counted(
            "{count} pair longer than training.max_tokens = {tokens} left out",
            "{count} pairs longer than training.max_tokens = {tokens} left out",
            too_long,
            tokens=str(settings.training.max_tokens),
        )


def _pair_line(pair: Pair, split: Split) -> ManifestPair:
    return ManifestPair(
        source=pair.source,
        split=split,
        weight=pair.weight,
        rejected_reply_id=pair.rejected.reply_id,
        chosen_reply_id=pair.chosen.reply_id,
        correction_id=pair.chosen.correction_id,
    )


@dataclass(frozen=True)
class ChosenPairs:
    """The highest-ranked pairs, with their texts."""

    pairs: list[Pair]
    prompts: dict[str, str]
    """Rendered prompts by digest, including those of pairs that their texts ruled out."""
    feedback: dict[str, RoundFeedback]
    """The feedback on each prompt, by digest. Texts that were not read are empty."""
    too_long: int


def choose_pairs(
    feedback: Mapping[str, RoundFeedback],
    make_pairs: Callable[[RoundFeedback], list[Pair]],
    rank: Callable[[Pair], Any],
    limit: int | None,
    *,
    fits: Fits,
    read: ReadTexts,
) -> ChosenPairs:
    """Return the first `limit` pairs that fit.

    A text can show that an answer is broken, equal to the other one or too long. Then other pairs take the place, and
    their texts are read in turn.
    """
    said = dict(feedback)
    made = {prompt: make_pairs(about) for prompt, about in said.items()}
    prompts: dict[str, str] = {}
    fitting, too_long = set[Rows](), set[Rows]()
    while True:
        left = (pair for pair in chain.from_iterable(made.values()) if pair.rows not in too_long)
        first = sorted(left, key=rank)[:limit]
        if unread := [pair for pair in first if not pair.is_read or pair.prompt not in prompts]:
            texts = _read(unread, read)
            prompts |= texts.prompts
            for prompt in {pair.prompt for pair in unread}:
                said[prompt] = said[prompt].with_texts(texts)
                made[prompt] = make_pairs(said[prompt])
            continue
        unmeasured = [pair for pair in first if pair.rows not in fitting]
        fitting |= {pair.rows for pair in unmeasured if fits(example_of(pair, prompts[pair.prompt]))}
        too_long |= {pair.rows for pair in unmeasured} - fitting
        if too_long.isdisjoint(pair.rows for pair in first):
            return ChosenPairs(first, prompts, said, len(too_long))


def _read(pairs: Collection[Pair], read: ReadTexts) -> Texts:
    rows = [pair.rows for pair in pairs]
    replies = {reply_id for *both, _ in rows for reply_id in both if reply_id is not None}
    corrections = {correction_id for *_, correction_id in rows if correction_id is not None}
    texts = read(replies=replies, corrections=corrections)
    assert texts.answers.keys() >= replies
    assert texts.corrections.keys() >= corrections
    return texts
