"""Reads a personality's feedback, its taste, and the answers that the taste can rank, before a round is planned."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from sqlalchemy.orm import Session

from storage.members import Pseudonym
from storage.models.base_model import BaseModel
from storage.releases.versions import StartingPoint, starting_point
from storage.settings.sections import Settings
from storage.taste.learning import LearnedTaste, learn_from, read_measures
from storage.taste.model import Floats
from storage.taste.opinions import Opinion, Preference, TasteOpinions, read_taste_opinions
from storage.taste.relevance import read_relevance
from storage.training.feedback import RatedReply, read_answers_to, read_corrections, read_replies
from storage.training.samples import AskedPrompt
from storage.training.trainable import has_closed_replies
from storage.votes.votes import Vote
from storage.votes.weights import WeightedVote, WeightedVotes, read_weighted_votes
from trainer.data.choosing import ReadTexts
from trainer.data.learned_prompts import LearnedPrompts
from trainer.data.pairs import RoundFeedback
from trainer.rendering import renderer_of


@dataclass(frozen=True)
class Survey:
    """People's feedback, counted votes only, and the answers that the taste can rank."""

    feedback: RoundFeedback
    votes: WeightedVotes
    start: StartingPoint
    taste: LearnedTaste
    taste_weights: Mapping[Pseudonym, float]
    """The weight of each voter in the taste."""
    read: ReadTexts
    """Reads the texts of this survey's answers and corrections, from the same state of the database."""
    ranked: tuple[RatedReply, ...] = ()
    """Answers to the prompts that the taste ranks."""
    measures: Mapping[int, Floats] = field(default_factory=dict)
    """Style measures of the ranked answers, by reply."""
    relevance: Mapping[int, float] = field(default_factory=dict)
    """Relevance of the ranked answers to their messages, by reply; only measured ones."""
    has_closed_replies: bool = False
    """True if there are answers that may not be trained on, such as those of live chat."""


def survey_votes(
    session: Session, settings: Settings, base: BaseModel, personality_id: int, prompts: Sequence[AskedPrompt] = ()
) -> Survey:
    """Read the feedback that counts now, without texts, and the answers to `prompts`, which the taste will rank."""
    votes = read_weighted_votes(session, personality_id, settings.votes)
    where = (personality_id, settings.privacy, base.revision)
    evidence = read_taste_opinions(session, personality_id, settings)
    answers = read_replies(session, *where, _with_weaker_signs(votes.by_reply, evidence))
    corrections = read_corrections(session, *where, settings.votes)
    taste = learn_from(session, personality_id, evidence)
    render = renderer_of(base, settings.model)
    learned = LearnedPrompts.find(session, where, render, answers=answers, choices=evidence.choices, prompts=prompts)
    ranked = learned.group(read_answers_to(session, *where, learned.to_rank))
    return Survey(
        feedback=RoundFeedback(learned.group(answers), tuple(corrections), evidence.choices),
        votes=votes,
        start=starting_point(session, personality_id),
        taste=taste,
        taste_weights=_weights(evidence),
        read=learned.read,
        ranked=ranked,
        measures=read_measures(session, {answer.id for answer in ranked}),
        relevance=read_relevance(session, {answer.id for answer in ranked}),
        has_closed_replies=has_closed_replies(session, personality_id, settings.privacy),
    )


def _with_weaker_signs(
    votes: Mapping[int, tuple[WeightedVote, ...]], evidence: TasteOpinions
) -> dict[int, tuple[WeightedVote, ...]]:
    """Return the votes, plus a dislike from each person who asked for another answer without voting on this one."""
    found = dict(votes)
    for one in evidence.opinions:
        given = found.get(one.reply_id, ())
        if not one.liked and all(vote.voter != one.voter for vote in given):
            found[one.reply_id] = (*given, WeightedVote(one.voter, Vote.DOWN, one.weight))
    return found


def _weights(evidence: TasteOpinions) -> dict[Pseudonym, float]:
    weights: dict[Pseudonym, float] = defaultdict(float)
    said: Iterable[Opinion | Preference] = (*evidence.opinions, *evidence.choices)
    for one in said:
        weights[one.voter] += one.weight
    return weights
