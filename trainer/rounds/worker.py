"""The trainer: waits for rounds, runs each in a process of its own, and tells how it ended. It loads no model."""

from __future__ import annotations

import logging
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from datetime import datetime
from multiprocessing.context import SpawnProcess

from storage.adapters import open_store
from storage.database.database import Database, open_database
from storage.database.engine import FAILURES, explain
from storage.database.enums import RoundStatus, TrainingSource
from storage.errors import DataDirectoryInUse, RoundConflict, StorageError
from storage.models.withdrawal import remove_withdrawn, withdraw_adapters
from storage.personalities.personalities import open_personality
from storage.releases.versions import aliased_digests, all_digests
from storage.runtime.processes import (
    HEARTBEAT_S,
    SILENT_AFTER_S,
    TRAINER,
    last_heartbeat,
    live_processes,
    record_heartbeat,
    sole_process,
    worker_name,
)
from storage.settings.sections import Settings
from storage.training.rounds import (
    Round,
    claim_round,
    finish_round,
    interrupt_rounds,
    renew_lease,
    request_round,
    require_round,
)
from trainer.rounds.metrics import served_metrics
from trainer.rounds.process import describe_exit, end_process, start_process
from trainer.rounds.schedule import scheduled_rounds

POLL_S = 0.5
RETRY_S = 5.0
WITHDRAWAL_S = 600.0
STOPPED = "the trainer was stopped during this round and nothing was published: ask for a new one"

RoundReport = Callable[[Round], None]

log = logging.getLogger(__name__)


def run_trainer(settings: Settings, stop: threading.Event | None = None) -> None:
    """Run requested and scheduled rounds, one at a time, until `stop` is set; without it, until SIGTERM or SIGINT.

    Raises DataDirectoryInUse where another trainer uses the data folder, SettingsError on a bad schedule, and
    DatabaseError.
    """
    if stop is None:
        with stopped_by_signals() as signalled:
            run_trainer(settings, signalled)
        return
    with sole_process(TRAINER, settings.data.directory), closing(open_database(settings)) as database:
        worker = RoundWorker(settings, database, stop)
        worker.end_orphans()
        worker.sweep()
        worker.finish_withdrawals()
        with (
            served_metrics(settings.metrics, database),
            scheduled_rounds(database, settings.training.schedule, worker.last_life()),
        ):
            log.info("The trainer is ready.")
            worker.serve()
    log.info("The trainer has stopped.")


def train_now(
    settings: Settings,
    personality: str,
    requested_by: str,
    report: RoundReport,
    stop: threading.Event | None = None,
    *,
    lesson: TrainingSource = TrainingSource.VOTES,
) -> Round:
    """Ask for a round (or join one that is open), wait for its end, and return it; `report` gets it while it is open.

    A trainer that lives does the work, on this host or another, else this process does. Once stopped, by `stop` or a
    signal, a round that runs here is interrupted and one that runs elsewhere goes on. Raises PersonalityNotFound.
    """
    if stop is None:
        with stopped_by_signals() as signalled:
            return train_now(settings, personality, requested_by, report, signalled, lesson=lesson)
    with closing(open_database(settings)) as database:
        _end_orphans(settings, database, stop)
        round_id = _request(database, settings, personality, requested_by, lesson)
        while (round_ := _look(database, round_id)).is_open and not stop.is_set():
            report(round_)
            _run_here_or_wait(settings, database, stop, lambda: report(_look(database, round_id)))
    return round_


@contextmanager
def stopped_by_signals() -> Iterator[threading.Event]:
    """Yield an event that SIGTERM and SIGINT set, instead of ending the process; for the main thread alone."""
    stop = threading.Event()
    previous = {number: signal.signal(number, lambda *_: stop.set()) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield stop
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


class RoundWorker:
    """Claims rounds and watches over their processes. Its owner holds the data folder's trainer lock."""

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
        self._store = open_store(settings)
        self._next_beat = self._next_withdrawal = 0.0
        self._patient_until = 0.0

    def last_life(self) -> datetime | None:
        """Return when a trainer last gave a sign of life here, or None."""
        with self._database.snapshot() as session:
            return last_heartbeat(session, TRAINER, self._name)

    def serve(self) -> None:
        """Run rounds as they are requested, until stopped; a database that goes away is waited for."""
        while not self._stop.is_set():
            try:
                if not self.run_next():
                    self._withdraw_when_due()
                    self._stop.wait(POLL_S)
            except FAILURES as error:
                log.warning("The database is away (%s); trying again in %.0f s.", explain(error), RETRY_S)
                self._await_others()
                self._stop.wait(RETRY_S)

    def run_next(self) -> bool:
        """Run the round that was requested first; return whether there was one."""
        self._beat()
        self.end_orphans()
        with self._database.transaction() as session:
            round_ = claim_round(session, self._name)
        if round_ is None:
            return False
        self._run(round_)
        return True

    def end_orphans(self) -> None:
        """End rounds whose trainer died; none of ours runs at this moment, so those under our name are orphans too."""
        with self._database.transaction() as session:
            orphans = interrupt_rounds(session, self._name, others=time.monotonic() >= self._patient_until)
        for orphan in orphans:
            log.warning("Round %d was interrupted: %s.", orphan.id, orphan.reason)

    def _await_others(self) -> None:
        """Let other trainers renew their leases first: a database that was away for us was away for them."""
        self._patient_until = time.monotonic() + SILENT_AFTER_S

    def sweep(self) -> None:
        """Remove the files of rounds that ended without a version, and have at hand what may answer; while none runs.

        A process that outlived its trainer registers nothing any more, since its round was ended as an orphan.
        """
        with self._database.snapshot() as session:
            known, aliased = all_digests(session), aliased_digests(session)
        removed = self._store.sweep(known)
        if removed:
            log.info("Removed the files of %d round(s) that ended without a version.", removed)
        for problem in self._store.prefetch(aliased):
            log.warning("An adapter is not at hand: %s.", problem)

    def withdraw(self) -> None:
        """Remove the adapters that the settings let go, each with a line in the log."""
        self._next_withdrawal = time.monotonic() + WITHDRAWAL_S
        with _removals_that_fail_logged():
            for gone in withdraw_adapters(self._database, self._store, self._settings):
                log.info("The files of %s of %s are removed: %s.", gone.version.name, gone.personality, gone.because)

    def finish_withdrawals(self) -> None:
        """Remove what an earlier life withdrew and did not come to remove."""
        with _removals_that_fail_logged():
            remove_withdrawn(self._database, self._store, self._settings.data.directory)

    def _withdraw_when_due(self) -> None:
        # A promotion, of which nobody tells the trainer, is what lets a version go.
        if time.monotonic() >= self._next_withdrawal:
            self.withdraw()

    def _run(self, round_: Round) -> None:
        log.info("Round %d begins.", round_.id)
        process = start_process(self._settings, round_.id)
        try:
            self._watch(process, round_.id)
        finally:
            end_process(process)
        self.sweep()
        self._settle(round_.id, process.exitcode)
        self.withdraw()

    def _watch(self, process: SpawnProcess, round_id: int) -> None:
        """Give signs of life until the process ends, the trainer is stopped or somebody ended the round."""
        while process.is_alive() and not self._stop.is_set():
            process.join(POLL_S)
            try:
                if not self._hold(round_id):
                    return
                self._on_tick()
            except FAILURES as error:
                self._await_others()
                log.warning("The database is away (%s); the round goes on.", explain(error))

    def _settle(self, round_id: int, exit_code: int | None) -> None:
        """End a round whose process did not live to do so, and log how the round ended."""
        with suppress(RoundConflict), self._database.transaction() as session:  # another trainer was quicker
            if self._stop.is_set():
                finish_round(session, round_id, RoundStatus.INTERRUPTED, STOPPED)
            else:
                finish_round(session, round_id, RoundStatus.FAILED, describe_exit(exit_code))
        round_ = _look(self._database, round_id)
        log.info("Round %d is %s: %s.", round_.id, round_.status, round_.reason)

    def _beat(self) -> None:
        if time.monotonic() >= self._next_beat:
            with self._database.transaction() as session:
                record_heartbeat(session, TRAINER, self._name)
            self._next_beat = time.monotonic() + HEARTBEAT_S

    def _hold(self, round_id: int) -> bool:
        """Give a sign of life and renew the round's lease, now and then; return False where the round has ended."""
        if time.monotonic() < self._next_beat:
            return True
        self._beat()
        with self._database.transaction() as session:
            return renew_lease(session, round_id)


@contextmanager
def _removals_that_fail_logged() -> Iterator[None]:
    """Rounds go on where a disk or a store does not let files go."""
    try:
        yield
    except (OSError, StorageError) as error:
        log.error("The files of withdrawn versions cannot be removed (%s); the next start tries again.", error)


def _end_orphans(settings: Settings, database: Database, stop: threading.Event) -> None:
    """End the rounds of a trainer that died, so that a new request does not join one of them."""
    with suppress(DataDirectoryInUse), sole_process(TRAINER, settings.data.directory):
        RoundWorker(settings, database, stop).end_orphans()


def _request(
    database: Database, settings: Settings, personality: str, requested_by: str, lesson: TrainingSource
) -> int:
    with database.transaction() as session:
        whose = open_personality(session, settings, personality)
        round_, _ = request_round(session, whose.id, requested_by, lesson)
    return round_.id


def _run_here_or_wait(
    settings: Settings, database: Database, stop: threading.Event, on_tick: Callable[[], None]
) -> None:
    """Run the oldest request where no trainer does it.

    Of this data folder the lock tells, at once and also after a crash; of others, their signs of life.
    """
    worked = False
    with suppress(DataDirectoryInUse), sole_process(TRAINER, settings.data.directory):
        if not _lives_elsewhere(settings, database):
            worker = RoundWorker(settings, database, stop, on_tick)
            worker.end_orphans()
            worker.sweep()
            worked = worker.run_next()
    if not worked:
        stop.wait(POLL_S)


def _lives_elsewhere(settings: Settings, database: Database) -> bool:
    own = worker_name(settings.data.directory)
    with database.snapshot() as session:
        return any(sign.worker != own for sign in live_processes(session, TRAINER))


def _look(database: Database, round_id: int) -> Round:
    with database.snapshot() as session:
        return require_round(session, round_id)
