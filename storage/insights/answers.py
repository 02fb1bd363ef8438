"""Answers: who may read which, the newest ones by people's feedback, and everything about one, with what it taught."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, time
from enum import StrEnum
from itertools import chain

from sqlalchemy import ColumnElement, Select, and_, or_, select, true
from sqlalchemy.orm import Session, aliased

from storage.conversations.replies import FINISHED_WHOLE, find_by_message, message_links
from storage.database.columns import parse_id
from storage.database.enums import ASKED, Basis, Cause, Origin, Outcome, RoundStatus
from storage.database.rows import from_row, unindexed
from storage.database.tables import (
    CorrectionRow,
    ReplyMessageRow,
    ReplyRow,
    RoundPairRow,
    RoundRow,
    VersionRow,
    VoteCauseRow,
    VoteEventRow,
)
from storage.knowledge.documents import titles_of
from storage.knowledge.gaps import UNSETTLED, is_gap
from storage.releases.versions import find_version, id_of, name_of, names_by_id, version_named
from storage.votes.votes import Tally, Vote, spellings, tally, votes_on

SYSTEM = "system"
AT_ONCE = 100
"""Answers whose votes are read together in the search for disliked ones."""
RECENT = 2_000
MOST_CHANNELS = 200
Channels = Mapping[int, Collection[int]]
"""IDs of channels and threads, by server."""
_OTHER = aliased(ReplyRow)
"""Alias for the ids of answers within a query of answers."""


class AnswerKind(StrEnum):
    TALK = "talk"
    """All but those that people drew to judge them."""
    ALL = "all"
    DISLIKED = "disliked"
    """More people dislike it than like it."""
    SUGGESTED = "suggested"
    """Somebody suggested a better answer."""
    WRONG_FACT = "wrong fact"
    """Somebody reported a wrong fact, and nobody has settled it yet."""


@dataclass(frozen=True)
class AnswerQuery:
    kind: AnswerKind = AnswerKind.ALL
    version: str = ""
    """A version such as v3, or base; empty for all."""
    text: str = ""
    """Part of the answer; empty for all."""
    cause: Cause | None = None
    """The reported problem with it; None for all."""
    channel_id: int | None = None
    """NOBODY for answers that were given in the console."""
    since: date | None = None
    until: date | None = None
    """`since` and `until` are the first and the last day, in UTC."""
    channels: Channels | None = None
    """The channels whose answers may be seen; None for all answers, including those outside servers."""
    before_id: int | None = None


@dataclass(frozen=True)
class ListedAnswer:
    id: int
    created_at: datetime
    version: str
    origin: Origin
    guild_id: int | None
    channel_id: int
    """The channel's ID; NOBODY for an answer given in the console."""
    question: str
    """The last message of its prompt."""
    answer: str
    votes: Tally
    link: str | None = None


@dataclass(frozen=True)
class TracedRound:
    """A round that was trained on the reply, and the version that it made."""

    id: int
    status: RoundStatus
    version: str | None


@dataclass(frozen=True)
class TracedReply:
    id: int
    request_id: str | None
    created_at: datetime
    version: str
    outcome: Outcome
    total_s: float | None
    channel_id: int
    source_message_id: int | None
    message_ids: tuple[int, ...]
    votes: dict[str, int]
    """Number of current votes by kind."""
    rounds: tuple[TracedRound, ...]


@dataclass(frozen=True)
class AnswerDetails:
    listed: ListedAnswer
    messages: list[dict[str, str]]
    """The prompt, as chat messages."""
    basis: Basis | None
    causes: tuple[Cause, ...]
    suggestions: tuple[str, ...]
    documents: tuple[tuple[str, str], ...]
    """(title, link) of the documents that the prompt quotes."""
    is_gap: bool
    """True if somebody reported a wrong fact that nobody has settled yet."""
    trace: TracedReply


def in_server(guild_id: int) -> ColumnElement[bool]:
    """Select answers in the server, and those given outside Discord; no direct messages, and no talks."""
    is_outside = and_(ReplyRow.basis == Basis.LOCAL, ReplyRow.origin != Origin.PLAYGROUND)
    return or_(ReplyRow.guild_id == guild_id, is_outside)


def in_talks_of(user_id: int) -> ColumnElement[bool]:
    """Select answers in the person's own talks in the playground."""
    return and_(ReplyRow.origin == Origin.PLAYGROUND, ReplyRow.author_id == user_id)


def in_channels(channels: Channels, *, is_one_chosen: bool = False) -> ColumnElement[bool]:
    """Select answers in these channels; `is_one_chosen` means that the query selects one channel's answers anyway."""
    # The index of one channel, or of one server, has its newest answers first. With the index of several servers, all
    # their answers would be sorted.
    match list(channels):
        case [only] if not is_one_chosen:
            in_servers = ReplyRow.guild_id == only
        case servers:
            in_servers = unindexed(ReplyRow.guild_id).in_(servers)
    return and_(in_servers, unindexed(ReplyRow.channel_id).in_(list(chain.from_iterable(channels.values()))))


def list_answers(session: Session, personality_id: int, query: AnswerQuery, limit: int) -> list[ListedAnswer]:
    """Return the newest answers that the query selects, without unseen ones; raises VersionNotFound."""
    rows, names = _select(session, personality_id, query), names_by_id(session, personality_id)
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
    return _linked(session, found)


def _linked(session: Session, found: Sequence[ListedAnswer]) -> list[ListedAnswer]:
    links = message_links(session, select(ReplyRow.id).where(ReplyRow.id.in_([one.id for one in found])))
    return [replace(one, link=links.get(one.id)) for one in found]


def _select(session: Session, personality_id: int, query: AnswerQuery) -> Select[ReplyRow]:
    hidden = (Origin.SAMPLE, *ASKED) if query.kind is AnswerKind.TALK else (Origin.SAMPLE,)
    rows = (
        select(ReplyRow)
        .where(
            unindexed(ReplyRow.personality_id) == personality_id,
            ReplyRow.origin.not_in(hidden),
            ReplyRow.outcome.in_(FINISHED_WHOLE),
        )
        .order_by(ReplyRow.id.desc())
        .limit(AT_ONCE)
    )
    if query.version:
        version = version_named(session, personality_id, query.version)
        rows = rows.where(ReplyRow.version_id.is_not_distinct_from(id_of(version)))
    if query.text:
        rows = rows.where(ReplyRow.answer.icontains(query.text, autoescape=True))
    if query.channel_id is not None:
        rows = rows.where(ReplyRow.channel_id == query.channel_id)
    if query.channels is not None:
        rows = rows.where(in_channels(query.channels, is_one_chosen=query.channel_id is not None))
    return rows.where(*_said_about(session, query), *_within(query))


def _said_about(session: Session, query: AnswerQuery) -> Iterator[ColumnElement[bool]]:
    """Yield the conditions for people's feedback on the answer."""
    if query.kind is AnswerKind.DISLIKED:
        # Not a list of all: there are far more thumbs than causes and suggestions.
        thumbs = select(VoteEventRow.id).where(
            VoteEventRow.reply_id == ReplyRow.id, VoteEventRow.emoji.in_(spellings(session, Vote.DOWN))
        )
        yield thumbs.exists()
    if query.kind is AnswerKind.SUGGESTED:
        yield ReplyRow.id.in_(select(CorrectionRow.reply_id).where(CorrectionRow.withdrawn_at.is_(None)))
    if query.kind is AnswerKind.WRONG_FACT:
        yield ReplyRow.id.in_(select(VoteCauseRow.reply_id).where(*UNSETTLED))
    if query.cause is not None:
        yield ReplyRow.id.in_(select(VoteCauseRow.reply_id).where(VoteCauseRow.cause == query.cause))


def _within(query: AnswerQuery) -> Iterator[ColumnElement[bool]]:
    """Yield the conditions for the days: ids grow with time, so the first and the last one bound the search."""
    at = unindexed(ReplyRow.created_at)
    if query.since is not None:
        start = datetime.combine(query.since, time.min, UTC)
        first = select(_OTHER.id).where(_OTHER.created_at >= start).order_by(_OTHER.created_at, _OTHER.id).limit(1)
        yield from (ReplyRow.id >= first.scalar_subquery(), at >= start)
    if query.until is not None:
        end = datetime.combine(query.until, time.max, UTC)
        newest_first = _OTHER.created_at.desc(), _OTHER.id.desc()
        last = select(_OTHER.id).where(_OTHER.created_at <= end).order_by(*newest_first).limit(1)
        yield from (ReplyRow.id <= last.scalar_subquery(), at <= end)


def _listed(session: Session, reply: ReplyRow, names: Mapping[int | None, str]) -> ListedAnswer:
    return ListedAnswer(
        id=reply.id,
        created_at=reply.created_at,
        version=names[reply.version_id],
        origin=reply.origin,
        guild_id=reply.guild_id,
        channel_id=reply.channel_id,
        question=reply.messages[-1]["content"] if reply.messages else "",
        answer=reply.answer,
        votes=tally(votes_on(session, reply.id).values()),
    )


def recent_channels(
    session: Session, channels: Channels | None = None, *, searched: int = RECENT, most: int = MOST_CHANNELS
) -> list[tuple[int, int]]:
    """Return (server, channel) of the channels with the most recent answers, only of `channels` if given.

    `searched` is the number of the newest answers, of one server or of all, that are looked at.
    """
    # Servers are read one after the other: the index of one server has its newest answers first.
    in_each = [true()] if channels is None else [in_channels({server: ids}) for server, ids in channels.items()]
    newest = select(ReplyRow.id, ReplyRow.guild_id, ReplyRow.channel_id).order_by(ReplyRow.id.desc()).limit(searched)
    last_used: dict[tuple[int, int], int] = {}
    for seen in in_each:
        for reply_id, guild_id, channel_id in session.execute(newest.where(seen)):
            if guild_id is not None:
                last_used.setdefault((guild_id, channel_id), reply_id)
    return sorted(last_used, key=last_used.__getitem__, reverse=True)[:most]


def read_answer(
    session: Session, personality_id: int, reply_id: int, may_be_seen: ColumnElement[bool] | None = None
) -> AnswerDetails | None:
    """Return all that is known of an answer; None if the personality has no answer of that id.

    With `may_be_seen`, only an answer that it selects, and without the system message, which holds notes that people
    wrote about themselves elsewhere.
    """
    wanted = select(ReplyRow).where(ReplyRow.id == reply_id, ReplyRow.personality_id == personality_id)
    reply = session.scalar(wanted if may_be_seen is None else wanted.where(may_be_seen))
    if reply is None:
        return None
    causes = select(VoteCauseRow.cause).where(VoteCauseRow.reply_id == reply_id)
    suggested = select(CorrectionRow.text).where(
        CorrectionRow.reply_id == reply_id, CorrectionRow.withdrawn_at.is_(None)
    )
    (listed,) = _linked(session, [_listed(session, reply, names_by_id(session, personality_id))])
    return AnswerDetails(
        listed=listed,
        messages=[said for said in reply.messages if may_be_seen is None or said["role"] != SYSTEM],
        basis=reply.basis,
        causes=tuple(session.scalars(causes)),
        suggestions=tuple(session.scalars(suggested.order_by(CorrectionRow.id))),
        documents=tuple(titles_of(session, [passage["document_id"] for passage in reply.retrieved])),
        is_gap=is_gap(session, reply_id),
        trace=_traced(session, reply),
    )


def trace(session: Session, id_: str) -> list[TracedReply]:
    """Return the replies of a request, given its id or the id of a Discord message with one of them."""
    rows = session.scalars(select(ReplyRow).where(ReplyRow.request_id == id_).order_by(ReplyRow.id)).all()
    message_id = parse_id(id_)
    if not rows and message_id is not None and (carried := find_by_message(session, message_id)):
        rows = [session.get_one(ReplyRow, carried.id)]
    return [_traced(session, row) for row in rows]


def _traced(session: Session, row: ReplyRow) -> TracedReply:
    messages = session.scalars(
        select(ReplyMessageRow.message_id).where(ReplyMessageRow.reply_id == row.id).order_by(ReplyMessageRow.position)
    )
    votes = Counter(map(str, votes_on(session, row.id).values()))
    return from_row(
        TracedReply,
        row,
        version=name_of(find_version(session, row.version_id)),
        message_ids=tuple(messages),
        votes=dict(sorted(votes.items())),
        rounds=tuple(_rounds(session, row.id)),
    )


def _rounds(session: Session, reply_id: int) -> list[TracedRound]:
    ids = select(RoundPairRow.round_id).where(
        or_(RoundPairRow.chosen_reply_id == reply_id, RoundPairRow.rejected_reply_id == reply_id)
    )
    rounds = session.execute(
        select(RoundRow.id, RoundRow.status, VersionRow.number)
        .outerjoin(VersionRow, VersionRow.round_id == RoundRow.id)
        .where(RoundRow.id.in_(ids))
        .order_by(RoundRow.id)
    )
    return [TracedRound(id_, status, f"v{number}" if number else None) for id_, status, number in rounds]
