"""Canaries: a share of answers comes with a blind second one by a challenger, until people's choices or time decide."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Select, select, update
from sqlalchemy.orm import Session

from storage.database.columns import utc_now
from storage.database.enums import CHALLENGER, CanaryStatus, GateVerdict
from storage.database.rows import changed_rows, from_row, read_first
from storage.database.tables import CanaryRow
from storage.errors import AlreadyChampion, CanaryRefused
from storage.releases.versions import (
    Version,
    ask_gate,
    find_version,
    id_of,
    move_alias,
    name_of,
    read_alias,
    require_usable,
)
from storage.sentences import Sentence
from storage.settings.sections import ReleaseSettings
from storage.wording import gettext_noop

CANARY = gettext_noop("the canary")
"""Recorded as the mover of an alias if people's choices or damaged files moved it."""


@dataclass(frozen=True)
class Canary:
    id: int
    personality_id: int
    champion_id: int | None
    challenger_id: int
    share: float
    days: float
    status: CanaryStatus
    started_by: str
    start_reason: str
    overrides_gate: bool
    started_at: datetime
    ended_at: datetime | None
    reason: str
    numbers: dict[str, Any]

    @property
    def ends_at(self) -> datetime:
        return self.started_at + timedelta(days=self.days)


def running_canary(session: Session, personality_id: int) -> Canary | None:
    return read_first(session, Canary, _newest_first(personality_id).where(CanaryRow.status == CanaryStatus.RUNNING))


def latest_canary(session: Session, personality_id: int) -> Canary | None:
    """Return the canary that was started last, running or not."""
    return read_first(session, Canary, _newest_first(personality_id))


def _newest_first(personality_id: int) -> Select[CanaryRow]:
    canaries = select(CanaryRow).where(CanaryRow.personality_id == personality_id).order_by(CanaryRow.id.desc())
    return canaries.execution_options(populate_existing=True)


def start_canary(
    session: Session,
    personality_id: int,
    version: Version | None,
    settings: ReleaseSettings,
    *,
    by: str,
    reason: str,
    share: float | None = None,
    override: bool = False,
) -> Canary:
    """Let people compare a version with the champion in a share of answers.

    The canary keeps the share and the days that apply now. Raises CanaryRefused if one is already running or the share
    is not between 0 and 1, AlreadyChampion, AliasConflict if somebody starts one at the same time, and what
    `ask_to_try` raises.
    """
    share = settings.canary_share if share is None else share
    # Read before the checks: if somebody starts a canary after them, this alias has moved.
    alias = read_alias(session, personality_id, CHALLENGER)
    champion = read_alias(session, personality_id).version
    challenger = _require_challenger(session, personality_id, version, champion, share)
    overrides = ask_to_try(session, challenger, override=override, reason=reason)
    move_alias(session, personality_id, alias, challenger, by=by, reason=reason, overrides_gate=overrides)
    row = CanaryRow(
        personality_id=personality_id,
        champion_id=id_of(champion),
        challenger_id=challenger.id,
        share=share,
        days=settings.canary_days,
        started_by=by,
        start_reason=reason,
        overrides_gate=overrides,
    )
    session.add(row)
    session.flush()
    return from_row(Canary, row)


def ask_to_try(session: Session, version: Version | None, *, override: bool, reason: str) -> bool:
    """Do what `ask_gate` does, except that a version that waits for people's choices may always be tried."""
    if version is not None and version.verdict is GateVerdict.NOT_ENOUGH_EVIDENCE:
        require_usable(session, version)
        return False
    return ask_gate(session, version, override=override, reason=reason)


def _require_challenger(
    session: Session, personality_id: int, version: Version | None, champion: Version | None, share: float
) -> Version:
    """Return the version if a canary may try it now."""
    if version is None:
        raise CanaryRefused("the base model cannot be a canary: promote base instead")
    if not 0 < share < 1:
        raise CanaryRefused(
            "{share} is not a valid share: choose one between 0 and 1, such as 0.3", share=format(share, "g")
        )
    running = running_canary(session, personality_id)
    if running is not None:
        name = name_of(find_version(session, running.challenger_id))
        raise CanaryRefused("a canary of {name} is running: stop it first, or wait until it ends", name=name)
    if champion is not None and champion.id == version.id:
        raise AlreadyChampion(version.name)
    return version


def stop_canary(session: Session, personality_id: int, *, by: str, reason: str) -> Canary:
    """End the running canary by hand, and return it as it was; raises CanaryRefused if none is running."""
    running = running_canary(session, personality_id)
    why = (
        Sentence("{admin} stopped it: {reason}", admin=by, reason=reason)
        if reason
        else Sentence("{admin} stopped it", admin=by)
    )
    if running is None or not end_canary(session, running.id, CanaryStatus.STOPPED, by=by, reason=why):
        raise CanaryRefused("no canary is running: nothing was changed")
    return running


def end_canary(
    session: Session,
    canary_id: int,
    status: CanaryStatus,
    *,
    by: str,
    reason: str,
    numbers: dict[str, Any] | None = None,
) -> bool:
    """End a canary, so that its challenger is asked no more; return False if it had already ended.

    A transaction that also moves the champion must move it first: two transactions that lock the rows in different
    orders would deadlock.
    """
    canary = session.get_one(CanaryRow, canary_id)
    ended = session.execute(
        update(CanaryRow)
        .where(CanaryRow.id == canary_id, CanaryRow.status == CanaryStatus.RUNNING)
        .values(
            status=status,
            reason=reason,
            numbers=canary.numbers if numbers is None else numbers,
            ended_at=utc_now(),
            announced=status is CanaryStatus.PROMOTED,  # the promotion is announced, with the same reason
        )
    )
    if changed_rows(ended) != 1:
        return False
    challenger = read_alias(session, canary.personality_id, CHALLENGER)
    move_alias(session, canary.personality_id, challenger, None, by=by, reason=reason)
    return True
