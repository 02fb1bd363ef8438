"""The only source of trainable text: rows with an open basis whose authors still agree.

Training selects from these instead of from the tables; a test checks that the trainer does not use the tables.
"""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple

from sqlalchemy import ColumnElement, and_, case, func, null, or_, select, true
from sqlalchemy.orm import Session, aliased

from storage.conversations.replies import FINISHED_WHOLE
from storage.database.enums import Basis
from storage.database.rows import any_row
from storage.database.tables import ConsentRow, CorrectionRow, ReplyRow, ReplySpeakerRow
from storage.privacy.consent import open_bases
from storage.settings.sections import PrivacySettings


class Obstacle(StrEnum):
    """The reason why a round may not learn from an answer now."""

    LIVE_CHAT_CLOSED = "live chat is closed"
    NO_CONSENT = "no consent"
    OUTSIDE_TEXT = "outside text"
    """Its prompt holds a description of a picture, a web page, or a member's note about themselves."""
    OTHER_BASE = "other base"
    """Its prompt was imported as rendered text, which only the base it was rendered for understands."""
    UNFINISHED = "unfinished"


class TrainingScope(NamedTuple):
    """The grounds on which a text may be trained on: the personality that learns, the privacy settings and the base."""

    personality_id: int
    privacy: PrivacySettings
    base_revision: str


def trainable_replies(scope: TrainingScope) -> type[ReplyRow]:
    """Return a stand-in for `ReplyRow`: the complete answers that may be trained on."""
    needed = _requirements(scope.privacy, scope.base_revision).values()
    rows = select(ReplyRow).where(ReplyRow.personality_id == scope.personality_id, *needed)
    return aliased(ReplyRow, rows.subquery())


def trainable_corrections(replies: type[ReplyRow], privacy: PrivacySettings) -> type[CorrectionRow]:
    """Return a stand-in for `CorrectionRow`: the corrections of these trainable replies that were not withdrawn.

    A correction also needs its own open basis, and in live chat its author's consent.
    """
    rows = select(CorrectionRow).where(
        select(replies.id).where(replies.id == CorrectionRow.reply_id).exists(),
        CorrectionRow.withdrawn_at.is_(None),
        CorrectionRow.basis.in_(open_bases(privacy)),
        or_(CorrectionRow.basis != Basis.LIVE_CHAT, CorrectionRow.author_id.in_(select(ConsentRow.user_id))),
    )
    return aliased(CorrectionRow, rows.subquery())


def has_closed_replies(session: Session, personality_id: int, privacy: PrivacySettings) -> bool:
    """Return whether the personality has answers without an open basis, such as those of live chat."""
    closed = or_(ReplyRow.basis.is_(None), ReplyRow.basis.not_in(open_bases(privacy)))
    return any_row(session, select(ReplyRow.id).where(ReplyRow.personality_id == personality_id, closed))


def obstacle_to(privacy: PrivacySettings, base_revision: str) -> ColumnElement[str | None]:
    """Return a column with the reason why a reply may not be trained on; null if it may."""
    needed = _requirements(privacy, base_revision)
    return case(*((~requirement, obstacle.value) for obstacle, requirement in needed.items()), else_=null())


def _requirements(privacy: PrivacySettings, base_revision: str) -> dict[Obstacle, ColumnElement[bool]]:
    """Return the conditions that a reply must fulfil, never null, by the obstacle if one fails.

    In live chat everybody quoted must agree. Consent is checked again here, because it may have changed since the basis
    was written. The prompt of another base's answer has to be rendered anew, from its messages.
    """
    open_ones = open_bases(privacy)
    is_open = and_(ReplyRow.basis.is_not(None), ReplyRow.basis.in_(open_ones))
    speakers = select(ReplySpeakerRow.reply_id)
    silent = speakers.where(ReplySpeakerRow.user_id.not_in(select(ConsentRow.user_id)))
    all_agree = and_(ReplyRow.id.in_(speakers), ReplyRow.id.not_in(silent))
    is_renderable = or_(ReplyRow.base_revision == base_revision, func.json_array_length(ReplyRow.messages) > 0)
    return {
        Obstacle.OUTSIDE_TEXT: ReplyRow.has_outside_text.is_(False),
        Obstacle.LIVE_CHAT_CLOSED: true() if Basis.LIVE_CHAT in open_ones else is_open,
        Obstacle.NO_CONSENT: and_(is_open, or_(ReplyRow.basis != Basis.LIVE_CHAT, all_agree)),
        Obstacle.OTHER_BASE: is_renderable,
        Obstacle.UNFINISHED: and_(ReplyRow.outcome.in_(FINISHED_WHOLE), ReplyRow.answer != ""),
    }
