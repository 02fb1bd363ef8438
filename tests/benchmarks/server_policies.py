"""What answers and learns in `reactune bench server`: the real model, or a stand-in that needs milliseconds."""

from __future__ import annotations

import math
import random
import threading
from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace
from functools import cache, partial
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from bot.demo.community import read_community_answers
from storage.database.database import Database
from storage.database.enums import GateVerdict, RoundStatus
from storage.models.base_model import BaseModel
from storage.releases.versions import Version, id_of, read_alias
from storage.settings.sections import Settings
from storage.style import measure_style
from storage.taste.examples import NO_EXAMPLES, Examples
from storage.taste.learning import GROUPS, LearnedTaste, style_of
from storage.taste.model import Choices, Thumbs, fit, prior
from storage.taste.updating import KnownTaste, served_examples
from storage.training.feedback import RatedReply, Texts
from storage.training.rounds import (
    SCHEDULE,
    claim_round,
    digest_manifest,
    finish_round,
    request_round,
    set_manifest,
)
from tests.benchmarks.critic import Critic, describe_fits
from tests.benchmarks.served import Served, ServedBot
from tests.past import add_version
from trainer.base import RoundBase
from trainer.data.drawing import bank_texts
from trainer.data.pairs import Pair
from trainer.data.plan import make_plan
from trainer.data.prepare import candidate_waits
from trainer.data.survey import ReadTexts, Survey, survey_votes
from trainer.round_context import Learner
from trainer.rounds.worker import train_now

Floats = NDArray[Any]

SERVED_ANSWERS = Path(__file__).with_name("served_answers.jsonl")
"""Four answers of the bundled base to each of 200 prompts of the bank, as members are served it with the default card
and settings, 4 December 2026: 61 % short, 8 % with a question at the end, 30 % warm, 73 % calm, 6 % of middle length.
`record_answers.py` writes both files.
"""
PLAIN_ANSWERS = Path(__file__).with_name("plain_answers.jsonl")
"""As many without the card's examples, as a version answers: 19, 24, 33, 74 and 29 %."""
REACH = 4
"""Answers to other messages among those of which a stand-in's version, or its base beside liked answers, gives one, as
both say what the base seldom says to a message, and only four of its answers are stored."""
DRAWN_BESIDE_EXAMPLES = 3
"""Answers of which the base of a stand-in gives the best while it is shown liked ones: about as much as the model gains
from them (results/learning.md)."""
SHARPNESS = 4.0
"""How much more a stand-in prefers what its round's pairs prefer."""
ASKED, EACH = 64, 4
"""Messages that a real version answers, none of which a round trains on, and answers to each; members get some of
these."""
ASKED_SEED = 1


class Policy(Protocol):
    base: BaseModel

    def messages(self, *, is_judged: bool) -> Sequence[str]:
        """Return what is asked.

        Answers that are judged against another version's are to other messages than those that members vote on.
        """
        ...

    def learned(self, known: KnownTaste) -> None:
        """Serve from now on as a bot does that knows this taste."""
        ...

    def draw(self, version: Version | None, message: str, number: int, chance: random.Random) -> list[Served]:
        """Return different answers of the version, or of the base, as it is served, up to this number."""
        ...

    def draw_to_teach(self, message: str, chance: random.Random) -> list[Served]:
        """Return answers of the base for a pair that teaches the taste: half of them plain, half beside the card."""
        ...

    def train(self) -> None:
        """Run the scheduled round, which may find that it has to wait."""
        ...

    def fit_share(self, version: Version | None) -> float | None:
        """Return the share of its answers whose own message is the likeliest of six; None of a stand-in."""
        ...


@cache
def stored_answers(path: Path, *, is_judged: bool = False) -> dict[str, tuple[Served, ...]]:
    """Return the answers of SERVED_ANSWERS or PLAIN_ANSWERS to one half of the messages, by message."""
    half = read_community_answers(path)[is_judged::2]
    return {one.message: tuple(Served(one.message, text) for text in one.answers if text) for one in half}


@cache
def _measures_of(answer: str) -> Floats:
    return np.array(measure_style(answer))


@cache
def _style_of(answer: str) -> Floats:
    return style_of([answer])[0]


class StandIn:
    """Answers from the pool; a version prefers some of them by the weights that its round's pairs teach a regression.

    That is what DPO does to a model's log-probabilities. A version is shown no examples, so its answers are plain ones.
    """

    def __init__(self, database: Database, settings: Settings, personality_id: int) -> None:
        self.base = BaseModel("stand-in", Path(), "0" * 16, "Pool")
        self._database = database
        self._settings = settings
        self._personality = personality_id
        self._weights: dict[int, Floats] = {}
        self._known: KnownTaste | None = None
        self._trained_on: str | None = None
        """Digest of the pairs of the last round: the next one waits for others. Its draws hold the examples."""

    def learned(self, known: KnownTaste) -> None:
        self._known = known

    def messages(self, *, is_judged: bool) -> Sequence[str]:
        return tuple(stored_answers(SERVED_ANSWERS, is_judged=is_judged))

    def draw(self, version: Version | None, message: str, number: int, chance: random.Random) -> list[Served]:
        if version is not None:
            weights, answers = SHARPNESS * self._weights[version.id], _within_reach(PLAIN_ANSWERS, message, chance)
            utilities = {one: float(_style_of(one.text) @ weights) + _gumbel(chance) for one in answers}
            return sorted(answers, key=utilities.__getitem__, reverse=True)[:number]
        if self._known is not None and self._known.taste.may_teach and self._trained_on:
            return _draw_beside_liked(self._known.taste, message, number, chance)
        answers = _half_of(SERVED_ANSWERS, message)[message]
        return chance.sample(answers, min(number, len(answers)))

    def draw_to_teach(self, message: str, chance: random.Random) -> list[Served]:
        return [
            one
            for path in (PLAIN_ANSWERS, SERVED_ANSWERS)
            for one in chance.sample(_half_of(path, message)[message], EACH // 2)
        ]

    def fit_share(self, version: Version | None) -> None:
        return None

    def train(self) -> None:
        if candidate_waits(self._database, self._personality, self._settings):
            return
        with self._database.transaction() as session:
            learner = Learner(self._personality, RoundBase(self.base, self._settings.model), self._settings)
            survey = survey_votes(session, learner)
            champion = read_alias(session, self._personality).version
            plan = make_plan(self._with_fresh(survey, champion), self._settings, lambda _pair: True)
            digest = digest_manifest(plan.manifest)
            if plan.pairs < self._settings.training.min_pairs or digest == self._trained_on:
                return
            self._trained_on = digest
            request_round(session, self._personality, SCHEDULE)
            round_ = claim_round(session, "here")
            assert round_ is not None, "the round was just asked for"
            set_manifest(session, round_.id, [], parent_version_id=None, settings={}, learned_from=plan.learned_from)
            finish_round(session, round_.id, RoundStatus.PUBLISHED, "done")
            version = add_version(
                session,
                round_.id,
                personality_id=self._personality,
                digest=f"{round_.id:064x}",
                base_name=self.base.name,
                base_revision=self.base.revision,
                verdict=GateVerdict.NOT_ENOUGH_EVIDENCE,
            )
        self._weights[version.id] = _learn(plan.train)

    def _with_fresh(self, survey: Survey, version: Version | None) -> Survey:
        """Return the survey with the version's answers to the prompts of the bank.

        Half of the base's are plain, and half drawn beside liked ones.
        """
        pairs, chance = self._settings.pairs, random.Random(id_of(version) or 0)
        drawn = [
            (f"bank {prompt}", answer)
            for prompt in range(pairs.ranked_prompts)
            for answer in self._draw_fresh(survey.taste, version, pairs.ranked_answers, chance)
        ]
        fresh = tuple(
            RatedReply(10**6 + number, prompt, answer.text, is_sample=True)
            for number, (prompt, answer) in enumerate(drawn)
        )
        texts = Texts({one.prompt: one.prompt for one in fresh}, {one.id: one.answer or "" for one in fresh})
        measures = {id_: _measures_of(answer) for id_, answer in texts.answers.items()}
        return replace(survey, ranked=fresh, measures=measures, read=_reading(survey.read, texts))

    def _draw_fresh(
        self, taste: LearnedTaste, version: Version | None, number: int, chance: random.Random
    ) -> Iterator[Served]:
        message = chance.choice(self.messages(is_judged=False))
        plain = _half_of(PLAIN_ANSWERS, message)[message]
        for place in range(number):
            if version is not None:
                yield from self.draw(version, message, 1, chance)
            elif place % 2:
                yield from _draw_beside_liked(taste, message, 1, chance)
            else:
                yield plain[place // 2 % len(plain)]


def _half_of(path: Path, message: str) -> dict[str, tuple[Served, ...]]:
    return stored_answers(path, is_judged=message in stored_answers(path, is_judged=True))


def _within_reach(path: Path, message: str, chance: random.Random) -> list[Served]:
    """Return the answers to the message and some to others of its half."""
    half = _half_of(path, message)
    others = chance.sample([other for other in half if other != message], REACH)
    return [*half[message], *(chance.choice(half[other]) for other in others)]


def _draw_beside_liked(taste: LearnedTaste, message: str, number: int, chance: random.Random) -> list[Served]:
    """Return different answers, each the best of some by the taste."""
    left, drawn = _within_reach(SERVED_ANSWERS, message, chance), []
    while left and len(drawn) < number:
        some = chance.sample(left, min(DRAWN_BESIDE_EXAMPLES, len(left)))
        scores = taste.posterior.score(np.array([_style_of(one.text) for one in some]))
        drawn.append(some[int(scores.argmax())])
        left.remove(drawn[-1])
    return drawn


def _gumbel(chance: random.Random) -> float:
    """Return noise with which the highest sum is a sample of the softmax."""
    return -math.log(chance.expovariate(1.0))


def _reading(stored: ReadTexts, fresh: Texts) -> ReadTexts:
    """Return what reads fresh answers' texts besides those that are stored."""

    def read(*, replies: Collection[int], corrections: Collection[int]) -> Texts:
        found = stored(replies=[id_ for id_ in replies if id_ not in fresh.answers], corrections=corrections)
        return Texts(found.prompts | fresh.prompts, found.answers | fresh.answers, found.corrections)

    return read


def _learn(pairs: Sequence[Pair]) -> Floats:
    """Return the weights by which a version that was trained on these pairs prefers answers."""
    sides = style_of([text or "" for pair in pairs for text in (pair.chosen.text, pair.rejected.text)])
    weights = np.array([pair.weight for pair in pairs])
    choices = Choices(
        sides,
        np.arange(0, len(sides), 2),
        np.tile([1.0, 0.0], len(pairs)),
        weights / weights.mean(),  # AdamW's steps do not depend on the scale of the loss
        np.zeros(len(pairs), dtype=bool),
    )
    nothing = Thumbs(sides[:0], np.zeros(0), np.zeros(0, dtype=np.intp), np.zeros(0))
    return fit(nothing, choices, GROUPS, prior(GROUPS)).mean


class RealModel:
    """Answers and trains as the product does."""

    def __init__(self, bot: ServedBot, judge: str) -> None:
        self.base = bot.services.base
        self._bot = bot
        settings = bot.services.settings
        self._critic = Critic(self.base, settings, judge)
        bank = bank_texts(settings.arena.prompts, settings.training.seed)
        untrained = bank[settings.pairs.ranked_prompts :]
        self._messages = tuple(random.Random(ASKED_SEED).sample(untrained, ASKED))
        self._answers: dict[tuple[int | None, Examples | None], dict[str, list[Served]]] = {}
        """To each message, by who answers and by what the base is shown."""
        self._known: KnownTaste | None = None

    def messages(self, *, is_judged: bool) -> Sequence[str]:
        return self._messages[is_judged::2]

    def learned(self, known: KnownTaste) -> None:
        self._known = known

    def draw(self, version: Version | None, message: str, number: int, chance: random.Random) -> list[Served]:
        answers = self._answers_of(version, self._shown(version))[message]
        return chance.sample(answers, min(number, len(answers)))

    def draw_to_teach(self, message: str, chance: random.Random) -> list[Served]:
        of_card = Examples.of(self._bot.services.settings, self._bot.personality.card)
        return [
            one
            for shown in (NO_EXAMPLES, of_card)
            for one in chance.sample(self._answers_of(None, shown)[message], EACH // 2)
        ]

    def train(self) -> None:
        request = partial(request_round, requested_by=SCHEDULE)
        settings = self._bot.services.settings
        self._bot.beside(partial(train_now, settings, "default", request, lambda _round: None, threading.Event()))

    def fit_share(self, version: Version | None) -> float:
        answers = self._answers_of(version, self._shown(version))
        firsts = [answers[message][0] for message in self.messages(is_judged=True)]
        return describe_fits(self._critic.fits([(one.message, one.text) for one in firsts]))["fit_share"]

    def _shown(self, version: Version | None) -> Examples | None:
        if version:
            return None
        return served_examples(self._bot.services.settings, self._bot.personality, self._known)

    def _answers_of(self, version: Version | None, shown: Examples | None) -> dict[str, list[Served]]:
        """Return the answers to each message; these are empty only where the model says nothing."""
        key = id_of(version), shown
        if key not in self._answers:
            asked = [message for message in self._messages for _ in range(EACH)]
            said = self._bot.answer(asked, version, shown=shown, candidates=1)
            self._answers[key] = {
                one.message: said[start : start + EACH] for start, one in enumerate(said) if start % EACH == 0
            }
        return self._answers[key]
