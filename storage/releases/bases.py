"""The base models that answered, in turn: all processes that share the database read the present one here."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise

from sqlalchemy import ColumnElement, select, true
from sqlalchemy.orm import Session

from storage.database.rows import read_all, read_first
from storage.database.tables import BaseUseRow, ReplyRow, VersionRow


@dataclass(frozen=True, kw_only=True)
class ConfiguredBase:
    """A base model as the database knows it."""

    setting: str
    """The value of model.base."""
    name: str
    revision: str


@dataclass(frozen=True, kw_only=True)
class BaseUse(ConfiguredBase):
    """A base model that has answered since a moment, or did for some time."""

    id: int
    begun_by: str
    begun_at: datetime


def base_in_use(session: Session) -> BaseUse | None:
    """Return the base that answers; None before a bot has started for the first time."""
    return read_first(session, BaseUse, select(BaseUseRow).order_by(BaseUseRow.id.desc()))


def bases_used(session: Session) -> list[BaseUse]:
    """Return each base once, the one in use first, then the others by their last use."""
    uses = read_all(session, BaseUse, select(BaseUseRow).order_by(BaseUseRow.id.desc()))
    latest: dict[str, BaseUse] = {}
    for use in uses:
        latest.setdefault(use.revision, use)
    return list(latest.values())


def previous_base(session: Session) -> BaseUse | None:
    """Return the base that answered before the one in use."""
    return next(iter(bases_used(session)[1:]), None)


def record_base(session: Session, base: ConfiguredBase, by: str) -> None:
    """Record that the base answers from now on."""
    session.add(BaseUseRow(setting=base.setting, name=base.name, revision=base.revision, begun_by=by))
    session.flush()


def left_at(session: Session, revision: str) -> datetime | None:
    """Return the time when another base last took over from this one; None if none ever did."""
    uses = read_all(session, BaseUse, select(BaseUseRow).order_by(BaseUseRow.id.desc()))
    return next((after.begun_at for after, use in pairwise(uses) if use.revision == revision != after.revision), None)


def of_base_in_use(session: Session, table: type[VersionRow | ReplyRow] = VersionRow) -> ColumnElement[bool]:
    """Return the condition that a version, or an answer, is of the base in use."""
    used = base_in_use(session)
    return table.base_revision == used.revision if used else true()
