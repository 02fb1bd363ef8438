"""Runs a claimed round and records in its row how it ended."""

from __future__ import annotations

import logging
import time
from contextlib import closing, suppress
from dataclasses import asdict, dataclass
from typing import Any

from sqlalchemy.orm import Session

from storage.database.database import Database, open_database
from storage.database.enums import GateVerdict, RoundStatus
from storage.errors import LeaseExpired, RoundConflict, StorageError
from storage.releases.promotion import release_passed
from storage.releases.versions import NewVersion, Version, id_of, register
from storage.runtime.processes import HEARTBEAT_S
from storage.sentences import Sentence, joined
from storage.settings.sections import Settings
from storage.training.rounds import MEMORY_RAN_OUT, finish_round, require_lease, require_round
from trainer.errors import TrainerError, is_out_of_memory
from trainer.evaluation.gate import Verdict
from trainer.rounds.pipeline import Judged, Rejected, Result, Skipped, produce_version

RETRY_S = 1.0
RENEWAL_S = 3 * HEARTBEAT_S
FORESEEN = (TrainerError, StorageError)

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Failed:
    reason: str


def run_round(settings: Settings, round_id: int) -> None:
    """Run a claimed round in this process and record its end in its row, unless it was ended elsewhere."""
    with closing(open_database(settings)) as database:
        try:
            result = produce_version(settings, database, round_id)
            _conclude_when_leased(database, settings, round_id, result)
        except RoundConflict as conflict:
            log.warning("The round stops and publishes nothing: %s.", conflict)
        except Exception as error:
            if isinstance(error, FORESEEN):
                log.error("Round %d failed: %s.", round_id, error)
            else:
                log.exception("Round %d failed.", round_id)
            with suppress(RoundConflict):  # a commit may have succeeded although its answer was lost
                database.call(_conclude, settings, round_id, Failed(_describe(error)))


def _conclude_when_leased(database: Database, settings: Settings, round_id: int, result: Result) -> None:
    """End the round while its lease is valid; an expired lease gets a moment to be renewed.

    A lease expires if the database was unreachable or the host slept.
    """
    give_up_at = time.monotonic() + RENEWAL_S
    while True:
        try:
            # Retried if the database is unreachable: an hour of training would be lost.
            database.call(_conclude_if_leased, settings, round_id, result)
            return
        except LeaseExpired:
            if time.monotonic() > give_up_at:
                raise
        time.sleep(RETRY_S)


def _conclude_if_leased(session: Session, settings: Settings, round_id: int, result: Result) -> None:
    require_lease(session, round_id)
    _conclude(session, settings, round_id, result)


def _conclude(session: Session, settings: Settings, round_id: int, result: Result | Failed) -> None:
    """End the round; the version's row is added in the same transaction."""
    match result:
        case Skipped(reason):
            finish_round(session, round_id, RoundStatus.SKIPPED, reason)
        case Failed(reason):
            finish_round(session, round_id, RoundStatus.FAILED, reason)
        case Rejected(verdict, metrics):
            reason = Sentence("the new version is broken and was not kept: {reason}", reason=verdict.reason)
            finish_round(session, round_id, RoundStatus.REJECTED, reason, metrics, gate=_gate(verdict))
        case Judged(verdict=verdict, metrics=metrics):
            version = _register(session, round_id, result)
            released = release_passed(session, version.personality_id, version, settings.release)
            reason = _describe_version(version, result, released)
            finish_round(session, round_id, RoundStatus.PUBLISHED, reason, metrics, gate=_gate(verdict))


def _gate(verdict: Verdict) -> dict[str, Any]:
    return {"verdict": verdict.outcome, "checks": [asdict(check) for check in verdict.checks]}


def _register(session: Session, round_id: int, judged: Judged) -> Version:
    return register(
        session,
        require_round(session, round_id).personality_id,
        NewVersion(
            digest=judged.digest,
            base_name=judged.base.name,
            base_revision=judged.base.revision,
            parent_id=id_of(judged.training_set.start.starter),
            round_id=round_id,
            metrics=judged.metrics,
            verdict=judged.verdict.outcome,
        ),
    )


def _describe_version(version: Version, judged: Judged, released: str | None) -> str:
    """Return sentences on the version's training data and next step; `released` is the text of `release_passed`."""
    said = [_describe_outcome(version, judged, released), _describe_rebuild(version, judged.training_set.start.forgets)]
    return joined("; ", [*filter(None, said)])


def _describe_outcome(version: Version, judged: Judged, released: str | None) -> Sentence:
    values = {"version": version.name, "examples": judged.training_set.describe(judged.metrics)}
    match judged.verdict.outcome:
        case GateVerdict.PASS:
            then = released or Sentence("promote it to use it")
            return Sentence("{version} learned {examples} and passed the checks; {then}", **values, then=then)
        case GateVerdict.FAIL:
            reason = judged.verdict.reason
            return Sentence("{version} learned {examples} and failed the checks: {reason}", **values, reason=reason)
        case GateVerdict.NOT_ENOUGH_EVIDENCE:
            then = released or Sentence(
                "now members compare it with the version in use, without knowing which is which"
            )
            return Sentence("{version} learned {examples}; {then}", **values, then=then)


def _describe_rebuild(version: Version, forgets: Version | None) -> str:
    """Return a remark if the version replaces a champion that learned from deleted data, else an empty text."""
    if forgets is None:
        return ""
    return Sentence(
        "it learned without the deleted data that {before} had learned from: compare both with "
        "`/model compare {before} {version}`",
        before=forgets.name,
        version=version.name,
    )


def _describe(error: Exception) -> str:
    """Return a sentence for the admins; for an unexpected error it names only the type."""
    if is_out_of_memory(error):
        return MEMORY_RAN_OUT
    if isinstance(error, FORESEEN):
        return error.sentence
    return Sentence("an unexpected error ({kind}): see the trainer's log for details", kind=type(error).__name__)
