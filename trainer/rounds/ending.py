"""How a round ends: its result in the row, with the version's row and a sentence for people in one transaction."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from sqlalchemy.orm import Session

from storage.database.enums import GateVerdict, RoundStatus
from storage.errors import StorageError
from storage.models.base_model import BaseModel
from storage.releases.promotion import release_passed
from storage.releases.versions import NewVersion, Version, id_of, register
from storage.sentences import Sentence, joined
from storage.settings.sections import ReleaseSettings
from storage.training.rounds import MEMORY_RAN_OUT, finish_round, require_lease, require_round
from trainer.data.dataset import TrainingSet
from trainer.errors import TrainerError, is_out_of_memory
from trainer.evaluation.gate import Verdict

FORESEEN = (TrainerError, StorageError)


@dataclass(frozen=True)
class Skipped:
    reason: str


@dataclass(frozen=True)
class Failed:
    reason: str

    @classmethod
    def by(cls, error: Exception) -> Failed:
        """Return the failure in a sentence for the admins; for an unexpected error it names only the type."""
        if is_out_of_memory(error):
            return cls(MEMORY_RAN_OUT)
        if isinstance(error, FORESEEN):
            return cls(error.sentence)
        return cls(
            Sentence("an unexpected error ({kind}): see the trainer's log for details", kind=type(error).__name__)
        )


@dataclass(frozen=True)
class Rejected:
    """The new version is broken: it is not published, and no admin can override that."""

    verdict: Verdict
    metrics: dict[str, Any]


@dataclass(frozen=True)
class Judged:
    """An adapter whose files are published, with the gate's verdict."""

    digest: str
    base: BaseModel
    training_set: TrainingSet
    verdict: Verdict
    metrics: dict[str, Any]


Result = Skipped | Rejected | Judged


def end_leased_round(session: Session, release: ReleaseSettings, round_id: int, result: Result) -> None:
    """End the round; raises LeaseExpired."""
    require_lease(session, round_id)
    end_round(session, release, round_id, result)


def end_round(session: Session, release: ReleaseSettings, round_id: int, result: Result | Failed) -> None:
    """End the round, and add the version's row in the same transaction."""
    match result:
        case Skipped(reason):
            finish_round(session, round_id, RoundStatus.SKIPPED, reason)
        case Failed(reason):
            finish_round(session, round_id, RoundStatus.FAILED, reason)
        case Rejected(verdict, metrics):
            reason = Sentence("the new version is broken and was not kept: {reason}", reason=verdict.reason)
            finish_round(session, round_id, RoundStatus.REJECTED, reason, metrics, gate=_gate(verdict))
        case Judged(verdict=verdict, metrics=metrics):
            new = NewVersion(
                digest=result.digest,
                base_name=result.base.name,
                base_revision=result.base.revision,
                parent_id=id_of(result.training_set.start.starter),
                round_id=round_id,
                metrics=metrics,
                verdict=verdict.outcome,
            )
            version = register(session, require_round(session, round_id).personality_id, new)
            released = release_passed(session, version.personality_id, version, release)
            reason = _describe_version(version, result, released)
            finish_round(session, round_id, RoundStatus.PUBLISHED, reason, metrics, gate=_gate(verdict))


def _gate(verdict: Verdict) -> dict[str, Any]:
    return {"verdict": verdict.outcome, "checks": [asdict(check) for check in verdict.checks]}


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
        "`/version compare {before} {version}`",
        before=forgets.name,
        version=version.name,
    )
