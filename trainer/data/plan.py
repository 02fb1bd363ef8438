"""A round's training data: votes and suggestions as pairs, weighed, completed, split, replayed and capped. Pure."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from operator import attrgetter
from typing import Any

from storage.database.enums import REPLAY, PairSource, Split
from storage.releases.versions import Continuation, Version
from storage.settings.sections import Settings, TrainingSettings
from storage.training.evidence import RatedReply, WrittenCorrection
from storage.training.rounds import ManifestPair, RoundVoter
from storage.wording import count
from trainer.data.lone_votes import SampleRequest, limit_share, lone_replies, pair_lone_votes, samples_wanted
from trainer.data.pairs import Pair, newest, newest_pairs, pair_votes
from trainer.data.survey import Survey, TrainingHistory, replay_pairs
from trainer.data.voter_caps import cap_voters, count_voters, few_voters_note, label_noise, round_voters, shares

MAX_HELD_OUT = 64
"""Most held-out pairs that judge a round, the newest: each costs a pass."""
VOTER_CAP = "voter cap"
MIN_WEIGHT = 1e-6


@dataclass(frozen=True)
class VoterPreferences:
    """Predictions of the preference model: P(liked) by reply id, and its cross-validated AUC."""

    scores: Mapping[int, float]
    auc: float | None
    note: str | None = None
    """The reason that lone votes are not used; None if they are."""


NO_OPINION = VoterPreferences({}, None)


@dataclass(frozen=True)
class TrainingPlan:
    """The pairs that a round trains on and is judged by, as in its manifest."""

    train: tuple[Pair, ...]
    validation: tuple[Pair, ...]
    holdout: tuple[Pair, ...]
    label_noise: float
    voters: tuple[RoundVoter, ...]
    evidence: dict[str, Any]
    continuation: Continuation

    @property
    def parent(self) -> Version | None:
        return self.continuation.parent

    @property
    def new_pairs(self) -> int:
        return sum(not pair.replayed for pair in (*self.train, *self.validation))

    @property
    def manifest(self) -> list[ManifestPair]:
        parts = ((self.train, Split.TRAIN), (self.validation, Split.VALIDATION), (self.holdout, Split.HOLDOUT))
        return [_pair_line(pair, split) for pairs, split in parts for pair in pairs]


def lone_votes(survey: Survey, settings: Settings) -> list[RatedReply]:
    """Return the answers whose votes make no pair and were not used in training before."""
    if not settings.pairs.lone_votes:
        return []
    new = _new_lone_votes(
        survey.replies, pair_votes(survey.replies, survey.corrections, settings.pairs.min_probability), survey.history
    )
    return newest(new, settings.pairs.max_lone_votes, weight=lambda reply: abs(reply.net), age=attrgetter("id"))


def _new_lone_votes(
    replies: Iterable[RatedReply], paired: Iterable[Pair], history: TrainingHistory
) -> list[RatedReply]:
    return [reply for reply in lone_replies(replies, paired) if reply.id not in history.trained_replies]


def wanted_samples(survey: Survey, settings: Settings, *, lone_too: bool) -> list[SampleRequest]:
    """Return the answers to draw from the parent before the pairs can be made."""
    new = [c for c in survey.corrections if c.weight > 0 and c.id not in survey.history.trained_corrections]
    lone = lone_votes(survey, settings) if lone_too else []
    drawn = Counter(r.prompt for r in survey.replies if r.is_sample and r.version_id == survey.parent_id)
    drawn.update(survey.empty_samples)
    return samples_wanted(lone, new, survey.replies, drawn=drawn, settings=settings.pairs)


def make_plan(survey: Survey, opinion: VoterPreferences, settings: Settings) -> TrainingPlan:
    """Choose what a round trains on; equal surveys, opinions and settings give equal plans."""
    training, history = settings.training, survey.history
    rebuild = partial(_new_pairs, survey=survey, opinion=opinion, settings=settings)
    new = _limited(rebuild(survey.replies, survey.corrections), settings)
    train, holdout = split_prompts(
        new, training.holdout_share, training.seed, keep=history.trained_prompts, hold_out=history.held_out_prompts
    )
    train, validation = _watched(train, training)
    uncapped = [*train, *_replayed(survey, len(train), settings)]
    capped = _capped(uncapped, survey, settings)
    return TrainingPlan(
        train=_weighty(capped),
        validation=tuple(validation),
        holdout=_weighty(_capped(newest_pairs(holdout, MAX_HELD_OUT), survey, settings)),
        label_noise=label_noise(survey.replies) or 0.0,
        voters=round_voters(capped, _taught(survey, new, holdout, training), survey.corrections, rebuild),
        evidence=_evidence(uncapped, capped, survey, opinion, settings),
        continuation=survey.continuation,
    )


def _new_pairs(
    replies: Sequence[RatedReply],
    corrections: Iterable[WrittenCorrection],
    *,
    survey: Survey,
    opinion: VoterPreferences,
    settings: Settings,
) -> list[Pair]:
    """Return all pairs of these rows that neither the parent nor a version before it was trained on."""
    voted = pair_votes(replies, corrections, settings.pairs.min_probability)
    completed = pair_lone_votes(
        _new_lone_votes(replies, voted, survey.history),
        replies,
        opinion.scores,
        version_id=survey.parent_id,
        weight=settings.pairs.lone_vote_weight,
    )
    return [pair for pair in (*voted, *completed) if not survey.history.has_learned(pair)]


def _limited(new: Sequence[Pair], settings: Settings) -> list[Pair]:
    """Return the pairs that fit into a round, oldest first."""
    completed = [pair for pair in new if pair.source is PairSource.LONE_VOTE]
    others = [pair for pair in new if pair.source is not PairSource.LONE_VOTE]
    share, enough = settings.pairs.max_lone_vote_share, settings.training.min_pairs
    kept = limit_share(completed, len(others), share, enough=enough)
    return newest_pairs([*others, *kept], settings.training.max_pairs)


def _capped(pairs: Sequence[Pair], survey: Survey, settings: Settings) -> list[Pair]:
    return cap_voters(pairs, settings.votes.max_voter_share, count_voters(pairs, survey.replies, survey.corrections))


def split_prompts(
    pairs: Sequence[Pair],
    share: float,
    seed: int,
    *,
    keep: Collection[str] = (),
    hold_out: Collection[str] = (),
) -> tuple[list[Pair], list[Pair]]:
    """Return (kept, held out), split by prompt; at least one prompt is kept.

    Prompts in `keep` or `hold_out` stay where earlier rounds put them, so that no prompt is ever both trained on and
    judged by. A share of the others is held out, by a rank that depends only on prompt and seed.
    """
    prompts = {pair.prompt for pair in pairs}
    undecided = sorted(prompts - set(keep) - set(hold_out), key=lambda prompt: _rank(seed, prompt))
    most = len(undecided) - (not prompts & set(keep))
    held_out = (prompts & set(hold_out)) | set(undecided[: max(0, min(round(share * len(undecided)), most))])
    return (
        [pair for pair in pairs if pair.prompt not in held_out],
        [pair for pair in pairs if pair.prompt in held_out],
    )


def _watched(pairs: list[Pair], training: TrainingSettings) -> tuple[list[Pair], list[Pair]]:
    """Return (pairs to train on, pairs to validate on); the latter decide when to stop, if training may stop early."""
    return split_prompts(pairs, training.holdout_share, training.seed + 1) if training.patience else (pairs, [])


def _rank(seed: int, *words: object) -> bytes:
    return hashlib.sha256(" ".join(map(str, (seed, *words))).encode()).digest()


def _replayed(survey: Survey, new: int, settings: Settings) -> list[Pair]:
    """Draw old pairs until they make the configured share of the round; each parent gets a different selection."""
    share = settings.pairs.replay_share
    old = replay_pairs(
        survey.history,
        {reply.id: reply for reply in survey.replies},
        {correction.id: correction for correction in survey.corrections},
        lone_vote_weight=settings.pairs.lone_vote_weight,
    )
    old.sort(key=lambda pair: _rank(settings.training.seed, survey.parent_id, pair.rows))
    return old[: round(new * share / (1 - share))]


def _weighty(pairs: Iterable[Pair]) -> tuple[Pair, ...]:
    return tuple(pair for pair in pairs if pair.weight > MIN_WEIGHT)


def _taught(
    survey: Survey, new: Sequence[Pair], holdout: Iterable[Pair], training: TrainingSettings
) -> list[RatedReply]:
    """Return the answers that the new pairs come from, or would come from if members had voted differently."""
    new_prompts = {pair.prompt for pair in new}
    kept_out = {pair.prompt for pair in holdout} | survey.history.held_out_prompts
    known = (survey.history.trained_prompts - new_prompts) | kept_out
    is_full = len(new) == training.max_pairs  # older pairs have no room in the round
    oldest = min(max(row or 0 for row in pair.rows[:2]) for pair in new) if is_full else 0
    return [
        reply
        for reply in survey.replies
        if reply.prompt not in known and (reply.id >= oldest or reply.prompt in new_prompts)
    ]


def _evidence(
    uncapped: Sequence[Pair], capped: Sequence[Pair], survey: Survey, opinion: VoterPreferences, settings: Settings
) -> dict[str, Any]:
    """Return what admins should know about the votes behind the round: numbers and sentences, no names."""
    votes, most = survey.votes, settings.votes.max_voter_share
    before, after = (sum(pair.weight for pair in pairs) for pairs in (uncapped, capped))
    voters, by_weight = len(shares(uncapped)), count_voters(uncapped, survey.replies, survey.corrections)
    notes = [*left_out(survey, opinion), *few_voters_note(voters, by_weight, most)]
    removed = {rule: taken / votes.total for rule, taken in votes.removed.items() if taken}
    return {
        "votes": votes.total,
        "removed_shares": removed | {VOTER_CAP: 1 - after / before if after < before else 0.0},
        "voters": voters,
        "pairs_by_source": dict(Counter(REPLAY if pair.replayed else pair.source for pair in uncapped)),
        "preference_auc": opinion.auc,
        "notes": notes,
    }


def left_out(survey: Survey, opinion: VoterPreferences) -> list[str]:
    """Return sentences on what is not used and why; the first is about a champion that the round does not continue."""
    notes = [note for note in (survey.continuation.note, opinion.note) if note]
    if unheard := sum(correction.weight == 0 for correction in survey.corrections):
        notes.append(f"{count(unheard, 'suggested answer')} by new accounts or new members not counted")
    return notes


def _pair_line(pair: Pair, split: Split) -> ManifestPair:
    return ManifestPair(
        source=pair.source,
        split=split,
        weight=pair.weight,
        rejected_reply_id=pair.rejected.reply_id,
        chosen_reply_id=pair.chosen.reply_id,
        correction_id=pair.chosen.correction_id,
        replayed=pair.replayed,
    )
