"""What may be trained on: answers, votes and corrections whose basis is open and whose people still agree."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import prod

from sqlalchemy import ColumnElement, func, or_, select, true
from sqlalchemy.orm import Session

from storage.members import home_of
from storage.privacy import open_bases
from storage.replies import FINISHED_WHOLE
from storage.schema import Basis, ConsentRow, CorrectionRow, Origin, Outcome, ReplyRow, ReplySpeakerRow, VoteEventRow
from storage.settings import PrivacySettings, VoteSettings
from storage.trust import Ballot, Scales, held_back
from storage.votes import Vote, current_votes


@dataclass(frozen=True)
class RatedReply:
    """An answer, the rendered prompt that it answers, and the votes on it that count."""

    id: int
    prompt: str
    answer: str
    ballots: tuple[Ballot, ...] = ()
    is_cut: bool = False
    """It stopped at the length limit, so its end is not one that the model chose."""
    version_id: int | None = None
    is_sample: bool = False
    """A round drew it, and no member saw it."""

    @property
    def up(self) -> float:
        return sum(ballot.weight for ballot in self.ballots if ballot.vote is Vote.UP)

    @property
    def down(self) -> float:
        return sum(ballot.weight for ballot in self.ballots if ballot.vote is Vote.DOWN)

    @property
    def net(self) -> float:
        return self.up - self.down


@dataclass(frozen=True)
class WrittenCorrection:
    """The better answer that a person wrote for a reply."""

    id: int
    reply_id: int
    text: str
    author_id: int
    weight: float
    """0 to 1, as a vote of its author's would weigh when it was written."""


@dataclass(frozen=True)
class Evidence:
    """How much there is to learn from: answers that were voted on, their standing votes, and corrections."""

    replies: int
    votes: int
    corrections: int


def read_replies(
    session: Session,
    personality_id: int,
    privacy: PrivacySettings,
    base_revision: str,
    ballots: Mapping[int, tuple[Ballot, ...]],
) -> list[RatedReply]:
    """Return the trainable answers to every prompt that has a vote or a correction, unrated siblings included.

    `ballots` are the votes that count, by reply.
    """
    told = or_(
        ReplyRow.id.in_(select(VoteEventRow.reply_id)),
        ReplyRow.id.in_(select(CorrectionRow.reply_id)),
    )
    prompts = select(ReplyRow.prompt_digest).where(ReplyRow.personality_id == personality_id, told)
    rows = session.execute(
        select(ReplyRow.id, ReplyRow.prompt, ReplyRow.answer, ReplyRow.outcome, ReplyRow.version_id, ReplyRow.origin)
        .where(*_trainable(personality_id, privacy, base_revision), ReplyRow.prompt_digest.in_(prompts))
        .order_by(ReplyRow.id)
    )
    return [
        RatedReply(
            id_,
            prompt,
            answer,
            ballots.get(id_, ()),
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
    """Return the standing corrections of trainable answers, where their own basis is open too; `only` is an id."""
    rows = session.execute(
        select(CorrectionRow, ReplyRow.guild_id, ReplyRow.basis)
        .join(ReplyRow)
        .where(*_trainable(personality_id, privacy, base_revision), *_trainable_correction(privacy))
        .where(CorrectionRow.id == only if only is not None else true())
        .order_by(CorrectionRow.id)
    )
    homes = [(row, home_of(guild_id, basis)) for row, guild_id, basis in rows]
    scales = Scales(session, votes, {(home, row.author_id) for row, home in homes})
    return [
        WrittenCorrection(
            row.id,
            row.reply_id,
            row.text,
            row.author_id,
            weight=prod(scales.weights(home, row.author_id, row.created_at)),
        )
        for row, home in homes
    ]


def count_evidence(session: Session, personality_id: int, privacy: PrivacySettings, base_revision: str) -> Evidence:
    """Count what a round could learn from now; votes that are held back are nothing to learn from."""
    trainable = _trainable(personality_id, privacy, base_revision)
    voted = session.scalars(select(ReplyRow.id).where(*trainable, ReplyRow.id.in_(select(VoteEventRow.reply_id))))
    standing, held = current_votes(session, personality_id), held_back(session, personality_id)
    votes = [sum((reply_id, user_id) not in held for user_id in standing.get(reply_id, ())) for reply_id in voted]
    corrections = select(func.count()).select_from(CorrectionRow).join(ReplyRow)
    return Evidence(
        replies=sum(number > 0 for number in votes),
        votes=sum(votes),
        corrections=session.scalar(corrections.where(*trainable, *_trainable_correction(privacy))) or 0,
    )


def _trainable(personality_id: int, privacy: PrivacySettings, base_revision: str) -> tuple[ColumnElement[bool], ...]:
    """Select this base's whole answers with an open basis; in live chat everybody quoted must still agree.

    Prompts of another base are rendered with its template, which this one does not speak.
    """
    speakers = select(ReplySpeakerRow.reply_id)
    silent = speakers.where(ReplySpeakerRow.user_id.not_in(select(ConsentRow.user_id)))
    return (
        ReplyRow.personality_id == personality_id,
        ReplyRow.base_revision == base_revision,
        ReplyRow.outcome.in_(FINISHED_WHOLE),
        ReplyRow.answer != "",
        ReplyRow.basis.in_(open_bases(privacy)),
        # Consent is asked for again: it may have been withdrawn since the basis was written.
        or_(ReplyRow.basis != Basis.LIVE_CHAT, ReplyRow.id.in_(speakers) & ReplyRow.id.not_in(silent)),
    )


def _trainable_correction(privacy: PrivacySettings) -> tuple[ColumnElement[bool], ...]:
    return (
        CorrectionRow.withdrawn_at.is_(None),
        CorrectionRow.basis.in_(open_bases(privacy)),
        or_(CorrectionRow.basis != Basis.LIVE_CHAT, CorrectionRow.author_id.in_(select(ConsentRow.user_id))),
    )
