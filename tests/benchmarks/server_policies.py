"""What answers and learns in `reactune bench server`: the real model, or a stand-in that needs milliseconds."""

from __future__ import annotations

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
from storage.conversations.prompt_bank import read_bank
from storage.database.database import Database
from storage.database.enums import GateVerdict, RoundStatus
from storage.models.base_model import BaseModel
from storage.releases.versions import Version, id_of, read_alias
from storage.settings.sections import Settings
from storage.taste.examples import Examples
from storage.taste.learning import GROUPS, LearnedTaste, style_of
from storage.taste.measures import measure_style
from storage.taste.model import Choices, Thumbs, fit, prior
from storage.taste.updating import KnownTaste
from storage.training.feedback import RatedReply, Texts
from storage.training.rounds import (
    SCHEDULE,
    claim_round,
    digest_manifest,
    finish_round,
    request_round,
    set_manifest,
)
from tests.benchmarks.served import ServedBot
from tests.past import add_version
from trainer.base import RoundBase
from trainer.data.pairs import Pair
from trainer.data.plan import make_plan
from trainer.data.prepare import candidate_waits
from trainer.data.survey import ReadTexts, Survey, survey_votes
from trainer.round_context import Learner
from trainer.rounds.worker import train_now

Floats = NDArray[Any]

SERVED_ANSWERS = Path(__file__).with_name("served_answers.jsonl")
"""Four answers of the bundled base to each of 200 prompts of the bank, as members are served it with the default card
and settings, 30 November 2026: 58 % short, 28 % with a question at the end, 15 % warm, 96 % calm, 7 % of middle length.
Without the card's examples it answers at more length: 25, 26, 28, 78 and 25 %.
"""
DRAWN = 8
"""Answers of which a version of a stand-in gives one."""
DRAWN_BESIDE_EXAMPLES = 3
"""Answers of which the base of a stand-in gives the best while it is shown liked ones: about as much as the model gains
from them (results/learning.md)."""
SHARPNESS = 4.0
"""How much more a stand-in prefers what its round's pairs prefer."""
ASKED, EACH = 64, 4
"""Messages that a real version answers, and answers to each; members get some of these."""
ASKED_SEED = 1


class Policy(Protocol):
    base: BaseModel

    def learned(self, known: KnownTaste) -> None:
        """Serve from now on as a bot does that knows this taste."""
        ...

    def draw(self, version: Version | None, chance: random.Random, *, is_judged: bool = False) -> str:
        """Return one answer of the version, or of the base, as it is served.

        Answers that are judged against another version's are to other messages than those that members vote on.
        """
        ...

    def train(self) -> None:
        """Run the scheduled round, which may find that it has to wait."""
        ...


@cache
def pool(*, is_judged: bool = False) -> tuple[str, ...]:
    """Return the served answers to one half of the messages."""
    half = read_community_answers(SERVED_ANSWERS)[is_judged::2]
    return tuple(answer for answered in half for answer in answered.answers if answer)


@cache
def _pool_styles(is_judged: bool) -> Floats:
    return style_of(pool(is_judged=is_judged))


@cache
def _measures_of(answer: str) -> Floats:
    return np.array(measure_style(answer))


class StandIn:
    """Answers from the pool; a version prefers some of them by the weights that its round's pairs teach a regression.

    That is what DPO does to a model's log-probabilities.
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

    def draw(self, version: Version | None, chance: random.Random, *, is_judged: bool = False) -> str:
        answers, styles = pool(is_judged=is_judged), _pool_styles(is_judged)
        if version is not None:
            places = chance.sample(range(len(answers)), DRAWN)
            utility = SHARPNESS * styles[places] @ self._weights[version.id]
            return answers[chance.choices(places, np.exp(utility - utility.max()))[0]]
        if self._known is not None and self._known.taste.may_teach and self._trained_on:
            return _draw_beside_examples(self._known.taste, chance, is_judged=is_judged)
        return chance.choice(answers)

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
            set_manifest(session, round_.id, [], parent_version_id=None, settings={}, evidence=plan.evidence)
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

        Half of the base's are drawn beside liked examples, which in a first round are chosen from the other half.
        """
        pairs, drawn = self._settings.pairs, self._draw_fresh(survey.taste, version)
        fresh = tuple(
            RatedReply(10**6 + number, f"bank {number // pairs.ranked_answers}", next(drawn), is_sample=True)
            for number in range(pairs.ranked_prompts * pairs.ranked_answers)
        )
        texts = Texts({one.prompt: one.prompt for one in fresh}, {one.id: one.answer or "" for one in fresh})
        measures = {id_: _measures_of(answer) for id_, answer in texts.answers.items()}
        return replace(survey, ranked=fresh, measures=measures, read=_reading(survey.read, texts))

    def _draw_fresh(self, taste: LearnedTaste, version: Version | None) -> Iterator[str]:
        chance = random.Random(id_of(version) or 0)
        while True:
            yield self.draw(version, chance) if version else chance.choice(pool())
            yield self.draw(version, chance) if version else _draw_beside_examples(taste, chance)


def _draw_beside_examples(taste: LearnedTaste, chance: random.Random, *, is_judged: bool = False) -> str:
    answers = pool(is_judged=is_judged)
    places = chance.sample(range(len(answers)), DRAWN_BESIDE_EXAMPLES)
    return answers[places[int(taste.posterior.score(_pool_styles(is_judged)[places]).argmax())]]


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

    def __init__(self, bot: ServedBot) -> None:
        self.base = bot.services.base
        self._bot = bot
        self._answers: dict[tuple[int | None, Examples | None], list[list[str]]] = {}
        """To each half of the messages, by who answers and by what the base is shown."""

    def learned(self, known: KnownTaste) -> None:
        self._bot.learn()

    def draw(self, version: Version | None, chance: random.Random, *, is_judged: bool = False) -> str:
        key = id_of(version), None if version else self._bot.services.tastes.examples_of(self._bot.personality)
        if key not in self._answers:
            self._answers[key] = self._ask(version)
        return chance.choice(self._answers[key][is_judged])

    def train(self) -> None:
        request = partial(request_round, requested_by=SCHEDULE)
        settings = self._bot.services.settings
        self._bot.beside(partial(train_now, settings, "default", request, lambda _round: None, threading.Event()))

    def _ask(self, version: Version | None) -> list[list[str]]:
        """Return the version's answers to messages of the bank, which were chosen by chance."""
        prompts = random.Random(ASKED_SEED).sample(read_bank("").prompts, ASKED)
        asked = [prompt.text for prompt in prompts for _ in range(EACH)]
        said = self._bot.answer(asked, version, candidates=1)
        return [[one.text for one in half if one.text] for half in (said[: len(said) // 2], said[len(said) // 2 :])]
