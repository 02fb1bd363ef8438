import json
import os
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from storage.adapters.folder_store import CHECKSUMS_FILE, CONFIG_FILE, UNREGISTERED_PREFIX, WEIGHTS_FILE, AdapterStore
from storage.errors import AdapterError
from storage.models.adapter_checks import require_base
from storage.models.base_model import BaseModel

BASE = BaseModel(name="tiny", path=Path("unused"), revision="0123456789abcdef", architecture="LlamaForCausalLM")


def fill(
    staging: Path, *, value: float = 1.0, modules: tuple[str, ...] = ("q_proj", "k_proj"), base: str = "tiny"
) -> None:
    config = {"target_modules": modules, "base_model_name_or_path": base, "revision": BASE.revision, "r": 2}
    (staging / CONFIG_FILE).write_text(json.dumps(config))
    save_file({"lora_A": np.full((2, 4), value, dtype=np.float32)}, staging / WEIGHTS_FILE)


def publish(store: AdapterStore, **content: object) -> str:
    with store.stage() as staging:
        fill(staging, **content)  # type: ignore[arg-type]
        return store.publish(staging)


@contextmanager
def full_disk() -> Iterator[None]:
    """Let the system refuse every write, as a full disk does."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def entries(tmp_path: Path) -> list[str]:
    return sorted(path.name for path in (tmp_path / "adapters").iterdir())


def test_published_adapter_is_found_by_its_digest(store, tmp_path):
    digest = publish(store)
    assert store.path(digest) == tmp_path / "adapters" / digest
    assert sorted(path.name for path in store.path(digest).iterdir()) == [CHECKSUMS_FILE, CONFIG_FILE, WEIGHTS_FILE]
    assert entries(tmp_path) == [UNREGISTERED_PREFIX + digest, digest]


def test_equal_content_has_the_same_digest_on_every_machine(store, tmp_path):
    first = publish(store, modules=("q_proj", "k_proj"), base="/home/ana/models/tiny")
    second = publish(store, modules=("k_proj", "q_proj"), base="C:\\models\\tiny")
    assert first == second
    assert entries(tmp_path) == [UNREGISTERED_PREFIX + first, first]


def test_other_weights_have_another_digest(store):
    assert publish(store, value=1.0) != publish(store, value=2.0)


def test_saved_config_is_for_inference_and_names_no_folder(store):
    config = json.loads((store.path(publish(store, base="/home/ana/tiny")) / CONFIG_FILE).read_text())
    assert config["inference_mode"] is True
    assert config["base_model_name_or_path"] == "tiny"


def test_model_card_is_dropped(store):
    with store.stage() as staging:
        fill(staging)
        (staging / "README.md").write_text("card")
        digest = store.publish(staging)
    assert not (store.path(digest) / "README.md").exists()


def link(file: Path) -> None:
    file.symlink_to(file.rename(file.parents[2] / "elsewhere.json"))


@pytest.mark.parametrize(
    ("name", "spoil", "said"),
    [
        *(
            (name, lambda file: file.write_bytes(b"\x80\x04"), name)
            for name in ("adapter_model.bin", "optimizer.pt", "training_args.bin", "run.py")
        ),
        (CONFIG_FILE, link, CONFIG_FILE),
        *((name, Path.unlink, f"has no {name}") for name in (CONFIG_FILE, WEIGHTS_FILE)),
        (WEIGHTS_FILE, lambda file: os.truncate(file, 40), "truncated"),
    ],
)
@pytest.mark.threat("T62")
def test_other_formats_links_and_incomplete_adapters_are_not_published(store, tmp_path, name, spoil, said):
    with store.stage() as staging:
        fill(staging)
        spoil(staging / name)
        with pytest.raises(AdapterError, match=said):
            store.publish(staging)
    assert entries(tmp_path) == []


def test_missing_adapter_is_reported_with_a_remedy(store):
    with pytest.raises(AdapterError, match=r"the folder is missing.*roll back"):
        store.path("0" * 64)


@pytest.mark.parametrize("digest", ["../../etc", "", "ABC", "0" * 63])
def test_a_name_that_is_not_a_digest_is_refused(store, digest):
    with pytest.raises(AdapterError, match="not an adapter digest"):
        store.path(digest)


@pytest.mark.parametrize("name", [CHECKSUMS_FILE, CONFIG_FILE, WEIGHTS_FILE])
@pytest.mark.threat("T63")
def test_altered_file_of_the_same_size_is_refused(store, tmp_path, name):
    digest = publish(store)
    path = store.path(digest) / name
    content = bytearray(path.read_bytes())
    content[-2] ^= 1
    path.write_bytes(content)
    with pytest.raises(AdapterError, match=f"{name} was"):
        AdapterStore(tmp_path / "adapters").path(digest)


def become_a_folder(file: Path) -> None:
    """Reading it is an OSError, for root too."""
    file.unlink()
    file.mkdir()


@pytest.mark.parametrize("name", [CHECKSUMS_FILE, CONFIG_FILE, WEIGHTS_FILE])
@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (Path.unlink, "{name} is missing"),
        (lambda file: os.truncate(file, file.stat().st_size - 1), "{name} was"),
        (become_a_folder, "a file cannot be read"),
    ],
)
def test_a_missing_cut_or_unreadable_file_is_refused_even_after_it_was_used(store, name, spoil, said):
    digest = publish(store)
    spoil(store.path(digest) / name)
    with pytest.raises(AdapterError, match=said.format(name=name)):
        store.path(digest)


def test_publishing_again_repairs_a_damaged_adapter(store):
    digest = publish(store)
    (store.path(digest) / WEIGHTS_FILE).write_bytes(b"")
    assert publish(store) == digest
    assert (store.path(digest) / WEIGHTS_FILE).stat().st_size > 0


def test_full_disk_publishes_nothing_and_leaves_nothing(store, tmp_path):
    with store.stage() as staging:
        fill(staging)
        with full_disk(), pytest.raises(AdapterError, match="free space there"):
            store.publish(staging)
    assert entries(tmp_path) == []


def test_failed_training_leaves_no_staging_folder(store, tmp_path):
    def fail() -> None:
        with store.stage() as staging:
            fill(staging)
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert entries(tmp_path) == []


def test_sweep_removes_what_a_crash_left_and_spares_staging_in_use(store, tmp_path):
    digest = publish(store)
    crashed = tmp_path / "adapters" / ".staging-1-dead"
    crashed.mkdir()
    crashed.with_name(f"{crashed.name}.lock").touch()
    with store.stage() as staging:
        assert AdapterStore(tmp_path / "adapters").sweep(lambda: {digest}) == 1
        assert staging.exists()
    assert entries(tmp_path) == [digest]


def test_sweep_removes_an_adapter_that_never_got_a_version(store, tmp_path):
    registered, orphaned = publish(store, value=1.0), publish(store, value=2.0)
    assert store.sweep(lambda: {registered}) == 1
    assert entries(tmp_path) == [registered]
    with pytest.raises(AdapterError, match="the folder is missing"):
        store.path(orphaned)


def test_sweep_spares_registered_adapters_even_where_the_database_is_another(store, tmp_path):
    """As after a wrong database.url, which must not cost a version."""
    digest = publish(store)
    assert store.sweep(lambda: {digest}) == 0
    assert store.sweep(set) == 0
    assert entries(tmp_path) == [digest]


def test_sweep_spares_a_registered_adapter_that_was_published_again(store, tmp_path):
    digest = publish(store)
    store.sweep(lambda: {digest})
    publish(store)
    assert store.sweep(lambda: {digest}) == 0
    assert entries(tmp_path) == [digest]


def test_an_adapter_swept_can_be_published_again(store):
    digest = publish(store)
    store.sweep(set)
    assert publish(store) == digest
    assert store.path(digest).is_dir()


def test_adapter_fits_the_base_it_was_trained_on(store):
    require_base(store.path(publish(store)), BASE)  # it raises otherwise


def test_adapter_of_another_base_is_refused_with_both_names(store):
    other = BaseModel(name="large", path=Path("unused"), revision="f" * 16, architecture="GemmaForCausalLM")
    with pytest.raises(AdapterError, match=r"trained on tiny .*not on large .*GemmaForCausalLM"):
        require_base(store.path(publish(store)), other)


def test_a_removed_adapter_is_gone_whole_while_who_has_it_open_reads_on(store, tmp_path):
    digest = publish(store)
    store.sweep(lambda: {digest})
    with (store.path(digest) / WEIGHTS_FILE).open("rb") as opened:
        assert store.remove(digest) is True
        assert len(opened.read()) > 0
    assert entries(tmp_path) == []
    assert store.remove(digest) is False
    with pytest.raises(AdapterError, match="is missing"):
        store.path(digest)


def test_an_adapter_that_waits_for_its_row_is_not_removed(store):
    digest = publish(store)
    assert store.remove(digest) is False
    assert store.path(digest).is_dir()


def test_nothing_but_an_adapter_is_removed(store, tmp_path):
    (tmp_path / "precious").mkdir()
    assert store.remove("../precious") is False
    assert (tmp_path / "precious").is_dir()
