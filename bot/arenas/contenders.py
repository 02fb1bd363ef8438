"""Finds the versions whose answers are worth comparing."""

from __future__ import annotations

import asyncio
import logging

from sqlalchemy.orm import Session

from bot.releases.resolver import Release, ReleaseResolver
from storage.adapters.folder_store import AS_TRAINED
from storage.database.database import Database
from storage.database.enums import CHALLENGER, CHAMPION, LAST_GOOD
from storage.errors import AdapterError
from storage.releases.versions import Version, name_of, read_alias

log = logging.getLogger(__name__)


async def find_contenders(
    database: Database, releases: ReleaseResolver, personality_id: int, strength: float = AS_TRAINED
) -> list[Release]:
    """Return champion, challenger, last-good and base, each version once; those with damaged files are left out."""
    versions = await database.read(_versions, personality_id)
    return await asyncio.to_thread(_open_usable, releases, versions, strength)


def _versions(session: Session, personality_id: int) -> list[Version | None]:
    champion, challenger, last_good = (
        read_alias(session, personality_id, name).version for name in (CHAMPION, CHALLENGER, LAST_GOOD)
    )
    # Without a canary the challenger points at the base, which comes last.
    ordered = [champion, *filter(None, [challenger, last_good]), None]
    return list({name_of(version): version for version in ordered}.values())


def _open_usable(releases: ReleaseResolver, versions: list[Version | None], strength: float) -> list[Release]:
    usable = []
    for version in versions:
        try:
            usable.append(releases.open(version, strength))
        except AdapterError as error:
            log.warning("Left %s out of a comparison: %s", name_of(version), error)
    return usable
