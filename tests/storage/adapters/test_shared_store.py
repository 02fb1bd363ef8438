"""A shared store: adapters are complete or absent even if hosts write at once; cached ones need no network."""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import boto3
import pytest
from fsspec.asyn import sync
from moto.server import ThreadedMotoServer
from s3fs import S3FileSystem

from storage.adapters.folder_store import CHECKSUMS_FILE, CONFIG_FILE, UNREGISTERED_PREFIX, WEIGHTS_FILE, AdapterStore
from storage.adapters.object_store import AdapterObjects
from storage.adapters.shared_store import IN_USE_S, SharedAdapterStore
from storage.adapters.stores import open_store
from storage.errors import AdapterError, SettingsError, StoreUnreachable
from storage.settings.loading import load_settings
from storage.settings.sections import DataSettings, Settings
from tests.storage.adapters.test_folder_store import publish
from tests.storage.together import together

BUCKET = "adapters"
URL = f"s3://{BUCKET}/reactune"
PLENTY = 1_000_000_000
ALL = sorted([CHECKSUMS_FILE, CONFIG_FILE, WEIGHTS_FILE])


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def bucket(server: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """An empty bucket whose address and credentials are in the environment, as an operator sets them."""
    for name, value in {
        "AWS_ENDPOINT_URL": server,
        "AWS_ACCESS_KEY_ID": "key",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_MAX_ATTEMPTS": "1",
    }.items():
        monkeypatch.setenv(name, value)
    bucket = boto3.resource("s3").Bucket(BUCKET)
    bucket.create()
    yield bucket
    bucket.objects.all().delete()
    bucket.delete()
    bucket.meta.client.close()
    disconnect()


def disconnect() -> None:
    """Forget all connections, as another process has none yet.

    s3fs closes them too, but gives up after a tenth of a second: on a busy machine they would be found open in the
    middle of a later test.
    """
    for files in S3FileSystem._cache.values():
        if opened := getattr(files, "_s3creator", None):
            sync(files.loop, opened.__aexit__, None, None, None)
    S3FileSystem.clear_instance_cache()


def host(folder: Path, url: str = URL, cache_bytes: int = PLENTY) -> SharedAdapterStore:
    """Return the store as one host sees it, with its own cache and no waiting time."""
    return SharedAdapterStore(folder / "adapters", AdapterObjects(url, 0.0, 0.0), cache_bytes)


def names(bucket: Any) -> list[str]:
    return sorted(object_.key.removeprefix("reactune/") for object_ in bucket.objects.all())


def cached(folder: Path) -> list[str]:
    return sorted(path.name for path in (folder / "adapters").iterdir() if not path.name.startswith("."))


def leave_unused(folder: Path, digest: str) -> None:
    when = time.time() - IN_USE_S - 60
    os.utime(folder / "adapters" / digest, (when, when))


def test_one_host_reads_adapters_that_another_published(bucket: Any, tmp_path: Path) -> None:
    digest = publish(host(tmp_path / "trainer"))
    assert names(bucket) == [f"{UNREGISTERED_PREFIX}{digest}", *(f"{digest}/{name}" for name in ALL)]
    folder = host(tmp_path / "bot").path(digest)
    assert folder == tmp_path / "bot" / "adapters" / digest
    assert sorted(path.name for path in folder.iterdir()) == ALL
    assert cached(tmp_path / "bot") == [digest]


def test_the_store_may_be_a_folder_that_hosts_share(tmp_path: Path) -> None:
    url = (tmp_path / "shared").as_uri()
    digest = publish(host(tmp_path / "trainer", url))
    assert host(tmp_path / "bot", url).path(digest).is_dir()
    assert host(tmp_path / "trainer", url).sweep(lambda: {digest}) == 0
    assert [path.name for path in (tmp_path / "shared").iterdir()] == [digest]


def test_publishing_again_writes_nothing_and_mends_what_is_damaged(bucket: Any, tmp_path: Path) -> None:
    digest = publish(host(tmp_path / "one"))
    weights = bucket.Object(f"reactune/{digest}/{WEIGHTS_FILE}")
    written = weights.last_modified
    bucket.Object(f"reactune/{UNREGISTERED_PREFIX}{digest}").delete()
    assert publish(host(tmp_path / "two")) == digest
    assert bucket.Object(weights.key).last_modified == written
    assert names(bucket) == [f"{digest}/{name}" for name in ALL]
    weights.put(Body=b"something else")
    assert publish(host(tmp_path / "three")) == digest
    assert host(tmp_path / "four").path(digest).is_dir()


def test_two_hosts_that_publish_the_same_at_once_both_succeed(bucket: Any, tmp_path: Path) -> None:
    digest, other = together(2, lambda i: publish(host(tmp_path / str(i))))
    assert digest == other
    assert host(tmp_path / "bot").path(digest).is_dir()


def test_a_half_upload_and_a_damaged_object_are_refused(bucket: Any, tmp_path: Path) -> None:
    digest = publish(host(tmp_path / "trainer"))
    weights = bucket.Object(f"reactune/{digest}/{WEIGHTS_FILE}")
    weights.put(Body=weights.get()["Body"].read()[:-1])
    with pytest.raises(AdapterError, match=rf"{WEIGHTS_FILE} was truncated or altered in s3://adapters/reactune"):
        host(tmp_path / "bot").path(digest)
    weights.delete()
    with pytest.raises(AdapterError, match=rf"{WEIGHTS_FILE} is missing in s3://adapters/reactune: restore it"):
        host(tmp_path / "bot").path(digest)
    assert cached(tmp_path / "bot") == []


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("harm", ["missing", "truncated", "altered"])
def test_no_damaged_file_reaches_the_cache(tmp_path: Path, name: str, harm: str) -> None:
    url = (tmp_path / "shared").as_uri()
    digest = publish(host(tmp_path / "trainer", url))
    path = tmp_path / "shared" / digest / name
    content = bytearray(path.read_bytes())
    content[-2] ^= 1
    path.write_bytes(content[:-1] if harm == "truncated" else content)
    if harm == "missing":
        path.unlink()
    with pytest.raises(AdapterError, match=rf"{name} (is|was) .* in {url}: restore it from a backup, or roll back"):
        host(tmp_path / "bot", url).path(digest)
    assert cached(tmp_path / "bot") == []
    assert publish(host(tmp_path / "third", url)) == digest
    assert host(tmp_path / "bot", url).path(digest).is_dir()


def test_a_damaged_copy_in_the_cache_is_fetched_again(tmp_path: Path) -> None:
    store = host(tmp_path, (tmp_path / "shared").as_uri())
    digest = publish(store)
    (store.path(digest) / WEIGHTS_FILE).write_bytes(b"")
    assert (store.path(digest) / WEIGHTS_FILE).stat().st_size > 0


def test_processes_of_one_host_fetch_at_once(tmp_path: Path) -> None:
    url = (tmp_path / "shared").as_uri()
    digest = publish(host(tmp_path / "trainer", url))
    assert len(together(3, lambda _: host(tmp_path / "bot", url).path(digest))) == 3
    assert cached(tmp_path / "bot") == [digest]


def test_cached_adapters_need_no_network_and_others_get_a_clear_error(
    bucket: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = (publish(host(tmp_path / "trainer"), value=value) for value in (1.0, 2.0))
    assert host(tmp_path / "bot").prefetch([first]) == []
    with socket.socket() as unanswered:  # bound and not listening: every connection is refused
        unanswered.bind(("127.0.0.1", 0))
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{unanswered.getsockname()[1]}")
        disconnect()
        offline = host(tmp_path / "bot")
        assert offline.path(first).is_dir()
        with pytest.raises(StoreUnreachable, match=r"the adapter store s3://adapters/reactune cannot be used"):
            offline.path(second)
        asked: list[object] = []
        monkeypatch.setattr(S3FileSystem, "_call_s3", lambda *arguments, **_options: asked.append(arguments))
        [problem] = offline.prefetch([first, second])
        assert asked == [], "a store that just failed is not asked again at once"
    assert "check the network, data.adapters and the store's credentials" in problem


def test_a_refusal_is_reported_at_once(bucket: Any, tmp_path: Path) -> None:
    with pytest.raises(StoreUnreachable, match="bucket does not exist"):
        publish(host(tmp_path, "s3://nobodys/reactune"))


def test_a_store_that_is_away_for_a_moment_is_waited_for(tmp_path: Path) -> None:
    shared = tmp_path / "shared"
    shared.touch()  # no folder yet
    store = SharedAdapterStore(tmp_path / "adapters", AdapterObjects(shared.as_uri(), 0.0, 5.0), PLENTY)

    def mount() -> None:
        shared.unlink()
        shared.mkdir()

    mounting = threading.Timer(0.1, mount)
    mounting.start()
    digest = publish(store)
    mounting.join()
    assert (shared / digest / CHECKSUMS_FILE).is_file()


def test_the_least_recently_used_leave_a_full_cache_unless_they_are_kept(tmp_path: Path) -> None:
    store = host(tmp_path, (tmp_path / "shared").as_uri(), cache_bytes=1)
    old, kept, recent = (publish(store, value=value) for value in (1.0, 2.0, 3.0))
    for digest in (old, kept):
        leave_unused(tmp_path, digest)
    assert store.prefetch([kept]) == []
    assert cached(tmp_path) == sorted([kept, recent])
    assert store.path(old).is_dir()


def test_nothing_leaves_the_cache_that_the_store_lacks(tmp_path: Path) -> None:
    """As after the setting was changed and before the adapters were copied."""
    digest = publish(AdapterStore(tmp_path / "adapters"))
    leave_unused(tmp_path, digest)
    host(tmp_path, (tmp_path / "shared").as_uri(), cache_bytes=1).prefetch([])
    assert cached(tmp_path) == [digest]


def test_a_sweep_takes_only_what_is_old_and_has_no_version(bucket: Any, tmp_path: Path) -> None:
    registered, orphaned = (publish(host(tmp_path / "trainer"), value=value) for value in (1.0, 2.0))
    assert host(tmp_path / "other").sweep(lambda: {registered}) == 0, "another host may be about to write its row"
    assert f"{UNREGISTERED_PREFIX}{orphaned}" in names(bucket)
    a_day_later = SharedAdapterStore(tmp_path / "later", AdapterObjects(URL, leftover_age=-timedelta(seconds=5)), 1)
    assert a_day_later.sweep(lambda: {registered}) == 1
    assert a_day_later.sweep(set) == 0, "as with a wrong database.url: what was registered stays"
    assert names(bucket) == [f"{registered}/{name}" for name in ALL]


def test_a_withdrawn_adapter_leaves_the_store_and_the_cache(tmp_path: Path) -> None:
    url = (tmp_path / "shared").as_uri()
    trainer, bot = host(tmp_path / "trainer", url), host(tmp_path / "bot", url)
    digest = publish(trainer)
    bot.path(digest)
    assert trainer.remove(digest) is False  # its version's row may still come
    trainer.sweep(lambda: {digest})
    assert trainer.remove(digest) is True
    assert [path for path in (tmp_path / "shared").rglob("*") if path.is_file()] == cached(tmp_path / "trainer") == []
    assert bot.remove(digest) is True  # as every bot does at its start
    with pytest.raises(AdapterError, match="is missing"):
        bot.path(digest)


def test_adapters_in_the_shared_store_or_the_cache_are_listed(bucket: Any, tmp_path: Path) -> None:
    trainer, bot = host(tmp_path / "trainer"), host(tmp_path / "bot")
    assert bot.list_digests() == set()
    first, second = (publish(trainer, value=value) for value in (1.0, 2.0))
    assert trainer.list_digests() == bot.list_digests() == {first, second}
    bot.path(first)
    trainer.sweep(lambda: {first, second})
    trainer.remove(first)
    assert (trainer.list_digests(), bot.list_digests()) == ({second}, {first, second})


def test_a_sweep_continues_without_the_store(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "file").touch()
    assert host(tmp_path, f"{(tmp_path / 'file').as_uri()}/below").sweep(set) == 0
    assert "Leftover adapters in the shared store were not removed: the adapter store file:" in caplog.text


def test_the_store_is_that_of_the_settings(bucket: Any, tmp_path: Path) -> None:
    settings = Settings(data=DataSettings(directory=tmp_path, adapters=URL))
    assert open_store(settings).examine() == (f"{URL}, which is writable; the cache is {tmp_path / 'adapters'}")
    assert names(bucket) == []
    assert (
        open_store(Settings(data=DataSettings(directory=tmp_path))).examine() == f"the folder {tmp_path / 'adapters'}"
    )


@pytest.mark.parametrize(
    ("address", "says"),
    [
        ("gs://bucket/reactune", "needs a package that is not installed: run `pip install 'gcsfs'`"),
        ("nonsense://bucket", "cannot be used"),
    ],
)
def test_an_address_that_nothing_reads_gets_a_sentence(tmp_path: Path, address: str, says: str) -> None:
    with pytest.raises(SettingsError, match=says):
        open_store(Settings(data=DataSettings(directory=tmp_path, adapters=address)))


@pytest.mark.parametrize("address", ["adapters", "s3:bucket", "sftp://user:hidden-word@host/adapters"])
def test_an_invalid_address_is_refused_without_its_secret(tmp_path: Path, address: str) -> None:
    with pytest.raises(SettingsError, match=r"data\.adapters = \(hidden\) is not valid") as refused:
        load_settings(None, {"REACTUNE_DATA__ADAPTERS": address})
    assert "hidden-word" not in str(refused.value)
