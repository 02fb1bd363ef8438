"""`reactune votes`: what became of a member's votes."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer
from sqlalchemy.orm import Session

from storage.console import AsJson, Config, Personality, progress, read_settings, show_plain
from storage.operator import look_up
from storage.personalities.personalities import DEFAULT_PERSONALITY, read_personality

votes = typer.Typer(no_args_is_help=True, help="Votes: what became of them.")


@votes.command("fate")
def show_fate(
    user_id: Annotated[int, typer.Argument(min=0, max=2**63 - 1, help="The member's Discord id.")],
    config: Config = None,
    personality: Personality = DEFAULT_PERSONALITY,
    as_json: AsJson = False,
) -> None:
    """Show what became of a member's votes, newest first."""
    from bot.text.lineage import PLAIN, fate_lines, plain_text, user_by_id
    from storage.insights.vote_outcomes import VoteFate, fate_of_votes
    from storage.models.base_model import resolve_base_model

    settings = read_settings(config)
    with progress() as say:
        base = resolve_base_model(settings.model.base, settings.data.directory, say)

    def read(session: Session, personality_id: int) -> list[VoteFate]:
        whose = read_personality(session, personality_id)
        return fate_of_votes(session, user_id, personality=whose, settings=settings, base_revision=base.revision)

    fates = look_up(config, personality, read)
    who = user_by_id(user_id).capitalize()
    data = {"user_id": user_id, "votes": [asdict(fate) for fate in fates]}
    show_plain(data, plain_text(fate_lines(fates, PLAIN, who)), as_json)
