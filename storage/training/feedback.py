"""A round's feedback: trainable answers, the votes on them, and corrections, with pseudonyms for people.

Ids and votes are read first, and texts only of the rows that a round chose by them.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Row, Select, func, or_, select, true
from sqlalchemy.orm import Session

from storage.conversations.example_turns import without_examples
from storage.database.enums import Origin, Outcome
from storage.database.rows import count_rows, in_parts
from storage.database.tables import ArenaAnswerRow, ComparisonRow, CorrectionRow, ReplyRow, VoteEventRow
from storage.members import Pseudonym, anonymous, home_of, read_pseudonyms, without_mentions
from storage.settings.sections import Settings, VoteSettings
from storage.taste.learning import LearnedTaste, learn_taste
from storage.taste.opinions import Preference, count_feedback
from storage.training.trainable import TrainingScope, trainable_corrections, trainable_replies
from storage.votes.votes import FeedbackCounts, Vote
from storage.votes.weights import VoteWeights, WeightedVote, WeightedVotes, read_weighted_votes

Render = Callable[[Sequence[dict[str, str]]], str]
"""Returns the prompt that a base is served for these chat messages."""


@dataclass(frozen=True, slots=True)
class RatedReply:
    """An answer, and the votes on it that count."""

    id: int
    prompt: str
    """Digest of the rendered prompt."""
    answer: str | None = None
    """The answer; None until it is read."""
    votes: tuple[WeightedVote, ...] = ()
    is_cut: bool = False
    """True if it stopped at the length limit, so that the model did not choose its end."""
    is_sample: bool = False
    """True if a round drew it, so that no member saw it."""

    @property
    def up(self) -> float:
        return sum(vote.weight for vote in self.votes if vote.vote is Vote.UP)

    @property
    def down(self) -> float:
        return sum(vote.weight for vote in self.votes if vote.vote is Vote.DOWN)

    @property
    def net(self) -> float:
        return self.up - self.down


@dataclass(frozen=True)
class WrittenCorrection:
    """The better answer that a person wrote for a reply."""

    id: int
    reply_id: int
    text: str | None
    """The better answer; None until it is read."""
    author: Pseudonym
    weight: float
    """The weight, 0 to 1, of a vote by its author at the time of writing."""


@dataclass(frozen=True)
class Texts:
    """Texts that may be trained on."""

    prompts: dict[str, str] = field(default_factory=dict)
    """Rendered prompts by digest."""
    answers: dict[int, str] = field(default_factory=dict)
    corrections: dict[int, str] = field(default_factory=dict)


def read_replies(
    session: Session, scope: TrainingScope, votes: Mapping[int, tuple[WeightedVote, ...]]
) -> list[RatedReply]:
    """Return the trainable answers to every prompt with a vote, a choice or a correction, unrated answers too.

    `votes` are the votes that count, by reply.
    """
    has_feedback = or_(
        ReplyRow.id.in_(select(VoteEventRow.reply_id)),
        ReplyRow.id.in_(select(CorrectionRow.reply_id)),
        # Compared answers may have several prompts: the base sees examples, a version does not.
        ReplyRow.id.in_(select(ComparisonRow.first_id)),
        ReplyRow.id.in_(select(ComparisonRow.second_id)),
        ReplyRow.id.in_(select(ArenaAnswerRow.reply_id)),
    )
    prompts = select(ReplyRow.prompt_digest).where(ReplyRow.personality_id == scope.personality_id, has_feedback)
    return _read(session, trainable_replies(scope), prompts, votes)


def read_answers_to(session: Session, scope: TrainingScope, digests: Collection[str]) -> list[RatedReply]:
    """Return the trainable answers to these prompts, without votes; `digests` are the prompts' digests."""
    return _read(session, trainable_replies(scope), digests, {})


def _read(
    session: Session,
    reply: type[ReplyRow],
    digests: Select[str] | Collection[str],
    votes: Mapping[int, tuple[WeightedVote, ...]],
) -> list[RatedReply]:
    rows = session.execute(
        select(reply.id, reply.prompt_digest, reply.outcome, reply.origin)
        .where(reply.prompt_digest.in_(digests))
        .order_by(reply.id)
    )
    return [
        RatedReply(
            id_,
            digest,
            votes=votes.get(id_, ()),
            is_cut=outcome is Outcome.LENGTH,
            is_sample=origin is Origin.SAMPLE,
        )
        for id_, digest, outcome, origin in rows
    ]


def read_corrections(
    session: Session, scope: TrainingScope, votes: VoteSettings, *, only: int | None = None
) -> list[WrittenCorrection]:
    """Return the current corrections of trainable answers whose own basis is open too; `only` is an id."""
    reply = trainable_replies(scope)
    correction = trainable_corrections(reply, scope.privacy)
    rows = session.execute(
        select(correction.id, correction.reply_id, correction.author_id, correction.created_at)
        .add_columns(reply.guild_id, reply.basis)
        .join(reply, reply.id == correction.reply_id)
        .where(correction.id == only if only is not None else true())
        .order_by(correction.id)
    )
    homes = [(row, home_of(row.guild_id, row.basis)) for row in rows]
    weights = VoteWeights(session, votes, {(home, row.author_id) for row, home in homes})
    pseudonyms = read_pseudonyms(session)
    return [
        WrittenCorrection(
            row.id,
            row.reply_id,
            None,
            pseudonyms.of(row.author_id),
            weight=weights.weight(home, row.author_id, row.created_at),
        )
        for row, home in homes
    ]


def read_texts(
    session: Session,
    scope: TrainingScope,
    *,
    render: Render,
    replies: Collection[int] = (),
    corrections: Collection[int] = (),
) -> Texts:
    """Return the texts of these answers, with their prompts, and of these corrections, as far as they may be used.

    A prompt is as `prompt_to_learn` returns it.
    """
    reply = trainable_replies(scope)
    correction = trainable_corrections(reply, scope.privacy)
    found = Texts()
    for some in in_parts(replies):
        columns = select(reply.id, reply.prompt_digest, reply.prompt, reply.base_revision, reply.messages, reply.answer)
        for row in session.execute(columns.where(reply.id.in_(some))):
            found.answers[row.id] = without_mentions(row.answer)
            if row.prompt_digest not in found.prompts:
                found.prompts[row.prompt_digest] = prompt_to_learn(row, scope.base_revision, render)
    for some in in_parts(corrections):
        written = select(correction.id, correction.text).where(correction.id.in_(some))
        found.corrections.update((id_, without_mentions(text)) for id_, text in session.execute(written))
    return found


def prompt_to_learn(row: Row[*tuple[Any, ...]], base_revision: str, render: Render) -> str:
    """Return the prompt without members' IDs: as it was served, or its messages rendered for this base.

    Examples and an order are left out, because a version is asked without them: it learns the answers of the base that
    saw them (context distillation, Askell et al. 2021, arXiv 2112.00861).
    """
    said = without_examples(row.messages)
    if row.base_revision == base_revision and said == row.messages:
        return without_mentions(row.prompt)
    return render(anonymous(said))


@dataclass(frozen=True)
class PairMaterial:
    """Votes, choices and suggestions that can make pairs now; how many they make, only their texts show."""

    compared: int
    """Number of questions with a liked and a disliked answer; it can give several pairs."""
    choices: int
    """Number of questions with a choice among answers; it gives a pair if people agree."""
    suggestions: int
    """Number of suggested answers; one can give several pairs."""


@dataclass(frozen=True)
class Outlook:
    """The feedback and taste that the next round could learn from."""

    votes: WeightedVotes
    pairs: PairMaterial
    taste: LearnedTaste

    @property
    def counts(self) -> FeedbackCounts:
        return count_feedback(self.votes, self.taste.opinions)


def look_ahead(session: Session, personality_id: int, settings: Settings, base_revision: str) -> Outlook:
    taste = learn_taste(session, personality_id, settings)
    votes = read_weighted_votes(session, personality_id, settings.votes)
    scope = TrainingScope(personality_id, settings.privacy, base_revision)
    pairs = count_pair_material(session, scope, votes=votes.by_reply, choices=taste.opinions.choices)
    return Outlook(votes, pairs, taste)


def count_pair_material(
    session: Session,
    scope: TrainingScope,
    *,
    votes: Mapping[int, Collection[WeightedVote]],
    choices: Iterable[Preference],
) -> PairMaterial:
    """Return what these votes, by reply, and choices have for pairs; all of them must count."""
    reply = trainable_replies(scope)
    suggestions = count_rows(session, select(trainable_corrections(reply, scope.privacy).id))
    by_prompt: dict[str, set[bool]] = defaultdict(set)
    voted = select(reply.id, reply.prompt_digest).where(reply.id.in_(select(VoteEventRow.reply_id)))
    for reply_id, prompt in session.execute(voted):
        if balance := sum(vote.weight if vote.vote is Vote.UP else -vote.weight for vote in votes.get(reply_id, ())):
            by_prompt[prompt].add(balance > 0)
    compared = {choice.reply_ids[0] for choice in choices if choice.chosen is not None}
    chosen = session.scalar(select(func.count(reply.prompt_digest.distinct())).where(reply.id.in_(compared)))
    return PairMaterial(sum(len(kinds) == 2 for kinds in by_prompt.values()), chosen or 0, suggestions)
