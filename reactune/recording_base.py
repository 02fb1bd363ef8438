"""Records the base model of the settings before the first start of a bot, so that `reactune base back` finds it."""

from __future__ import annotations

import contextlib

from reactune.shared import operator_name, progress
from storage.database.database import Database
from storage.errors import BaseModelError
from storage.releases.base_change import begin_base
from storage.releases.bases import ConfiguredBase, base_in_use
from storage.settings.sections import Settings


def record_configured_base(database: Database, settings: Settings) -> None:
    """Record the base, unless one is recorded already, or this one is not on the machine or cannot be used."""
    from storage.models.base_model import resolve_base_model
    from storage.models.base_offer import examine_base

    if database.fetch(base_in_use) is not None:
        return
    setting = settings.model.base
    with contextlib.suppress(BaseModelError):
        if examine_base(setting, settings).download_bytes:
            return
        with progress() as say:
            model = resolve_base_model(setting, settings.data.directory, say)
        configured = ConfiguredBase(setting=setting, name=model.name, revision=model.revision)
        database.call(begin_base, configured, by=operator_name())
