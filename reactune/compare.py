"""`reactune compare`: answers of the base model, the system prompt alone and the fine-tuned version."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from reactune.shared import AsJson, Config, Personality, progress, read_settings, show, with_cards
from storage.adapters.stores import open_store
from storage.models.base_model import BaseModel
from storage.personalities.personalities import DEFAULT_PERSONALITY, personality_named
from storage.releases.versions import read_alias
from storage.settings.sections import Settings

if TYPE_CHECKING:
    from bot.releases.comparison import Comparison, Contestant

BASE_ALONE = "base"
PROMPT_ONLY = "prompt only"
TIMEOUT_S = 3_600.0


def compare_offline_answers(
    prompts: Annotated[
        list[str] | None, typer.Argument(help="Prompts to answer (default: three from the prompt bank).")
    ] = None,
    *,
    config: Config = None,
    personality: Personality = DEFAULT_PERSONALITY,
    base: Annotated[bool, typer.Option("--base/--no-base", help="Include the base model, without a prompt.")] = True,
    prompt_only: Annotated[
        bool,
        typer.Option("--prompt-only/--no-prompt-only", help="Include the base model with the system prompt."),
    ] = True,
    as_json: AsJson = False,
) -> None:
    """Compare the answers of the base model, the system prompt alone and the personality as it is in chat.

    Until a version has learned them, the personality is the base that is shown examples of its card.
    """
    from bot.releases.comparison import NO_ANSWER, Contestant, choose_prompts
    from bot.releases.resolver import BASE_RELEASE, open_release
    from storage.conversations.prompt_bank import read_bank
    from storage.models.base_model import resolve_base_model
    from storage.personalities.cards import settings_of
    from storage.taste.examples import NO_EXAMPLES, Examples

    settings = read_settings(config)
    with with_cards(settings) as session:
        whose = personality_named(session, personality)
        champion = read_alias(session, whose.id).version
    settings = settings_of(settings, whose.card)
    system_prompt = settings.chat.system_prompt
    contestants = [Contestant(BASE_ALONE, "", BASE_RELEASE)] if base else []
    if prompt_only:
        contestants.append(Contestant(PROMPT_ONLY, system_prompt, BASE_RELEASE))
    with progress() as say:
        model_base = resolve_base_model(settings.model.base, settings.data.directory, say)
        release = open_release(open_store(settings), model_base, champion)
        examples = Examples.of(settings, whose.card) if release.is_base else NO_EXAMPLES
        contestants.append(Contestant(f"{whose.name} {release.name}", system_prompt, release, examples))
        asked = prompts or choose_prompts(read_bank(settings.arena.prompts))
        comparisons = asyncio.run(_compare(model_base, settings, contestants, asked, say))
    names = [contestant.name for contestant in contestants]
    data = [
        {
            "prompt": c.prompt,
            "answers": {n: None if a == NO_ANSWER else a for n, a in zip(names, c.answers, strict=True)},
        }
        for c in comparisons
    ]
    show({"comparisons": data}, _side_by_side(names, comparisons), as_json)
    if any(NO_ANSWER in comparison.answers for comparison in comparisons):
        raise typer.Exit(1)


async def _compare(
    base: BaseModel,
    settings: Settings,
    contestants: Sequence[Contestant],
    prompts: Sequence[str],
    say: Callable[[str], None],
) -> list[Comparison]:
    """Load the base model and return every contestant's answer to every prompt; `say` gets the progress."""
    from bot.engine.selection import start_engine
    from bot.releases.comparison import compare_versions

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


def _side_by_side(names: Sequence[str], comparisons: Sequence[Comparison]) -> str:
    parts = []
    for comparison in comparisons:
        answers = [f"- **{name}:** {' '.join(a.split())}" for name, a in zip(names, comparison.answers, strict=True)]
        parts.append("\n".join([f"**{comparison.prompt}**", "", *answers]))
    return "\n\n".join(parts)
