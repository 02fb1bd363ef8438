"""Free resources of this machine or of the container around this process: memory, each GPU's memory, and disk."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import psutil

from storage.models.hardware import gpu_count, has_gpu, own_gpu
from storage.wording import gettext_noop

CGROUPS = Path("/sys/fs/cgroup")
OWN_GROUPS = Path("/proc/self/cgroup")
FILES = {
    2: ("memory.max", "memory.current", "inactive_file"),
    1: ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
}
"""{version of cgroups: names of the limit's file, the usage's file, and memory.stat's entry for idle cached files}."""
KILLS = {2: "memory.events", 1: "memory.oom_control"}
KILLS_OF_MACHINE = Path("/proc/vmstat")
NO_LIMIT = 2**60
"""Version 1 writes a huge number if there is no limit."""


@dataclass(frozen=True)
class FreeMemory:
    """Bytes that a new process can have, and the total."""

    free: int
    total: int
    is_gpu: bool = False

    @property
    def kind(self) -> str:
        return gettext_noop("GPU memory") if self.is_gpu else gettext_noop("memory")


def free_memory() -> FreeMemory:
    """Return this machine's memory, or the part that its container's limits leave."""
    machine = psutil.virtual_memory()
    limits = [(machine.available, machine.total), *group_limits(CGROUPS, OWN_GROUPS)]
    return FreeMemory(max(0, min(free for free, _ in limits)), min(total for _, total in limits))


def gpu_memory(gpu: Any) -> FreeMemory:
    """Return the memory of a GPU, given as PyTorch's device or number; PyTorch's unused reserve here counts as free."""
    import torch

    free, total = torch.cuda.mem_get_info(gpu)
    return FreeMemory(free + torch.cuda.memory_reserved(gpu) - torch.cuda.memory_allocated(gpu), total, is_gpu=True)


def free_gpus() -> list[FreeMemory]:
    """Return the memory of each GPU that PyTorch can use; imports PyTorch only if there is one."""
    return [gpu_memory(number) for number in range(gpu_count())]


def memory_for_training() -> FreeMemory:
    """Return the memory that this process can train in: its GPU's, or the machine's, including its present share."""
    if has_gpu():
        return gpu_memory(own_gpu())
    machine = free_memory()
    return FreeMemory(machine.free + psutil.Process().memory_info().rss, machine.total)


def oom_kills(root: Path = CGROUPS, own: Path = OWN_GROUPS, machine: Path = KILLS_OF_MACHINE) -> int:
    """Return the number of processes that the kernel killed for memory: in this control group, else on the machine.

    0 on systems that do not count.
    """
    counters = [folder / KILLS[version] for version, folder in _group_folders(root, own)]
    for counter in (*counters, machine):
        with suppress(OSError, ValueError):
            counted = dict(line.split() for line in counter.read_text(encoding="ascii").splitlines())
            if "oom_kill" in counted:
                return int(counted["oom_kill"])
    return 0


def free_disk(folder: Path) -> int:
    """Return the free bytes of the disk that the folder is, or will be, on."""
    return shutil.disk_usage(existing_part(folder)).free


def existing_part(folder: Path) -> Path:
    """Return the folder, or the nearest one above it that exists."""
    return next(place for place in (folder.absolute(), *folder.absolute().parents) if place.exists())


def group_limits(root: Path, own: Path) -> Iterator[tuple[int, int]]:
    """Yield (rest, limit) of each memory limit on this process's control group and the groups around it."""
    for version, folder in _group_folders(root, own):
        limit_file, used_file, cached_name = FILES[version]
        with suppress(OSError, ValueError):  # another system's layout, or "max": no limit
            limit, used = (int((folder / name).read_text(encoding="ascii")) for name in (limit_file, used_file))
            # Files in the kernel's cache count as used, but it drops them when memory is needed.
            cached = dict(line.split() for line in (folder / "memory.stat").read_text(encoding="ascii").splitlines())
            if limit < NO_LIMIT:
                yield limit - used + int(cached.get(cached_name, 0)), limit


def _group_folders(root: Path, own: Path) -> Iterator[tuple[int, Path]]:
    """Yield the folders of this process's group and of those around it. In a container its own one may be the root."""
    for line in own.read_text(encoding="ascii").splitlines() if own.is_file() else ():
        number, controllers, path = line.split(":", 2)
        if number != "0" and "memory" not in controllers.split(","):
            continue
        version, top = (2, root) if number == "0" else (1, root / "memory")
        inside = PurePosixPath(path).relative_to("/")
        yield from ((version, top / part) for part in (inside, *inside.parents))
