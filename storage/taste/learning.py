"""Learns a personality's taste from its rows, and judges it: each vote is predicted before it is learned."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import compress
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import select
from sqlalchemy.orm import Session

from storage import sentences
from storage.database.rows import in_parts
from storage.database.tables import PersonalityRow, ReplyMeasuresRow, ReplyRow
from storage.members import Pseudonym
from storage.settings.sections import Settings
from storage.statistics import FRACTIONS, log_capitals, mean_capital
from storage.style import BANDS, MEASURES, REVISION, measure_style, pack_numbers, scaled, unpack_numbers
from storage.taste.clarity import clarity
from storage.taste.model import Choices, Floats, Posterior, Thumbs, add_thumbs, fit, prior
from storage.taste.opinions import NO_OPINIONS, Opinion, Preference, TasteOpinions, read_taste_opinions
from storage.votes.votes import FeedbackCounts

Beginning = tuple[str, bool]
"""(an answer's text so far, whether that is all of it)"""
GROUPS = tuple(measure.group.value for measure in MEASURES)
NEWEST = 10_000
"""Maximum number of opinions and choices to learn from: older ones say little about today's members."""
FEWEST = 10
"""Minimum number of votes for the taste to choose; with fewer, it is only shown."""
UNJUDGED = 20
"""Number of first votes that are learned but not predicted, and teach nothing: they reveal luck rather than taste."""
REFUTED, REHABILITATED = 1 / 20, 1.0
"""A taste whose e-value falls to the first chooses nothing until it reaches the second again."""
CLEAR, UNCLEAR = 2.0, 1.5
"""A taste teaches once its clarity reaches the first, until it falls below the second. Calibrated on servers without a
taste, simulated ones and ratings of people: tests/benchmarks/results/tastes.md."""
DECIDED = 10
"""Number of deciding choices after which a round may rank answers before the taste is clear. With 40 choices of
simulated people, the pairs that it is sure of are as right: tests/benchmarks/results/learning.md."""
GROWTH = 0.1
"""Predictions are made by the model of the votes so far, which is fitted again when they grow by this share."""
MOST_LOG_CAPITAL = 100.0
"""Limit on log capital: otherwise a taste shown by thousands of votes could hardly be refuted when people change."""
MANY, FEW = 2_000, 0.01
"""Once there are this many votes, this share more of them changes neither the priors nor the effect of the others."""
PACKED_BYTES = len(pack_numbers([0.0] * len(MEASURES)))
WORDS = [measure.name for measure in MEASURES].index("words")
WORD_BANDS = slice(-len(BANDS), None)
REST_WORDS = 58
"""Mean number of words that an unfinished answer still gets, measured on 384 answers of the bundled model, cut at 192
tokens. The mean is the same after 16 words as after 40, so an answer is as likely to end after any word."""


@dataclass(frozen=True)
class TasteData:
    """Votes with the measures of their answers, oldest first."""

    thumbs: Thumbs
    choices: Choices
    order: NDArray[np.bool_]
    """For each vote in the order of time, True if it is a thumb."""
    names: tuple[Pseudonym, ...]
    """The voters who gave thumbs, by index."""
    about: tuple[frozenset[int], ...]
    """The answers of each vote, in the order of time."""

    @property
    def voters(self) -> int:
        return len(self.names)

    def between(self, first: int, last: int) -> TasteData:
        """Return the votes from `first` up to `last`, which is not included."""
        mine, ends = self.choices, np.append(self.choices.starts, len(self.choices.x))
        start, end = (int(self.order[:votes].sum()) for votes in (first, last))
        choices = slice(first - start, last - end)
        answers = slice(ends[choices.start], ends[choices.stop])
        return TasteData(
            Thumbs(*(column[start:end] for column in vars(self.thumbs).values())),
            Choices(
                mine.x[answers],
                mine.starts[choices] - answers.start,
                mine.share[answers],
                mine.weight[choices],
                mine.in_order[choices],
            ),
            self.order[first:last],
            self.names,
            self.about[first:last],
        )

    def without(self, reply_ids: Collection[int]) -> TasteData:
        """Return the votes on other answers than these."""
        kept = np.array([about.isdisjoint(reply_ids) for about in self.about], dtype=bool)
        thumbs, choices = kept[self.order], kept[~self.order]
        mine = self.choices
        answers, sizes = np.repeat(choices, mine.sizes), mine.sizes[choices]
        return TasteData(
            Thumbs(*(column[thumbs] for column in vars(self.thumbs).values())),
            Choices(
                mine.x[answers],
                np.cumsum(sizes) - sizes,
                mine.share[answers],
                mine.weight[choices],
                mine.in_order[choices],
            ),
            self.order[kept],
            self.names,
            tuple(compress(self.about, kept)),
        )

    def with_thumbs(self, opinions: Sequence[Opinion], x: Floats) -> TasteData:
        """Return the data with newer thumbs; `x` has the scaled measures of their answers."""
        names = tuple(dict.fromkeys([*self.names, *(opinion.voter for opinion in opinions)]))
        places = {name: place for place, name in enumerate(names)}
        mine, news = self.thumbs, _thumbs(opinions, x, places)
        thumbs = Thumbs(*(np.concatenate(both) for both in zip(vars(mine).values(), vars(news).values(), strict=True)))
        order = np.append(self.order, np.ones(len(opinions), dtype=bool))
        about = (*self.about, *map(_answers, opinions))
        return replace(self, thumbs=thumbs, order=order, names=names, about=about)

    def __len__(self) -> int:
        return len(self.order)


@dataclass(frozen=True)
class Bettor:
    """Bets on each vote before learning it, by a model of the votes so far, against the plain share of 👍."""

    log_capitals: Floats
    """Logarithms of its present capital with each of FRACTIONS at stake, (S,); it started with 1."""
    seen: int
    """Number of votes that it has bet on, or at the beginning only learned from."""
    fits_at: int
    """The number of votes after which it fits its models again."""
    with_measures: Posterior
    without: Posterior
    is_refuted: bool = False
    is_clear: bool = False
    """`is_refuted` and `is_clear` change only when the models are fitted again, and need more to change back, so that
    they do not flicker."""

    @property
    def capital(self) -> float:
        return mean_capital(self.log_capitals)


@dataclass(frozen=True)
class LearnedTaste:
    """A personality's taste as its members' votes show it."""

    posterior: Posterior
    data: TasteData
    bettor: Bettor
    is_on: bool = True
    """True if an admin lets the taste act."""
    opinions: TasteOpinions = NO_OPINIONS

    @property
    def counts(self) -> FeedbackCounts:
        """Return the numbers of what it was learned from, as they are shown."""
        return self.opinions.counts

    @property
    def e_value(self) -> float:
        """Return the e-value: the capital of a bettor who starts with 1 and bets on the votes by this model, against
        the rate of likes."""
        return self.bettor.capital

    @property
    def may_choose(self) -> bool:
        """Return whether it chooses among candidates: from the first few votes on, until it proves harmful."""
        return self.is_on and len(self.data) >= FEWEST and not self.bettor.is_refuted

    @property
    def may_teach(self) -> bool:
        """Return whether it may act on examples and rounds, slower to undo: once it is clearer than chance."""
        return self.may_choose and self.bettor.is_clear

    @property
    def may_rank(self) -> bool:
        """Return whether a round may rank answers by it: once it may teach, or from some choices on.

        People judge the version before it answers, so a random taste costs no more than a round.
        """
        return self.may_choose and (self.bettor.is_clear or self.data.choices.decided >= DECIDED)

    @property
    def why_unsure(self) -> str:
        """Return the reason why it may not rank, as a sentence without a full stop."""
        if not self.is_on:
            return sentences.Sentence(
                "an admin decided against following what members like, so training uses only their own comparisons"
            )
        if len(self.data) < UNJUDGED:
            return sentences.counted(
                "training uses only members' own comparisons until there is {count} more vote or choice",
                "training uses only members' own comparisons until there are {count} more votes or choices",
                max(1, min(UNJUDGED - len(self.data), math.ceil(DECIDED - self.data.choices.decided))),
            )
        if not self.may_choose:
            return sentences.Sentence(
                "I guess votes worse than always guessing the average, so training uses only members' own comparisons"
            )
        return sentences.Sentence("I can't tell yet what members like, so training uses only their own comparisons")

    def without(self, reply_ids: Collection[int]) -> Posterior:
        """Return the posterior of the votes on other answers alone, with priors as strong as those of all votes."""
        data = self.data.without(reply_ids)
        return fit(data.thumbs, data.choices, GROUPS, self.posterior, hyper_steps=0)

    def score(self, answers: Sequence[str]) -> Floats:
        """Return the utility of each answer, (N,)."""
        return self.posterior.score(style_of(answers))

    def score_begun(self, drafts: Sequence[Beginning]) -> Floats:
        """Return the utility of each draft, (N,)."""
        return self.posterior.score(style_begun(drafts))

    def lessons(self, first: Beginning, drafts: Sequence[Beginning]) -> Floats:
        """Return how much a person's choice between the first draft and each of the others would teach, (N,)."""
        return self.posterior.lesson(style_begun([first]), style_begun(drafts))


def style_begun(drafts: Sequence[Beginning]) -> Floats:
    """Return the scaled measures of the drafts, (N, D). An unfinished draft gets its expected length."""
    numbers = np.array([measure_style(text) for text, _ in drafts]).reshape(-1, len(MEASURES))
    for row, (_, is_whole) in zip(numbers, drafts, strict=True):
        if not is_whole:
            words = round(math.expm1(row[WORDS]))
            row[WORDS], row[WORD_BANDS] = np.log1p(words + REST_WORDS), _likely_bands(words)
    return scaled(numbers)


def _likely_bands(words: int) -> list[float]:
    """Return, for each length band, the probability that an unfinished answer of `words` words will end in it."""

    def longer_than(length: int) -> float:
        return math.exp(-max(0, length - words) / REST_WORDS)

    return [longer_than(low - 1) - longer_than(high) for low, high in BANDS]


def style_of(answers: Sequence[str]) -> Floats:
    """Return the scaled measures of the answers, (N, D)."""
    return scaled(np.array([measure_style(answer) for answer in answers]).reshape(-1, len(MEASURES)))


def learn_taste(session: Session, personality_id: int, settings: Settings) -> LearnedTaste:
    """Learn from all opinions that count now; the taste acts if the personality's admins let it."""
    opinions = read_taste_opinions(session, personality_id, settings)
    follows = select(PersonalityRow.follows_taste).where(PersonalityRow.id == personality_id)
    learned = learn(read_taste_data(session, opinions))
    return replace(learned, is_on=session.scalars(follows).one(), opinions=opinions)


def learn(data: TasteData) -> LearnedTaste:
    start = prior(GROUPS, data.voters)
    bettor = _bet(Bettor(np.zeros(len(FRACTIONS)), UNJUDGED, UNJUDGED, start, prior((), data.voters)), data)
    return LearnedTaste(fit(data.thumbs, data.choices, GROUPS, start), data, bettor)


def learn_more(taste: LearnedTaste, opinions: Sequence[Opinion], measures: Mapping[int, NDArray[Any]]) -> LearnedTaste:
    """Return the taste after newer thumbs, oldest first; each is predicted before it is learned."""
    opinions = [opinion for opinion in opinions if opinion.reply_id in measures]
    data = taste.data.with_thumbs(opinions, _rows(measures, [opinion.reply_id for opinion in opinions]))
    bettor = _bet(taste.bettor, data)
    start = taste.posterior.for_voters(data.voters)
    if len(data) >= MANY and len(opinions) <= FEW * len(data):
        found = add_thumbs(start, data.between(len(taste.data), len(data)).thumbs)
    else:
        found = fit(data.thumbs, data.choices, GROUPS, start, hyper_steps=1)
    return LearnedTaste(found, data, bettor, taste.is_on)


def _bet(bettor: Bettor, data: TasteData) -> Bettor:
    """Return the bettor after the votes that it has not seen yet."""
    with_measures, without = (one.for_voters(data.voters) for one in (bettor.with_measures, bettor.without))
    now = replace(bettor, with_measures=with_measures, without=without)
    while True:
        if now.seen == now.fits_at <= len(data):
            now = _look_again(now, data.between(0, now.seen))
        if now.seen >= len(data):
            return now
        soon = min(len(data), now.fits_at)
        now = replace(now, log_capitals=_stake(now, data.between(now.seen, soon)), seen=soon)


def _look_again(bettor: Bettor, past: TasteData) -> Bettor:
    """Fit the models again, and decide whether the taste is refuted and whether it is clear."""
    with_measures = fit(past.thumbs, past.choices, GROUPS, bettor.with_measures, hyper_steps=1)
    without = fit(_bare(past.thumbs), past.choices.bare, (), bettor.without, hyper_steps=0)
    clear = clarity(past.thumbs, past.choices, with_measures, without)
    return replace(
        bettor,
        fits_at=bettor.seen + max(1, int(bettor.seen * GROWTH)),
        with_measures=with_measures,
        without=without,
        is_refuted=bettor.capital <= (REHABILITATED if bettor.is_refuted else REFUTED),
        is_clear=clear >= (UNCLEAR if bettor.is_clear else CLEAR),
    )


def _stake(bettor: Bettor, coming: TasteData) -> Floats:
    """Return the logarithms of the capital after bets on these votes, (S,)."""
    ratios = np.concatenate([_thumb_ratios(coming.thumbs, bettor), _choice_ratios(coming.choices, bettor)])
    # A vote that counts less stakes less, so that one busy voter cannot lose everybody's capital. None stakes more than
    # there is, not even an emoji that counts more than a thumb.
    weights = np.minimum(1.0, np.concatenate([coming.thumbs.weight, coming.choices.weight]))
    gains = log_capitals(weights * (ratios - 1))
    return np.clip(bettor.log_capitals + gains, -MOST_LOG_CAPITAL, MOST_LOG_CAPITAL)


def _thumb_ratios(thumbs: Thumbs, bettor: Bettor) -> Floats:
    """Return each thumb's likelihood under the model, over that under the rate of likes, (N,)."""
    with_measures, without = bettor.with_measures, bettor.without
    ours = with_measures.p_liked(thumbs.x, with_measures.leniency[thumbs.voter])
    theirs = without.p_liked(_bare(thumbs).x, without.leniency[thumbs.voter])
    ratios: Floats = np.where(thumbs.liked > 0, ours / theirs, (1 - ours) / (1 - theirs))
    return ratios


def _choice_ratios(choices: Choices, bettor: Bettor) -> Floats:
    """Return each choice's likelihood under the model, over that under the answers' order alone, (C,)."""
    if len(choices.starts) == 0:
        return np.ones(0)
    shares = bettor.with_measures.p_chosen(choices) / bettor.without.p_chosen(choices.bare)
    ratios: Floats = np.exp(np.add.reduceat(choices.share * np.log(shares), choices.starts))
    return ratios


def _bare(thumbs: Thumbs) -> Thumbs:
    """Return the thumbs without measures."""
    return replace(thumbs, x=np.zeros((len(thumbs.liked), 0)))


def read_taste_data(session: Session, opinions: TasteOpinions) -> TasteData:
    """Return the newest opinions with the measures of their answers."""
    newest: list[Opinion | Preference] = [*opinions.opinions[-NEWEST:], *opinions.choices[-NEWEST:]]
    votes = [
        vote._replace(weight=vote.weight * opinions.factors.get(vote.voter, 1.0))
        for vote in sorted(newest, key=lambda vote: vote.given_at)
    ]
    wanted = {vote.reply_id for vote in votes if isinstance(vote, Opinion)}
    wanted |= {reply_id for vote in votes if isinstance(vote, Preference) for reply_id in vote.reply_ids}
    return arrange(votes, read_measures(session, wanted))


def arrange(votes: Sequence[Opinion | Preference], measures: Mapping[int, NDArray[Any]]) -> TasteData:
    """Return the votes, oldest first, with the measures by reply; votes on answers without measures are left out."""
    known = [vote for vote in votes if _answers(vote) <= measures.keys()]
    opinions = [vote for vote in known if isinstance(vote, Opinion)]
    choices = [vote for vote in known if isinstance(vote, Preference)]
    voters: dict[Pseudonym, int] = {}
    for opinion in opinions:
        voters.setdefault(opinion.voter, len(voters))
    compared = [reply_id for choice in choices for reply_id in choice.reply_ids]
    sizes = np.array([len(choice.reply_ids) for choice in choices], dtype=np.intp)
    return TasteData(
        _thumbs(opinions, _rows(measures, [opinion.reply_id for opinion in opinions]), voters),
        Choices(
            _rows(measures, compared),
            np.cumsum(sizes) - sizes,
            np.array([share for choice in choices for share in choice.shares]),
            np.array([choice.weight for choice in choices]),
            np.array([choice.in_order for choice in choices], dtype=bool),
        ),
        np.array([isinstance(vote, Opinion) for vote in known], dtype=bool),
        tuple(voters),
        tuple(map(_answers, known)),
    )


def _thumbs(opinions: Sequence[Opinion], x: Floats, places: Mapping[Pseudonym, int]) -> Thumbs:
    return Thumbs(
        x,
        np.array([float(opinion.liked) for opinion in opinions]),
        np.array([places[opinion.voter] for opinion in opinions], dtype=np.intp),
        np.array([opinion.weight for opinion in opinions], dtype=float),
    )


def _answers(vote: Opinion | Preference) -> frozenset[int]:
    return frozenset([vote.reply_id] if isinstance(vote, Opinion) else vote.reply_ids)


def _rows(measures: Mapping[int, NDArray[Any]], reply_ids: Sequence[int]) -> Floats:
    return scaled(np.array([measures[reply_id] for reply_id in reply_ids]).reshape(-1, len(MEASURES)))


def read_measures(session: Session, reply_ids: set[int]) -> dict[int, NDArray[Any]]:
    """Return the measures by reply; damaged ones, or those of another revision, are measured again from the answer."""
    found: dict[int, NDArray[Any]] = {}
    for some in in_parts(reply_ids):
        stored = select(ReplyMeasuresRow.reply_id, ReplyMeasuresRow.numbers).where(
            ReplyMeasuresRow.reply_id.in_(some), ReplyMeasuresRow.revision == REVISION
        )
        for reply_id, numbers in session.execute(stored):
            if len(numbers) == PACKED_BYTES and np.isfinite(unpacked := unpack_numbers(numbers)).all():
                found[reply_id] = unpacked
        if missing := [reply_id for reply_id in some if reply_id not in found]:
            answers = select(ReplyRow.id, ReplyRow.answer).where(ReplyRow.id.in_(missing), ReplyRow.answer != "")
            found |= {reply_id: np.array(measure_style(answer)) for reply_id, answer in session.execute(answers)}
    return found
