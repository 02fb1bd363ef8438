"""The memory that limits of containers leave."""

from __future__ import annotations

from pathlib import Path

import pytest

from storage.models.free_memory import free_disk, free_memory, group_limits, oom_kills

MIB = 2**20


def limit(folder: Path, limit: str, used: int, cached: int, *, version: int) -> None:
    names = {2: ("memory.max", "memory.current"), 1: ("memory.limit_in_bytes", "memory.usage_in_bytes")}[version]
    folder.mkdir(parents=True, exist_ok=True)
    for name, value in zip(names, (limit, str(used)), strict=True):
        (folder / name).write_text(f"{value}\n")
    prefix = "" if version == 2 else "total_"
    (folder / "memory.stat").write_text(f"anon 1\n{prefix}inactive_file {cached}\n")


@pytest.mark.parametrize("version", [1, 2])
def test_a_container_has_what_its_limit_leaves_and_files_in_the_cache_do_not_count(tmp_path, version):
    root = tmp_path if version == 2 else tmp_path / "memory"
    limit(root / "app", str(100 * MIB), 60 * MIB, 20 * MIB, version=version)
    own = tmp_path / "cgroup"
    own.write_text("0::/app/inner\n" if version == 2 else "5:cpu:/other\n4:memory:/app\n")
    assert list(group_limits(tmp_path, own)) == [(60 * MIB, 100 * MIB)]


def test_every_limit_on_the_way_counts_and_no_limit_is_none(tmp_path):
    limit(tmp_path, "max", 5 * MIB, 0, version=2)
    limit(tmp_path / "outer", str(30 * MIB), 10 * MIB, 0, version=2)
    limit(tmp_path / "outer" / "inner", str(50 * MIB), 5 * MIB, 0, version=2)
    (tmp_path / "cgroup").write_text("0::/outer/inner\n")
    assert list(group_limits(tmp_path, tmp_path / "cgroup")) == [(45 * MIB, 50 * MIB), (20 * MIB, 30 * MIB)]


def test_a_system_without_groups_has_its_own_memory(tmp_path):
    assert list(group_limits(tmp_path, tmp_path / "nothing")) == []
    here = free_memory()
    assert 0 < here.free <= here.total


def test_models_on_a_cpu_get_what_the_container_leaves(monkeypatch):
    monkeypatch.setattr("storage.models.free_memory.group_limits", lambda *_folders: [(MIB, 2 * MIB)])
    assert free_memory().free == MIB


def test_the_kernel_counts_whom_it_kills_for_memory(tmp_path):
    machine, own = tmp_path / "vmstat", tmp_path / "cgroup"
    machine.write_text("pgfault 7\noom_kill 5\n")
    own.write_text("0::/app\n")
    assert oom_kills(tmp_path, own, machine) == 5
    (tmp_path / "app").mkdir()
    (tmp_path / "app" / "memory.events").write_text("oom 2\noom_kill 1\n")
    assert oom_kills(tmp_path, own, machine) == 1, "not those of other containers"
    assert oom_kills(tmp_path, tmp_path / "nothing", tmp_path / "nothing") == 0


def test_a_folder_that_is_not_there_yet_has_the_disk_that_it_will_be_on(tmp_path):
    assert free_disk(tmp_path / "not" / "yet") == pytest.approx(free_disk(tmp_path), rel=0.1)
