"""The data of the report: approval by version, votes by day, members' taste, pairs by source, and the last round."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from math import isfinite
from typing import Any, TypeVar

from sqlalchemy import func, select, tuple_
from sqlalchemy.orm import Session

from storage.database.enums import ASKED, Cause, GateVerdict, PairSource, Split
from storage.database.tables import ReplyRow, RoundPairRow, RoundRow, VoteEventRow
from storage.insights.taste_report import ShownEffect, shown_effects
from storage.releases.versions import id_of, list_versions, name_of, read_alias
from storage.settings.sections import Settings
from storage.statistics import wilson_interval
from storage.taste.learning import learn_taste
from storage.taste.likings import likings
from storage.training.rounds import GateCheck
from storage.votes.corrections import count_causes
from storage.votes.votes import NotOnVersion, Tally, Vote, read_version_votes
from storage.votes.weights import quarantined, read_histories

T = TypeVar("T")
DAYS = 30
ROUNDS_SHOWN = 10
ROUNDS_SEARCHED = 50
"""Newest rounds in which the last training curve and the last gate result are searched."""


@dataclass(frozen=True)
class VersionApproval:
    """The counted votes on one version's answers."""

    version: str
    votes: Tally
    is_champion: bool

    @property
    def share(self) -> float | None:
        return self.votes.up / self.votes.total if self.votes.total else None

    @property
    def interval(self) -> tuple[float, float]:
        return wilson_interval(self.votes.up, self.votes.total)


@dataclass(frozen=True)
class DayOfVotes:
    day: date
    """The day, in UTC."""
    votes: Tally


@dataclass(frozen=True)
class RoundPairs:
    round_id: int
    by_source: Mapping[PairSource, int]
    """Number of pairs that it trained on, by source."""
    validation: int = 0
    """Number of pairs that it kept to decide when to stop."""


@dataclass(frozen=True)
class Curve:
    round_id: int
    losses: tuple[float, ...]
    """The losses: one per step, or one per equal number of steps."""
    steps: int


@dataclass(frozen=True)
class GateResult:
    round_id: int
    verdict: GateVerdict
    checks: tuple[GateCheck, ...]


@dataclass(frozen=True)
class Report:
    """The data of all charts, oldest first; the base comes before all versions."""

    champion: str
    approvals: tuple[VersionApproval, ...]
    days: tuple[DayOfVotes, ...]
    rounds: tuple[RoundPairs, ...]
    curve: Curve | None
    gate: GateResult | None
    causes: dict[Cause, int] = field(default_factory=dict)
    """Number of 👎 by cause, most frequent first."""
    likings: tuple[ShownEffect, ...] = ()
    """Traits that members like, the surest first."""
    votes_given: int = 0
    votes_left_out: Mapping[NotOnVersion, int] = field(default_factory=dict)
    """Number of the given votes that are on no version's answers, by reason."""

    @property
    def has_votes(self) -> bool:
        return any(approval.votes.total for approval in self.approvals)

    @property
    def has_recent_votes(self) -> bool:
        return any(day.votes != Tally() for day in self.days)

    def approval_of(self, version: str) -> VersionApproval:
        return next(approval for approval in self.approvals if approval.version == version)


def read_report(session: Session, personality_id: int, now: datetime, settings: Settings) -> Report:
    """Return the report as of `now`; its last day is that of `now`."""
    taste = learn_taste(session, personality_id, settings)
    votes = read_version_votes(session, personality_id)
    champion = read_alias(session, personality_id).version
    versions = [None, *reversed(list_versions(session, personality_id))]
    return Report(
        champion=name_of(champion),
        approvals=tuple(
            VersionApproval(name_of(version), votes.on(id_of(version)), is_champion=version == champion)
            for version in versions
        ),
        days=votes_by_day(session, personality_id, now),
        rounds=pairs_by_round(session, personality_id),
        curve=_newest(session, personality_id, RoundRow.metrics, curve_of),
        gate=_newest(session, personality_id, RoundRow.gate, gate_of),
        causes=count_causes(session, personality_id),
        likings=shown_effects(taste, likings(taste)),
        votes_given=votes.given,
        votes_left_out=votes.left_out,
    )


def votes_by_day(session: Session, personality_id: int, now: datetime) -> tuple[DayOfVotes, ...]:
    """Return the votes by the UTC day on which they last changed, for every day, oldest first.

    Like the approval, they exclude arenas, sittings and quarantined votes.
    """
    today = now.astimezone(UTC).date()
    first = today - timedelta(days=DAYS - 1)
    # A vote can depend on an earlier thumb, so read the whole history of every vote that changed in this period.
    moved = (
        select(VoteEventRow.reply_id, VoteEventRow.user_id)
        .join(ReplyRow, ReplyRow.id == VoteEventRow.reply_id)
        .where(
            ReplyRow.personality_id == personality_id,
            ReplyRow.origin.not_in(ASKED),
            VoteEventRow.created_at >= datetime.combine(first, time(), UTC),
        )
    )
    histories = read_histories(session, tuple_(VoteEventRow.reply_id, VoteEventRow.user_id).in_(moved))
    held = quarantined(session, personality_id)
    cast = Counter((history.since.date(), history.now) for whose, history in histories.items() if whose not in held)
    every_day = [first + timedelta(days=i) for i in range(DAYS)]
    return tuple(DayOfVotes(day, Tally(cast[day, Vote.UP], cast[day, Vote.DOWN])) for day in every_day)


def pairs_by_round(session: Session, personality_id: int) -> tuple[RoundPairs, ...]:
    """Return the numbers of the newest rounds' pairs, oldest round first."""
    newest = (
        select(RoundRow.id)
        .where(RoundRow.personality_id == personality_id, RoundRow.manifest_digest.is_not(None))
        .order_by(RoundRow.id.desc())
        .limit(ROUNDS_SHOWN)
    )
    return pairs_of_rounds(session, session.scalars(newest).all())


def pairs_of_rounds(session: Session, round_ids: Collection[int]) -> tuple[RoundPairs, ...]:
    """Return the numbers of these rounds' pairs, oldest round first."""
    counts = session.execute(
        select(RoundPairRow.round_id, RoundPairRow.split, RoundPairRow.source, func.count())
        .where(RoundPairRow.round_id.in_(round_ids))
        .group_by(RoundPairRow.round_id, RoundPairRow.split, RoundPairRow.source)
    )
    by_round: dict[int, dict[Split, dict[PairSource, int]]] = defaultdict(lambda: {split: {} for split in Split})
    for round_id, split, source, number in counts:
        by_round[round_id][split][source] = number
    return tuple(
        RoundPairs(round_id, pairs[Split.TRAIN], sum(pairs[Split.VALIDATION].values()))
        for round_id, pairs in sorted(by_round.items())
    )


def curve_of(round_id: int, metrics: Mapping[str, Any]) -> Curve | None:
    """Return the losses in a round's metrics; None if it did not train."""
    losses = tuple(loss for loss in metrics.get("loss_curve") or () if loss is not None and isfinite(loss))
    return Curve(round_id, losses, metrics.get("steps") or len(losses)) if losses else None


def gate_of(round_id: int, gate: Mapping[str, Any]) -> GateResult | None:
    """Return the gate's result for a round; None if the gate was not asked."""
    if not gate.get("checks"):
        return None
    checks = (GateCheck(c["name"], GateVerdict(c["outcome"]), c["sentence"]) for c in gate["checks"])
    return GateResult(round_id, GateVerdict(gate["verdict"]), tuple(checks))


def _newest(
    session: Session, personality_id: int, column: Any, read: Callable[[int, Mapping[str, Any]], T | None]
) -> T | None:
    """Return what `read` finds in the column of the newest round that has it."""
    query = select(RoundRow.id, column).where(RoundRow.personality_id == personality_id)
    rows = session.execute(query.order_by(RoundRow.id.desc()).limit(ROUNDS_SEARCHED))
    return next(filter(None, (read(round_id, value) for round_id, value in rows)), None)
