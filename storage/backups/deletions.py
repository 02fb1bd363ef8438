"""Finds deletions and withdrawals that followed a backup, before it is restored, and repeats them after.

A database keeps no record of its missing rows, so the backup is compared with the database that it replaces.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from types import MappingProxyType
from typing import Any, TypeVar

from sqlalchemy import Column, ColumnElement, Table, bindparam, delete, insert, select, update
from sqlalchemy.orm import InstrumentedAttribute, Session

from storage.backups.copy import has_rows
from storage.database.columns import Fate, UtcDateTime, utc_now
from storage.database.rows import in_parts
from storage.database.tables import (
    Base,
    ConsentRow,
    ConsoleSessionRow,
    ConversationRow,
    ConversationSpeakerRow,
    CorrectionRow,
    DepartureRow,
    DocumentRow,
    ErasureRow,
    FactQuestionRow,
    GreetingRow,
    HeartbeatRow,
    MemberRow,
    NoteOptOutRow,
    OptOutRow,
    PseudonymKeyRow,
    QuarantineRow,
    ReplyRow,
    VersionRow,
)
from storage.knowledge.documents import erase_documents
from storage.memory import allow_questions
from storage.privacy.consent import withdraw_consent
from storage.privacy.erasure import delete_member, erase_answers, erase_guild
from storage.privacy.ownership import known_guilds, naming_members

RESTORE = "restore"
"""The process name under which the heartbeats table records gaps that restoring left: a row's worker is the backup's
time, and its beat the time of restoring."""
AS_THEY_ARE: tuple[type[Base], ...] = (
    ConsentRow,
    OptOutRow,
    ErasureRow,
    GreetingRow,
    DepartureRow,
    NoteOptOutRow,
    FactQuestionRow,
    MemberRow,
    ConsoleSessionRow,
    ConversationRow,
    ConversationSpeakerRow,
)
"""Tables that a restore does not change, because only their present state is right: members' choices, departures,
sign-ins, and summaries, from which deleted words were removed."""
TAKEN_BACK: Mapping[type[Base], tuple[str, ...]] = MappingProxyType(
    {
        ReplyRow: ("basis", "edited_at", "author_id"),
        CorrectionRow: ("withdrawn_at",),
        QuarantineRow: ("subject_id",),
        VersionRow: ("trained_on_deleted_data",),
    }
)
"""Columns that show withdrawals; rows that still exist keep their present values."""

Rows = list[dict[str, Any]]
LeftOut = tuple[datetime, datetime]
"""(time of a backup, time when it was restored); the database lacks everything in between."""
T = TypeVar("T")


@dataclass(frozen=True)
class RepeatedDeletions:
    """Deletions and withdrawals since a backup, to be repeated once it is restored."""

    erased: Collection[int] = ()
    """Members who deleted their data."""
    opted_out: Collection[int] = ()
    never_ask: Collection[int] = ()
    """Members who refused to be asked to let the bot keep notes."""
    guilds: Collection[int] = ()
    """Servers whose data was deleted."""
    documents: Collection[int] = ()
    """Documents that were removed."""
    gone: Mapping[type[Base], Rows] = field(default_factory=dict)
    """Primary keys of deleted rows."""
    taken_back: Mapping[type[Base], Rows] = field(default_factory=dict)
    """Primary keys and present values of rows with withdrawals."""
    as_they_are: Mapping[type[Base], Rows] = field(default_factory=dict)
    """All rows of the tables AS_THEY_ARE; empty if the backup belongs to another database."""

    @property
    def members(self) -> int:
        """The number of members who deleted their data or opted out."""
        return len({*self.erased, *self.opted_out})

    @property
    def rows(self) -> int:
        return sum(map(len, self.gone.values()))

    def repeat(self, session: Session) -> None:
        """Repeat the deletions and withdrawals in the restored database."""
        for user_id in self.erased:
            delete_member(session, user_id)
        for user_id in self.opted_out:
            withdraw_consent(session, user_id)
        for user_id in self.never_ask:
            allow_questions(session, user_id, allowed=False)
        for guild_id in self.guilds:
            erase_guild(session, guild_id)
        answers = [key["id"] for key in self.gone.get(ReplyRow, [])]
        for batch in in_parts(answers):
            erase_answers(session, batch)
        for batch in in_parts(self.documents):
            erase_documents(session, select(DocumentRow.id).where(DocumentRow.id.in_(batch)))
        session.flush()
        session.expire_all()
        connection = session.connection()
        for table, keys in self.gone.items():
            connection.execute(delete(_core(table)).where(*_is_key(table)), [_bound(table, key) for key in keys])
        for table, rows in self.taken_back.items():
            connection.execute(update(_core(table)).where(*_is_key(table)), [_bound(table, row) for row in rows])
        for table in reversed(list(self.as_they_are)):
            connection.execute(delete(_core(table)))
        for table, rows in self.as_they_are.items():
            if rows:
                connection.execute(insert(_core(table)), rows)


def deletions_since(now: Session, then: Session, made_at: datetime) -> RepeatedDeletions:
    """Compare the present database with a backup that was made at `made_at`; both are at the newest schema."""
    if not has_rows(now.connection()):
        return RepeatedDeletions()
    erased = set(now.scalars(select(ErasureRow.user_id).where(ErasureRow.erased_at >= made_at)))
    opted_out = _ids(now, OptOutRow.user_id) - _ids(then, OptOutRow.user_id)
    never_ask = _ids(now, NoteOptOutRow.user_id) - _ids(then, NoteOptOutRow.user_id)
    if _ids(now, PseudonymKeyRow.key) != _ids(then, PseudonymKeyRow.key):
        return RepeatedDeletions(erased, opted_out, never_ask)  # another database has no record of this one's rows
    left_out = _left_out(now) - _left_out(then)
    documents = select(DocumentRow.id, DocumentRow.added_at)
    removed = {(id_, added) for id_, added in now.execute(documents.where(DocumentRow.removed_at.is_not(None)))}
    shown = {(id_, added) for id_, added in then.execute(documents.where(DocumentRow.removed_at.is_(None)))}
    compared: set[type[Base]] = {ReplyRow, *(table for table, _ in naming_members(Fate.GONE))}
    gone = {table: _gone(now, then, table, left_out) for table in compared.difference(AS_THEY_ARE)}
    taken_back = {table: _taken_back(now, then, table) for table in TAKEN_BACK}
    return RepeatedDeletions(
        erased,
        opted_out,
        never_ask,
        guilds=_erased_guilds(now, then, left_out),
        documents=[id_ for id_, _ in removed & shown],
        gone={table: keys for table, keys in gone.items() if keys},
        taken_back={table: rows for table, rows in taken_back.items() if rows},
        as_they_are={table: _read(now, _core(table).columns) for table in AS_THEY_ARE},
    )


def note_restore(session: Session, made_at: datetime) -> None:
    """Record that the database lacks everything since the backup, so that it is not mistaken for deleted."""
    session.merge(HeartbeatRow(process=RESTORE, worker=made_at.isoformat(), beat_at=utc_now()))


def _left_out(session: Session) -> set[LeftOut]:
    """Return the periods that the database lacks, because an older backup was restored."""
    beats = select(HeartbeatRow.worker, HeartbeatRow.beat_at).where(HeartbeatRow.process == RESTORE)
    return {(datetime.fromisoformat(made_at), restored_at) for made_at, restored_at in session.execute(beats)}


def _gone(now: Session, then: Session, table: type[Base], left_out: Collection[LeftOut]) -> Rows:
    """Return the keys of the backup's rows that the present database had and no longer has."""
    columns = _identity(table)
    created = _created(table)
    known = set(map(tuple, now.execute(select(*columns))))
    return [
        {column.name: row[column.name] for column in _key(table)}
        for row in _read(then, {*columns, *([] if created is None else [created])})
        if tuple(row[column.name] for column in columns) not in known
        and not (left_out if created is None else _is_within(row[created.name], left_out))
    ]


def _taken_back(now: Session, then: Session, table: type[Base]) -> Rows:
    """Return the keys and present values of rows that are in both and differ in a column of TAKEN_BACK."""
    columns, identity = [_core(table).columns[name] for name in TAKEN_BACK[table]], _identity(table)
    query = select(*identity, *columns)
    split = len(identity)
    before = {tuple(row[:split]): row[split:] for row in then.execute(query)}
    return [
        {column.name: row[i] for i, column in enumerate(identity) if column in _key(table)}
        | {column.name: value for column, value in zip(columns, row[split:], strict=True)}
        for row in now.execute(query)
        if before.get(tuple(row[:split]), row[split:]) != row[split:]
    ]


def _erased_guilds(now: Session, then: Session, left_out: Collection[LeftOut]) -> set[int]:
    """Return the servers whose data the present database had and no longer has."""
    answers = select(ReplyRow.guild_id, ReplyRow.created_at)
    begun_since = {guild for guild, created_at in then.execute(answers) if _is_within(created_at, left_out)}
    return known_guilds(then) - known_guilds(now) - begun_since


def _is_within(moment: datetime, spans: Collection[LeftOut]) -> bool:
    return any(begin <= moment <= end for begin, end in spans)


def _core(table: type[Base]) -> Table:
    return Base.metadata.tables[table.__tablename__]


def _key(table: type[Base]) -> list[Column[Any]]:
    return list(_core(table).primary_key)


def _identity(table: type[Base]) -> list[Column[Any]]:
    """Return the columns that identify a row for all time: SQLite reuses counted IDs, so times are included."""
    created = _created(table)
    is_counted = _core(table).autoincrement_column is not None and created is not None
    return [*_key(table), *([created] if is_counted else [])]


def _created(table: type[Base]) -> Column[Any] | None:
    """Return the column with the time at which a row was written; None if there is none."""
    return next((c for c in _core(table).columns if isinstance(c.type, UtcDateTime) and c.default), None)


def _read(session: Session, columns: Iterable[Column[Any]]) -> Rows:
    return [dict(row) for row in session.execute(select(*columns)).mappings()]


def _ids(session: Session, column: InstrumentedAttribute[T]) -> set[T]:
    return set(session.scalars(select(column)))


def _is_key(table: type[Base]) -> list[ColumnElement[bool]]:
    return [column == bindparam(f"key_{column.name}") for column in _key(table)]


def _bound(table: type[Base], row: dict[str, Any]) -> dict[str, Any]:
    """Return the row as parameters for a statement with `_is_key`."""
    names = {column.name for column in _key(table)}
    return {f"key_{name}" if name in names else name: value for name, value in row.items()}
