"""Reads the status of a personality's versions; `/version status` and the console show the same."""

from __future__ import annotations

from bot.services import Services
from bot.text.status import describe_status
from storage.insights.model_status import read_model_status


async def read_status_blocks(services: Services, personality_id: int, viewer_id: int | None = None) -> list[str]:
    """Return the blocks of the status; an admin who views it sees their own choices beside the members'."""
    await services.releases.current(personality_id)  # finds out whether the champion's files are sound
    status = await services.database.read(
        read_model_status, personality_id, services.settings, base_revision=services.base.revision
    )
    return describe_status(
        status,
        services.settings,
        base_name=services.base.name,
        engine=services.engine.state(),
        problem=services.releases.problem_of(personality_id),
        learns_from_all=services.fixed_basis is not None,
        viewer_id=viewer_id,
    )
