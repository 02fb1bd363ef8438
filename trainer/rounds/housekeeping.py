"""Removes adapters that are no longer needed, and fetches those that may answer."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager

from storage.adapters.stores import open_store
from storage.database.database import Database
from storage.errors import StorageError
from storage.models.withdrawal import remove_withdrawn, withdraw_adapters
from storage.releases.versions import aliased_digests, all_digests
from storage.settings.sections import Settings
from storage.wording import count

log = logging.getLogger(__name__)

WITHDRAWAL_S = 600.0


class AdapterHousekeeping:
    def __init__(self, settings: Settings, database: Database) -> None:
        self._settings = settings
        self._database = database
        self._store = open_store(settings)
        self._next_withdrawal = 0.0

    def sweep(self) -> None:
        """Remove the files of rounds that ended without a version, and fetch the adapters of versions that may answer.

        Call it only while no round runs. A process that outlived its trainer can no longer register a version, because
        its round was ended as an orphan.
        """
        with self._database.snapshot() as session:
            aliased = aliased_digests(session)
        with _removal_errors_logged():
            removed = self._store.sweep(self._known)
            if removed:
                log.info("Removed %s of rounds that ended without a version.", count(removed, "folder"))
            for problem in self._store.prefetch(aliased):
                log.warning("An adapter cannot be fetched: %s.", problem)

    def _known(self) -> set[str]:
        with self._database.snapshot() as session:
            return all_digests(session)

    def withdraw(self) -> None:
        """Remove the adapters that the settings no longer keep, each with a line in the log."""
        self._next_withdrawal = time.monotonic() + WITHDRAWAL_S
        with _removal_errors_logged():
            for gone in withdraw_adapters(self._database, self._store, self._settings):
                log.info("Removed the files of %s of %s: %s.", gone.version.name, gone.personality, gone.because)

    def withdraw_when_due(self) -> None:
        # A promotion may release an older version's files, and nothing notifies the trainer of it.
        if time.monotonic() >= self._next_withdrawal:
            self.withdraw()

    def finish_withdrawals(self) -> None:
        """Remove the files that a previous run withdrew but did not remove."""
        with _removal_errors_logged():
            remove_withdrawn(self._database, self._store, self._settings.data.directory)


@contextmanager
def _removal_errors_logged() -> Iterator[None]:
    """Log errors of a disk or store that fails to remove files, so that rounds continue."""
    try:
        yield
    except (OSError, StorageError) as error:
        log.error("Files that are no longer needed cannot be removed (%s); the next start tries again.", error)
