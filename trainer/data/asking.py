"""Asks the current version for answers that the taste then ranks."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

from storage.adapters.folder_store import AdapterStore
from storage.conversations.prompt_bank import read_bank
from storage.conversations.replies import digest_prompt
from storage.database.database import Database
from storage.models.base_model import BaseModel, load_tokenizer
from storage.models.hardware import cpu_threads
from storage.releases.versions import Version, id_of, read_alias
from storage.settings.sections import Settings
from storage.sittings.prompts import read_prompts
from storage.taste.learning import learn_taste
from storage.training.samples import AskedPrompt, DrawnSample, count_answers, newest_prompts, record_samples
from trainer.evaluation.sampling import open_adapter, open_sampler, render, with_system_prompt
from trainer.progress import Phase, ReportProgress, after_others, begin_phase

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
    """Draw the champion's answers for the taste to rank, and return their prompts; none before the taste is sure."""
    if not settings.pairs.ranked_prompts:
        return ()
    with database.snapshot() as session:
        if not learn_taste(session, personality_id, settings).may_act:
            return ()
        most = settings.pairs.ranked_prompts
        members = newest_prompts(session, personality_id, settings.privacy, base.revision, int(most * MEMBERS_SHARE))
        own = read_prompts(session, personality_id, int(most * OWN_SHARE)).texts
        champion = read_alias(session, personality_id).version
    typed, bank = _own_and_bank(own, settings, base)
    candidates = (*members, *typed, *bank)
    with database.snapshot() as session:
        digests = [prompt.digest for prompt in candidates]
        known = count_answers(session, personality_id, base.revision, id_of(champion), digests)
    prompts = prompts_to_rank((*members, *typed), bank, known, most)
    if wanted := _missing(prompts, known, settings.pairs.ranked_answers):
        _draw(database, personality_id, wanted, champion, settings, base=base, store=store, report=report)
    return prompts


def prompts_to_rank(
    first: Sequence[AskedPrompt], bank: Sequence[AskedPrompt], known: Mapping[str, int], most: int
) -> tuple[AskedPrompt, ...]:
    """Return at most `most` different prompts whose answers the taste ranks.

    `first` come first; then the bank's, those with the most known answers before others: fewer are to be drawn then.
    """
    by_answers = sorted(bank, key=lambda prompt: -known.get(prompt.digest, 0))
    return tuple({prompt.digest: prompt for prompt in (*first, *by_answers)}.values())[:most]


def _own_and_bank(
    own: Sequence[str], settings: Settings, base: BaseModel
) -> tuple[list[AskedPrompt], list[AskedPrompt]]:
    """Render what somebody added in the console, and the bank, whose order depends on the seed alone."""
    tokenizer = load_tokenizer(base)
    bank = [prompt.text for prompt in read_bank(settings.arena.prompts).prompts]
    in_order = sorted(bank, key=lambda text: hashlib.sha256(f"{settings.training.seed} {text}".encode()).digest())
    typed, of_bank = ([_asked(text, settings, tokenizer) for text in texts] for texts in (own, in_order))
    return typed, of_bank


def _asked(text: str, settings: Settings, tokenizer: Any) -> AskedPrompt:
    messages = with_system_prompt(settings.chat.system_prompt, [{"role": "user", "content": text}])
    prompt = render(messages, tokenizer)
    return AskedPrompt(prompt, digest_prompt(prompt), messages=tuple(messages))


def _draw(
    database: Database,
    personality_id: int,
    wanted: Sequence[AskedPrompt],
    version: Version | None,
    settings: Settings,
    *,
    base: BaseModel,
    store: AdapterStore,
    report: ReportProgress,
) -> None:
    """Draw and store one answer of the version for each entry."""
    advance = begin_phase(report, Phase.SAMPLING, len(wanted))
    generation, seed = settings.generation, settings.training.seed
    with cpu_threads(settings.training.threads):
        sampler = open_sampler(settings, base, open_adapter(store, version, base))
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
