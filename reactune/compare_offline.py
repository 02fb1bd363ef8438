"""Answers the same prompts with the base model, the system prompt alone and the fine-tuned version."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from bot.cogs.comparison import Comparison, Contestant, compare_versions
from bot.engine.selection import start_engine
from bot.releases.resolver import BASE_RELEASE, open_release
from storage.adapters.folder_store import AdapterStore
from storage.models.base_model import BaseModel
from storage.personalities.personalities import Personality
from storage.releases.versions import Version
from storage.settings.sections import Settings

BASE_ALONE = "base"
PROMPT_ONLY = "prompt only"
TIMEOUT_S = 3_600.0


def contestants_of(
    personality: Personality,
    version: Version | None,
    *,
    store: AdapterStore,
    base: BaseModel,
    settings: Settings,
    with_base: bool,
    with_prompt_only: bool,
) -> list[Contestant]:
    """Return the contestants, the fine-tuned version last; `settings` are the personality's.

    Without a version the last contestant is the system prompt alone. Raises AdapterError on damaged files.
    """
    system_prompt = settings.chat.system_prompt
    contestants = [Contestant(BASE_ALONE, "", BASE_RELEASE)] if with_base else []
    if with_prompt_only or version is None:
        contestants.append(Contestant(PROMPT_ONLY, system_prompt, BASE_RELEASE))
    if version is not None:
        release = open_release(store, base, version)
        contestants.append(Contestant(f"{personality.name} {release.name}", system_prompt, release))
    return contestants


async def compare_offline(
    base: BaseModel,
    settings: Settings,
    contestants: Sequence[Contestant],
    prompts: Sequence[str],
    say: Callable[[str], None],
) -> list[Comparison]:
    """Load the base model and return every contestant's answer to every prompt; `say` gets the progress."""

    async def report(done: int, of: int) -> None:
        say(f"Generating answers … {done} of {of}")

    # Nobody waits in a chat here, so all prompts are queued at once and get plenty of time.
    offline = {"queue_size": len(contestants) * len(prompts), "timeout_s": TIMEOUT_S}
    generation = settings.generation.model_copy(update=offline)
    say("Loading the base model …")
    offline_settings = settings.model_copy(update={"generation": generation})
    engine = await start_engine(offline_settings, base, contestants[-1].release.adapter)
    try:
        return await compare_versions(engine, contestants, prompts, generation=generation, report=report)
    finally:
        await engine.close(0.0)
