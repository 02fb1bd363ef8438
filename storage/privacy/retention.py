"""Retention: deletes old data, and the data of members and servers that left; and the report of all that is kept."""

from __future__ import annotations

import operator
from collections.abc import Collection
from dataclasses import astuple, dataclass
from datetime import datetime, timedelta

from sqlalchemy import ColumnElement, and_, case, delete, func, or_, select, true, update
from sqlalchemy.orm import Session, aliased

from storage.conversations.summaries import drop_summaries
from storage.database import tables
from storage.database.columns import utc_now
from storage.database.enums import NOBODY, ArenaStatus, Basis, Origin, QuarantineRule, RoundStatus
from storage.database.rows import changed_rows, count_rows, read_all
from storage.personalities.personalities import lock_personalities
from storage.privacy.consent import open_bases
from storage.privacy.erasure import Deletion, erase_guild, erase_member_in, lock_erasures, names_of
from storage.privacy.ownership import in_guild, is_known, known_guilds, naming_members, naming_pseudonyms
from storage.sentences import Sentence, counted
from storage.settings.sections import PrivacySettings

LONGEST_WAIT = timedelta(days=182)
"""Longest time to keep answers that the bot still learns from: a small server needs months for enough votes."""
BATCH = 100
"""Number of answers deleted in one transaction, so small that no vote waits for them."""
NO_BASIS = "none"
AGES = (("under 1 day", 1), ("1 to 7 days", 7), ("7 to 30 days", 30), ("30 to 90 days", 90))
OLDER = "over 90 days"
TABLES: tuple[type[tables.Base], ...] = (
    *dict.fromkeys(table for table, _ in (*naming_members(), *naming_pseudonyms())),
    tables.ReplyMessageRow,
    tables.ReplyNoteRow,
    tables.ConversationRow,
    tables.DocumentRow,
    tables.DocumentSourceRow,
)
"""Every table that names a member or holds their messages."""


@dataclass(frozen=True)
class Pruned:
    replies: int = 0
    votes: int = 0
    """Number of stored events; a changed vote has several."""
    corrections: int = 0
    summaries: int = 0
    memberships: int = 0

    def __bool__(self) -> bool:
        return self != Pruned()

    def __add__(self, other: Pruned) -> Pruned:
        return Pruned(*map(operator.add, astuple(self), astuple(other)))


@dataclass(frozen=True)
class Expiry:
    """The moments before which data is deleted unless a version was trained on it."""

    before: datetime
    feedback_before: datetime
    """The moment for answers that people compared or corrected, for those that rounds drew and, if that teaches
    something, for answers that they voted on or asked to be replaced."""
    votes_teach: bool
    open_bases: tuple[Basis, ...]
    """Votes on answers with one of these bases make pairs."""


def read_expiry(settings: PrivacySettings) -> Expiry | None:
    """Return the moments before which data is too old to keep now; None to keep everything."""
    if not settings.retention_days:
        return None
    kept = timedelta(days=settings.retention_days)
    now = utc_now()
    return Expiry(now - kept, now - max(kept, LONGEST_WAIT), settings.learn_from_reactions, open_bases(settings))


def describe_retention(settings: PrivacySettings, *, on_discord: bool = True) -> Sentence:
    """Return how long answers are kept, for members, admins and the operator alike."""
    if not on_discord or not settings.retention_days:
        return Sentence("Nothing is deleted by age here.")
    kept = {
        "days": days_kept(settings.retention_days),
        "longest": days_kept(max(settings.retention_days, LONGEST_WAIT.days)),
    }
    if not votes_keep_answers(settings):
        return Sentence(
            "Answers are deleted after {days}, or after {longest} if somebody chose or suggested a better answer. "
            "Answers in pairs of `/choose`, and those that a version was trained on, are kept longer.",
            **kept,
        )
    return Sentence(
        "Answers are deleted after {days}, or after {longest} if somebody voted, chose, pressed 🔁 or suggested a "
        "better answer. Answers in pairs of `/choose`, and those that a version was trained on, are kept longer.",
        **kept,
    )


def votes_keep_answers(settings: PrivacySettings) -> bool:
    """Return whether votes keep answers longer, because the bot or its rounds still learn from them."""
    return settings.learn_from_reactions or settings.discord_training_permission


def days_kept(number: float) -> Sentence:
    return counted("{count} day", "{count} days", number)


def is_past(expiry: Expiry) -> ColumnElement[bool]:
    """Select the answers whose retention time is over.

    Kept are answers in the manifest of a version or of a running round, answers of open arenas, younger answers that
    the bot still learns from, answers of pairs that somebody labelled in the console, and everything said outside
    Discord, which is no Discord member's data.
    """
    rounds, pairs, replies = tables.RoundRow, tables.RoundPairRow, tables.ReplyRow
    corrections, arenas, arena_answers = tables.CorrectionRow, tables.ArenaRow, tables.ArenaAnswerRow
    of_versions = select(tables.VersionRow.round_id).where(tables.VersionRow.round_id.is_not(None))
    lasting = select(rounds.id).where(
        or_(rounds.status.in_((RoundStatus.PUBLISHED, RoundStatus.RUNNING)), rounds.id.in_(of_versions))
    )
    in_a_pair = select(pairs.round_id).where(
        pairs.round_id.in_(lasting),
        or_(pairs.chosen_reply_id == replies.id, pairs.rejected_reply_id == replies.id),
    )
    corrected = (
        select(pairs.round_id)
        .join(corrections, corrections.id == pairs.correction_id)
        .where(pairs.round_id.in_(lasting), corrections.reply_id == replies.id)
    )
    in_open_arena = (
        select(arena_answers.arena_id)
        .join(arenas)
        .where(
            arena_answers.reply_id == replies.id,
            arenas.status.in_((ArenaStatus.PREPARING, ArenaStatus.OPEN)),
        )
    )
    sitting_pairs = tables.SittingPairRow
    labelled = select(sitting_pairs.id).where(
        sitting_pairs.label.is_not(None),
        or_(sitting_pairs.first_id == replies.id, sitting_pairs.second_id == replies.id),
    )
    return and_(
        replies.created_at < expiry.before,
        or_(replies.basis.is_(None), replies.basis != Basis.LOCAL),
        ~in_a_pair.exists(),
        ~corrected.exists(),
        ~in_open_arena.exists(),
        ~labelled.exists(),
        or_(replies.created_at < expiry.feedback_before, ~_teaches(expiry)),
    )


def _teaches(expiry: Expiry) -> ColumnElement[bool]:
    """Select the answers that the bot still learns from: its examples and its order are found in drawn answers."""
    replies, comparisons, corrections = tables.ReplyRow, tables.ComparisonRow, tables.CorrectionRow
    compared = select(comparisons.user_id).where(
        or_(comparisons.first_id == replies.id, comparisons.second_id == replies.id)
    )
    corrected = select(corrections.id).where(corrections.reply_id == replies.id, corrections.withdrawn_at.is_(None))
    in_arena = select(tables.ArenaAnswerRow.arena_id).where(tables.ArenaAnswerRow.reply_id == replies.id)
    voted = select(tables.VoteEventRow.id).where(tables.VoteEventRow.reply_id == replies.id)
    other = aliased(replies)
    replaced = select(other.id).where(
        other.source_message_id == replies.source_message_id,
        other.prompt_digest == replies.prompt_digest,
        other.origin == Origin.CHAT,
        other.id > replies.id,
    )
    return or_(
        *(found.exists() for found in (compared, corrected, in_arena)),
        and_(replies.origin == Origin.SAMPLE, replies.basis == Basis.PROMPT_BANK),
        and_(
            or_(voted.exists(), replaced.exists()),
            true() if expiry.votes_teach else and_(replies.basis.is_not(None), replies.basis.in_(expiry.open_bases)),
        ),
    )


def past_replies(session: Session, expiry: Expiry, limit: int = BATCH) -> list[int]:
    """Return the ids of the oldest answers whose retention time is over; the query locks nothing."""
    ids = select(tables.ReplyRow.id)
    return list(session.scalars(ids.where(is_past(expiry)).order_by(tables.ReplyRow.id).limit(limit)))


def prune_replies(session: Session, expiry: Expiry, reply_ids: Collection[int]) -> Pruned:
    """Delete the answers that may still be deleted, with their votes, corrections and messages."""
    lock_personalities(session)  # a round that is being planned could otherwise list deleted answers
    replies = tables.ReplyRow
    ids = session.scalars(select(replies.id).where(replies.id.in_(reply_ids), is_past(expiry))).all()
    votes, corrections = (
        count_rows(session, select(table.id).where(table.reply_id.in_(ids)))
        for table in (tables.VoteEventRow, tables.CorrectionRow)
    )
    session.execute(delete(replies).where(replies.id.in_(ids)))
    return Pruned(len(ids), votes, corrections)


def prune_rest(session: Session, before: datetime) -> Pruned:
    """Delete old summaries, ended alerts and IDs of questions, and join dates of members without feedback.

    Feedback is a vote, a choice or a suggestion. Decisions on votes whose answers are gone lose the member's name. At
    most a batch of summaries per transaction.
    """
    conversations, members, alerts = tables.ConversationRow, tables.MemberRow, tables.AlertRow
    quarantines = tables.QuarantineRow
    old = select(conversations.channel_id).where(conversations.summary != "", conversations.updated_at < before)
    summaries = drop_summaries(session, session.scalars(old.limit(BATCH)).all())
    voted = select(tables.VoteEventRow.id).where(tables.VoteEventRow.user_id == members.user_id).exists()
    suggested = select(tables.CorrectionRow.id).where(tables.CorrectionRow.author_id == members.user_id).exists()
    session.execute(delete(alerts).where(alerts.ended_at < before))
    session.execute(delete(tables.AnsweredQuestionRow).where(tables.AnsweredQuestionRow.deleted_at < before))
    compared = select(tables.ComparisonRow.user_id).where(tables.ComparisonRow.user_id == members.user_id).exists()
    deleted = session.execute(delete(members).where(~voted, ~suggested, ~compared))
    is_over = quarantines.id.not_in(select(tables.QuarantinedVoteRow.quarantine_id))
    on_answers_to = quarantines.rule == QuarantineRule.AUTHOR
    session.execute(update(quarantines).where(on_answers_to, is_over).values(subject_id=NOBODY))
    return Pruned(summaries=summaries, memberships=changed_rows(deleted))


def count_past(session: Session, expiry: Expiry) -> int:
    """Count the stored answers whose retention time is over."""
    return count_rows(session, select(tables.ReplyRow.id).where(is_past(expiry)))


@dataclass(frozen=True)
class Departure:
    """A member who left a server; NOBODY means that the server removed the bot."""

    guild_id: int
    user_id: int
    left_at: datetime

    @property
    def is_of_server(self) -> bool:
        return self.user_id == NOBODY


def note_departure(session: Session, guild_id: int, user_id: int = NOBODY) -> bool:
    """Start the retention time of a departure; return False if it has started already, or if nothing is stored."""
    if session.get(tables.DepartureRow, (guild_id, user_id)) is not None:
        return False
    if not (guild_id in known_guilds(session) if user_id == NOBODY else is_known(session, user_id, in_guild(guild_id))):
        return False
    session.add(tables.DepartureRow(guild_id=guild_id, user_id=user_id))
    session.flush()
    return True


def cancel_departures(session: Session, guild_id: int, user_ids: Collection[int] = (NOBODY,)) -> int:
    """Keep the data of members or servers that came back; return how many of them had left."""
    departures = tables.DepartureRow
    back = select(departures.user_id).where(departures.guild_id == guild_id, departures.user_id.in_(user_ids))
    returned = session.scalars(back).all()
    session.execute(delete(departures).where(departures.guild_id == guild_id, departures.user_id.in_(returned)))
    return len(returned)


def departed_before(session: Session, moment: datetime) -> list[Departure]:
    """Return the departures before the moment, oldest first."""
    departures = tables.DepartureRow
    rows = select(departures).where(departures.left_at < moment).order_by(departures.left_at)
    return read_all(session, Departure, rows)


def complete_departure(session: Session, departure: Departure) -> Deletion | None:
    """Delete the data of a departed member or server; return None if they came back in the meantime."""
    lock_erasures(session)  # before the row, as a member's own deletion does
    row = session.get(tables.DepartureRow, (departure.guild_id, departure.user_id), with_for_update=True)
    if row is None or row.left_at != departure.left_at:
        return None
    if departure.is_of_server:
        return erase_guild(session, departure.guild_id)  # with its members' departures
    return erase_member_in(session, departure.guild_id, departure.user_id, left_at=departure.left_at)


@dataclass(frozen=True)
class PrivacyReport:
    discord_training_permission: bool
    retention_days: float
    answers: dict[str, dict[str, int]]
    """Numbers of answers by training basis and age, without zeros."""
    rows: dict[str, int]
    """Numbers of rows by table."""
    past_retention: int
    """Number of answers that the next clean-up deletes."""
    consents: int
    erasures: int
    """Number of members who deleted their data."""
    departures: int
    """Number of departed members and servers whose data is still stored."""
    marked_versions: tuple[str, ...]
    """Versions trained on data that was deleted later."""


def report_privacy(session: Session, settings: PrivacySettings, now: datetime) -> PrivacyReport:
    expiry = read_expiry(settings)
    rows = {table.__tablename__: count_rows(session, select(table)) for table in TABLES}
    return PrivacyReport(
        discord_training_permission=settings.discord_training_permission,
        retention_days=settings.retention_days,
        answers=_by_basis_and_age(session, now),
        rows=rows,
        past_retention=count_past(session, expiry) if expiry else 0,
        consents=rows[tables.ConsentRow.__tablename__],
        erasures=rows[tables.ErasureRow.__tablename__],
        departures=rows[tables.DepartureRow.__tablename__],
        marked_versions=names_of(session, tables.VersionRow.trained_on_deleted_data.is_(True)),
    )


def _by_basis_and_age(session: Session, now: datetime) -> dict[str, dict[str, int]]:
    replies = tables.ReplyRow
    younger = [(replies.created_at > now - timedelta(days=days), name) for name, days in AGES]
    age = case(*younger, else_=OLDER)
    counted = session.execute(select(replies.basis, age, func.count()).group_by(replies.basis, age))
    found = {(basis.value if basis else NO_BASIS, name): number for basis, name, number in counted}
    order = [name for name, _ in AGES] + [OLDER]
    bases = sorted({basis for basis, _ in found})
    return {basis: {name: found[basis, name] for name in order if (basis, name) in found} for basis in bases}
