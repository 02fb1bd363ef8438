"""Asks the current version for answers that the taste then ranks."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import replace

from storage.adapters.folder_store import AdapterStore
from storage.conversations.prompt_bank import read_bank
from storage.conversations.replies import digest_prompt
from storage.database.database import Database
from storage.models.base_model import BaseModel
from storage.models.hardware import cpu_threads, free_unused_models
from storage.releases.versions import Version, id_of, read_alias
from storage.settings.sections import Settings
from storage.sittings.prompts import read_prompts
from storage.taste.learning import learn_taste
from storage.training.rounds import memory_failures
from storage.training.samples import AskedPrompt, DrawnSample, count_answers, newest_prompts, record_samples
from trainer.data.card_examples import CardExamples
from trainer.evaluation.sampling import MemoryLimits, open_adapter, open_sampler
from trainer.gpu_room import make_room
from trainer.progress import Phase, ReportProgress, after_others, begin_phase
from trainer.rendering import renderer_of, with_system_prompt

SAMPLING = {"temperature", "top_p", "presence_penalty", "max_new_tokens"}
AT_ONCE = 256
"""Answers that are drawn before they are stored: what is stored survives a round that is interrupted."""
MEMBERS_SHARE = 0.5
"""Most of the prompts that come from members."""
OWN_SHARE = 0.25
"""Most of the prompts that somebody added in the console; the others come from the prompt bank."""


def ask_champion(
    database: Database,
    settings: Settings,
    personality_id: int,
    *,
    base: BaseModel,
    store: AdapterStore,
    report: ReportProgress,
) -> tuple[AskedPrompt, ...]:
    """Draw the champion's answers for the taste to rank, and return their prompts; none before the taste is sure.

    The base is asked as it answers members, with its card's examples, so that pairs are its own answers.
    """
    if not settings.pairs.ranked_prompts:
        return ()
    with database.snapshot() as session:
        if not learn_taste(session, personality_id, settings).may_act:
            return ()
        most = settings.pairs.ranked_prompts
        where = (personality_id, settings.privacy, base.revision)
        members = newest_prompts(session, *where, int(most * MEMBERS_SHARE), render=renderer_of(base, settings.model))
        own = read_prompts(session, personality_id, int(most * OWN_SHARE)).texts
        champion = read_alias(session, personality_id).version
        examples = CardExamples.read(session, personality_id, settings, base)
    prompts = tuple(
        asked if asked.to_base else replace(asked, to_base=examples.before(asked))
        for asked in prompts_to_rank(members, own, settings, base)
    )
    asked = [prompt.to(id_of(champion)) for prompt in prompts]
    _draw(database, personality_id, asked, champion, settings, base=base, store=store, report=report)
    free_unused_models()
    return prompts


def prompts_to_rank(
    members: Sequence[AskedPrompt], own: Sequence[str], settings: Settings, base: BaseModel
) -> tuple[AskedPrompt, ...]:
    """Return the prompts whose answers the taste ranks, `ranked_prompts` in all.

    `members`' come first, then those that somebody added in the console, then the bank's. The bank's order depends on
    the seed alone, so that later rounds find the answers of earlier ones.
    """
    most = settings.pairs.ranked_prompts
    asked = {prompt.digest: prompt for prompt in members}
    render = renderer_of(base, settings.model)
    bank = [prompt.text for prompt in read_bank(settings.arena.prompts).prompts]
    for text in (*own, *sorted(bank, key=lambda text: _rank(text, settings))):
        if len(asked) >= most:
            break
        messages = with_system_prompt(settings.chat.system_prompt, [{"role": "user", "content": text}])
        prompt = render(messages)
        asked.setdefault(digest_prompt(prompt), AskedPrompt(prompt, digest_prompt(prompt), messages=tuple(messages)))
    return tuple(asked.values())


def _rank(text: str, settings: Settings) -> bytes:
    return hashlib.sha256(f"{settings.training.seed} {text}".encode()).digest()


def _draw(
    database: Database,
    personality_id: int,
    prompts: Sequence[AskedPrompt],
    version: Version | None,
    settings: Settings,
    *,
    base: BaseModel,
    store: AdapterStore,
    report: ReportProgress,
) -> None:
    """Draw and store what is missing of the version's answers to these prompts."""
    with database.snapshot() as session:
        known = count_answers(
            session, personality_id, base.revision, id_of(version), [prompt.digest for prompt in prompts]
        )
    wanted = _missing(prompts, known, settings.pairs.ranked_answers)
    if not wanted:
        return
    limits = MemoryLimits(make_room(database, settings, base, report), database.fetch(memory_failures, personality_id))
    advance = begin_phase(report, Phase.SAMPLING, len(wanted))
    generation, seed = settings.generation, settings.training.seed
    with cpu_threads(settings.training.threads):
        sampler = open_sampler(settings, base, open_adapter(store, version, base), limits)
        for start in range(0, len(wanted), AT_ONCE):
            part = wanted[start : start + AT_ONCE]
            samples = sampler.answer(
                [asked.prompt for asked in part],
                generation,
                seed + start,
                after_others(advance, start),
            )
            drawn = [
                DrawnSample(asked, sample.text, is_cut=sample.is_cut)
                for asked, sample in zip(part, samples, strict=True)
            ]
            with database.transaction() as session:
                record_samples(
                    session,
                    drawn,
                    personality_id=personality_id,
                    base_revision=base.revision,
                    version_id=id_of(version),
                    sampling=generation.model_dump(mode="json", include=SAMPLING),
                    seed=seed,
                )


def _missing(prompts: Sequence[AskedPrompt], known: Mapping[str, int], each: int) -> list[AskedPrompt]:
    return [prompt for prompt in prompts for _ in range(each - known.get(prompt.digest, 0))]
