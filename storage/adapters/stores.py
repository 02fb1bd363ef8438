"""Opens the configured adapter store."""

from __future__ import annotations

from storage.adapters.folder_store import AdapterStore
from storage.settings.sections import Settings

CACHE_BYTES = 4_000_000_000
"""Local cache of a shared store: 200 versions of a base of a billion parameters; those in use are never evicted."""


def open_store(settings: Settings) -> AdapterStore:
    """Return the store in the data folder, or the shared store of `data.adapters` with its cache in the data folder.

    Raises SettingsError if no installed package supports the address.
    """
    folder = settings.data.directory / "adapters"
    if not settings.data.adapters:
        return AdapterStore(folder)
    from storage.adapters.object_store import AdapterObjects  # fsspec takes a moment to import
    from storage.adapters.shared_store import SharedAdapterStore

    return SharedAdapterStore(folder, AdapterObjects(settings.data.adapters), CACHE_BYTES)
