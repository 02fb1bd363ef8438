"""`reactune compare`: answers of the base model, the system prompt alone and the fine-tuned version."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer
from sqlalchemy.orm import Session

from reactune.console import AsJson, Config, Personality, progress, read_settings, show, with_cards
from storage.adapters import open_store
from storage.personalities.personalities import DEFAULT_PERSONALITY, personality_named
from storage.personalities.personalities import Personality as StoredPersonality
from storage.releases.versions import Version, read_alias

if TYPE_CHECKING:
    from bot.cogs.comparison import Comparison


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
    """Compare the answers of the base model, the system prompt alone and the fine-tuned version."""
    from bot.arenas.prompt_bank import read_bank
    from bot.cogs.comparison import NO_ANSWER, choose_prompts
    from reactune.compare_offline import compare_offline, contestants_of
    from storage.models.base_model import resolve_base_model
    from storage.personalities.cards import settings_of

    settings = read_settings(config)
    whose, champion = with_cards(settings, lambda session: _answering(session, personality))
    settings = settings_of(settings, whose.card)
    with progress() as say:
        model_base = resolve_base_model(settings.model.base, settings.data.directory, say)
        store = open_store(settings)
        contestants = contestants_of(
            whose,
            champion,
            store=store,
            base=model_base,
            settings=settings,
            with_base=base,
            with_prompt_only=prompt_only,
        )
        asked = prompts or choose_prompts(read_bank(settings.arena.prompts))
        comparisons = asyncio.run(compare_offline(model_base, settings, contestants, asked, say))
    names = [contestant.name for contestant in contestants]
    told = [[None if answer == NO_ANSWER else answer for answer in c.answers] for c in comparisons]
    data = [
        {"prompt": c.prompt, "answers": dict(zip(names, answers, strict=True))}
        for c, answers in zip(comparisons, told, strict=True)
    ]
    show({"comparisons": data}, _side_by_side(names, comparisons), as_json)
    if any(None in answers for answers in told):
        raise typer.Exit(1)


def _answering(session: Session, name: str) -> tuple[StoredPersonality, Version | None]:
    whose = personality_named(session, name)
    return whose, read_alias(session, whose.id).version


def _side_by_side(names: Sequence[str], comparisons: Sequence[Comparison]) -> str:
    parts = []
    for comparison in comparisons:
        answers = [f"- **{name}:** {' '.join(a.split())}" for name, a in zip(names, comparison.answers, strict=True)]
        parts.append("\n".join([f"**{comparison.prompt}**", "", *answers]))
    return "\n\n".join(parts)
