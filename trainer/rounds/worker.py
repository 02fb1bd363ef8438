"""The trainer: waits for rounds, runs each in a separate process, and records its end. It loads no model."""

from __future__ import annotations

import logging
import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from datetime import datetime
from multiprocessing.context import SpawnProcess
from pathlib import Path

from sqlalchemy.orm import Session

from storage.database.database import Database, open_database
from storage.database.engine import FAILURES, explain
from storage.database.enums import RoundStatus
from storage.errors import DataDirectoryInUse, RoundConflict
from storage.models.free_memory import oom_kills
from storage.personalities.personalities import open_personality
from storage.runtime.processes import (
    HEARTBEAT_S,
    SILENT_AFTER_S,
    TRAINER,
    GpuUse,
    last_heartbeat,
    leave_gpus,
    live_processes,
    record_heartbeat,
    renew_gpus,
    sole_process,
    worker_name,
)
from storage.runtime.shell import as_called
from storage.sentences import Sentence
from storage.settings.sections import Settings
from storage.training.rounds import (
    MEMORY_RAN_OUT,
    Round,
    claim_round,
    finish_round,
    interrupt_rounds,
    renew_lease,
    require_round,
)
from trainer.metrics import served_metrics
from trainer.rounds.distributed import set_up_child
from trainer.rounds.housekeeping import AdapterHousekeeping
from trainer.rounds.schedule import scheduled_rounds

POLL_S = 0.5
RETRY_S = 5.0
ENDING_S = 10.0
CONTEXT = multiprocessing.get_context("spawn")
"""Not "fork": PyTorch's threads and the database's connections do not survive a fork."""
KILLED_FIRST = Path("/proc/self/oom_score_adj")
"""Makes Linux kill this process before others if memory runs out: a round can be repeated, and the bot goes on."""
STOPPED = Sentence("the trainer was stopped during this round and nothing was published: start a new round")

log = logging.getLogger(__name__)


def run_trainer(settings: Settings, stop: threading.Event) -> None:
    """Run requested and scheduled rounds, one at a time, until `stop` is set.

    Waits while another trainer or a command by hand uses the data folder. Raises SettingsError on a bad schedule, and
    DatabaseError.
    """
    is_waiting = False
    while not stop.is_set():
        try:
            with sole_process(TRAINER, settings.data.directory):
                _serve_alone(settings, stop)
        except DataDirectoryInUse:
            if not is_waiting:
                log.warning(
                    as_called(
                        "Another trainer, or a command such as `reactune train`, uses %s. This trainer starts when "
                        "that has ended."
                    ),
                    settings.data.directory,
                )
            is_waiting = True
            stop.wait(POLL_S)
    log.info("The trainer has stopped.")


def _serve_alone(settings: Settings, stop: threading.Event) -> None:
    with closing(open_database(settings)) as database:
        worker = RoundWorker(settings, database, stop)
        worker.clean_up()
        schedule = settings.training.schedule
        with (
            served_metrics(settings.metrics, database),
            scheduled_rounds(database, schedule, worker.last_heartbeat()),
        ):
            planned = f"at {schedule!r} UTC and on request" if schedule.strip() else "on request"
            log.info("The trainer is ready. Rounds run %s.", planned)
            worker.serve()


def train_now(
    settings: Settings,
    personality: str,
    request: Callable[[Session, int], tuple[Round, bool]],
    report: Callable[[Round], None],
    stop: threading.Event,
) -> Round:
    """Request a round or join an open one, wait until it ends, and return it; `report` gets it while it is open.

    `request` gets the session and the personality's id, and returns the round and whether it is new. A running trainer
    does the work, on this host or another; without one, this process does. If `stop` is set, a round that runs here is
    interrupted and one that runs elsewhere continues. Raises PersonalityNotFound and the errors of `request`.
    """
    with closing(open_database(settings)) as database:
        _end_orphans(settings, database, stop)
        with database.transaction() as session:
            personality_id = open_personality(session, settings, personality).id
            requested, _ = request(session, personality_id)
        while (round_ := _read_round(database, requested.id)).is_open and not stop.is_set():
            report(round_)
            _run_here_or_wait(settings, database, stop, lambda: report(_read_round(database, requested.id)))
    return round_


@contextmanager
def stopped_by_signals() -> Iterator[threading.Event]:
    """Yield an event that SIGTERM and SIGINT set, instead of ending the process; only for the main thread."""
    stop = threading.Event()
    previous = {number: signal.signal(number, lambda *_: stop.set()) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield stop
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


class RoundWorker:
    """Claims rounds and watches their processes. The caller holds the data folder's trainer lock."""

    def __init__(
        self,
        settings: Settings,
        database: Database,
        stop: threading.Event,
        on_tick: Callable[[], None] = lambda: None,
    ) -> None:
        self._settings = settings
        self._database = database
        self._stop = stop
        self._on_tick = on_tick
        self._name = worker_name(settings.data.directory)
        self._files = AdapterHousekeeping(settings, database)
        self._next_heartbeat = 0.0
        self._wait_for_others_until = 0.0

    def clean_up(self) -> None:
        """End the rounds of a trainer that died, and remove the files that it left."""
        self.end_orphans()
        self._leave_gpus()
        self._files.sweep()
        self._files.finish_withdrawals()

    def last_heartbeat(self) -> datetime | None:
        """Return the time of the last trainer heartbeat here, or None."""
        with self._database.snapshot() as session:
            return last_heartbeat(session, TRAINER, self._name)

    def serve(self) -> None:
        """Run requested rounds until stopped; waits while the database is unreachable."""
        while not self._stop.is_set():
            try:
                if not self.run_next():
                    self._files.withdraw_when_due()
                    self._stop.wait(POLL_S)
            except FAILURES as error:
                log.warning("The database is unreachable (%s); trying again in %.0f s.", explain(error), RETRY_S)
                self._let_others_renew()
                self._stop.wait(RETRY_S)

    def run_next(self) -> bool:
        """Run the oldest requested round; return False if there is none."""
        self._record_heartbeat()
        self.end_orphans()
        with self._database.transaction() as session:
            round_ = claim_round(session, self._name)
        if round_ is None:
            return False
        self._run(round_)
        return True

    def end_orphans(self) -> None:
        """End rounds whose trainer died. This worker runs none at the moment, so rounds under its name are included."""
        with self._database.transaction() as session:
            includes_others = time.monotonic() >= self._wait_for_others_until
            orphans = interrupt_rounds(session, self._name, others=includes_others)
        for orphan in orphans:
            log.warning("Round %d was interrupted: %s.", orphan.id, orphan.reason)

    def _let_others_renew(self) -> None:
        """Give other trainers time to renew their leases: if we lost the database, they probably did too."""
        self._wait_for_others_until = time.monotonic() + SILENT_AFTER_S

    def _run(self, round_: Round) -> None:
        log.info("Round %d started. It learns from %s.", round_.id, round_.learns_from)
        kills = oom_kills()
        process = start_process(self._settings, round_.id)
        try:
            self._watch(process, round_.id)
        finally:
            end_process(process)
            self._leave_gpus()
        self._settle(round_.id, describe_exit(process.exitcode, ran_out=oom_kills() > kills))
        self._files.sweep()
        self._files.withdraw()

    def _watch(self, process: SpawnProcess, round_id: int) -> None:
        """Renew the round's lease until its process ends, the trainer is stopped or somebody ended the round."""
        while process.is_alive() and not self._stop.is_set():
            process.join(POLL_S)
            try:
                if not self._renew_lease(round_id):
                    return
                self._on_tick()
            except FAILURES as error:
                self._let_others_renew()
                log.warning("The database is unreachable (%s); the round continues.", explain(error))

    def _settle(self, round_id: int, failure: str) -> None:
        """End a round whose process failed to end it, with this failure, and log the end."""
        with suppress(RoundConflict), self._database.transaction() as session:  # another trainer may have ended it
            # systemd may stop the trainer because its round was killed for memory, which the next round must know.
            if self._stop.is_set() and not failure.endswith(MEMORY_RAN_OUT):
                finish_round(session, round_id, RoundStatus.INTERRUPTED, STOPPED)
            else:
                finish_round(session, round_id, RoundStatus.FAILED, failure)
        round_ = _read_round(self._database, round_id)
        log.info("Round %d ended (%s): %s.", round_.id, round_.status, round_.reason)

    def _record_heartbeat(self) -> None:
        if time.monotonic() >= self._next_heartbeat:
            with self._database.transaction() as session:
                record_heartbeat(session, TRAINER, self._name)
            self._next_heartbeat = time.monotonic() + HEARTBEAT_S

    def _renew_lease(self, round_id: int) -> bool:
        """Record a heartbeat and renew the round's lease if they are due; return False if the round has ended."""
        if time.monotonic() < self._next_heartbeat:
            return True
        self._record_heartbeat()
        with self._database.transaction() as session:
            renew_gpus(session, GpuUse.ROUND, self._name)
            return renew_lease(session, round_id)

    def _leave_gpus(self) -> None:
        """Let the engines that stepped aside come back now; otherwise they wait until the heartbeats are old."""
        with suppress(*FAILURES), self._database.transaction() as session:
            leave_gpus(session, GpuUse.ROUND, self._name)


def start_process(settings: Settings, round_id: int) -> SpawnProcess:
    """Start a process that runs the claimed round. It may crash or run out of memory without harming the trainer."""
    process = CONTEXT.Process(
        target=_run_in_process,
        args=(settings, round_id, logging.getLogger().getEffectiveLevel()),
        name=f"round-{round_id}",
    )
    process.start()
    return process


def _run_in_process(settings: Settings, round_id: int, log_level: int) -> None:
    set_up_child(settings, "round", log_level)
    os.nice(settings.training.niceness)
    with suppress(OSError):  # other systems have no such file
        KILLED_FIRST.write_text("500", encoding="ascii")

    from trainer.rounds.round import run_round

    run_round(settings, round_id)


def end_process(process: SpawnProcess) -> None:
    """Terminate the process if it still runs, and kill it if that takes longer than ENDING_S seconds."""
    process.terminate()
    process.join(ENDING_S)
    process.kill()
    process.join()


def describe_exit(exit_code: int | None, *, ran_out: bool) -> str:
    """Return a sentence about a round's process that ended without recording a reason.

    `ran_out` is true if the kernel killed a process for its memory meanwhile.
    """
    if exit_code == -signal.SIGKILL and ran_out:
        return Sentence("the round's process was killed by the kernel because {reason}", reason=MEMORY_RAN_OUT)
    if exit_code is not None and exit_code < 0:
        return Sentence(
            "the round's process was killed by signal {number} ({name}): start a new round",
            number=-exit_code,
            name=signal.strsignal(-exit_code),
        )
    return Sentence(
        "the round's process ended with exit code {code}: see the trainer's log for the reason", code=str(exit_code)
    )


def _end_orphans(settings: Settings, database: Database, stop: threading.Event) -> None:
    """End the rounds of a trainer that died, so that a new request does not join one of them."""
    with suppress(DataDirectoryInUse), sole_process(TRAINER, settings.data.directory):
        RoundWorker(settings, database, stop).end_orphans()


def _run_here_or_wait(
    settings: Settings, database: Database, stop: threading.Event, on_tick: Callable[[], None]
) -> None:
    """Run the oldest request unless a trainer does.

    The lock shows whether a trainer uses this data folder, at once and even after a crash; heartbeats show trainers
    elsewhere.
    """
    worked = False
    with suppress(DataDirectoryInUse), sole_process(TRAINER, settings.data.directory):
        if not _runs_elsewhere(database, worker_name(settings.data.directory)):
            worker = RoundWorker(settings, database, stop, on_tick)
            worker.clean_up()
            worked = worker.run_next()
    if not worked:
        stop.wait(POLL_S)


def _runs_elsewhere(database: Database, own: str) -> bool:
    with database.snapshot() as session:
        return any(process.worker != own for process in live_processes(session, TRAINER))


def _read_round(database: Database, round_id: int) -> Round:
    with database.snapshot() as session:
        return require_round(session, round_id)
