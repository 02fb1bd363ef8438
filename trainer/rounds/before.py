"""Asks the version in use the everyday messages that the new version was asked, to show both answers side by side."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

from sqlalchemy.orm import Session

from storage.adapters.folder_store import AdapterStore
from storage.database.database import Database
from storage.models.base_model import BaseModel
from storage.models.hardware import cpu_threads, free_unused_models
from storage.personalities.personalities import read_personality
from storage.releases.before_after import measured_before
from storage.releases.versions import Version, read_alias
from storage.settings.sections import Settings
from storage.taste.examples import NO_EXAMPLES, Examples
from storage.taste.updating import learn_all
from trainer.data.shown_examples import ShownExamples
from trainer.evaluation.sampling import open_adapter, open_sampler
from trainer.progress import Phase, ReportProgress, begin_phase
from trainer.rendering import ask_alone, renderer_of

log = logging.getLogger(__name__)


def ask_before(
    database: Database,
    settings: Settings,
    personality_id: int,
    messages: Sequence[str],
    *,
    base: BaseModel,
    store: AdapterStore,
    memory_failures: int,
    report: ReportProgress,
) -> dict[str, Any]:
    """Return the measurement of the champion's answers, one to each message; empty if it cannot answer.

    As in blind pairs, the base is asked with its examples and an order, and gives a single answer to each.
    """
    if not messages:
        return {}
    free_unused_models()
    champion, examples = database.fetch(_read_champion, personality_id, settings)
    shown, render = ShownExamples(examples, settings, base), renderer_of(base, settings.model)
    plain = [ask_alone(message, settings.chat.system_prompt, render) for message in messages]
    prompts = [(shown.before(asked) or asked).prompt for asked in plain]
    advance = begin_phase(report, Phase.BEFORE, len(prompts))
    try:
        sampler = open_sampler(settings, base, open_adapter(store, champion, base), memory_failures)
        with cpu_threads(settings.training.threads):
            samples = sampler.answer(prompts, settings.generation, settings.training.seed, advance)
    except Exception:  # a finished training must not be lost because of three answers
        log.exception("What answers now could not be asked, so the round has no answers from before.")
        return {}
    return measured_before(champion, [sample.text for sample in samples])


def _read_champion(session: Session, personality_id: int, settings: Settings) -> tuple[Version | None, Examples]:
    """Return the version in use, and the examples that it is shown."""
    champion = read_alias(session, personality_id).version
    if champion:
        return champion, NO_EXAMPLES
    personality = read_personality(session, personality_id)
    if not personality.follows_taste:
        return None, Examples.of(settings, personality.card)
    known = learn_all(session, personality_id, settings)
    return None, Examples.of(settings, personality.card, known.examples, known.order)
