"""What members did after the answers to them, as signs of what they like: thanks, going on, 🔁. It reads no word."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Sequence
from typing import Any, NamedTuple

from sqlalchemy import Select, exists, select
from sqlalchemy.orm import Session

from storage.conversations.replies import FINISHED_WHOLE
from storage.database.enums import NOBODY, SAID_IN_WORDS, Origin, WeakVote
from storage.database.tables import FollowUpRow, OptOutRow, ReplyRow, VoteEventRow
from storage.members import Pseudonym, read_pseudonyms
from storage.settings.sections import Settings
from storage.taste.voter_caps import cap_factors
from storage.votes.follow_ups import may_teach
from storage.votes.weights import weigh_by_account

NEWEST_WATCHED = 5_000
"""Older answers say little about today's members."""
MOST_PER_VOTE = 2.0
"""All weak votes together weigh at most this many times as much as the votes: each says less than a vote."""

Opinionated = tuple[int, Pseudonym]
"""Reply and voter."""


class WeakSign(NamedTuple):
    """Whether the asker of one answer did something after it."""

    reply_id: int
    voter: Pseudonym
    kind: WeakVote
    happened: bool
    weight: float


def read_weak_signs(
    session: Session, personality_id: int, settings: Settings, said: Collection[Opinionated], replaced: set[Opinionated]
) -> list[WeakSign]:
    """Return a sign of each kind in the settings for each answer that was watched for it, weighed by account.

    Left out are answers on which the asker ever voted, or said something else as clear (`said`): that replaces the
    sign. `replaced` are the answers that somebody asked to be replaced.
    """
    pseudonyms, signs = read_pseudonyms(session), list[WeakSign]()
    counting = [kind for kind in WeakVote if kind in settings.votes.weak]
    in_words = [kind for kind in counting if kind in SAID_IN_WORDS]
    others = [kind for kind in counting if kind not in SAID_IN_WORDS]
    for watched, kinds in ((_watched(personality_id, settings), in_words), (_asked(personality_id), others)):
        rows = session.execute(watched).all() if kinds else []
        for row, weight in weigh_by_account(session, settings.votes, rows):
            key = row.id, pseudonyms.of(row.user_id)
            done = {row.said, WeakVote.ASKED_AGAIN if key in replaced else None}
            if key not in said:
                signs += [WeakSign(*key, kind, kind in done, weight) for kind in kinds]
    return signs


def _asked(personality_id: int) -> Select[*tuple[Any, ...]]:
    """Select the newest answers to members who have not voted on them, those to an earlier question included."""
    has_voted = exists().where(VoteEventRow.reply_id == ReplyRow.id, VoteEventRow.user_id == ReplyRow.author_id)
    return (
        select(
            ReplyRow.id,
            ReplyRow.author_id.label("user_id"),
            ReplyRow.created_at,
            ReplyRow.guild_id,
            ReplyRow.basis,
            FollowUpRow.said,
        )
        .outerjoin(FollowUpRow, FollowUpRow.reply_id == ReplyRow.id)
        .where(
            ReplyRow.personality_id == personality_id,
            ReplyRow.origin == Origin.CHAT,
            ReplyRow.outcome.in_(FINISHED_WHOLE),
            ReplyRow.author_id != NOBODY,
            ReplyRow.author_id.not_in(select(OptOutRow.user_id)),
            ~has_voted,
        )
        .order_by(ReplyRow.id.desc())
        .limit(NEWEST_WATCHED)
    )


def _watched(personality_id: int, settings: Settings) -> Select[*tuple[Any, ...]]:
    """Select those of them whose asker's next words count, and what they said."""
    return _asked(personality_id).where(FollowUpRow.reply_id.is_not(None), may_teach(settings))


def capped(signs: Sequence[WeakSign], max_share: float, votes: float) -> tuple[WeakSign, ...]:
    """Return the signs with weights lowered to their caps; `votes` is the weight of all votes.

    What one member did weighs at most `max_share` of what all did, as votes do (see `cap_factors`). Then everything
    together weighs at most MOST_PER_VOTE times as much as the votes.
    """
    totals: dict[Pseudonym, float] = defaultdict(float)
    for sign in signs:
        totals[sign.voter] += sign.weight
    factors = cap_factors(totals, max_share)
    fair = [sign._replace(weight=sign.weight * factors.get(sign.voter, 1.0)) for sign in signs]
    done = sum(sign.weight for sign in fair if sign.happened)
    factor = min(1.0, MOST_PER_VOTE * votes / done) if done else 1.0
    return tuple(sign._replace(weight=sign.weight * factor) for sign in fair if factor > 0)
