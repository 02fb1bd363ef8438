"""A round's evidence: trainable answers, the votes on them, and corrections, with pseudonyms for people."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import product
from math import prod

from sqlalchemy import or_, select, true
from sqlalchemy.orm import Session

from storage.database.enums import Origin, Outcome
from storage.database.rows import count_rows
from storage.database.tables import CorrectionRow, ReplyRow, VoteEventRow
from storage.members import Pseudonym, home_of, read_pseudonyms, without_mentions
from storage.releases.versions import Version, id_of
from storage.settings.sections import PrivacySettings, Settings, VoteSettings
from storage.training.rounds import read_line
from storage.training.trainable import trainable_corrections, trainable_replies
from storage.votes.votes import Vote, current_votes
from storage.votes.weights import VoteWeights, WeightedVote, quarantined, read_weighted_votes


@dataclass(frozen=True)
class RatedReply:
    """An answer, the rendered prompt that it answers, and the votes on it that count."""

    id: int
    prompt: str
    answer: str
    votes: tuple[WeightedVote, ...] = ()
    is_cut: bool = False
    """It stopped at the length limit, so the model did not choose its end."""
    version_id: int | None = None
    is_sample: bool = False
    """A round drew it; no member saw it."""

    @property
    def up(self) -> float:
        return sum(vote.weight for vote in self.votes if vote.vote is Vote.UP)

    @property
    def down(self) -> float:
        return sum(vote.weight for vote in self.votes if vote.vote is Vote.DOWN)

    @property
    def net(self) -> float:
        return self.up - self.down


@dataclass(frozen=True)
class WrittenCorrection:
    """The better answer that a person wrote for a reply."""

    id: int
    reply_id: int
    text: str
    author: Pseudonym
    weight: float
    """0 to 1: the weight of a vote by its author at the time of writing."""


@dataclass(frozen=True)
class Evidence:
    """Counts of what a round can learn from: answers with votes, their current votes, and corrections."""

    replies: int
    votes: int
    corrections: int


def read_replies(
    session: Session,
    personality_id: int,
    privacy: PrivacySettings,
    base_revision: str,
    votes: Mapping[int, tuple[WeightedVote, ...]],
) -> list[RatedReply]:
    """Return the trainable answers to every prompt that has a vote or a correction, including unrated answers.

    `votes` are the votes that count, by reply.
    """
    has_feedback = or_(
        ReplyRow.id.in_(select(VoteEventRow.reply_id)),
        ReplyRow.id.in_(select(CorrectionRow.reply_id)),
    )
    prompts = select(ReplyRow.prompt_digest).where(ReplyRow.personality_id == personality_id, has_feedback)
    reply = trainable_replies(personality_id, privacy, base_revision)
    rows = session.execute(
        select(reply.id, reply.prompt, reply.answer, reply.outcome, reply.version_id, reply.origin)
        .where(reply.prompt_digest.in_(prompts))
        .order_by(reply.id)
    )
    return [
        RatedReply(
            id_,
            without_mentions(prompt),
            without_mentions(answer),
            votes.get(id_, ()),
            is_cut=outcome is Outcome.LENGTH,
            version_id=version_id,
            is_sample=origin is Origin.SAMPLE,
        )
        for id_, prompt, answer, outcome, version_id, origin in rows
    ]


def read_corrections(
    session: Session,
    personality_id: int,
    privacy: PrivacySettings,
    base_revision: str,
    votes: VoteSettings,
    *,
    only: int | None = None,
) -> list[WrittenCorrection]:
    """Return the current corrections of trainable answers whose own basis is open too; `only` is an id."""
    reply = trainable_replies(personality_id, privacy, base_revision)
    correction = trainable_corrections(reply, privacy)
    rows = session.execute(
        select(correction, reply.guild_id, reply.basis)
        .join(reply, reply.id == correction.reply_id)
        .where(correction.id == only if only is not None else true())
        .order_by(correction.id)
    )
    homes = [(row, home_of(guild_id, basis)) for row, guild_id, basis in rows]
    weights = VoteWeights(session, votes, {(home, row.author_id) for row, home in homes})
    pseudonyms = read_pseudonyms(session)
    return [
        WrittenCorrection(
            row.id,
            row.reply_id,
            without_mentions(row.text),
            pseudonyms.of(row.author_id),
            weight=prod(weights.weights(home, row.author_id, row.created_at)),
        )
        for row, home in homes
    ]


def read_empty_samples(
    session: Session, personality_id: int, privacy: PrivacySettings, base_revision: str, version_id: int | None
) -> tuple[str, ...]:
    """Return the prompt of each empty sample that the version (None is the base) gave to a round."""
    sample = trainable_replies(personality_id, privacy, base_revision, with_unfinished=True)
    prompts = select(sample.prompt).where(
        sample.origin == Origin.SAMPLE, sample.answer == "", sample.version_id.is_not_distinct_from(version_id)
    )
    return tuple(without_mentions(prompt) for prompt in session.scalars(prompts))


def count_evidence(session: Session, personality_id: int, privacy: PrivacySettings, base_revision: str) -> Evidence:
    """Count what a round could learn from now, without quarantined votes."""
    reply = trainable_replies(personality_id, privacy, base_revision)
    voted = session.scalars(select(reply.id).where(reply.id.in_(select(VoteEventRow.reply_id))))
    current, excluded = current_votes(session, personality_id), quarantined(session, personality_id)
    votes = [sum((reply_id, user_id) not in excluded for user_id in current.get(reply_id, ())) for reply_id in voted]
    return Evidence(
        replies=sum(number > 0 for number in votes),
        votes=sum(votes),
        corrections=count_rows(session, select(trainable_corrections(reply, privacy).id)),
    )


@dataclass(frozen=True)
class NewPairs:
    """Possible new pairs: not yet trained on by the parent version or its ancestors."""

    compared: int
    """Questions with a liked and a disliked answer; each gives 1 to 4 pairs."""
    suggestions: int
    """Suggested answers; each gives at least 1 pair."""
    lone: int
    """Other questions with votes; each gives a pair if the trainer draws a second answer that differs enough."""

    @property
    def total(self) -> int:
        return self.compared + self.suggestions


def count_new_pairs(
    session: Session, personality_id: int, settings: Settings, base_revision: str, parent: Version | None
) -> NewPairs:
    reply = trainable_replies(personality_id, settings.privacy, base_revision)
    correction = trainable_corrections(reply, settings.privacy)
    line = read_line(session, id_of(parent))
    trained = {(pair.chosen_reply_id, pair.rejected_reply_id) for pair in line}
    trained_replies = {reply_id for pair in trained for reply_id in pair}
    suggestions = set(session.scalars(select(correction.id))) - {pair.correction_id for pair in line}

    by_prompt: dict[str, dict[int, float]] = defaultdict(dict)
    votes = read_weighted_votes(session, personality_id, settings.votes).by_reply
    voted = select(reply.id, reply.prompt_digest).where(reply.id.in_(select(VoteEventRow.reply_id)))
    for reply_id, prompt in session.execute(voted):
        if balance := sum(vote.weight if vote.vote is Vote.UP else -vote.weight for vote in votes.get(reply_id, ())):
            by_prompt[prompt][reply_id] = balance

    compared = lone = 0
    for answers in by_prompt.values():
        liked = [reply_id for reply_id, balance in answers.items() if balance > 0]
        disliked = [reply_id for reply_id, balance in answers.items() if balance < 0]
        if liked and disliked:
            compared += any(pair not in trained for pair in product(liked, disliked))
        else:
            lone += not answers.keys() <= trained_replies
    return NewPairs(compared, len(suggestions), lone if settings.pairs.lone_votes else 0)
