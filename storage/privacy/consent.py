"""What may be trained on: the basis of a row, the consent behind it, and its withdrawal."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from datetime import datetime

from sqlalchemy import delete, select, update
from sqlalchemy.orm import Session

from storage.conversations.memory import delete_memories
from storage.database.columns import utc_now
from storage.database.enums import NOBODY, Basis, QuarantineRule
from storage.database.rows import changed_rows
from storage.database.tables import (
    ConsentRow,
    CorrectionRow,
    DepartureRow,
    ErasureRow,
    GreetingRow,
    MemberRow,
    QuarantinedVoteRow,
    QuarantineRow,
    ReplyRow,
    ReplySpeakerRow,
    RoundVoterRow,
    VoteCauseRow,
    VoteEventRow,
)
from storage.knowledge.documents import remove_words_of
from storage.members.pseudonyms import Pseudonym, read_pseudonyms
from storage.personalities.personalities import lock_personalities
from storage.privacy.marked_versions import lock_erasures, mark_versions_trained_on
from storage.settings.sections import PrivacySettings
from storage.votes.causes import wrong_facts
from storage.votes.weights import quarantined


@dataclass(frozen=True)
class Deletion:
    """What deleting a member's data removed, and the versions that had learned from it."""

    replies: int
    votes: int
    corrections: int
    notes: int
    summaries: int
    """Of conversations, which are begun anew."""
    documents: int
    """Made of their messages."""
    versions: int
    marked: tuple[str, ...] = field(default=(), compare=False)
    """Names of those versions."""


@dataclass(frozen=True)
class Agreement:
    """What members allowed, and what they or the rules took back, at one moment."""

    consents: frozenset[Pseudonym]
    """Who allows training on their live messages."""
    erasures: frozenset[tuple[Pseudonym, datetime]]
    """Who deleted their data, and when they last did."""
    withdrawals: frozenset[int]
    """Ids of the corrections that do not stand any more."""
    quarantined: frozenset[tuple[int, Pseudonym]]
    """Reply and voter of the votes that must not count."""
    departures: frozenset[tuple[int, Pseudonym]] = frozenset()
    """Server and member of those who left and whose data there is still kept."""

    def stands(self, now: Agreement) -> bool:
        """Return whether nothing was taken back since; what was added meanwhile may wait for another round."""
        return (
            now.consents >= self.consents
            and now.erasures <= self.erasures
            and now.withdrawals <= self.withdrawals
            and now.quarantined <= self.quarantined
            and now.departures >= self.departures
        )


def open_bases(settings: PrivacySettings) -> tuple[Basis, ...]:
    """Return the bases that may be trained on under these settings."""
    if settings.discord_training_permission:
        return (Basis.LOCAL, Basis.PROMPT_BANK, Basis.LIVE_CHAT)
    return (Basis.LOCAL, Basis.PROMPT_BANK)


def describe_bases(settings: PrivacySettings) -> str:
    """Say in a sentence what is trained on and why the rest is not."""
    if settings.discord_training_permission:
        return "Training basis: live chat of members who opted in, prompt bank, local."
    return (
        "Training basis: prompt bank and local only. Live chat is logged but not trained on: Discord forbids it "
        "without permission (privacy.discord_training_permission = false)."
    )


def give_consent(session: Session, user_id: int) -> None:
    session.merge(ConsentRow(user_id=user_id))


def withdraw_consent(session: Session, user_id: int) -> None:
    session.execute(delete(ConsentRow).where(ConsentRow.user_id == user_id))


def consenting(session: Session, user_ids: Collection[int]) -> set[int]:
    """Return those of the users who allow training on their live messages."""
    return set(session.scalars(select(ConsentRow.user_id).where(ConsentRow.user_id.in_(user_ids))))


def basis_of_chat(session: Session, speakers: Collection[int]) -> Basis | None:
    """Return the basis of an answer in live chat: every person whose words it holds must have opted in."""
    return Basis.LIVE_CHAT if speakers and consenting(session, speakers) >= set(speakers) else None


def erased_since(session: Session, user_ids: Collection[int], moment: datetime) -> bool:
    """Return whether one of the users deleted their data at that moment or later.

    Nobody does so any more until this transaction ends.
    """
    lock_erasures(session, shared=True)
    deletions = select(ErasureRow.user_id).where(ErasureRow.user_id.in_(user_ids), ErasureRow.erased_at >= moment)
    return session.scalar(deletions.limit(1)) is not None


def read_agreement(session: Session, personality_id: int) -> Agreement:
    """Return what a round of the personality must respect; while it stands, a plan made under it may be written."""
    erasures = session.execute(select(ErasureRow.user_id, ErasureRow.erased_at))
    departures = session.execute(select(DepartureRow.guild_id, DepartureRow.user_id))
    withdrawals = (
        select(CorrectionRow.id)
        .join(ReplyRow)
        .where(ReplyRow.personality_id == personality_id, CorrectionRow.withdrawn_at.is_not(None))
    )
    kept_out = quarantined(session, personality_id) | wrong_facts(session, personality_id)
    who = read_pseudonyms(session).of
    return Agreement(
        consents=frozenset(map(who, session.scalars(select(ConsentRow.user_id)))),
        erasures=frozenset((who(user_id), erased_at) for user_id, erased_at in erasures),
        withdrawals=frozenset(session.scalars(withdrawals)),
        quarantined=frozenset((reply_id, who(user_id)) for reply_id, user_id in kept_out),
        departures=frozenset((guild, who(user)) for guild, user in departures),
    )


def delete_member(session: Session, user_id: int) -> Deletion:
    """Delete a member's words, votes and consent, and mark the versions that were trained on them.

    Answers to others that they merely asked for again stay, without their name.
    """
    lock_erasures(session)  # what is written with their words now is written before, or never
    lock_personalities(session)  # or a round that is being planned would learn from what goes
    reply_ids = select(ReplySpeakerRow.reply_id).where(ReplySpeakerRow.user_id == user_id)
    correction_ids = select(CorrectionRow.id).where(CorrectionRow.author_id == user_id)
    voted_ids = select(VoteEventRow.reply_id).where(VoteEventRow.user_id == user_id)
    marked = mark_versions_trained_on(session, reply_ids.union(voted_ids), correction_ids)
    session.merge(ErasureRow(user_id=user_id, erased_at=utc_now()))
    withdraw_consent(session, user_id)
    votes = session.execute(delete(VoteEventRow).where(VoteEventRow.user_id == user_id))
    documents = remove_words_of(session, user_id)
    corrections = session.execute(delete(CorrectionRow).where(CorrectionRow.author_id == user_id))
    for table in (MemberRow, QuarantinedVoteRow, VoteCauseRow, GreetingRow, DepartureRow):
        session.execute(delete(table).where(table.user_id == user_id))
    session.execute(delete(RoundVoterRow).where(RoundVoterRow.pseudonym == read_pseudonyms(session).of(user_id)))
    session.execute(
        update(QuarantineRow)
        .where(QuarantineRow.rule == QuarantineRule.AUTHOR, QuarantineRow.subject_id == user_id)
        .values(subject_id=NOBODY)
    )
    replies = session.execute(delete(ReplyRow).where(ReplyRow.id.in_(reply_ids)))
    session.execute(update(ReplyRow).where(ReplyRow.author_id == user_id).values(author_id=NOBODY))
    notes, summaries = delete_memories(session, user_id)
    return Deletion(
        replies=changed_rows(replies),
        votes=changed_rows(votes),
        corrections=changed_rows(corrections),
        notes=notes,
        summaries=summaries,
        documents=documents,
        versions=len(marked),
        marked=marked,
    )
