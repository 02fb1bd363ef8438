"""Processes: one bot and one trainer per data folder, one bot per token, and a sign of life of each."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy.orm import Session

from storage.database.columns import utc_now
from storage.database.tables import HeartbeatRow
from storage.errors import DataDirectoryInUse, SettingsError, TokenInUse
from storage.runtime.processes import (
    BOT,
    SILENT_AFTER_S,
    TRAINER,
    is_alive,
    last_heartbeat,
    record_heartbeat,
    sole_process,
    sole_token,
    worker_name,
)

pytestmark = pytest.mark.both_databases

HOLDER = """
import sys, time
from pathlib import Path
from storage.runtime.processes import BOT, sole_process, sole_token
with sole_process(BOT, Path(sys.argv[1])), sole_token(sys.argv[2]):
    print("held", flush=True)
    time.sleep(60)
"""


TOKEN = "MTk4NjIyNDgzNDcxOTI1MjQ4.secret.part"


@pytest.fixture(autouse=True)
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder in which all bots of one machine see each other; each test has its own."""
    folder = tmp_path / "tmp"
    folder.mkdir()
    monkeypatch.setenv("TMPDIR", str(folder))
    monkeypatch.setattr("tempfile.tempdir", str(folder))
    return folder


@contextmanager
def another_bot(directory: Path) -> Iterator[subprocess.Popen[str]]:
    """Run a process that holds the locks of a bot."""
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(directory), TOKEN], stdout=subprocess.PIPE, text=True, cwd=Path.cwd()
    )
    try:
        assert holder.stdout.readline() == "held\n"
        yield holder
    finally:
        holder.kill()
        holder.wait()
        holder.stdout.close()


def test_a_second_bot_on_one_data_folder_or_with_one_token_is_refused_until_the_first_dies(tmp_path: Path) -> None:
    with another_bot(tmp_path) as holder:
        with pytest.raises(DataDirectoryInUse) as refused, sole_process(BOT, tmp_path):
            pass
        assert str(refused.value) == (
            f"another bot is using {tmp_path}: stop it first, or set data.directory to another folder"
        )
        with pytest.raises(TokenInUse) as refused_token, sole_token(TOKEN):
            pass
        assert "another bot on this machine uses the same DISCORD_TOKEN" in str(refused_token.value)
        assert TOKEN not in str(refused_token.value)
        with sole_process(BOT, tmp_path / "other"), sole_token(f"{TOKEN}2"):
            assert holder.poll() is None
        os.kill(holder.pid, signal.SIGKILL)
        holder.wait()
        with sole_process(BOT, tmp_path), sole_token(TOKEN):
            assert holder.returncode == -signal.SIGKILL  # both are free although the holder never released them


def test_a_bot_waits_for_one_that_is_stopping(tmp_path: Path) -> None:
    with another_bot(tmp_path) as holder:
        with pytest.raises(DataDirectoryInUse), sole_process(BOT, tmp_path, wait_s=0.2):
            pass
        holder.terminate()
        with sole_process(BOT, tmp_path, wait_s=300.0):
            pass


def test_within_one_process_the_folder_is_held_once_as_well(tmp_path: Path) -> None:
    with sole_process(BOT, tmp_path), pytest.raises(DataDirectoryInUse), sole_process(BOT, tmp_path):
        pass
    with sole_process(BOT, tmp_path):
        pass


def test_bot_and_trainer_share_a_folder(tmp_path: Path) -> None:
    with sole_process(BOT, tmp_path), sole_process(TRAINER, tmp_path), pytest.raises(DataDirectoryInUse):  # noqa: SIM117
        with sole_process(TRAINER, tmp_path):
            pass


def test_the_token_is_not_written_to_the_lock(machine: Path) -> None:
    with sole_token(TOKEN):
        (lock,) = machine.iterdir()
        assert "secret" not in lock.name
        assert b"secret" not in lock.read_bytes()
        assert lock.stat().st_mode & 0o777 == 0o600


def test_a_data_folder_that_cannot_be_used_gets_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(SettingsError) as refused, sole_process(BOT, tmp_path / "file" / "data"):
        pass
    assert "cannot be used (Not a directory): set data.directory" in str(refused.value)


# Signs of life


def test_a_process_is_alive_after_a_beat_and_not_before(session: Session) -> None:
    assert not is_alive(session, BOT)
    record_heartbeat(session, BOT, "here")
    session.flush()
    assert is_alive(session, BOT)
    assert is_alive(session, BOT, "here")
    assert not is_alive(session, BOT, "elsewhere")
    assert not is_alive(session, TRAINER)


def test_a_silent_process_is_not_alive_until_it_beats_again(session: Session) -> None:
    session.add(HeartbeatRow(process=BOT, worker="here", beat_at=utc_now() - timedelta(seconds=SILENT_AFTER_S + 1)))
    session.flush()
    assert not is_alive(session, BOT)
    record_heartbeat(session, BOT, "here")
    session.flush()
    assert is_alive(session, BOT, "here")


def test_the_last_beat_is_read_back(session: Session) -> None:
    assert last_heartbeat(session, TRAINER, "here") is None
    record_heartbeat(session, TRAINER, "here")
    session.flush()
    assert utc_now() - last_heartbeat(session, TRAINER, "here") < timedelta(seconds=10)


def test_a_worker_keeps_its_name_and_folders_differ(tmp_path: Path) -> None:
    assert worker_name(tmp_path) == worker_name(tmp_path / "." / "x" / "..")
    assert worker_name(tmp_path / "a") != worker_name(tmp_path / "b")
    assert len(worker_name(tmp_path / ("long" * 60) / ("long" * 60))) == 255
