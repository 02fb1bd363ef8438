"""A member's votes: their use in rounds, and the versions that they led to."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import Select, func, or_, select
from sqlalchemy.orm import Session

from storage.conversations.replies import message_links
from storage.database import tables
from storage.database.database import vote_emoji_of
from storage.database.enums import GateVerdict, PairSource, QuarantineStatus, RoundStatus, Split
from storage.members import home_of
from storage.personalities.personalities import Personality, list_personalities
from storage.releases.versions import id_of, line_of_parents, name_of, read_alias
from storage.settings.sections import PrivacySettings, Settings
from storage.training.rounds import TRAINED
from storage.training.trainable import Obstacle, obstacle_to
from storage.votes.corrections import wrong_facts
from storage.votes.votes import Vote
from storage.votes.weights import (
    QuarantinePeriod,
    VoteHistory,
    VoteWeights,
    counted_in,
    read_histories,
    read_quarantine_periods,
)


class PairRole(StrEnum):
    CHOSEN = "chosen"
    REJECTED = "rejected"
    RANKING = "ranking"
    """The answer is in no pair: its vote counts in the taste that ranked the answers of the round's pairs."""


@dataclass(frozen=True)
class VoteUse:
    """A round that used the vote: its answer is in a pair, or it counts in the taste that ranked answers for pairs."""

    round_id: int
    status: RoundStatus
    role: PairRole
    source: PairSource
    split: Split
    vote: Vote
    """The vote at that time."""
    version: str | None
    verdict: GateVerdict | None
    champion: str | None
    """The current champion, if it is that version or a descendant of it."""


def _read_uses(
    session: Session,
    personality_id: int,
    voted: Select[int],
    histories: Mapping[int, VoteHistory],
    quarantines: Mapping[int, Collection[QuarantinePeriod]],
) -> dict[int, list[VoteUse]]:
    """Return {reply id: uses} of a member's votes that counted when a round began, newest round first.

    `voted` selects the replies, also those of other personalities.
    """
    uses: dict[int, list[VoteUse]] = {reply_id: [] for reply_id in histories}
    pairs, rounds = tables.RoundPairRow, tables.RoundRow
    rows = session.execute(
        select(pairs, rounds)
        .join(rounds, rounds.id == pairs.round_id)
        .where(
            rounds.personality_id == personality_id,
            or_(pairs.chosen_reply_id.in_(voted), pairs.rejected_reply_id.in_(voted)),
        )
        .order_by(rounds.id.desc(), pairs.position)
    ).all()
    results = _Results(session, personality_id)
    for pair, round_ in rows:
        for role, reply_id in ((PairRole.CHOSEN, pair.chosen_reply_id), (PairRole.REJECTED, pair.rejected_reply_id)):
            if reply_id not in histories:
                continue
            vote = counted_in(round_, histories[reply_id], quarantines.get(reply_id, ()))
            if vote is not None:
                uses[reply_id].append(results.use(pair, round_, role, vote))
    ranked = session.execute(_first_ranked_pairs(personality_id)).all()
    for reply_id, history in histories.items():
        named = {use.round_id for use in uses[reply_id]}
        for pair, round_ in ranked:
            vote = counted_in(round_, history, quarantines.get(reply_id, ()))
            if vote is not None and round_.id not in named:
                uses[reply_id].append(results.use(pair, round_, PairRole.RANKING, vote))
    return {reply_id: _once(of_reply) for reply_id, of_reply in uses.items()}


def _first_ranked_pairs(personality_id: int) -> Select[tables.RoundPairRow, tables.RoundRow]:
    """Select the first pair that the taste ranked in each round that has one, newest round first."""
    pairs, rounds = tables.RoundPairRow, tables.RoundRow
    first = (
        select(pairs.round_id, func.min(pairs.position).label("position"))
        .where(pairs.source == PairSource.TASTE, pairs.split == Split.TRAIN)
        .group_by(pairs.round_id)
        .subquery()
    )
    return (
        select(pairs, rounds)
        .join(first, (first.c.round_id == pairs.round_id) & (first.c.position == pairs.position))
        .join(rounds, rounds.id == pairs.round_id)
        .where(rounds.personality_id == personality_id)
        .order_by(rounds.id.desc())
    )


def _once(uses: Iterable[VoteUse]) -> list[VoteUse]:
    """Return one use per round, role and split, newest round first: an answer can be in several pairs of a round."""
    once: dict[tuple[int, PairRole, Split], VoteUse] = {}
    for use in uses:
        once.setdefault((use.round_id, use.role, use.split), use)
    return sorted(once.values(), key=lambda use: -use.round_id)


class _Results:
    """The versions that rounds made."""

    def __init__(self, session: Session, personality_id: int) -> None:
        self._made = {
            row.round_id: row
            for row in session.scalars(
                select(tables.VersionRow).where(tables.VersionRow.personality_id == personality_id)
            )
        }
        champion = read_alias(session, personality_id).version
        self._champion = name_of(champion)
        self._in_champion = {v.id for v in line_of_parents(session, id_of(champion))}

    def use(self, pair: tables.RoundPairRow, round_: tables.RoundRow, role: PairRole, vote: Vote) -> VoteUse:
        made = self._made.get(round_.id)
        return VoteUse(
            round_id=round_.id,
            status=round_.status,
            role=role,
            source=pair.source,
            split=pair.split,
            vote=vote,
            version=f"v{made.number}" if made else None,
            verdict=made.verdict if made else None,
            champion=self._champion if made and made.id in self._in_champion else None,
        )


class VoteStatus(StrEnum):
    """The outcome of a vote, in a few words that members read."""

    WITHDRAWN = "taken back"
    WEIGHTLESS = "not counted"
    """The account or the membership was too new."""
    QUARANTINED = "on hold"
    EXCLUDED = "excluded"
    ABOUT_FACTS = "about a wrong fact"
    """A 👎 for a wrong fact asks for a document and is not trained on."""
    IN_TRAINING = "in training"
    TRAINED = "trained on"
    VALIDATED = "used to watch training"
    RANKED = "used to rank answers"
    NOT_TRAINABLE = "not used for training"
    WAITING = "waiting"


class TasteUse(StrEnum):
    """The use of a vote by the taste, or the reason why it is not used."""

    COUNTS = "counts"
    VOID = "void"
    """The vote counts nowhere, as its status says: withdrawn, too new, on hold or excluded."""
    WRONG_FACT = "wrong fact"
    NO_PICK = "no pick"
    """In an arena only the pick counts."""
    OPTED_OUT = "opted out"
    SWITCHED_OFF = "switched off"


@dataclass(frozen=True)
class VoteOutcome:
    """The outcome of a member's vote on one reply."""

    reply_id: int
    answer: str
    link: str | None
    vote: Vote | None
    """The vote; None if it was withdrawn."""
    voted_at: datetime
    """The time of the vote's last change."""
    weight: float
    """The vote's weight, from 0 for new accounts and members to 1."""
    status: VoteStatus
    obstacle: Obstacle | None
    uses: tuple[VoteUse, ...]
    """Rounds that used the vote, newest first."""
    personality: str
    taste: TasteUse
    emoji: str | None = None
    """The emoji that counts, as Discord shows it; None if the vote was withdrawn."""


def replies_on_message(session: Session, message_id: int) -> set[int]:
    """Return the ids of the replies in a Discord message: (part of) one answer, or an arena's answers."""
    arena = (
        select(tables.ArenaAnswerRow.reply_id)
        .join(tables.ArenaRow, tables.ArenaRow.id == tables.ArenaAnswerRow.arena_id)
        .where(tables.ArenaRow.message_id == message_id)
    )
    return set(
        session.scalars(
            select(tables.ReplyMessageRow.reply_id)
            .where(tables.ReplyMessageRow.message_id == message_id)
            .union_all(arena)
        )
    )


def vote_outcomes(
    session: Session,
    user_id: int,
    *,
    settings: Settings,
    base_revision: str,
    personality: Personality | None = None,
    reply_ids: Collection[int] | None = None,
) -> list[VoteOutcome]:
    """Return the outcomes of the member's votes on a personality's answers or on all, newest vote first.

    `reply_ids` limits them to these replies.
    """
    which = [tables.VoteEventRow.user_id == user_id]
    if reply_ids is not None:
        which.append(tables.VoteEventRow.reply_id.in_(reply_ids))
    voted = select(tables.VoteEventRow.reply_id).where(*which)
    histories = {reply_id: history for (reply_id, _), history in read_histories(session, *which).items()}
    held = read_quarantine_periods(session, tables.QuarantinedVoteRow.user_id == user_id)
    quarantines = {reply_id: periods for (reply_id, _), periods in held.items()}
    obstacles = _obstacles(session, voted, settings.privacy, base_revision)
    links, known = message_links(session, voted), vote_emoji_of(session)
    weights, silent = VoteWeights(session, settings.votes), _why_silent(session, user_id, settings.privacy)
    in_arenas = select(tables.ArenaAnswerRow.reply_id).where(tables.ArenaAnswerRow.reply_id.in_(voted))
    arenas = set(session.scalars(in_arenas))
    outcomes: list[VoteOutcome] = []
    for whose in [personality] if personality else list_personalities(session, archived=None):
        of_personality = select(
            tables.ReplyRow.id, tables.ReplyRow.answer, tables.ReplyRow.guild_id, tables.ReplyRow.basis
        ).where(tables.ReplyRow.id.in_(voted), tables.ReplyRow.personality_id == whose.id)
        replies = session.execute(of_personality).all()
        own = {reply.id: histories[reply.id] for reply in replies}
        uses, factual = _read_uses(session, whose.id, voted, own, quarantines), wrong_facts(session, whose.id)
        for reply_id, answer, guild_id, basis in replies:
            history, obstacle = histories[reply_id], obstacles.get(reply_id)
            weight = weights.weight(home_of(guild_id, basis), user_id, history.last_set_at)
            void = _void_status(history.now, weight, quarantines.get(reply_id, ()))
            taste = TasteUse.VOID if void else silent or TasteUse.COUNTS
            if taste is TasteUse.COUNTS and history.now is Vote.DOWN:
                is_factual, is_no_pick = (reply_id, user_id) in factual, reply_id in arenas
                taste = TasteUse.WRONG_FACT if is_factual else TasteUse.NO_PICK if is_no_pick else taste
            used = [
                use
                for use in (uses[reply_id] if weight else ())
                if use.role is not PairRole.RANKING or taste is TasteUse.COUNTS
            ]
            outcomes.append(
                VoteOutcome(
                    reply_id=reply_id,
                    answer=answer,
                    link=links.get(reply_id),
                    vote=history.now,
                    voted_at=history.since,
                    weight=weight,
                    status=void or _use_status(used) or _waiting_status(obstacle, taste),
                    obstacle=obstacle,
                    uses=tuple(used),
                    personality=whose.name,
                    taste=taste,
                    emoji=known.written(known.strongest(history.emoji)) if history.now else None,
                )
            )
    return sorted(outcomes, key=lambda outcome: (outcome.voted_at, outcome.reply_id), reverse=True)


def _why_silent(session: Session, user_id: int, privacy: PrivacySettings) -> TasteUse | None:
    """Return why the taste does not use this member's votes; None if it does."""
    if not privacy.learn_from_reactions:
        return TasteUse.SWITCHED_OFF
    return TasteUse.OPTED_OUT if session.get(tables.OptOutRow, user_id) else None


def _void_status(vote: Vote | None, weight: float, held: Collection[QuarantinePeriod]) -> VoteStatus | None:
    """Return why the vote counts nowhere; None if it counts."""
    if vote is None:
        return VoteStatus.WITHDRAWN
    if not weight:
        return VoteStatus.WEIGHTLESS
    statuses = {one.status for one in held}
    if QuarantineStatus.OPEN in statuses:
        return VoteStatus.QUARANTINED
    return VoteStatus.EXCLUDED if QuarantineStatus.EXCLUDED in statuses else None


def _waiting_status(obstacle: Obstacle | None, taste: TasteUse) -> VoteStatus:
    """Return the status of a vote that no round has used: in the taste it ranks the next round's answers."""
    if taste is TasteUse.WRONG_FACT:
        return VoteStatus.ABOUT_FACTS
    return VoteStatus.NOT_TRAINABLE if obstacle and taste is not TasteUse.COUNTS else VoteStatus.WAITING


def _use_status(uses: Collection[VoteUse]) -> VoteStatus | None:
    if any(use.status is RoundStatus.RUNNING for use in uses):
        return VoteStatus.IN_TRAINING
    done = [use for use in uses if use.status in TRAINED]
    splits = {use.split for use in done if use.role is not PairRole.RANKING}
    if Split.TRAIN in splits:
        return VoteStatus.TRAINED
    if splits:
        return VoteStatus.VALIDATED
    return VoteStatus.RANKED if done else None


def _obstacles(
    session: Session, replies: Select[Any], privacy: PrivacySettings, base_revision: str
) -> dict[int, Obstacle]:
    """Return {reply id: obstacle} of the replies that cannot be trained on now."""
    found = select(tables.ReplyRow.id, obstacle_to(privacy, base_revision)).where(tables.ReplyRow.id.in_(replies))
    return {reply_id: Obstacle(obstacle) for reply_id, obstacle in session.execute(found) if obstacle is not None}
