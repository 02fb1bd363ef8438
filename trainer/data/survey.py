"""Reads a personality's feedback, its taste, and the answers that the taste can rank, before a round is planned."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Protocol

from sqlalchemy.orm import Session

from storage.conversations.replies import digest_prompt
from storage.members import Pseudonym
from storage.releases.versions import StartingPoint, starting_point
from storage.taste.learning import LearnedTaste, learn_taste, read_measures
from storage.taste.model import Floats
from storage.taste.opinions import Preference, TasteOpinions, weight_by_voter
from storage.taste.relevance import read_relevance
from storage.training.feedback import RatedReply, Texts, read_answers_to, read_corrections, read_replies, read_texts
from storage.training.samples import AskedPrompt
from storage.training.trainable import has_closed_replies
from storage.votes.votes import Vote
from storage.votes.weights import WeightedVote, WeightedVotes, read_weighted_votes
from trainer.data.pairs import RoundFeedback
from trainer.round_context import Learner


class ReadTexts(Protocol):
    """Reads the texts of answers, with their prompts, and of corrections.

    It reads the same state of the database that the ids come from.
    """

    def __call__(self, *, replies: Collection[int], corrections: Collection[int]) -> Texts: ...


@dataclass(frozen=True)
class Survey:
    """People's feedback, counted votes only, and the answers that the taste can rank."""

    feedback: RoundFeedback
    votes: WeightedVotes
    start: StartingPoint
    taste: LearnedTaste
    taste_weights: Mapping[Pseudonym, float]
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


def survey_votes(session: Session, learner: Learner, prompts: Sequence[AskedPrompt] = ()) -> Survey:
    """Read the feedback that counts now, without texts, and the answers to `prompts`, which the taste will rank."""
    personality_id, settings, scope = learner.personality_id, learner.settings, learner.scope
    votes = read_weighted_votes(session, personality_id, settings.votes)
    taste = learn_taste(session, personality_id, settings)
    opinions = taste.opinions
    answers = read_replies(session, scope, _with_weaker_signs(votes.by_reply, opinions))
    corrections = read_corrections(session, scope, settings.votes)
    read = partial(read_texts, session, scope, render=learner.base.render)
    learned = LearnedPrompts.find(read, answers=answers, choices=opinions.choices, prompts=prompts)
    ranked = learned.group(read_answers_to(session, scope, learned.to_rank))
    return Survey(
        feedback=RoundFeedback(learned.group(answers), tuple(corrections), opinions.choices),
        votes=votes,
        start=starting_point(session, personality_id),
        taste=taste,
        taste_weights=weight_by_voter((*opinions.opinions, *opinions.choices)),
        read=learned.read,
        ranked=ranked,
        measures=read_measures(session, {answer.id for answer in ranked}),
        relevance=read_relevance(session, {answer.id for answer in ranked}),
        has_closed_replies=has_closed_replies(session, personality_id, settings.privacy),
    )


def _with_weaker_signs(
    votes: Mapping[int, tuple[WeightedVote, ...]], opinions: TasteOpinions
) -> dict[int, tuple[WeightedVote, ...]]:
    """Return the votes, plus a dislike from each person who asked for another answer without voting on this one."""
    found = dict(votes)
    for one in opinions.opinions:
        given = found.get(one.reply_id, ())
        if not one.liked and all(vote.voter != one.voter for vote in given):
            found[one.reply_id] = (*given, WeightedVote(one.voter, Vote.DOWN, one.weight))
    return found


@dataclass(frozen=True)
class LearnedPrompts:
    """Groups the answers of the base and of versions to one question under one prompt."""

    to_rank: dict[str, str]
    """Digest of the prompt to learn, by digest of the served prompt, for prompts whose answers the taste ranks."""
    compared: dict[str, str]
    """Digest of the prompt to learn, by digest of the served one, for choices between answers to different prompts."""
    read_served: ReadTexts

    @classmethod
    def find(
        cls,
        read: ReadTexts,
        *,
        answers: Sequence[RatedReply],
        choices: Iterable[Preference],
        prompts: Sequence[AskedPrompt],
    ) -> LearnedPrompts:
        """Find the prompts to learn; `read` gives the served ones."""
        texts = read(replies=_asked_differently(answers, choices), corrections=())
        compared = {served: digest_prompt(prompt) for served, prompt in texts.prompts.items()}
        to_rank = {one.digest: prompt.digest for prompt in prompts for one in (prompt, prompt.to(None))}
        return cls(to_rank, compared, read)

    def of(self, served: str) -> str:
        return self.to_rank.get(served) or self.compared.get(served, served)

    def group(self, answers: Iterable[RatedReply]) -> tuple[RatedReply, ...]:
        """Return the answers under the prompts to learn."""
        return tuple(replace(answer, prompt=self.of(answer.prompt)) for answer in answers)

    def read(self, *, replies: Collection[int], corrections: Collection[int]) -> Texts:
        """Return the texts; the prompts also stand under the digests of the prompts to learn."""
        texts = self.read_served(replies=replies, corrections=corrections)
        return replace(texts, prompts=texts.prompts | {self.of(one): prompt for one, prompt in texts.prompts.items()})


def _asked_differently(answers: Sequence[RatedReply], choices: Iterable[Preference]) -> set[int]:
    """Return the ids of answers to different prompts that people chose between, such as the base's and a version's."""
    prompt_of = {answer.id: answer.prompt for answer in answers}
    known = [prompt_of.keys() & choice.reply_ids for choice in choices]
    return {id_ for ids in known if len({prompt_of[id_] for id_ in ids}) > 1 for id_ in ids}
