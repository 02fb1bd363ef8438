"""The history of votes: how a member voted on a reply at some moment, and whether the vote counted."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise

from sqlalchemy import ColumnElement, select
from sqlalchemy.orm import Session

from storage.database.enums import QuarantineStatus
from storage.database.tables import QuarantinedVoteRow, QuarantineRow, RoundRow, VoteEventRow
from storage.votes.votes import Vote, thumb


@dataclass(frozen=True)
class ThumbEvent:
    """A thumb that was added or removed; message, emoji and burst identify a member's reaction."""

    message_id: int
    emoji: str
    burst: bool
    added: bool
    created_at: datetime


@dataclass(frozen=True)
class VoteHistory:
    """All events of one member's thumbs under one reply, in the order of arrival."""

    events: tuple[ThumbEvent, ...]

    @property
    def now(self) -> Vote | None:
        return self._turns()[-1][1] if self.events else None

    @property
    def since(self) -> datetime:
        """The moment since which the vote is what it is now."""
        turns = self._turns()
        since = turns[0][0]
        for (_, before), (moment, said) in pairwise(turns):
            if said is not before:
                since = moment
        return since

    @property
    def last_set_at(self) -> datetime:
        """When the member last added a thumb, which is the moment that decides about the vote's weight."""
        return max(event.created_at for event in self.events if event.added)

    def before(self, moment: datetime) -> Vote | None:
        """Return the vote just before `moment`."""
        earlier = VoteHistory(tuple(event for event in self.events if event.created_at < moment))
        return earlier.now

    def _turns(self) -> list[tuple[datetime, Vote | None]]:
        """Return the vote after each event; both thumbs together are no vote."""
        thumbs: set[tuple[int, str, bool]] = set()
        turns = []
        for event in self.events:
            identity = (event.message_id, event.emoji, event.burst)
            (thumbs.add if event.added else thumbs.discard)(identity)
            said = {vote for _, emoji, _ in thumbs if (vote := thumb(emoji))}
            turns.append((event.created_at, said.pop() if len(said) == 1 else None))
        return turns


@dataclass(frozen=True)
class QuarantinePeriod:
    """A quarantine of a vote, current or past."""

    status: QuarantineStatus
    opened_at: datetime
    decided_at: datetime | None

    def covers(self, round_: RoundRow) -> bool:
        """Return whether it kept the vote out of the round; a round may open the quarantine itself."""
        opened_in_time = round_.finished_at is None or self.opened_at <= round_.finished_at
        counts_since = self.decided_at if self.status is QuarantineStatus.COUNTED else None
        return opened_in_time and (counts_since is None or counts_since > beginning(round_))


QuarantinePeriods = Mapping[tuple[int, int], list[QuarantinePeriod]]
"""By reply and user."""


def beginning(round_: RoundRow) -> datetime:
    return round_.started_at or round_.requested_at


def read_histories(session: Session, *which: ColumnElement[bool]) -> dict[tuple[int, int], VoteHistory]:
    """Return {(reply id, user id): history} of the vote events that `which` selects."""
    rows = session.execute(
        select(
            VoteEventRow.reply_id,
            VoteEventRow.user_id,
            VoteEventRow.message_id,
            VoteEventRow.emoji,
            VoteEventRow.burst,
            VoteEventRow.added,
            VoteEventRow.created_at,
        )
        .where(*which)
        .order_by(VoteEventRow.id)
    )
    events: dict[tuple[int, int], list[ThumbEvent]] = defaultdict(list)
    for reply_id, user_id, message_id, emoji, burst, added, created_at in rows:
        events[reply_id, user_id].append(ThumbEvent(message_id, emoji, burst, added, created_at))
    return {whose: VoteHistory(tuple(of_one)) for whose, of_one in events.items()}


def read_quarantine_periods(session: Session, *which: ColumnElement[bool]) -> QuarantinePeriods:
    """Return the quarantines of the quarantined votes that `which` selects."""
    rows = session.execute(
        select(
            QuarantinedVoteRow.reply_id,
            QuarantinedVoteRow.user_id,
            QuarantineRow.status,
            QuarantineRow.opened_at,
            QuarantineRow.decided_at,
        )
        .join(QuarantineRow, QuarantineRow.id == QuarantinedVoteRow.quarantine_id)
        .where(*which)
    )
    holds: dict[tuple[int, int], list[QuarantinePeriod]] = defaultdict(list)
    for reply_id, user_id, status, opened_at, decided_at in rows:
        holds[reply_id, user_id].append(QuarantinePeriod(status, opened_at, decided_at))
    return holds
