"""Opens the base model that answers, and records that it does."""

from __future__ import annotations

import asyncio
import logging

from storage.database.database import Database
from storage.models.base_model import BaseModel, resolve_base_model
from storage.releases.base_change import begin_base
from storage.releases.bases import ConfiguredBase
from storage.runtime.shards import shards_of
from storage.settings.sections import Settings

START = "the bot, at its start"
"""Recorded as who changed the base."""

log = logging.getLogger(__name__)


async def open_base(database: Database, settings: Settings, given: BaseModel | None = None) -> BaseModel:
    """Return the base of `model.base`, or the given one, after its versions became the champions.

    They may be another base's if somebody edited model.base. Of several bot processes, only the one with the first
    shard moves them.
    """
    where = settings.model.base, settings.data.directory
    base = given or await asyncio.to_thread(resolve_base_model, *where, log.info)
    if shards_of(settings.discord).lead:
        used = ConfiguredBase(setting=settings.model.base, name=base.name, revision=base.revision)
        for moved in await database.run(begin_base, used, by=START):
            changed = f"the champion of {moved.personality} is {moved.after} (it was {moved.before})"
            log.warning("The base model is now %s: %s.", base.name, changed)
    return base
