"""Rows with dates of their own: votes and rounds of days long gone."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy.orm import Session

from storage.database.enums import PairSource, QuarantineRule, RoundStatus, Split
from storage.database.tables import (
    ArenaAnswerRow,
    ArenaRow,
    QuarantinedVoteRow,
    QuarantineRow,
    RoundPairRow,
    RoundRow,
    RoundVoterRow,
    VoteEventRow,
)
from storage.releases.bases import base_in_use
from storage.releases.promotion import promote, roll_back
from storage.releases.versions import NewVersion, Version, id_of, read_alias, register
from storage.votes.votes import Vote
from tests.seeding import BASE_REVISION, EMOJI, message_of, pseudonyms_of

START = datetime(2026, 10, 1, 12, tzinfo=UTC)


def day(number: float) -> datetime:
    return START + timedelta(days=number)


def thumb_on(session: Session, when: float, reply_id: int, user_id: int, value: Vote, *, added: bool = True) -> None:
    """Let a user set a thumb, or take it away, on a day."""
    session.add(
        VoteEventRow(
            reply_id=reply_id,
            message_id=message_of(reply_id),
            user_id=user_id,
            emoji=EMOJI[value],
            burst=False,
            added=added,
            created_at=day(when),
        )
    )
    session.flush()


def pair(chosen: int | None, rejected: int | None, **columns: Any) -> dict[str, Any]:
    line = {"source": PairSource.SIBLINGS, "split": Split.TRAIN, "weight": 0.5}
    return line | {"chosen_reply_id": chosen, "rejected_reply_id": rejected} | columns


def add_round(
    session: Session,
    when: float,
    pairs: Sequence[dict[str, Any]] = (),
    *,
    personality_id: int = 1,
    status: RoundStatus = RoundStatus.PUBLISHED,
    voters: dict[int, tuple[float, float]] | None = None,
    **columns: Any,
) -> int:
    """Add a round that began on a day and took an hour; `voters` are {user: (share, influence)}."""
    row = RoundRow(
        personality_id=personality_id,
        status=status,
        requested_by="grace (7)",
        requested_at=day(when),
        started_at=day(when),
        finished_at=None if status is RoundStatus.RUNNING else day(when + 1 / 24),
        manifest_digest="0" * 64,
        **columns,
    )
    session.add(row)
    session.flush()
    session.add_all(RoundPairRow(round_id=row.id, position=i, **line) for i, line in enumerate(pairs))
    for user_id, (share, influence) in (voters or {}).items():
        (pseudonym,) = pseudonyms_of(session, user_id)
        session.add(RoundVoterRow(round_id=row.id, pseudonym=pseudonym, share=share, influence=influence))
    session.flush()
    return row.id


def add_version(
    session: Session,
    round_id: int | None = None,
    parent: Version | None = None,
    *,
    personality_id: int = 1,
    **more: Any,
) -> Version:
    """Add a version of the base in use, without files; `more` says what is different."""
    used = base_in_use(session)
    new: dict[str, Any] = {
        "digest": "d" * 64,
        "base_name": "tiny",
        "base_revision": used.revision if used else BASE_REVISION,
        "parent_id": id_of(parent),
        "round_id": round_id,
        "metrics": {},
    }
    return register(session, personality_id, NewVersion(**new | more))


def lead(
    session: Session, *versions: Version | None, by: str = "grace", reason: str = "", override: bool = False
) -> None:
    """Make versions the champion of the first personality, one after the other; None is the base."""
    for version in versions:
        generation = read_alias(session, 1).generation
        promote(session, 1, version, expected_generation=generation, by=by, reason=reason, override=override)


def go_back(session: Session, *, by: str = "grace", reason: str = "worse") -> str:
    """Roll the first personality back, and return the name of what answers then."""
    generation = read_alias(session, 1).generation
    return roll_back(session, 1, expected_generation=generation, by=by, reason=reason).target


def add_arena(session: Session, replies: Sequence[int], **columns: Any) -> int:
    """Add an arena with these answers, in order; `columns` says what is different."""
    usual = {"personality_id": 1, "channel_id": 1, "prompt": "?", "started_by": "me", "closes_at": day(9)}
    row = ArenaRow(**usual | columns)
    session.add(row)
    session.flush()
    session.add_all(ArenaAnswerRow(arena_id=row.id, position=i, reply_id=id_) for i, id_ in enumerate(replies, 1))
    session.flush()
    return row.id


def quarantine(
    session: Session,
    opened: float,
    votes: Collection[tuple[int, int]],
    *,
    decided: float | None = None,
    **columns: Any,
) -> int:
    """Hold back the votes of (reply, user) from a day on, and return the quarantine's id."""
    usual = {"personality_id": 1, "rule": QuarantineRule.REPLY, "subject_id": 1, "vote": Vote.UP}
    times = {"first_vote_at": day(0), "last_vote_at": day(0), "opened_at": day(opened)}
    row = QuarantineRow(**usual | times | columns, decided_at=None if decided is None else day(decided))
    session.add(row)
    session.flush()
    session.add_all(QuarantinedVoteRow(quarantine_id=row.id, reply_id=reply, user_id=user) for reply, user in votes)
    session.flush()
    return row.id
