"""How rounds used a member's votes, and the versions that they led to."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum

from sqlalchemy import or_, select
from sqlalchemy.orm import Session

from storage.database.enums import GateVerdict, PairSource, RoundStatus, Split
from storage.database.tables import RoundPairRow, RoundRow, RoundVoterRow, VersionRow, VoteEventRow
from storage.members.pseudonyms import read_pseudonyms
from storage.releases.versions import id_of, line_of_parents, name_of, read_alias
from storage.votes.history import QuarantinePeriods, VoteHistory, beginning
from storage.votes.votes import Vote


class PairRole(StrEnum):
    CHOSEN = "chosen"
    REJECTED = "rejected"


@dataclass(frozen=True)
class VoteUse:
    """A round that used the answer in a pair while the vote counted."""

    round_id: int
    status: RoundStatus
    role: PairRole
    source: PairSource
    split: Split
    vote: Vote
    """The vote at that time."""
    share: float | None
    """The member's share of the round; None if it was too small to record."""
    version: str | None
    verdict: GateVerdict | None
    champion: str | None
    """The current champion, if it is that version or a descendant of it."""


def read_uses(
    session: Session,
    user_id: int,
    personality_id: int,
    histories: Mapping[tuple[int, int], VoteHistory],
    holds: QuarantinePeriods,
) -> dict[int, list[VoteUse]]:
    """Return {reply id: uses} of the votes that counted when a round began, newest round first."""
    voted = select(VoteEventRow.reply_id).where(VoteEventRow.user_id == user_id)
    rows = session.execute(
        select(RoundPairRow, RoundRow)
        .join(RoundRow, RoundRow.id == RoundPairRow.round_id)
        .where(
            RoundRow.personality_id == personality_id,
            or_(RoundPairRow.chosen_reply_id.in_(voted), RoundPairRow.rejected_reply_id.in_(voted)),
        )
        .order_by(RoundRow.id.desc(), RoundPairRow.position)
    ).all()
    results = _Results(session, user_id, personality_id)
    uses: dict[int, list[VoteUse]] = defaultdict(list)
    for pair, round_ in rows:
        for role, reply_id in ((PairRole.CHOSEN, pair.chosen_reply_id), (PairRole.REJECTED, pair.rejected_reply_id)):
            if reply_id is None or (reply_id, user_id) not in histories:
                continue
            vote = histories[reply_id, user_id].before(beginning(round_))
            held = any(hold.covers(round_) for hold in holds.get((reply_id, user_id), ()))
            if vote is not None and not held:
                uses[reply_id].append(results.use(pair, round_, role, vote))
    return {reply_id: _once(of_reply) for reply_id, of_reply in uses.items()}


def _once(uses: Iterable[VoteUse]) -> list[VoteUse]:
    """Return one use per round, role and split: a liked answer can be in several pairs of a round."""
    return list({(use.round_id, use.role, use.split): use for use in reversed(tuple(uses))}.values())[::-1]


class _Results:
    """The versions that rounds made, and one member's share of each round."""

    def __init__(self, session: Session, user_id: int, personality_id: int) -> None:
        self._made = {
            row.round_id: row
            for row in session.scalars(select(VersionRow).where(VersionRow.personality_id == personality_id))
        }
        champion = read_alias(session, personality_id).version
        self._champion = name_of(champion)
        self._in_champion = {v.id for v in line_of_parents(session, id_of(champion))}
        whose = RoundVoterRow.pseudonym == read_pseudonyms(session).of(user_id)
        shares = select(RoundVoterRow.round_id, RoundVoterRow.share).where(whose)
        self._shares = {row.round_id: row.share for row in session.execute(shares)}

    def use(self, pair: RoundPairRow, round_: RoundRow, role: PairRole, vote: Vote) -> VoteUse:
        made = self._made.get(round_.id)
        return VoteUse(
            round_id=round_.id,
            status=round_.status,
            role=role,
            source=pair.source,
            split=pair.split,
            vote=vote,
            share=self._shares.get(round_.id),
            version=f"v{made.number}" if made else None,
            verdict=made.verdict if made else None,
            champion=self._champion if made and made.id in self._in_champion else None,
        )
