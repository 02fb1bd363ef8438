from __future__ import annotations

import json
import logging
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import timedelta
from functools import partial
from pathlib import Path

import pytest
from sqlalchemy import text

from storage.adapters.folder_store import AdapterStore
from storage.database.columns import utc_now
from storage.database.database import Database, open_database
from storage.database.enums import RoundStatus
from storage.database.tables import HeartbeatRow
from storage.errors import PersonalityNotFound, SettingsError
from storage.models.base_model import resolve_base_model
from storage.personalities.personalities import ensure_personality
from storage.releases.versions import NewVersion, list_versions, register
from storage.runtime.processes import (
    TRAINER,
    GpuUse,
    is_alive,
    last_heartbeat,
    sole_process,
    take_gpus,
    users_of_gpu,
    worker_name,
)
from storage.settings.sections import Settings
from storage.training.rounds import (
    MEMORY_RAN_OUT,
    Round,
    claim_round,
    find_round,
    finish_round,
    memory_failures,
    request_round,
)
from tests.seeding import add_siblings
from tests.storage.adapters.test_folder_store import publish
from tests.trainer.rounds.quick import run_endlessly, run_quickly
from trainer.progress import Phase
from trainer.rounds import worker
from trainer.rounds.worker import RoundWorker, describe_exit, run_trainer, train_now

TRAIN = partial(request_round, requested_by="command line")
ROOT = Path(__file__).parents[3]
HANG_S = 300.0
"""After which a test is given up."""


@pytest.fixture
def database(settings: Settings) -> Iterator[Database]:
    database = open_database(settings)
    with database.transaction() as session:
        base = resolve_base_model(settings.model.base, settings.data.directory)
        add_siblings(session, 4, base_revision=base.revision)
    yield database
    database.close()


def endless(settings: Settings) -> Settings:
    """Return settings under which a round trains for minutes."""
    return settings.model_copy(update={"training": settings.training.model_copy(update={"epochs": 10_000.0})})


def request(database: Database) -> int:
    with database.transaction() as session:
        return request_round(session, ensure_personality(session), "admin")[0].id


def look(database: Database, round_id: int) -> Round:
    with database.snapshot() as session:
        round_ = find_round(session, round_id)
    assert round_ is not None
    return round_


def begun(database: Database, round_id: int) -> Callable[[], bool]:
    return lambda: look(database, round_id).status is RoundStatus.RUNNING


def in_phase(database: Database, round_id: int, phase: Phase) -> Callable[[], bool]:
    return lambda: look(database, round_id).progress.get("phase") == phase


def ended(database: Database, round_id: int) -> Callable[[], bool]:
    return lambda: not look(database, round_id).is_open


def all_interrupted(database: Database, round_ids: list[int]) -> Callable[[], bool]:
    return lambda: all(look(database, round_id).status is RoundStatus.INTERRUPTED for round_id in round_ids)


def wait_for(condition: Callable[[], object]) -> None:
    give_up_at = time.monotonic() + HANG_S
    while not condition():
        assert time.monotonic() < give_up_at, "it did not happen in time"
        time.sleep(0.05)


@pytest.fixture
def quickly(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let rounds end at once; each still has its own process."""
    monkeypatch.setattr(worker, "_run_in_process", run_quickly)


@pytest.fixture
def endlessly(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let rounds train until their process is ended."""
    monkeypatch.setattr(worker, "_run_in_process", run_endlessly)


@contextmanager
def trainer_thread(settings: Settings) -> Iterator[None]:
    stop = threading.Event()
    thread = threading.Thread(target=run_trainer, args=(settings, stop))
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def environment(settings: Settings) -> dict[str, str]:
    """Return what makes `load_settings` return these settings in another process."""
    values = {
        f"REACTUNE_{section}__{key}".upper(): json.dumps(getattr(settings, section).model_dump(mode="json")[key]).strip(
            '"'
        )
        for section in ("data", "model", "generation", "pairs", "training", "gate")
        for key in getattr(settings, section).model_fields_set
    }
    return {**os.environ, **values}


@contextmanager
def trainer_process(settings: Settings, held_phase: str = "") -> Iterator[subprocess.Popen[str]]:
    """Run `reactune trainer` and kill it at the end unless it is gone.

    If `held_phase` is given, its rounds stay in that phase.
    """
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.trainer.rounds.held_trainer" if held_phase else "reactune", "trainer"],
        cwd=ROOT,
        env=environment(settings) | {"HELD_PHASE": held_phase},
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def children_of(pid: int) -> set[int]:
    return {int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()}


def all_gone(pids: set[int]) -> Callable[[], bool]:
    return lambda: not any(map(is_running, pids))


def is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def leftovers(settings: Settings) -> list[Path]:
    return list((settings.data.directory / "adapters").glob(".staging-*"))


def check_versions(database: Database, settings: Settings) -> int:
    """Check that the files of every version are complete, and return how many versions there are."""
    store = AdapterStore(settings.data.directory / "adapters")
    with database.transaction() as session:
        versions = list_versions(session, ensure_personality(session))
    for version in versions:
        assert store.path(version.digest).is_dir()
    return len(versions)


@pytest.mark.slow
def test_a_trainer_killed_while_it_trains_or_publishes_is_made_up_for_by_the_next(
    database: Database, settings: Settings
) -> None:
    killed: list[int] = []
    for phase in (Phase.TRAINING, Phase.PUBLISHING):
        with trainer_process(settings, held_phase=phase) as trainer:
            wait_for(all_interrupted(database, killed))
            round_id = request(database)
            wait_for(in_phase(database, round_id, phase))
            children = children_of(trainer.pid)
            trainer.kill()
            wait_for(all_gone(children))
        assert look(database, round_id).status is RoundStatus.RUNNING
        killed.append(round_id)
    assert leftovers(settings)
    with trainer_thread(settings):
        wait_for(all_interrupted(database, killed))
        last = request(database)
        wait_for(ended(database, last))
    assert look(database, killed[0]).reason.startswith("the trainer stopped during this round")
    assert look(database, last).status is RoundStatus.PUBLISHED
    assert check_versions(database, settings) == 1
    wait_for(lambda: leftovers(settings) == [])


@pytest.mark.usefixtures("quickly")
def test_an_adapter_whose_round_was_ended_at_the_last_moment_is_swept(database: Database, settings: Settings) -> None:
    end_it = "CREATE TRIGGER late AFTER INSERT ON versions BEGIN UPDATE rounds SET status = 'interrupted'; END"
    with database.transaction() as session:
        session.execute(text(end_it))
    round_ = train_now(settings, "default", TRAIN, lambda _: None, threading.Event())
    assert not round_.is_open
    assert list((settings.data.directory / "adapters").iterdir()) == []
    assert check_versions(database, settings) == 0


def test_a_trainer_without_rounds_removes_the_files_that_the_settings_let_go(
    database: Database, settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    store = AdapterStore(settings.data.directory / "adapters")
    digests = [publish(store, value=float(value)) for value in range(2)]
    with database.transaction() as session:
        common = {"base_name": "tiny", "base_revision": "r", "parent_id": None, "round_id": None, "metrics": {}}
        for digest in digests:
            register(session, ensure_personality(session), NewVersion(digest=digest, **common))
    own = settings.model_copy(update={"training": settings.training.model_copy(update={"keep_versions": 1})})
    with caplog.at_level(logging.INFO), trainer_thread(own):
        wait_for(lambda: "Removed the files of v1 of default: it is older than the newest 1." in caplog.text)
    assert not (settings.data.directory / "adapters" / digests[0]).exists()
    assert store.path(digests[1]).is_dir()


@pytest.mark.slow
def test_sigterm_ends_the_trainer_and_says_so_in_the_round(database: Database, settings: Settings) -> None:
    with trainer_process(endless(settings)) as trainer:
        round_id = request(database)
        wait_for(in_phase(database, round_id, Phase.TRAINING))
        children = children_of(trainer.pid)
        trainer.send_signal(signal.SIGTERM)
        _, errors = trainer.communicate(timeout=HANG_S)
    assert trainer.returncode == 0
    wait_for(all_gone(children))
    round_ = look(database, round_id)
    assert (round_.status, round_.reason) == (
        RoundStatus.INTERRUPTED,
        "the trainer was stopped during this round and nothing was published: start a new round",
    )
    wait_for(lambda: leftovers(settings) == [])
    assert "Traceback" not in errors
    assert "leaked" not in errors
    assert f"Round {round_id} started. It learns from votes." in errors
    assert "The trainer has stopped." in errors


@pytest.mark.usefixtures("endlessly")
@pytest.mark.slow
def test_a_round_whose_process_is_killed_fails_and_the_next_one_runs(database: Database, settings: Settings) -> None:
    with trainer_thread(settings):
        killed = request(database)
        wait_for(in_phase(database, killed, Phase.TRAINING))
        database.call(take_gpus, GpuUse.ROUND, ["0123456789ab"], worker_name(settings.data.directory))
        [child] = multiprocessing.active_children()
        assert child.pid is not None
        os.kill(child.pid, signal.SIGKILL)
        wait_for(ended(database, killed))
        wait_for(lambda: leftovers(settings) == [])
        assert database.fetch(users_of_gpu, GpuUse.ROUND, "0123456789ab") == [], "the bot's engine may come back"
        waiting = request(database)
        wait_for(begun(database, waiting))
    round_ = look(database, killed)
    assert round_.status is RoundStatus.FAILED
    assert round_.reason == "the round's process was killed by signal 9 (Killed): start a new round", (
        "not by the kernel"
    )
    assert database.fetch(memory_failures, round_.personality_id) == 0
    assert look(database, waiting).status is RoundStatus.INTERRUPTED


@pytest.mark.usefixtures("endlessly")
def test_a_round_killed_for_memory_counts_even_if_the_trainer_is_stopped_for_that(
    database: Database, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By default systemd stops a service of which the kernel killed a process."""
    killed = [0]
    monkeypatch.setattr(worker, "oom_kills", lambda: killed[0])
    stop = threading.Event()

    def kill_for_memory() -> None:
        for child in multiprocessing.active_children():
            child.kill()
            child.join()
        killed[0] += 1
        stop.set()

    round_id = request(database)
    RoundWorker(settings, database, stop, kill_for_memory).run_next()
    round_ = look(database, round_id)
    assert (round_.status, round_.reason) == (
        RoundStatus.FAILED,
        f"the round's process was killed by the kernel because {MEMORY_RAN_OUT}",
    )
    assert database.fetch(memory_failures, round_.personality_id) == 1


def test_a_trainer_starts_when_a_command_that_trains_has_ended(
    database: Database, settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    with ExitStack() as by_hand:
        by_hand.enter_context(sole_process(TRAINER, settings.data.directory))
        with trainer_thread(settings):
            wait_for(lambda: "reactune train`, uses" in caplog.text)
            assert not is_trainer_alive(database)
            by_hand.close()
            wait_for(lambda: is_trainer_alive(database))


def is_trainer_alive(database: Database) -> bool:
    with database.snapshot() as session:
        return is_alive(session, TRAINER)


def test_a_bad_schedule_stops_the_trainer_at_the_start(settings: Settings) -> None:
    bad = settings.model_copy(update={"training": settings.training.model_copy(update={"schedule": "daily"})})
    with pytest.raises(SettingsError, match=r"training\.schedule"):
        run_trainer(bad, threading.Event())


@pytest.mark.usefixtures("quickly")
def test_the_command_line_trains_itself_if_no_trainer_runs(
    database: Database, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker, "POLL_S", 0.01)
    seen: list[Round] = []
    round_ = train_now(settings, "default", TRAIN, seen.append, threading.Event())
    assert (round_.status, round_.requested_by) == (RoundStatus.PUBLISHED, "command line")
    assert {report.id for report in seen} == {round_.id}
    assert any(report.progress for report in seen)
    with database.transaction() as session:
        assert last_heartbeat(session, TRAINER, worker_name(settings.data.directory)) is not None


def test_the_command_line_does_not_join_the_round_of_a_trainer_that_died(
    database: Database, settings: Settings
) -> None:
    orphan = request(database)
    with database.transaction() as session:
        claim_round(session, worker_name(settings.data.directory))
    stop = threading.Event()
    round_ = train_now(settings, "default", TRAIN, lambda _: stop.set(), stop)
    assert look(database, orphan).status is RoundStatus.INTERRUPTED
    assert (round_.id, round_.status) == (orphan + 1, RoundStatus.INTERRUPTED)


@pytest.mark.usefixtures("quickly")
def test_the_command_line_waits_for_a_trainer_that_runs(database: Database, settings: Settings) -> None:
    with trainer_thread(settings):
        wait_for(lambda: is_trainer_alive(database))
        joined = request(database)
        round_ = train_now(settings, "default", TRAIN, lambda _: None, threading.Event())
    assert (round_.id, round_.status) == (joined, RoundStatus.PUBLISHED)


def test_the_command_line_waits_for_a_trainer_on_another_host(database: Database, settings: Settings) -> None:
    with database.transaction() as session:
        in_an_hour = utc_now() + timedelta(hours=1)  # it lives as long as this test runs
        session.add(HeartbeatRow(process=TRAINER, worker="gpu1:/data#01ab", beat_at=in_an_hour))
    seen: list[Round] = []
    stop = threading.Event()

    def train_there(round_: Round) -> None:
        seen.append(round_)
        with database.transaction() as session:
            if round_.status is RoundStatus.REQUESTED:
                claim_round(session, "gpu1:/data#01ab")
            else:
                finish_round(session, round_.id, RoundStatus.SKIPPED, "3 pairs, 8 needed")

    round_ = train_now(settings, "default", TRAIN, train_there, stop)
    assert [report.worker for report in seen] == [None, "gpu1:/data#01ab"]
    assert (round_.status, round_.worker) == (RoundStatus.SKIPPED, "gpu1:/data#01ab")


def test_the_command_line_leaves_when_it_is_stopped(database: Database, settings: Settings) -> None:
    stop = threading.Event()
    with sole_process(TRAINER, settings.data.directory):
        round_ = train_now(settings, "default", TRAIN, lambda _: stop.set(), stop)
    assert round_.status is RoundStatus.REQUESTED


def test_a_personality_that_does_not_exist_cannot_be_trained(database: Database, settings: Settings) -> None:
    with pytest.raises(PersonalityNotFound, match="no personality 'pirat': choose one of default"):
        train_now(settings, "pirat", TRAIN, lambda _: None, threading.Event())


def test_the_end_of_a_process_is_explained() -> None:
    assert describe_exit(-signal.SIGKILL, ran_out=True).endswith(MEMORY_RAN_OUT)
    crashed = describe_exit(-signal.SIGSEGV, ran_out=False)
    assert crashed.startswith("the round's process was killed by signal 11 (Segmentation fault)")
    assert (
        describe_exit(1, ran_out=True)
        == "the round's process ended with exit code 1: see the trainer's log for the reason"
    )
