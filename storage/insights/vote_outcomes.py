"""A member's votes: their use in rounds, and the versions that they led to."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from math import prod
from typing import Any

from sqlalchemy import ColumnElement, Select, func, or_, select
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
    QuarantinePeriods,
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


def read_uses(
    session: Session,
    user_id: int,
    personality_id: int,
    histories: Mapping[tuple[int, int], VoteHistory],
    quarantines: QuarantinePeriods,
) -> dict[int, list[VoteUse]]:
    """Return {reply id: uses} of the votes that counted when a round began, newest round first."""
    voted = select(tables.VoteEventRow.reply_id).where(tables.VoteEventRow.user_id == user_id)
    rows = session.execute(
        select(tables.RoundPairRow, tables.RoundRow)
        .join(tables.RoundRow, tables.RoundRow.id == tables.RoundPairRow.round_id)
        .where(
            tables.RoundRow.personality_id == personality_id,
            or_(tables.RoundPairRow.chosen_reply_id.in_(voted), tables.RoundPairRow.rejected_reply_id.in_(voted)),
        )
        .order_by(tables.RoundRow.id.desc(), tables.RoundPairRow.position)
    ).all()
    results = _Results(session, personality_id)
    uses: dict[int, list[VoteUse]] = defaultdict(list)
    for pair, round_ in rows:
        for role, reply_id in ((PairRole.CHOSEN, pair.chosen_reply_id), (PairRole.REJECTED, pair.rejected_reply_id)):
            if reply_id is None or (reply_id, user_id) not in histories:
                continue
            history, held = histories[reply_id, user_id], quarantines.get((reply_id, user_id), ())
            if (vote := counted_in(round_, history, held)) is not None:
                uses[reply_id].append(results.use(pair, round_, role, vote))
    ranked = session.execute(_first_ranked_pairs(personality_id)).all()
    for key, history in histories.items():
        reply_id, held = key[0], quarantines.get(key, ())
        named = {use.round_id for use in uses[reply_id]}
        for pair, round_ in ranked:
            vote = counted_in(round_, history, held)
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

    WITHDRAWN = "withdrawn"
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
    """Name of the personality that answered."""
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
    outcomes: list[VoteOutcome] = []
    for whose in [personality] if personality else list_personalities(session, archived=None):
        outcomes += _outcomes(session, user_id, whose, which, settings=settings, base_revision=base_revision)
    return sorted(outcomes, key=lambda outcome: (outcome.voted_at, outcome.reply_id), reverse=True)


def _outcomes(
    session: Session,
    user_id: int,
    personality: Personality,
    which: Sequence[ColumnElement[bool]],
    *,
    settings: Settings,
    base_revision: str,
) -> list[VoteOutcome]:
    """Return the outcomes of the votes that `which` selects, on the personality's answers."""
    voted = select(tables.VoteEventRow.reply_id).where(*which)
    replies = session.execute(
        select(tables.ReplyRow.id, tables.ReplyRow.answer, tables.ReplyRow.guild_id, tables.ReplyRow.basis).where(
            tables.ReplyRow.id.in_(voted), tables.ReplyRow.personality_id == personality.id
        )
    ).all()
    histories = read_histories(session, *which)
    obstacles = _obstacles(session, voted, settings.privacy, base_revision)
    links = message_links(session, voted)
    quarantines = read_quarantine_periods(session, tables.QuarantinedVoteRow.user_id == user_id)
    uses = read_uses(session, user_id, personality.id, histories, quarantines)
    weights, factual = VoteWeights(session, settings.votes), wrong_facts(session, personality.id)
    silenced = _why_silent(session, user_id, settings.privacy)
    arenas = set(
        session.scalars(select(tables.ArenaAnswerRow.reply_id).where(tables.ArenaAnswerRow.reply_id.in_(voted)))
    )
    known = vote_emoji_of(session)
    outcomes: list[VoteOutcome] = []
    for reply_id, answer, guild_id, basis in replies:
        history, quarantined = histories[reply_id, user_id], quarantines.get((reply_id, user_id), [])
        weight = prod(weights.weights(home_of(guild_id, basis), user_id, history.last_set_at))
        used, obstacle = uses.get(reply_id, []) if weight else [], obstacles.get(reply_id)
        is_down = history.now is Vote.DOWN
        is_factual = is_down and (reply_id, user_id) in factual
        taste = _taste_use(
            is_void=history.now is None or not weight or _quarantine_status(quarantined) is not None,
            silenced=silenced,
            is_factual=is_factual,
            is_no_pick=is_down and reply_id in arenas,
        )
        if taste is not TasteUse.COUNTS:
            used = [use for use in used if use.role is not PairRole.RANKING]
        outcomes.append(
            VoteOutcome(
                reply_id=reply_id,
                answer=answer,
                link=links.get(reply_id),
                vote=history.now,
                voted_at=history.since,
                weight=weight,
                status=_status_of(history.now, weight, quarantined, used, obstacle=obstacle, taste=taste),
                obstacle=obstacle,
                uses=tuple(used),
                personality=personality.name,
                taste=taste,
                emoji=known.written(known.strongest(history.emoji)) if history.now else None,
            )
        )
    return outcomes


def _why_silent(session: Session, user_id: int, privacy: PrivacySettings) -> TasteUse | None:
    """Return why the taste does not use this member's votes; None if it does."""
    if not privacy.learn_from_reactions:
        return TasteUse.SWITCHED_OFF
    return TasteUse.OPTED_OUT if session.get(tables.OptOutRow, user_id) else None


def _taste_use(*, is_void: bool, silenced: TasteUse | None, is_factual: bool, is_no_pick: bool) -> TasteUse:
    if is_void:
        return TasteUse.VOID
    if silenced:
        return silenced
    return TasteUse.WRONG_FACT if is_factual else TasteUse.NO_PICK if is_no_pick else TasteUse.COUNTS


def _status_of(
    vote: Vote | None,
    weight: float,
    quarantined: Collection[QuarantinePeriod],
    uses: Collection[VoteUse],
    *,
    obstacle: Obstacle | None,
    taste: TasteUse,
) -> VoteStatus:
    if vote is None:
        return VoteStatus.WITHDRAWN
    if not weight:
        return VoteStatus.WEIGHTLESS
    return _quarantine_status(quarantined) or _use_status(uses) or _waiting_status(obstacle, taste)


def _waiting_status(obstacle: Obstacle | None, taste: TasteUse) -> VoteStatus:
    """Return the status of a vote that no round has used: in the taste it ranks the next round's answers."""
    if taste is TasteUse.WRONG_FACT:
        return VoteStatus.ABOUT_FACTS
    return VoteStatus.NOT_TRAINABLE if obstacle and taste is not TasteUse.COUNTS else VoteStatus.WAITING


def _quarantine_status(quarantined: Collection[QuarantinePeriod]) -> VoteStatus | None:
    statuses = {one.status for one in quarantined}
    if QuarantineStatus.OPEN in statuses:
        return VoteStatus.QUARANTINED
    return VoteStatus.EXCLUDED if QuarantineStatus.EXCLUDED in statuses else None


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
