"""A personality's versions as `/model list` and `/model show` present them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import product

from sqlalchemy import select
from sqlalchemy.orm import Session

from storage.database.columns import utc_now
from storage.database.enums import CHALLENGER, LAST_GOOD
from storage.database.tables import VoteEventRow
from storage.operations.token_spend import Spend, spent_on
from storage.releases.canary_votes import Reading, read_canary
from storage.releases.versions import (
    Alias,
    AliasMove,
    Continuation,
    Version,
    continuation_of,
    failed_checks,
    find_version,
    id_of,
    list_versions,
    moves_of,
    read_alias,
    version_named,
)
from storage.runtime.processes import TRAINER, Heartbeat, live_processes
from storage.settings.sections import Settings
from storage.training.evidence import Evidence, count_evidence
from storage.training.rounds import Round, find_round, latest_round, read_line, running_rounds
from storage.training.trainable import trainable_corrections, trainable_replies
from storage.votes.votes import Tally, Vote, tally_by_version
from storage.votes.weights import WeightedVote, read_weighted_votes


@dataclass(frozen=True)
class VersionList:
    versions: list[Version]
    """Newest first."""
    champion: Alias
    challenger: Alias
    tallies: Mapping[int | None, Tally]
    """Votes on each version's answers, by version id."""


@dataclass(frozen=True)
class VersionDetails:
    version: Version
    parent: Version | None
    round: Round | None
    """The round that made it; None if it was imported."""
    votes: Tally
    """On its answers."""
    moves: list[AliasMove]
    failed_checks: list[str]


def read_versions(session: Session, personality_id: int) -> VersionList:
    return VersionList(
        versions=list_versions(session, personality_id),
        champion=read_alias(session, personality_id),
        challenger=read_alias(session, personality_id, CHALLENGER),
        tallies=tally_by_version(session, personality_id),
    )


def read_version(session: Session, personality_id: int, name: str) -> VersionDetails | None:
    """Return None for the base model; raises VersionNotFound."""
    version = version_named(session, personality_id, name)
    if version is None:
        return None
    return VersionDetails(
        version=version,
        parent=find_version(session, version.parent_id),
        round=find_round(session, version.round_id) if version.round_id else None,
        votes=tally_by_version(session, personality_id).get(version.id, Tally()),
        moves=moves_of(session, version),
        failed_checks=failed_checks(session, version),
    )


@dataclass(frozen=True)
class NewPairs:
    """What could make pairs and was not trained on yet, by the version that the next round continues or its parents."""

    compared: int
    """Questions with a liked and a disliked answer; each gives 1 to 4 pairs."""
    suggestions: int
    """Suggested answers; each gives at least 1 pair."""
    lone: int
    """Other questions with votes; each gives a pair if the trainer draws a second answer that differs enough."""

    @property
    def total(self) -> int:
        return self.compared + self.suggestions


def count_new_pairs(
    session: Session, personality_id: int, settings: Settings, base_revision: str, parent: Version | None
) -> NewPairs:
    reply = trainable_replies(personality_id, settings.privacy, base_revision)
    correction = trainable_corrections(reply, settings.privacy)
    line = read_line(session, id_of(parent))
    trained = {(pair.chosen_reply_id, pair.rejected_reply_id) for pair in line}
    trained_replies = {reply_id for pair in trained for reply_id in pair}
    suggestions = set(session.scalars(select(correction.id))) - {pair.correction_id for pair in line}

    by_prompt: dict[str, dict[int, float]] = defaultdict(dict)
    votes = read_weighted_votes(session, personality_id, settings.votes).by_reply
    voted = select(reply.id, reply.prompt_digest).where(reply.id.in_(select(VoteEventRow.reply_id)))
    for reply_id, prompt in session.execute(voted):
        if balance := _balance(votes.get(reply_id, ())):
            by_prompt[prompt][reply_id] = balance

    compared = lone = 0
    for answers in by_prompt.values():
        liked = [reply_id for reply_id, balance in answers.items() if balance > 0]
        disliked = [reply_id for reply_id, balance in answers.items() if balance < 0]
        if liked and disliked:
            compared += any(pair not in trained for pair in product(liked, disliked))
        else:
            lone += not answers.keys() <= trained_replies
    return NewPairs(compared, len(suggestions), lone if settings.pairs.lone_votes else 0)


def _balance(votes: tuple[WeightedVote, ...]) -> float:
    return sum(vote.weight if vote.vote is Vote.UP else -vote.weight for vote in votes)


@dataclass(frozen=True)
class ModelStatus:
    champion: Alias
    last_good: Alias
    canary: Reading | None
    evidence: Evidence
    new_pairs: NewPairs
    continuation: Continuation
    latest_round: Round | None
    trainers: list[Heartbeat]
    """Those that are running."""
    running: list[Round]
    """Running rounds of all personalities."""
    spent: Spend
    """On remote servers today."""


def read_model_status(session: Session, personality_id: int, settings: Settings, base_revision: str) -> ModelStatus:
    continuation = continuation_of(session, personality_id)
    return ModelStatus(
        champion=read_alias(session, personality_id),
        last_good=read_alias(session, personality_id, LAST_GOOD),
        canary=read_canary(session, personality_id, settings.votes),
        evidence=count_evidence(session, personality_id, settings.privacy, base_revision),
        new_pairs=count_new_pairs(session, personality_id, settings, base_revision, continuation.parent),
        continuation=continuation,
        latest_round=latest_round(session, personality_id),
        trainers=live_processes(session, TRAINER),
        running=running_rounds(session),
        spent=spent_on(session, utc_now().date()),
    )
