from __future__ import annotations

from contextlib import closing

import pytest

from storage.adapters.folder_store import UNREGISTERED_PREFIX
from storage.database.database import open_database
from storage.settings.sections import Settings
from trainer.rounds.housekeeping import AdapterHousekeeping


def test_rounds_continue_if_a_sweep_fails(settings: Settings, caplog: pytest.LogCaptureFixture) -> None:
    marker = settings.data.directory / "adapters" / f"{UNREGISTERED_PREFIX}{'0' * 64}"
    marker.mkdir(parents=True)  # a folder cannot be removed like a file
    with closing(open_database(settings)) as database:
        AdapterHousekeeping(settings, database).sweep()
    assert "Files that are no longer needed cannot be removed" in caplog.text
