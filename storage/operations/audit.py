"""The audit trail: admins' actions with time and reason, including refused attempts. Append-only."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from datetime import datetime
from typing import Concatenate, ParamSpec, TypeVar

from sqlalchemy import and_, or_, select
from sqlalchemy.orm import Session

from storage.database.enums import NOBODY, AuditOutcome
from storage.database.rows import column_values, read_all
from storage.database.tables import AuditRow, PersonalityRow

P = ParamSpec("P")
T = TypeVar("T")

ACTOR_CHARS, ACTION_CHARS, TEXT_CHARS = 64, 64, 500


@dataclass(frozen=True)
class AuditedAction:
    """An admin's action; on the command line there is no server and no member."""

    actor: str
    action: str
    """The command, such as "version promote"."""
    subject: str = ""
    reason: str = ""
    actor_id: int = NOBODY
    guild_id: int | None = None
    personality_id: int | None = None


@dataclass(frozen=True)
class AuditEntry:
    id: int
    happened_at: datetime
    guild_id: int | None
    actor: str
    actor_id: int
    action: str
    subject: str
    personality_id: int | None
    reason: str
    outcome: AuditOutcome
    note: str


@dataclass(frozen=True)
class AuditQuery:
    """Selects entries by action with subcommands, by member, or by servers."""

    limit: int
    action: str = ""
    actor_id: int | None = None
    guild_ids: Collection[int] | None = None
    """Entries of these servers and of the command line; None for all entries."""
    before_id: int | None = None


def record_action(
    session: Session, audited_action: AuditedAction, outcome: AuditOutcome = AuditOutcome.DONE, note: str = ""
) -> None:
    """Add an entry; called in the transaction of the change, so that both are stored or neither is."""
    values = column_values(AuditRow, audited_action) | {
        "actor": audited_action.actor[:ACTOR_CHARS],
        "action": audited_action.action[:ACTION_CHARS],
        "subject": _storable(audited_action.subject),
        "reason": _storable(audited_action.reason),
    }
    session.add(AuditRow(**values, outcome=outcome, note=_storable(note)))


def audited(
    audited_action: AuditedAction, work: Callable[Concatenate[Session, P], T]
) -> Callable[Concatenate[Session, P], T]:
    """Return `work` followed by an entry in the trail, in the same transaction."""

    def recorded(session: Session, /, *args: P.args, **kwargs: P.kwargs) -> T:
        result = work(session, *args, **kwargs)
        record_action(session, audited_action)
        return result

    return recorded


def read_trail(session: Session, query: AuditQuery) -> list[AuditEntry]:
    """Return the entries that the query selects, newest first.

    A server's admins see the actions in their server, and the operator's on personalities that they can use.
    """
    rows = select(AuditRow).order_by(AuditRow.id.desc()).limit(query.limit)
    if query.guild_ids is not None:
        whose = select(PersonalityRow.id).where(
            or_(PersonalityRow.guild_id.is_(None), PersonalityRow.guild_id.in_(query.guild_ids))
        )
        by_operator = and_(AuditRow.guild_id.is_(None), AuditRow.personality_id.in_(whose))
        rows = rows.where(or_(AuditRow.guild_id.in_(query.guild_ids), by_operator))
    if query.action:
        below = f"{query.action} "
        rows = rows.where(or_(AuditRow.action == query.action, AuditRow.action.startswith(below, autoescape=True)))
    if query.actor_id is not None:
        rows = rows.where(AuditRow.actor_id == query.actor_id)
    if query.before_id is not None:
        rows = rows.where(AuditRow.id < query.before_id)
    return read_all(session, AuditEntry, rows)


def list_actions(session: Session) -> list[str]:
    """Return the names of all actions in the trail, sorted."""
    return sorted(session.scalars(select(AuditRow.action).distinct()))


def _storable(text: str) -> str:
    # PostgreSQL cannot store NUL.
    return text.replace("\0", "")[:TEXT_CHARS]
