"""Asks the current version for answers that the taste then ranks."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from functools import cached_property

from storage.adapters.folder_store import AdapterStore
from storage.conversations.prompt_bank import read_bank
from storage.database.database import Database
from storage.errors import EncoderError
from storage.models.base_model import BaseModel
from storage.models.bundled import BundledEncoder, Encoder
from storage.models.english import InEnglish
from storage.models.hardware import cpu_threads, free_unused_models
from storage.personalities.personalities import read_personality
from storage.releases.versions import Version, id_of, read_alias
from storage.settings.sections import Settings
from storage.sittings.prompts import read_prompts
from storage.taste.examples import Examples
from storage.taste.learning import LearnedTaste, learn_taste
from storage.taste.orders import FEWEST_PROMPTS, TRIED_ANSWERS, TRIED_PROMPTS, kept_order, orders_to_try
from storage.taste.relevance import measure_relevance, store_relevance
from storage.taste.updating import learn_all
from storage.training.rounds import memory_failures
from storage.training.samples import (
    AskedPrompt,
    DrawnSample,
    count_answers,
    newest_prompts,
    record_samples,
    unmeasured_exchanges,
)
from trainer.data.shown_examples import ShownExamples
from trainer.evaluation.sampling import AnswerSampler, Sample, open_adapter, open_sampler
from trainer.gpu_room import make_room
from trainer.progress import Phase, ReportProgress, after_others, begin_phase
from trainer.rendering import ask_alone, renderer_of

SAMPLING = {"temperature", "top_p", "presence_penalty", "max_new_tokens"}
AT_ONCE = 256
"""Answers drawn before they are stored: an interrupted round keeps the stored ones."""
MEMBERS_SHARE = 0.5
"""Largest share of prompts from members."""
OWN_SHARE = 0.25
"""Largest share of prompts added in the console; the prompt bank supplies the rest."""

log = logging.getLogger(__name__)


def ask_champion(
    database: Database,
    settings: Settings,
    personality_id: int,
    *,
    base: BaseModel,
    store: AdapterStore,
    report: ReportProgress,
) -> tuple[AskedPrompt, ...]:
    """Draw the champion's answers for the taste to rank, and return their prompts; none while the taste may not rank.

    The base gives half of its answers to each prompt as a version is served it. It gives the other half to the prompt
    as members are answered: with the card's examples, liked answers and an order. The first half helps to find these,
    so even a first round has them. All answers to one message are ranked together, so a version learns to do without
    examples what the base does with them.
    """
    if not settings.pairs.ranked_prompts:
        return ()
    with database.snapshot() as session:
        if not learn_taste(session, personality_id, settings).may_rank:
            return ()
        most = settings.pairs.ranked_prompts
        where = (personality_id, settings.privacy, base.revision)
        members = newest_prompts(session, *where, int(most * MEMBERS_SHARE), render=renderer_of(base, settings.model))
        own = read_prompts(session, personality_id, int(most * OWN_SHARE)).texts
        champion = read_alias(session, personality_id).version
        card = read_personality(session, personality_id).card
    prompts = prompts_to_rank(members, own, settings, base)
    each = settings.pairs.ranked_answers
    with _Drawing(database, settings, personality_id, champion, base=base, store=store, report=report) as drawing:
        if champion:
            drawing.draw(prompts, each)
            return prompts
        shown = each // 2
        drawing.draw(prompts, each - shown, more_to_come=len(prompts) * shown)
        known = database.fetch(learn_all, personality_id, settings)
        order = _try_orders(database, settings, personality_id, known.taste, prompts, base=base, drawing=drawing)
        examples = ShownExamples(Examples.of(settings, card, known.examples, order), settings, base)
        prompts = tuple(one if one.to_base else replace(one, to_base=examples.before(one)) for one in prompts)
        drawing.draw([one for one in prompts if not one.to_base], each)
        drawing.draw([one.to_base for one in prompts if one.to_base], shown)
    return prompts


def _try_orders(
    database: Database,
    settings: Settings,
    personality_id: int,
    taste: LearnedTaste,
    prompts: Sequence[AskedPrompt],
    *,
    base: BaseModel,
    drawing: _Drawing,
) -> str:
    """Try orders for liked traits with a few answers each; return the first one that works, or "" if none does.

    The prompts come from the bank, so that no member's words influence the result.
    """
    of_bank = [asked for asked in prompts if asked.reply_id is None][:TRIED_PROMPTS]
    if len(of_bank) < FEWEST_PROMPTS:
        return ""
    for order in orders_to_try(taste, settings):
        telling = ShownExamples(Examples(order=order.text), settings, base)
        drawing.draw([told for told in map(telling.before, of_bank) if told], TRIED_ANSWERS)
        if kept := database.fetch(kept_order, personality_id, base.revision, taste, settings):
            return kept
    return ""


def prompts_to_rank(
    members: Sequence[AskedPrompt], own: Sequence[str], settings: Settings, base: BaseModel
) -> tuple[AskedPrompt, ...]:
    """Return the prompts whose answers the taste ranks, `ranked_prompts` in all.

    Members' prompts come first, then those added in the console, then the bank's. The bank's order depends on the seed
    alone, so that later rounds find the answers of earlier ones.
    """
    most = settings.pairs.ranked_prompts
    asked = {prompt.digest: prompt for prompt in members}
    render = renderer_of(base, settings.model)
    bank = [prompt.text for prompt in read_bank(settings.arena.prompts).prompts]
    for text in (*own, *sorted(bank, key=lambda text: _rank(text, settings))):
        if len(asked) >= most:
            break
        prompt = ask_alone(text, settings.chat.system_prompt, render)
        asked.setdefault(prompt.digest, prompt)
    return tuple(asked.values())


def _rank(text: str, settings: Settings) -> bytes:
    return hashlib.sha256(f"{settings.training.seed} {text}".encode()).digest()


class _Drawing:
    """Draws and stores a version's missing answers. The model is loaded before the first one."""

    def __init__(
        self,
        database: Database,
        settings: Settings,
        personality_id: int,
        version: Version | None,
        *,
        base: BaseModel,
        store: AdapterStore,
        report: ReportProgress,
    ) -> None:
        self._database = database
        self._settings = settings
        self._personality_id = personality_id
        self._version = version
        self._base = base
        self._adapters = store
        self._report = report
        self._drawn = 0
        self._resources = ExitStack()
        self._resources.callback(free_unused_models)

    def __enter__(self) -> _Drawing:
        return self

    def __exit__(self, *_error: object) -> None:
        for loaded in ("_sampler", "_encoder"):
            self.__dict__.pop(loaded, None)
        self._resources.close()

    @cached_property
    def _sampler(self) -> AnswerSampler:
        make_room(self._database, self._settings, self._report)
        failures = self._database.fetch(memory_failures, self._personality_id)
        self._resources.enter_context(cpu_threads(self._settings.training.threads))
        adapter = open_adapter(self._adapters, self._version, self._base)
        return open_sampler(self._settings, self._base, adapter, failures)

    def draw(self, prompts: Sequence[AskedPrompt], each: int, *, more_to_come: int = 0) -> None:
        """Draw answers until each prompt has `each`; the progress includes `more_to_come` later answers."""
        digests = [asked.digest for asked in prompts]
        version_id = id_of(self._version)
        known = self._database.fetch(count_answers, self._personality_id, self._base.revision, version_id, digests)
        wanted = [asked for asked in prompts for _ in range(each - known.get(asked.digest, 0))]
        if wanted:
            self._draw(wanted, more_to_come)
        self._measure_relevance(digests)

    def _draw(self, wanted: Sequence[AskedPrompt], more_to_come: int) -> None:
        done = self._drawn
        advance = begin_phase(self._report, Phase.SAMPLING, done + len(wanted) + more_to_come)
        for start in range(done, done + len(wanted), AT_ONCE):
            part = wanted[start - done : start - done + AT_ONCE]
            samples = self._sampler.answer(
                [asked.prompt for asked in part],
                self._settings.generation,
                self._settings.training.seed + start,
                after_others(advance, start),
            )
            self._store_answers(part, samples)
            self._drawn += len(part)

    def _measure_relevance(self, digests: Sequence[str]) -> None:
        where = (self._personality_id, self._settings.privacy, self._base.revision)
        exchanges = self._database.fetch(unmeasured_exchanges, *where, digests)
        if exchanges and self._encoder:
            relevance = measure_relevance([*exchanges.values()], self._encoder.encode).tolist()
            self._database.call(store_relevance, dict(zip(exchanges, relevance, strict=True)))

    @cached_property
    def _encoder(self) -> Encoder | None:
        try:
            return InEnglish(BundledEncoder())
        except EncoderError as error:
            log.warning("Answers are ranked by style alone: %s.", error)
            return None

    def _store_answers(self, prompts: Sequence[AskedPrompt], samples: Sequence[Sample]) -> None:
        drawn = [
            DrawnSample(asked, sample.text, is_cut=sample.is_cut)
            for asked, sample in zip(prompts, samples, strict=True)
        ]
        with self._database.transaction() as session:
            record_samples(
                session,
                drawn,
                personality_id=self._personality_id,
                base_revision=self._base.revision,
                version_id=id_of(self._version),
                sampling=self._settings.generation.model_dump(mode="json", include=SAMPLING),
                seed=self._settings.training.seed,
            )
