"""Asks the current version for answers that the taste then ranks."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from functools import cached_property

from storage.conversations.prompt_bank import read_bank
from storage.errors import EncoderError
from storage.models.bundled import BundledEncoder, Encoder
from storage.models.english import InEnglish
from storage.models.hardware import cpu_threads, free_unused_models
from storage.releases.versions import Version, id_of, read_alias
from storage.sittings.prompts import read_prompts
from storage.taste.examples import Examples
from storage.taste.learning import LearnedTaste, learn_taste
from storage.taste.orders import FEWEST_PROMPTS, TRIED_ANSWERS, TRIED_PROMPTS, kept_order, orders_to_try
from storage.taste.relevance import measure_relevance, store_relevance
from storage.taste.updating import known_by
from storage.training.samples import (
    AskedPrompt,
    DrawnSample,
    count_answers,
    newest_prompts,
    record_samples,
    unmeasured_exchanges,
)
from trainer.base import ShownExamples, ask_alone
from trainer.evaluation.sampling import AnswerSampler, Sample, Serving, open_adapter
from trainer.progress import Phase, after_others, begin_phase
from trainer.round_context import RoundContext

SAMPLING = {"temperature", "top_p", "presence_penalty", "max_new_tokens"}
AT_ONCE = 256
"""Answers drawn before they are stored: an interrupted round keeps the stored ones."""
MEMBERS_SHARE = 0.5
"""Largest share of prompts from members."""
OWN_SHARE = 0.25
"""Largest share of prompts added in the console; the prompt bank supplies the rest."""

log = logging.getLogger(__name__)


def ask_champion(context: RoundContext) -> tuple[AskedPrompt, ...]:
    """Draw the champion's answers for the taste to rank, and return their prompts; none while the taste may not rank.

    The base gives half of its answers to each prompt as a version is served it. It gives the other half to the prompt
    as members are answered: with the card's examples, liked answers and an order. The first half helps to find these,
    so even a first round has them. All answers to one message are ranked together, so a version learns to do without
    examples what the base does with them.
    """
    settings, personality_id, most = context.settings, context.personality_id, context.settings.pairs.ranked_prompts
    if not most:
        return ()
    # 1) Choose the prompts.
    with context.database.snapshot() as session:
        taste = learn_taste(session, personality_id, settings)
        if not taste.may_rank:
            return ()
        members = newest_prompts(session, context.scope, int(most * MEMBERS_SHARE), render=context.base.render)
        own = read_prompts(session, personality_id, int(most * OWN_SHARE)).texts
        champion = read_alias(session, personality_id).version
    bank = bank_texts(settings.arena.prompts, settings.training.seed)
    prompts = prompts_to_rank(members, (*own, *bank), context.serving, most)
    each = settings.pairs.ranked_answers
    with _Drawing(context, champion) as drawing:
        # 2) A version answers as it is served.
        if champion:
            drawing.draw(prompts, each)
            return prompts
        # 3) The base gives half of its answers as a version is served.
        shown = each // 2
        drawing.draw(prompts, each - shown, more_to_come=len(prompts) * shown)
        # 4) It gives the other half after examples and an order.
        known = context.database.fetch(known_by, personality_id, settings, taste)
        order = _try_orders(context, known.taste, prompts, drawing)
        shown_before = Examples.of(settings, context.personality.card, known.examples, order)
        examples = ShownExamples(shown_before, context.base, settings.generation)
        prompts = tuple(one if one.to_base else replace(one, to_base=examples.before(one)) for one in prompts)
        drawing.draw([one for one in prompts if not one.to_base], each)
        drawing.draw([one.to_base for one in prompts if one.to_base], shown)
    return prompts


def _try_orders(context: RoundContext, taste: LearnedTaste, prompts: Sequence[AskedPrompt], drawing: _Drawing) -> str:
    """Try orders for liked traits with a few answers each; return the first one that works, or "" if none does.

    The prompts come from the bank, so that no member's words influence the result.
    """
    of_bank = [asked for asked in prompts if asked.reply_id is None][:TRIED_PROMPTS]
    if len(of_bank) < FEWEST_PROMPTS:
        return ""
    settings, revision = context.settings.generation, context.base.model.revision
    for order in orders_to_try(taste, settings):
        telling = ShownExamples(Examples(order=order.text), context.base, settings)
        drawing.draw([told for told in map(telling.before, of_bank) if told], TRIED_ANSWERS)
        if kept := context.database.fetch(kept_order, context.personality_id, revision, taste, settings):
            return kept
    return ""


def bank_texts(setting: str, seed: int) -> list[str]:
    """Return the prompt bank's messages, in an order of the seed alone: later rounds find answers of earlier ones."""
    texts = [prompt.text for prompt in read_bank(setting).prompts]
    return sorted(texts, key=lambda text: hashlib.sha256(f"{seed} {text}".encode()).digest())


def prompts_to_rank(
    members: Sequence[AskedPrompt], ours: Sequence[str], serving: Serving, most: int
) -> tuple[AskedPrompt, ...]:
    """Return the prompts whose answers the taste ranks: those of members first, then our messages, `most` in all."""
    asked = {prompt.digest: prompt for prompt in members}
    for text in ours:
        if len(asked) >= most:
            break
        prompt = ask_alone(text, serving.system_prompt, serving.base.render)
        asked.setdefault(prompt.digest, prompt)
    return tuple(asked.values())


class _Drawing:
    """Draws and stores a version's missing answers. The model is loaded before the first one."""

    def __init__(self, context: RoundContext, version: Version | None) -> None:
        self._context = context
        self._version = version
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
        context = self._context
        context.make_room()
        self._resources.enter_context(cpu_threads(context.settings.training.threads))
        return context.serving.open(open_adapter(context.store, self._version, context.base.model))

    def draw(self, prompts: Sequence[AskedPrompt], each: int, *, more_to_come: int = 0) -> None:
        """Draw answers until each prompt has `each`; the progress includes `more_to_come` later answers."""
        digests = [asked.digest for asked in prompts]
        version_id = id_of(self._version)
        scope = self._context.scope
        known = self._context.database.fetch(
            count_answers, scope.personality_id, scope.base_revision, version_id, digests
        )
        wanted = [asked for asked in prompts for _ in range(each - known.get(asked.digest, 0))]
        if wanted:
            self._draw(wanted, more_to_come)
        self._measure_relevance(digests)

    def _draw(self, wanted: Sequence[AskedPrompt], more_to_come: int) -> None:
        done, settings = self._drawn, self._context.settings
        advance = begin_phase(self._context.report, Phase.SAMPLING, done + len(wanted) + more_to_come, done)
        for start in range(done, done + len(wanted), AT_ONCE):
            part = wanted[start - done : start - done + AT_ONCE]
            samples = self._sampler.answer(
                [asked.prompt for asked in part],
                settings.generation,
                settings.training.seed + start,
                after_others(advance, start),
            )
            self._store_answers(part, samples)
            self._drawn += len(part)

    def _measure_relevance(self, digests: Sequence[str]) -> None:
        database = self._context.database
        exchanges = database.fetch(unmeasured_exchanges, self._context.scope, digests)
        if exchanges and self._encoder:
            relevance = measure_relevance([*exchanges.values()], self._encoder.encode).tolist()
            database.call(store_relevance, dict(zip(exchanges, relevance, strict=True)))

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
        settings = self._context.settings
        with self._context.database.transaction() as session:
            record_samples(
                session,
                drawn,
                personality_id=self._context.personality_id,
                base_revision=self._context.base.model.revision,
                version_id=id_of(self._version),
                sampling=settings.generation.model_dump(mode="json", include=SAMPLING),
                seed=settings.training.seed,
            )
