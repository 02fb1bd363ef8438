"""With a store that hosts share, what may have to answer is in the cache before it is needed."""

from __future__ import annotations

import shutil
import time

import pytest

from storage.adapters.object_store import AdapterObjects
from storage.adapters.shared_store import SharedAdapterStore
from storage.releases.promotion import promote
from storage.releases.versions import NewVersion, read_alias, register
from tests.storage.adapters.test_folder_store import publish


@pytest.fixture
def shared(tmp_path):
    return tmp_path / "shared"


@pytest.fixture
def overrides(shared):
    return {"REACTUNE_DATA__ADAPTERS": shared.as_uri()}


@pytest.fixture
def release(tmp_path, shared, base, query):
    """Train a version on another host, and promote it."""
    trainers = SharedAdapterStore(tmp_path / "trainer", AdapterObjects(shared.as_uri()), 1)

    def make(value: float) -> str:
        digest = publish(trainers, value=value)

        def write(session):
            lineage = {"base_name": base.name, "base_revision": base.revision, "parent_id": None, "round_id": None}
            version = register(session, 1, NewVersion(digest=digest, **lineage, metrics={}))
            generation = read_alias(session, 1).generation
            promote(session, 1, version, expected_generation=generation, by="grace", reason="")

        query(write)
        return digest

    return make


async def test_a_roll_back_needs_no_store(place, env, new_bot, settings, shared, release):
    first, second = release(1.0), release(2.0)
    await env.restart_bot(new_bot())
    cache = settings.data.directory / "adapters"
    give_up_at = time.monotonic() + 120
    while not ((cache / first).is_dir() and (cache / second).is_dir()):
        assert time.monotonic() < give_up_at, "they were not fetched"
        await env.settle()
    shutil.rmtree(shared)
    shared.touch()  # requests are refused from now on
    result = await place.grace.slash(place.channel, "version rollback")
    assert "v1" in result.response.content
    assert (await place.ask("Hello?")).content.endswith("v1")
