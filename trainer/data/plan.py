"""A round's training data: pairs of people, capped, and pairs that the taste ranked, within the limits. Pure."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from storage.database.enums import Split
from storage.releases.versions import StartingPoint
from storage.settings.sections import Settings
from storage.training.rounds import ManifestPair, RoundVoter
from storage.wording import count
from trainer.data.pairs import Pair, pair_by_people
from trainer.data.survey import Survey
from trainer.data.taste_pairs import rank_by_taste
from trainer.data.voter_caps import cap_voters, label_noise, round_voters, shares

VOTER_CAP = "voter cap"
MIN_WEIGHT = 1e-6
LIGHT = 0.25
VALIDATED = 4
"""One in so many of people's prompts is not trained on: its pairs decide when training stops."""
Fits = Callable[[Pair], bool]
"""Returns whether a pair is short enough to train on."""


@dataclass(frozen=True)
class TrainingPlan:
    """The pairs that a round trains on and watches, as in its manifest."""

    train: tuple[Pair, ...]
    validation: tuple[Pair, ...]
    label_noise: float
    voters: tuple[RoundVoter, ...]
    evidence: dict[str, Any]
    start: StartingPoint

    @property
    def pairs(self) -> int:
        return len(self.train) + len(self.validation)

    @property
    def manifest(self) -> list[ManifestPair]:
        parts = ((self.train, Split.TRAIN), (self.validation, Split.VALIDATION))
        return [_pair_line(pair, split) for pairs, split in parts for pair in pairs]


def make_plan(survey: Survey, settings: Settings, fits: Fits) -> TrainingPlan:
    """Choose what a round trains on; equal surveys and settings give equal plans."""
    most = settings.training.max_pairs
    newest_first = sorted(pair_by_people(survey.feedback), key=_newest_and_heavy, reverse=True)
    uncapped, left_out = _take(newest_first, most, fits)
    surest_first = sorted(_ranked(survey, settings), key=lambda pair: (-pair.weight, pair.recency))
    ranked, too_long = _take(surest_first, most - len(uncapped), fits)
    capped = cap_voters(uncapped, settings.votes.max_voter_share)
    train, validation = _watched([pair for pair in capped if pair.weight > MIN_WEIGHT], ranked, settings)
    return TrainingPlan(
        train=tuple(train),
        validation=tuple(validation),
        label_noise=label_noise(survey.feedback.replies) or 0.0,
        voters=round_voters(capped, ranked, survey.feedback, survey.taste_weights),
        evidence=_evidence(uncapped, capped, ranked, survey)
        | {"notes": [*_notes(survey, settings), *_too_long(left_out + too_long, settings)]},
        start=survey.start,
    )


def _newest_and_heavy(pair: Pair) -> tuple[bool, tuple[int, ...]]:
    """Return a sort key: light pairs get only the room that heavier ones leave, however new they are."""
    return pair.weight >= LIGHT, pair.recency


def _take(pairs: Iterable[Pair], limit: int, fits: Fits) -> tuple[list[Pair], int]:
    """Return the first `limit` pairs that fit, and how many did not."""
    taken: list[Pair] = []
    too_long = 0
    for pair in pairs:
        if len(taken) >= limit:
            break
        if fits(pair):
            taken.append(pair)
        else:
            too_long += 1
    return taken, too_long


def _ranked(survey: Survey, settings: Settings) -> list[Pair]:
    if not survey.taste.may_act:
        return []
    return rank_by_taste(survey.ranked, survey.taste, settings.pairs.min_probability)


def _watched(of_people: Sequence[Pair], ranked: Sequence[Pair], settings: Settings) -> tuple[list[Pair], list[Pair]]:
    """Return (pairs to train on, people's pairs that are only watched, if training may stop early).

    A hash of the prompt decides, so that no pair moves when others come.
    """
    if not settings.training.patience:
        return [*of_people, *ranked], []
    watched = [pair for pair in of_people if _rank(pair.prompt) % VALIDATED == 0]
    train = [*(pair for pair in of_people if pair not in watched), *ranked]
    return (train, watched) if train else (watched, [])


def _rank(prompt: str) -> int:
    return int.from_bytes(hashlib.sha256(prompt.encode()).digest()[:8], "big")


def _evidence(
    uncapped: Sequence[Pair], capped: Sequence[Pair], ranked: Sequence[Pair], survey: Survey
) -> dict[str, Any]:
    """Return what admins should know about the votes behind the round: numbers, no names."""
    votes = survey.votes
    before, after = (sum(pair.weight for pair in pairs) for pairs in (uncapped, capped))
    removed = {rule: taken / votes.total for rule, taken in votes.removed.items() if taken}
    voters = shares(uncapped).keys() | (survey.taste_weights.keys() if ranked else set())
    return {
        "votes": votes.total,
        "removed_shares": removed | {VOTER_CAP: 1 - after / before if after < before else 0.0},
        "voters": len(voters),
        "pairs_by_source": dict(Counter(pair.source for pair in (*uncapped, *ranked))),
    }


def _notes(survey: Survey, settings: Settings) -> Iterator[str]:
    """Yield sentences on what is not used and why."""
    if survey.start.note:
        yield survey.start.note
    if unheard := sum(correction.weight == 0 for correction in survey.feedback.corrections):
        yield f"{count(unheard, 'suggested answer')} by new accounts or new members not counted"
    if settings.pairs.ranked_prompts and not survey.taste.may_act:
        yield survey.taste.why_unsure


def _too_long(number: int, settings: Settings) -> Iterator[str]:
    if number:
        yield f"{count(number, 'pair')} longer than training.max_tokens = {settings.training.max_tokens} left out"


def _pair_line(pair: Pair, split: Split) -> ManifestPair:
    return ManifestPair(
        source=pair.source,
        split=split,
        weight=pair.weight,
        rejected_reply_id=pair.rejected.reply_id,
        chosen_reply_id=pair.chosen.reply_id,
        correction_id=pair.chosen.correction_id,
    )
