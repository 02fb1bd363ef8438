"""What answers and learns in `reactune bench server`: the real model, or a stand-in that needs milliseconds."""

from __future__ import annotations

import random
import threading
from collections.abc import Collection, Sequence
from dataclasses import replace
from functools import cache, partial
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from bot.demo.community import read_community_answers
from storage.adapters.folder_store import AdapterStore
from storage.conversations.prompt_bank import read_bank
from storage.database.database import Database
from storage.database.enums import GateVerdict, RoundStatus
from storage.models.base_model import BaseModel, resolve_base_model
from storage.models.chat_format import load_chat_format
from storage.releases.versions import Version, id_of, read_alias, register
from storage.settings.sections import Settings
from storage.taste.learning import GROUPS, style_of
from storage.taste.measures import measure_style
from storage.taste.model import Choices, Thumbs, fit, prior
from storage.training.evidence import RatedReply, Texts
from storage.training.rounds import SCHEDULE, claim_round, finish_round, request_round, set_manifest
from trainer.data.choosing import ReadTexts
from trainer.data.pairs import Pair
from trainer.data.plan import make_plan
from trainer.data.prepare import candidate_waits
from trainer.data.survey import Survey, survey_votes
from trainer.evaluation.sampling import open_adapter, open_sampler
from trainer.rendering import with_system_prompt
from trainer.rounds.worker import train_now

Floats = NDArray[Any]

DRAWN = 8
"""Pool answers of which a stand-in gives one."""
SHARPNESS = 4.0
"""How much more a stand-in prefers what its round's pairs prefer."""
ASKED, EACH = 64, 8
"""Messages that each real version answers once it is made, and answers to each; members get some of these."""
ASKED_SEED = 1
MAX_NEW_TOKENS = 64


class Policy(Protocol):
    base: BaseModel

    def draw(self, version: Version | None, chance: random.Random) -> str:
        """Return an answer of the version, or of the base."""
        ...

    def train(self) -> None:
        """Run the scheduled round, which may find that it has to wait."""
        ...


@cache
def pool() -> tuple[str, ...]:
    """Return answers of the bundled base to everyday messages."""
    return tuple(answer for answered in read_community_answers() for answer in answered.answers if answer)


@cache
def _pool_styles() -> Floats:
    return style_of(pool())


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
        self._weights: dict[int | None, Floats] = {None: np.zeros(_pool_styles().shape[1])}

    def draw(self, version: Version | None, chance: random.Random) -> str:
        places = chance.sample(range(len(pool())), DRAWN)
        utility = SHARPNESS * _pool_styles()[places] @ self._weights[id_of(version)]
        return pool()[chance.choices(places, np.exp(utility - utility.max()))[0]]

    def train(self) -> None:
        if candidate_waits(self._database, self._settings, self._personality):
            return
        with self._database.transaction() as session:
            survey = survey_votes(session, self._settings, self.base, self._personality)
            champion = read_alias(session, self._personality).version
            plan = make_plan(self._with_fresh(survey, champion), self._settings, lambda _pair: True)
            if plan.pairs < self._settings.training.min_pairs:
                return
            request_round(session, self._personality, SCHEDULE)
            round_ = claim_round(session, "here")
            assert round_ is not None, "the round was just asked for"
            set_manifest(session, round_.id, [], parent_version_id=None, settings={}, evidence=plan.evidence)
            finish_round(session, round_.id, RoundStatus.PUBLISHED, "done")
            version = register(
                session,
                self._personality,
                digest=f"{round_.id:064x}",
                base_name=self.base.name,
                base_revision=self.base.revision,
                parent_id=None,
                round_id=round_.id,
                metrics={},
                verdict=GateVerdict.NOT_ENOUGH_EVIDENCE,
            )
        self._weights[version.id] = _learn(plan.train)

    def _with_fresh(self, survey: Survey, version: Version | None) -> Survey:
        """Return the survey with the version's answers to the prompts of the bank."""
        pairs, chance = self._settings.pairs, random.Random(id_of(version) or 0)
        fresh = tuple(
            RatedReply(
                10**6 + number, f"bank {number // pairs.ranked_answers}", self.draw(version, chance), is_sample=True
            )
            for number in range(pairs.ranked_prompts * pairs.ranked_answers)
        )
        texts = Texts({one.prompt: one.prompt for one in fresh}, {one.id: one.answer or "" for one in fresh})
        measures = {id_: _measures_of(answer) for id_, answer in texts.answers.items()}
        return replace(survey, ranked=fresh, measures=measures, read=_reading(survey.read, texts))


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
    )
    nothing = Thumbs(sides[:0], np.zeros(0), np.zeros(0, dtype=np.intp), np.zeros(0))
    return fit(nothing, choices, GROUPS, prior(GROUPS)).mean


class RealModel:
    """Answers with the model, and trains as the trainer does."""

    def __init__(self, settings: Settings) -> None:
        self.base = resolve_base_model(settings.model.base, settings.data.directory)
        self._settings = settings
        self._store = AdapterStore(settings.data.directory / "adapters")
        self._answers: dict[int | None, list[str]] = {}

    def draw(self, version: Version | None, chance: random.Random) -> str:
        if id_of(version) not in self._answers:
            self._answers[id_of(version)] = self._ask(version)
        return chance.choice(self._answers[id_of(version)])

    def train(self) -> None:
        request = partial(request_round, requested_by=SCHEDULE)
        train_now(self._settings, "default", request, lambda _round: None, threading.Event())

    def _ask(self, version: Version | None) -> list[str]:
        """Return the version's answers to messages of the bank, which were chosen by chance."""
        prompts = random.Random(ASKED_SEED).sample(read_bank("").prompts, ASKED)
        chat = load_chat_format(self.base.path, self._settings.model.template_options)
        system = self._settings.chat.system_prompt
        rendered = [
            chat.render(with_system_prompt(system, [{"role": "user", "content": prompt.text}]))
            for prompt in prompts
            for _ in range(EACH)
        ]
        sampler = open_sampler(self._settings, self.base, open_adapter(self._store, version, self.base))
        generation = self._settings.generation.model_copy(update={"max_new_tokens": MAX_NEW_TOKENS})
        return [sample.text for sample in sampler.answer(rendered, generation, ASKED_SEED) if sample.text]
