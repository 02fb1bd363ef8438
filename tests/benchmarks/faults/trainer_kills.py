"""kill -9 of the trainer, or of the process of its round, at random moments of a round."""

from __future__ import annotations

import json
import os
import random
import signal
import tempfile
import time
from contextlib import closing, suppress
from pathlib import Path

from sqlalchemy.orm import Session

from storage.adapters.stores import open_store
from storage.database.database import Database, open_database
from storage.database.enums import RoundStatus
from storage.errors import StorageError
from storage.models.base_model import resolve_base_model
from storage.personalities.personalities import ensure_personality
from storage.releases.promotion import promote
from storage.releases.versions import all_digests, list_versions, read_alias
from storage.settings.sections import GenerationSettings, Settings
from storage.training.rounds import request_round, require_round, running_rounds
from storage.votes.votes import Vote
from tests.benchmarks.faults.oracle import is_unbroken
from tests.benchmarks.faults.processes import Child, children_of
from tests.benchmarks.faults.report import Row
from tests.benchmarks.report import notes
from tests.seeding import BOB, add_reply, tiny_settings, vote
from tests.tiny_model import build_tiny_base
from trainer.progress import Phase

KILLS_BETWEEN_WHOLE_ROUNDS = 6
PHASES = ("starting", Phase.GATHERING, Phase.LOADING, Phase.TRAINING, Phase.ANSWERING)
LONGEST_IN_PHASE_S = 0.6
"""Longer than some phases of a tiny round take: some kills come in the next, some after the end."""
PAIRS = 4
CHILD_SHARE = 0.3
"""Of the kills that take the round's own process, not the trainer."""
PATIENCE_S = 300.0
POLL_S = 0.05


def kill_trainers(kills: int, seed: int) -> Row:
    row = Row("kill -9 of the trainer and its rounds")
    with tempfile.TemporaryDirectory(prefix="reactune-faults-") as name:
        folder = Path(name)
        base = resolve_base_model(str(build_tiny_base(folder / "tiny")), folder / "data")
        settings = tiny_settings(folder / "data", base.path)
        settings = settings.model_copy(update={"generation": GenerationSettings(max_new_tokens=24)})
        with closing(open_database(settings)) as database:
            yard = _Yard(folder, settings, database, base.revision, random.Random(seed))
            try:
                yard.run(kills, row)
            finally:
                yard.trainer.kill_all()
    return row


class _Yard:
    def __init__(
        self, folder: Path, settings: Settings, database: Database, base_revision: str, rng: random.Random
    ) -> None:
        self.trainer = Child("-m reactune trainer", folder, environment_of(settings), "trainer")
        self._settings = settings
        self._database = database
        self._base_revision = base_revision
        self._rng = rng
        self._pairs = 0
        self._store = open_store(settings)

    def run(self, kills: int, row: Row) -> None:
        self.trainer.start()
        while row.times < kills and not row.lost:
            round_id = self._request()
            self._wait_for_phase(round_id, self._rng.choice(PHASES))
            time.sleep(self._rng.uniform(0, LONGEST_IN_PHASE_S))
            phase = self._phase(round_id)
            row.count(f"killed while {phase}")
            began_s = time.perf_counter()
            self._kill_something()
            row.times += 1
            self._expect_end(round_id, row)
            row.recoveries.append(time.perf_counter() - began_s)
            if row.times % KILLS_BETWEEN_WHOLE_ROUNDS == 0 or row.times == kills:
                self._train_whole_round(row)
            notes.print(f"{row.fault}: {row.times} of {kills} ({phase}); lost: {row.lost or 'nothing'}")

    def _kill_something(self) -> None:
        children = children_of(self.trainer.pid)
        if children and self._rng.random() < CHILD_SHARE:
            with suppress(ProcessLookupError):
                os.kill(self._rng.choice(children), signal.SIGKILL)
            return
        self.trainer.kill()
        self.trainer.start()

    def _train_whole_round(self, row: Row) -> None:
        """Let a round end, answer with its version, and look whether files and rows agree."""
        round_id = self._request()
        self._expect_end(round_id, row)
        round_ = self._database.fetch(require_round, round_id)
        if round_.status is not RoundStatus.PUBLISHED:
            row.lost.append(f"the round after the kills is {round_.status}: {round_.reason}")
            return
        row.count("whole rounds")
        self._database.call(promote_newest)
        row.lost += self._half_done()

    def _half_done(self) -> list[str]:
        """Return rows without files, files without rows, rounds that hang and broken histories."""
        found = []
        with self._database.snapshot() as session:
            digests = all_digests(session)
            found += [f"round {round_.id} hangs" for round_ in running_rounds(session)]
            if not is_unbroken(session):
                found.append("the history of the champion is broken")
        for digest in digests:
            try:
                self._store.path(digest)
            except StorageError as error:
                found.append(str(error))
        left = [one.name for one in (self._settings.data.directory / "adapters").iterdir() if one.is_dir()]
        found += [f"the folder {name} belongs to no version" for name in left if name not in digests]
        return found

    def _wait_for_phase(self, round_id: int, phase: str) -> None:
        give_up_s = time.monotonic() + PATIENCE_S
        while self._phase(round_id) not in (phase, "done") and time.monotonic() < give_up_s:
            time.sleep(POLL_S / 5)

    def _request(self) -> int:
        """Ask for a round with something to learn that no version knows."""
        with self._database.transaction() as session:
            for _ in range(PAIRS):
                self._pairs += 1
                for answer, value in (("good", Vote.UP), ("bad", Vote.DOWN)):
                    prompt, text = f"<|user|>question {self._pairs}<|bot|>", f"{answer} answer {self._pairs}"
                    reply_id = add_reply(session, prompt=prompt, answer=text, base_revision=self._base_revision)
                    vote(session, reply_id, BOB, value)
            return request_round(session, ensure_personality(session), "faults")[0].id

    def _phase(self, round_id: int) -> str:
        round_ = self._database.fetch(require_round, round_id)
        if not round_.is_open:
            return "done"
        return str(round_.progress.get("phase", "starting")) if round_.status is RoundStatus.RUNNING else "waiting"

    def _expect_end(self, round_id: int, row: Row) -> None:
        give_up_s = time.monotonic() + PATIENCE_S
        while self._phase(round_id) != "done":
            if time.monotonic() > give_up_s:
                row.lost.append(f"it did not happen that round {round_id} ends")
                return
            time.sleep(POLL_S)


def promote_newest(session: Session) -> None:
    """Promote the newest version if there is one that does not answer already, as an admin does."""
    personality_id = ensure_personality(session)
    champion, versions = read_alias(session, personality_id), list_versions(session, personality_id)
    if versions and champion.version != versions[0]:
        promote(
            session,
            personality_id,
            versions[0],
            expected_generation=champion.generation,
            by="faults",
            reason="it was tried",
            override=True,
        )


def environment_of(settings: Settings) -> dict[str, str]:
    """Return what makes `load_settings` return these settings in another process."""
    sections = ("data", "model", "generation", "pairs", "training", "gate", "metrics")
    chosen = settings.model_dump(mode="json", include=set(sections), exclude_unset=True)
    return {
        f"REACTUNE_{section}__{key}".upper(): value if isinstance(value, str) else json.dumps(value)
        for section, values in chosen.items()
        for key, value in values.items()
    }
