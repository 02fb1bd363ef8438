"""Rounds: offered, requested, claimed by one worker under a lease, and ended exactly once."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from statistics import median
from typing import Any

from sqlalchemy import ColumnElement, func, select, update
from sqlalchemy.orm import Session

from storage import wording
from storage.database.enums import GateVerdict, PairSource, RoundStatus, Split, TrainingSource
from storage.database.rows import any_row, changed_rows, count_rows, database_now, from_row, read_all, read_first
from storage.database.tables import CorrectionRow, ReplyRow, RoundPairRow, RoundRow, RoundVoterRow, VersionRow
from storage.errors import LeaseExpired, RoundConflict
from storage.members import Pseudonym
from storage.personalities.personalities import Personality, lock_personality, read_personality, require_active
from storage.runtime.processes import SILENT_AFTER_S
from storage.sentences import Sentence

OPEN = (RoundStatus.REQUESTED, RoundStatus.RUNNING)
TRAINED = (RoundStatus.PUBLISHED, RoundStatus.REJECTED)
"""Rounds that trained a version and tested it."""
TYPICAL_ROUNDS = 5
"""Number of the newest rounds that predict the duration of the next one."""
LEASE = timedelta(seconds=SILENT_AFTER_S)
MEMORY_RAN_OUT = Sentence(
    "memory ran out, and nothing was published: the next round computes less at once; if that is not enough, stop "
    "other programs, lower training.max_tokens or choose a smaller model.base"
)
"""The reason, or its ending, of a round in which memory ran out."""
REMEMBERED_ROUNDS = 30
"""Rounds in which a lack of memory is remembered: a month of nights, then a larger plan may cost one."""
SCHEDULE = wording.SCHEDULE
MIN_EXAMPLES = 8
"""Minimum examples for a first version: two of them decide when training stops."""


@dataclass(frozen=True)
class Round:
    id: int
    personality_id: int
    learns_from: TrainingSource
    status: RoundStatus
    requested_by: str
    requested_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    worker: str | None
    parent_version_id: int | None
    settings: dict[str, Any]
    progress: dict[str, Any]
    metrics: dict[str, Any]
    manifest_digest: str | None
    learned_from: dict[str, Any]
    gate: dict[str, Any]
    progress_channel_id: int | None
    progress_message_id: int | None
    reason: str

    @property
    def is_open(self) -> bool:
        return self.status in OPEN


@dataclass(frozen=True)
class GateCheck:
    name: str
    outcome: GateVerdict
    sentence: str
    """The reason, with its numbers."""


@dataclass(frozen=True)
class ManifestPair:
    """One pair by its rows: the chosen text is a correction or a reply's answer."""

    source: PairSource
    split: Split
    weight: float
    rejected_reply_id: int | None
    chosen_reply_id: int | None = None
    correction_id: int | None = None


@dataclass(frozen=True)
class RoundVoter:
    """A voter's share of a round's weight, and the share of the round that would change without them."""

    pseudonym: Pseudonym
    share: float
    influence: float


def request_round(
    session: Session, personality_id: int, requested_by: str, learns_from: TrainingSource = TrainingSource.VOTES
) -> tuple[Round, bool]:
    """Request a round; return it and whether it is new. If a round is open already, return that one instead.

    Raises RoundConflict if the open one learns from another source, PersonalityConflict for an archived personality.
    """
    lock_personality(session, personality_id)
    require_active(read_personality(session, personality_id))
    unfinished = select(RoundRow).where(RoundRow.personality_id == personality_id, RoundRow.status.in_(OPEN))
    if open_round := read_first(session, Round, unfinished.order_by(RoundRow.id)):
        if open_round.learns_from is not learns_from:
            raise RoundConflict(
                "round {id}, which learns from {learns_from}, is not finished: try again when it is",
                id=str(open_round.id),
                learns_from=open_round.learns_from,
            )
        return open_round, False
    row = RoundRow(
        personality_id=personality_id,
        requested_by=requested_by,
        requested_at=database_now(session),
        learns_from=learns_from,
    )
    session.add(row)
    session.flush()
    return from_row(Round, row), True


def claim_round(session: Session, worker: str) -> Round | None:
    """Claim the oldest requested round for `worker`, or return None; two workers never get the same round.

    Rounds that another worker is claiming at the same time are skipped. The worker must renew the lease.
    """
    row = session.scalar(
        select(RoundRow)
        .where(RoundRow.status == RoundStatus.REQUESTED)
        .order_by(RoundRow.id)
        .limit(1)
        .with_for_update(skip_locked=True)
        .execution_options(populate_existing=True)
    )
    if row is None:
        return None
    row.status, row.worker = RoundStatus.RUNNING, worker
    row.started_at, row.lease_until = database_now(session), new_lease(session)
    session.flush()
    return from_row(Round, row)


def set_manifest(
    session: Session,
    round_id: int,
    pairs: Sequence[ManifestPair],
    *,
    digest: str | None = None,
    parent_version_id: int | None,
    settings: dict[str, Any],
    learned_from: dict[str, Any] | None = None,
    voters: Sequence[RoundVoter] = (),
) -> str:
    """Store the running round's training data and the voters behind it, and return the manifest's digest.

    `digest` is the card's, if the round trains on a card instead of pairs.
    """
    session.add_all(RoundVoterRow(round_id=round_id, **asdict(voter)) for voter in voters)
    session.add_all(RoundPairRow(round_id=round_id, position=i, **asdict(pair)) for i, pair in enumerate(pairs))
    digest = digest or digest_manifest(pairs)
    _require_running(
        session,
        round_id,
        parent_version_id=parent_version_id,
        settings=settings,
        manifest_digest=digest,
        learned_from=learned_from or {},
    )
    return digest


def digest_manifest(pairs: Sequence[ManifestPair]) -> str:
    canonical = json.dumps([asdict(pair) for pair in pairs], sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()


def names_deleted(session: Session, pairs: Sequence[ManifestPair]) -> bool:
    """Return whether an answer or a correction of these pairs was deleted."""
    replies = {id_ for pair in pairs for id_ in (pair.chosen_reply_id, pair.rejected_reply_id)} - {None}
    corrections = {pair.correction_id for pair in pairs} - {None}
    there = count_rows(session, select(ReplyRow.id).where(ReplyRow.id.in_(replies)))
    written = count_rows(session, select(CorrectionRow.id).where(CorrectionRow.id.in_(corrections)))
    return there < len(replies) or written < len(corrections)


def report_progress(session: Session, round_id: int, progress: dict[str, Any]) -> None:
    """Store the round's progress; raises RoundConflict if it is no longer running."""
    _require_running(session, round_id, progress=progress)


def finish_round(
    session: Session,
    round_id: int,
    status: RoundStatus,
    reason: str,
    metrics: dict[str, Any] | None = None,
    *,
    gate: dict[str, Any] | None = None,
) -> None:
    """End a running round; raises RoundConflict if it has ended already."""
    _require_running(
        session,
        round_id,
        status=status,
        reason=reason,
        metrics=metrics or {},
        gate=gate or {},
        finished_at=database_now(session),
    )


def interrupt_rounds(session: Session, worker: str, *, others: bool = True) -> list[Round]:
    """End running rounds whose trainer died: those of `worker`'s previous run, and with `others` expired leases.

    Versions that were already published are kept.
    """
    running = session.scalars(select(RoundRow).where(RoundRow.status == RoundStatus.RUNNING)).all()
    now = database_now(session)
    orphaned = [row for row in running if row.worker == worker or (others and _has_expired(row, now))]
    interrupted = [row for row in orphaned if _interrupt(session, row, now)]
    for row in interrupted:
        session.refresh(row)
    return [from_row(Round, row) for row in interrupted]


def _has_expired(row: RoundRow, now: datetime) -> bool:
    return row.lease_until is None or row.lease_until <= now


def _interrupt(session: Session, row: RoundRow, now: datetime) -> bool:
    """End the round and return True, unless it ended or its lease was renewed since it was read."""
    return _change_running(
        session,
        row.id,
        RoundRow.lease_until.is_not_distinct_from(row.lease_until),
        status=RoundStatus.INTERRUPTED,
        reason=Sentence("the trainer stopped during this round and nothing was published: start a new round"),
        finished_at=now,
    )


def show_progress_in(session: Session, round_id: int, channel_id: int, message_id: int) -> None:
    """Store which Discord message shows the round's progress."""
    row = session.get_one(RoundRow, round_id)
    row.progress_channel_id, row.progress_message_id = channel_id, message_id


def stop_showing_progress(session: Session, round_id: int) -> None:
    """Record that no message needs updates any more, because it shows the end or was deleted."""
    row = session.get_one(RoundRow, round_id)
    row.progress_channel_id = row.progress_message_id = None


def shown_rounds(session: Session) -> list[Round]:
    """Return the rounds whose progress a Discord message shows."""
    shown = select(RoundRow).where(RoundRow.progress_message_id.is_not(None))
    return read_all(session, Round, shown.execution_options(populate_existing=True))


def find_round(session: Session, round_id: int) -> Round | None:
    row = session.get(RoundRow, round_id, populate_existing=True)
    return from_row(Round, row) if row else None


def require_round(session: Session, round_id: int) -> Round:
    """Return a round that must exist, because rounds are never deleted."""
    round_ = find_round(session, round_id)
    assert round_ is not None, f"round {round_id} does not exist"
    return round_


def running_rounds(session: Session) -> list[Round]:
    """Return the running rounds of all personalities."""
    running = select(RoundRow).where(RoundRow.status == RoundStatus.RUNNING)
    return read_all(session, Round, running.order_by(RoundRow.id))


def list_rounds(session: Session, personality_id: int, limit: int, before_id: int | None = None) -> list[Round]:
    """Return the personality's newest rounds, newest first; with `before_id`, those before that one."""
    rows = select(RoundRow).where(RoundRow.personality_id == personality_id)
    if before_id is not None:
        rows = rows.where(RoundRow.id < before_id)
    return read_all(session, Round, rows.order_by(RoundRow.id.desc()).limit(limit))


def latest_round(session: Session, personality_id: int) -> Round | None:
    rounds = select(RoundRow).where(RoundRow.personality_id == personality_id)
    return read_first(session, Round, rounds.order_by(RoundRow.id.desc()))


def memory_failures(session: Session, personality_id: int) -> int:
    """Return the number of the personality's last REMEMBERED_ROUNDS rounds in which memory ran out."""
    rounds = list_rounds(session, personality_id, REMEMBERED_ROUNDS)
    return sum(round_.status is RoundStatus.FAILED and round_.reason.endswith(MEMORY_RAN_OUT) for round_ in rounds)


@dataclass(frozen=True)
class RoundNumbers:
    """All rounds so far, for graphs."""

    by_status: dict[RoundStatus, int]
    seconds: float
    """Total duration of the rounds that started and ended."""
    took_time: int
    """Number of those rounds."""
    last_published_at: datetime | None
    running_since: datetime | None
    progress: float
    """Finished share of the running round; 0 without one."""


def read_numbers(session: Session) -> RoundNumbers:
    by_status = dict.fromkeys(RoundStatus, 0)
    counted = select(RoundRow.status, func.count()).group_by(RoundRow.status)
    by_status |= {row[0]: row[1] for row in session.execute(counted)}
    times = session.execute(
        select(RoundRow.started_at, RoundRow.finished_at).where(
            RoundRow.started_at.is_not(None), RoundRow.finished_at.is_not(None)
        )
    ).all()
    running = session.scalar(select(RoundRow).where(RoundRow.status == RoundStatus.RUNNING).order_by(RoundRow.id))
    progress = running.progress if running else {}
    published = select(func.max(RoundRow.finished_at)).where(RoundRow.status == RoundStatus.PUBLISHED)
    return RoundNumbers(
        by_status=by_status,
        seconds=sum((t.finished_at - t.started_at).total_seconds() for t in times if t.started_at and t.finished_at),
        took_time=len(times),
        last_published_at=session.scalar(published),
        running_since=running.started_at if running else None,
        progress=progress.get("share", 0.0),
    )


def expected_end(session: Session) -> datetime | None:
    """Return when the running rounds should end, by the durations of the last ones that trained a version.

    None if none runs, or none has trained yet.
    """
    trained = select(RoundRow).where(RoundRow.status.in_(TRAINED)).order_by(RoundRow.id.desc()).limit(TYPICAL_ROUNDS)
    rounds = [(row.started_at, row.finished_at) for row in session.scalars(trained)]
    took = [(end - start).total_seconds() for start, end in rounds if start and end]
    begun = [round_.started_at for round_ in running_rounds(session) if round_.started_at]
    return max(begun) + timedelta(seconds=median(took)) if begun and took else None


def last_trained(session: Session, personality_id: int) -> Round | None:
    """Return the newest round that trained and judged a version, except those that used since-deleted data."""
    marked = select(VersionRow.round_id).where(VersionRow.trained_on_deleted_data, VersionRow.round_id.is_not(None))
    trained = RoundRow.personality_id == personality_id, RoundRow.status.in_(TRAINED), RoundRow.id.not_in(marked)
    return read_first(session, Round, select(RoundRow).where(*trained).order_by(RoundRow.id.desc()))


def last_alike(session: Session, round_: Round) -> Round | None:
    """Return the newest round that trained a version on the round's machine, from the same source."""
    alike = RoundRow.worker == round_.worker, RoundRow.learns_from == round_.learns_from, RoundRow.status.in_(TRAINED)
    return read_first(session, Round, select(RoundRow).where(*alike).order_by(RoundRow.id.desc()))


def _require_running(session: Session, round_id: int, **values: Any) -> None:
    if not _change_running(session, round_id, **values):
        raise RoundConflict("round {round_id} is no longer running", round_id=round_id)


def _change_running(session: Session, round_id: int, *conditions: ColumnElement[bool], **values: Any) -> bool:
    """Return whether the round was still running, and changed."""
    running = RoundRow.id == round_id, RoundRow.status == RoundStatus.RUNNING
    result = session.execute(update(RoundRow).where(*running, *conditions).values(**values))
    return changed_rows(result) == 1


def new_lease(session: Session) -> datetime:
    """Return the time when a lease that starts now expires."""
    return database_now(session) + LEASE


def renew_lease(session: Session, round_id: int) -> bool:
    """Extend the round's lease, even an expired one; return False if somebody ended the round."""
    return _change_running(session, round_id, lease_until=new_lease(session))


def require_lease(session: Session, round_id: int) -> None:
    """Lock the round until this transaction ends it; raises RoundConflict if it has ended, LeaseExpired if expired."""
    query = select(RoundRow).where(RoundRow.id == round_id).with_for_update()
    row = session.scalars(query.execution_options(populate_existing=True)).one()
    if row.status is not RoundStatus.RUNNING:
        raise RoundConflict("round {round_id} is no longer running", round_id=round_id)
    if _has_expired(row, database_now(session)):
        raise LeaseExpired(round_id)


def offered_examples(session: Session, personality: Personality) -> int:
    """Return the number of examples it could learn now; 0 if it has too few, a version or a round that made one."""
    number = len(personality.card.examples)
    version = select(VersionRow).where(VersionRow.personality_id == personality.id)
    made = select(RoundRow).where(RoundRow.personality_id == personality.id, RoundRow.status.in_((*OPEN, *TRAINED)))
    is_offered = number >= MIN_EXAMPLES and not any_row(session, version) and not any_row(session, made)
    return number if is_offered else 0
