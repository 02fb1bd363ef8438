"""How many pairs the next round could make of new votes and suggestions: an estimate, the trainer makes the pairs."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from itertools import product

from sqlalchemy import select
from sqlalchemy.orm import Session

from storage.database.tables import VoteEventRow
from storage.releases.versions import Version, id_of
from storage.settings.sections import Settings
from storage.training.rounds import read_line
from storage.training.trainable import trainable_corrections, trainable_replies
from storage.votes.votes import Vote
from storage.votes.weights import WeightedVote, read_weighted_votes


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
