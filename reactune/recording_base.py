"""Finds the base model of the settings, and records it before a bot's first start, for `reactune base back`."""

from __future__ import annotations

import contextlib
from pathlib import Path

from reactune.shared import operator_name
from storage.database.database import Database
from storage.errors import BaseModelError
from storage.releases.base_change import begin_base
from storage.releases.bases import ConfiguredBase, base_in_use
from storage.settings.sections import Settings


def record_configured_base(database: Database, settings: Settings) -> None:
    """Record the base, unless one is recorded already, or this one is not on the machine or cannot be used."""
    if database.fetch(base_in_use) is not None:
        return
    if (configured := find_configured_base(settings)) is not None:
        database.call(begin_base, configured, by=operator_name())


def find_configured_base(settings: Settings) -> ConfiguredBase | None:
    """Return the base of the settings; None if it is not on the machine or cannot be used.

    Nothing is downloaded or converted for it.
    """
    with contextlib.suppress(BaseModelError, OSError):
        return _find(settings)
    return None


def _find(settings: Settings) -> ConfiguredBase | None:
    from storage.models.base_model import BUNDLED, BUNDLED_NAME, bundled_revision, resolve_base_model
    from storage.models.base_offer import examine_base
    from storage.models.conversion import GEMMA, chat_revision
    from storage.models.hub import find_downloaded

    setting, directory = settings.model.base, settings.data.directory
    if setting == BUNDLED:
        return ConfiguredBase(setting=setting, name=BUNDLED_NAME, revision=bundled_revision(directory))
    if setting == GEMMA:
        return ConfiguredBase(setting=setting, name=GEMMA, revision=chat_revision())
    if not Path(setting).expanduser().is_dir() and find_downloaded(setting) is None:
        return None
    examine_base(setting, settings)
    model = resolve_base_model(setting, directory)
    return ConfiguredBase(setting=setting, name=model.name, revision=model.revision)
