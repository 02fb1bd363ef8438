"""What fine-tuning does beside a prompt: base, prompt alone and personality, asked the same without Discord."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from bot.arenas.comparison import Comparison, Contestant, compare_versions
from bot.engine.selection import start_engine
from bot.releases.resolver import BASE_RELEASE, open_release
from storage.adapters.folder_store import AdapterStore
from storage.models.base_model import BaseModel
from storage.personalities.personalities import Personality
from storage.releases.versions import Version
from storage.settings.sections import Settings

BASE_ALONE = "base"
PROMPT_ONLY = "prompt only"
PATIENCE_S = 3_600.0


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
    """Return who is asked, the personality last; `settings` are its own. Raises AdapterError on damaged files.

    A personality without a version is its prompt alone, and asked once.
    """
    told = settings.chat.system_prompt
    contestants = [Contestant(BASE_ALONE, "", BASE_RELEASE)] if with_base else []
    if with_prompt_only or version is None:
        contestants.append(Contestant(PROMPT_ONLY, told, BASE_RELEASE))
    if version is not None:
        release = open_release(store, base, version)
        contestants.append(Contestant(f"{personality.name} {release.name}", told, release))
    return contestants


async def compare_offline(
    base: BaseModel,
    settings: Settings,
    contestants: Sequence[Contestant],
    prompts: Sequence[str],
    say: Callable[[str], None],
) -> list[Comparison]:
    """Load the base, ask everybody everything, and return the answers; `say` gets how far it is."""

    async def report(done: int, of: int) -> None:
        say(f"Asking … {done} of {of} answers")

    # Nobody waits in a chat here: everything is asked at once, and has its time.
    patient = {"queue_size": len(contestants) * len(prompts), "timeout_s": PATIENCE_S}
    generation = settings.generation.model_copy(update=patient)
    say("Loading the base model …")
    patient_settings = settings.model_copy(update={"generation": generation})
    engine = await start_engine(patient_settings, base, contestants[-1].release.adapter)
    try:
        return await compare_versions(engine, contestants, prompts, generation=generation, report=report)
    finally:
        await engine.close(0.0)
