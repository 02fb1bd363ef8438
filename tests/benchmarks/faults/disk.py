"""A full disk: votes wait, members read a sentence, nothing is half written, and all is there when space is back."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from storage.adapters.folder_store import AdapterStore
from storage.errors import StorageError
from tests.benchmarks.faults.report import Row
from tests.benchmarks.faults.scene import Scene, strike_again

SIZE_MIB = 48
FULL_S = 3.0
LOGGED_S = 10.0
POLL_S = 0.1
ADAPTER_BYTES = 4 * 2**20


def fill_disk(times: int, seed: int) -> Row:
    row = Row("full disk")
    try:
        with small_disk() as disk:
            asyncio.run(_fill_disk(times, seed, row, disk))
            row.lost += _publish_on_full_disk(disk)
    except (OSError, subprocess.CalledProcessError) as error:
        row.skipped = f"a small disk cannot be mounted here ({error}): run it as root on Linux"
    return row


async def _fill_disk(times: int, seed: int, row: Row, disk: Path) -> None:
    data = {
        "REACTUNE_DATA__DIRECTORY": str(disk / "data"),
        "REACTUNE_DATABASE__URL": f"sqlite:///{disk / 'bot.db'}",
        "REACTUNE_LOGS__FILE": str(disk / "bot.log"),
        "REACTUNE_LOGS__LEVEL": "debug",  # more than what is left of a block takes
    }

    async def be_full(scene: Scene) -> float:
        await asyncio.to_thread(fill, disk)
        row.times += 1
        await asyncio.sleep(FULL_S)
        if not scene.bot.is_alive:
            row.lost.append(f"the bot ended on a full disk: see {scene.bot.keep_log()}")
        (disk / "filler").unlink()
        began_s, written = time.perf_counter(), (disk / "bot.bot.log").stat().st_size
        while (disk / "bot.bot.log").stat().st_size <= written:
            if time.perf_counter() - began_s > LOGGED_S:
                row.lost.append("nothing more comes into the log although there is room again")
                break
            await asyncio.sleep(POLL_S)
        return time.perf_counter() - began_s

    def count(scene: Scene) -> None:
        row.seen["sentences"] = scene.bot.said("the database is unreachable")
        row.seen["reactions that waited"] = scene.bot.said("The vote log waits")
        row.seen["rows that waited"] = scene.bot.said("late rows waits")

    url = data["REACTUNE_DATABASE__URL"]
    await strike_again(
        row, times, seed, be_full, in_a_life=times, between_s=(0.3, 1.5), count=count, environment=data, url=url
    )


def fill(disk: Path) -> None:
    """Leave no byte free, even while other processes write."""
    with (disk / "filler").open("wb", buffering=0) as filler, suppress(OSError):
        for size in (2**20, 4096, 512):
            with suppress(OSError):
                while True:
                    filler.write(os.urandom(size))


def _publish_on_full_disk(disk: Path) -> list[str]:
    """Publish an adapter where there is no room: a sentence, nothing half done, and it works when there is room."""
    store, found = AdapterStore(disk / "adapters"), []
    (disk / "adapters").mkdir(exist_ok=True)
    for is_full in (True, False):
        if is_full:
            fill(disk)
        try:
            with store.stage() as staging:
                _write_adapter(staging)
                digest = store.publish(staging)
                store.path(digest)
            if is_full:
                found.append("an adapter was published on a full disk")
        except StorageError as error:
            if not is_full:
                found.append(f"no adapter can be published though there is room again: {error}")
        except OSError as error:
            # The trainer's own writing fails before the store is asked; a round says so in its reason.
            if not is_full:
                found.append(f"no adapter can be written though there is room again: {error}")
        left = [one.name for one in (disk / "adapters").iterdir() if one.name.startswith(".staging")]
        found += [f"{name} was left half written" for name in left]
        (disk / "filler").unlink(missing_ok=True)
    return found


def _write_adapter(folder: Path) -> None:
    import numpy as np
    from safetensors.numpy import save_file

    (folder / "adapter_config.json").write_text('{"peft_type": "LORA"}', encoding="utf-8")
    save_file({"a": np.zeros(ADAPTER_BYTES // 4, dtype=np.float32)}, folder / "adapter_model.safetensors")


@contextmanager
def small_disk() -> Iterator[Path]:
    """Mount a separate file system in memory; raises OSError or CalledProcessError if that is not allowed."""
    folder = Path(tempfile.mkdtemp(prefix="reactune-disk-"))
    try:
        subprocess.run(
            ["mount", "-t", "tmpfs", "-o", f"size={SIZE_MIB}m", "tmpfs", str(folder)], check=True, capture_output=True
        )
        try:
            yield folder
        finally:
            subprocess.run(["umount", str(folder)], check=True, capture_output=True)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
