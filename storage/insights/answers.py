"""Answers for the console: newest first, by what people said of them, and one with everything that is known of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from sqlalchemy import Select, select
from sqlalchemy.orm import Session

from storage.conversations.replies import FINISHED_WHOLE
from storage.database.enums import Basis, Cause, Origin
from storage.database.tables import CorrectionRow, ReplyRow, VoteCauseRow, VoteEventRow
from storage.insights.lineage import TracedReply, trace_reply
from storage.insights.visibility import Channels, in_channels
from storage.knowledge.documents import titles_of
from storage.releases.versions import id_of, list_versions, version_named
from storage.votes.votes import Tally, Vote, spellings, tally, votes_on
from storage.wording import BASE_NAME

SYSTEM = "system"
AT_ONCE = 100
"""Answers whose votes are read together while those are searched that are disliked now."""


class AnswerKind(StrEnum):
    ALL = "all"
    DISLIKED = "disliked"
    """By more people than like it."""
    SUGGESTED = "suggested"
    """Somebody wrote a better one."""
    WRONG_FACT = "wrong fact"
    """Somebody reported a wrong fact, and nobody settled it yet."""


@dataclass(frozen=True)
class AnswerQuery:
    kind: AnswerKind = AnswerKind.ALL
    version: str = ""
    """A version such as v3, or base; empty for all."""
    text: str = ""
    """Part of the answer; empty for all."""
    before_id: int | None = None
    channels: Channels | None = None
    """Those whose answers may be seen; None for all answers."""


@dataclass(frozen=True)
class ListedAnswer:
    id: int
    created_at: datetime
    version: str
    origin: Origin
    question: str
    """The last message of its prompt."""
    answer: str
    votes: Tally


@dataclass(frozen=True)
class AnswerDetails:
    listed: ListedAnswer
    guild_id: int | None
    channel_id: int
    messages: list[dict[str, str]]
    """Its prompt."""
    basis: Basis | None
    causes: tuple[Cause, ...]
    suggestions: tuple[str, ...]
    documents: tuple[tuple[str, str], ...]
    """(title, link) of the documents that the prompt quotes."""
    trace: TracedReply


def list_answers(session: Session, personality_id: int, query: AnswerQuery, limit: int) -> list[ListedAnswer]:
    """Return the newest answers that the query selects, without those that nobody saw; raises VersionNotFound."""
    rows, names = _select(session, personality_id, query), _names(session, personality_id)
    found: list[ListedAnswer] = []
    before = query.before_id
    while len(found) < limit:
        part = session.scalars(rows.where(ReplyRow.id < before) if before else rows).all()
        for reply in part:
            if len(found) == limit:
                break
            listed = _listed(session, reply, names)
            if query.kind is not AnswerKind.DISLIKED or listed.votes.down > listed.votes.up:
                found.append(listed)
        if len(part) < AT_ONCE:
            break
        before = part[-1].id
    return found


def _select(session: Session, personality_id: int, query: AnswerQuery) -> Select[ReplyRow]:
    rows = (
        select(ReplyRow)
        .where(
            # Not by an index of the personality: all of its answers would be sorted to find the newest.
            ReplyRow.personality_id + 0 == personality_id,
            ReplyRow.origin != Origin.SAMPLE,
            ReplyRow.outcome.in_(FINISHED_WHOLE),
        )
        .order_by(ReplyRow.id.desc())
        .limit(AT_ONCE)
    )
    if query.version:
        version = version_named(session, personality_id, query.version)
        rows = rows.where(ReplyRow.version_id.is_not_distinct_from(id_of(version)))
    if query.channels is not None:
        rows = rows.where(in_channels(query.channels))
    if query.text:
        rows = rows.where(ReplyRow.answer.icontains(query.text, autoescape=True))
    about = {
        AnswerKind.DISLIKED: select(VoteEventRow.id).where(
            VoteEventRow.reply_id == ReplyRow.id, VoteEventRow.emoji.in_(spellings(Vote.DOWN))
        ),
        AnswerKind.SUGGESTED: select(CorrectionRow.id).where(
            CorrectionRow.reply_id == ReplyRow.id, CorrectionRow.withdrawn_at.is_(None)
        ),
        AnswerKind.WRONG_FACT: select(VoteCauseRow.user_id).where(
            VoteCauseRow.reply_id == ReplyRow.id,
            VoteCauseRow.cause == Cause.WRONG_FACT,
            VoteCauseRow.settled_by.is_(None),
        ),
    }
    return rows.where(about[query.kind].exists()) if query.kind in about else rows


def _names(session: Session, personality_id: int) -> dict[int | None, str]:
    """Return the names of the personality's versions by their ids; None is the base."""
    return {None: BASE_NAME} | {version.id: version.name for version in list_versions(session, personality_id)}


def _listed(session: Session, reply: ReplyRow, names: Mapping[int | None, str]) -> ListedAnswer:
    return ListedAnswer(
        id=reply.id,
        created_at=reply.created_at,
        version=names[reply.version_id],
        origin=reply.origin,
        question=reply.messages[-1]["content"] if reply.messages else "",
        answer=reply.answer,
        votes=tally(votes_on(session, reply.id).values()),
    )


def read_answer(
    session: Session, personality_id: int, reply_id: int, channels: Channels | None = None
) -> AnswerDetails | None:
    """Return the answer with everything that is known of it; None if the personality has none of that id.

    With `channels`, only an answer there, without the system message: it holds notes that people wrote about themselves
    elsewhere.
    """
    wanted = select(ReplyRow).where(ReplyRow.id == reply_id, ReplyRow.personality_id == personality_id)
    reply = session.scalar(wanted if channels is None else wanted.where(in_channels(channels)))
    if reply is None:
        return None
    causes = select(VoteCauseRow.cause).where(VoteCauseRow.reply_id == reply_id)
    suggested = select(CorrectionRow.text).where(
        CorrectionRow.reply_id == reply_id, CorrectionRow.withdrawn_at.is_(None)
    )
    return AnswerDetails(
        listed=_listed(session, reply, _names(session, personality_id)),
        guild_id=reply.guild_id,
        channel_id=reply.channel_id,
        messages=[said for said in reply.messages if channels is None or said["role"] != SYSTEM],
        basis=reply.basis,
        causes=tuple(session.scalars(causes)),
        suggestions=tuple(session.scalars(suggested.order_by(CorrectionRow.id))),
        documents=tuple(titles_of(session, [passage["document_id"] for passage in reply.retrieved])),
        trace=trace_reply(session, reply_id),
    )
