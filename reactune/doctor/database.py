"""Describes the database: server, replicas, connections, time limits and document search."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing

from sqlalchemy import Connection, select, text

from reactune.doctor.findings import Hint, Problem
from storage.backups.backup import last_backup
from storage.database.columns import utc_now
from storage.database.database import Database, open_database
from storage.database.tables import HeartbeatRow, ReplyRow
from storage.knowledge.vectors import has_pgvector
from storage.privacy.retention import count_past, keeps_until
from storage.runtime.processes import TRAINER, live_processes
from storage.settings.sections import DatabaseSettings, Settings
from storage.wording import count

MAX_BACKUP_DAYS = 7


def describe_database(database: Database, settings: DatabaseSettings) -> Iterator[str]:
    """Yield one phrase per fact."""
    yield f"{database.engine.dialect.name}, schema up to date"
    if database.engine.dialect.name == "postgresql":
        with database.snapshot() as session:
            yield from _describe_postgres(session.connection(), settings, vectors=has_pgvector(session))


def _describe_postgres(connection: Connection, settings: DatabaseSettings, *, vectors: bool) -> Iterator[str]:
    replicas = connection.scalar(text("SELECT count(*) FROM pg_stat_replication"))
    yield f"server {connection.scalar(text('SHOW server_version'))}, {replicas} replicas"
    yield f"{settings.pool_size} to {settings.pool_size + settings.pool_overflow} connections per process"
    if settings.statement_timeout_s and connection.scalar(text("SHOW statement_timeout")) == "0":
        yield "a pooler drops the time limits: set them with ALTER ROLE (docs/database.md)"
    yield "document search with pgvector" if vectors else "document search without pgvector"


def open_checked(settings: Settings) -> closing[Database]:
    return closing(open_database(settings))


def check_database(settings: Settings) -> str:
    with open_checked(settings) as database:
        return "; ".join(describe_database(database, settings.database))


def check_backups(settings: Settings) -> str:
    with open_checked(settings) as database, database.snapshot() as session:
        made_at = last_backup(session)
        has_answers = session.scalar(select(ReplyRow.id).limit(1)) is not None
    if made_at is None and not has_answers:
        return "nothing to back up yet"
    if made_at is None:
        raise Hint("no backup yet: run `reactune backup FILE` (docs/backups.md has a timer for it)")
    days = (utc_now() - made_at).days
    if days > MAX_BACKUP_DAYS:
        raise Problem(
            f"the last backup is {days} days old: run `reactune backup FILE` (docs/backups.md has a timer for it)"
        )
    return f"last backup {made_at:%Y-%m-%d %H:%M} UTC"


def check_retention(settings: Settings) -> str:
    before = keeps_until(settings.privacy)
    if before is None:
        return "data is kept until members delete it (privacy.retention_days = 0)"
    with open_checked(settings) as database, database.snapshot() as session:
        past = count_past(session, before)
    due = f"; the bot will delete {count(past, 'answer')} within a day" if past else ""
    return f"data not used for training is deleted after {settings.privacy.retention_days:g} days{due}"


def check_trainer(settings: Settings) -> str:
    with open_checked(settings) as database, database.snapshot() as session:
        running = live_processes(session, TRAINER)
        ran_before = session.scalar(select(HeartbeatRow.worker).where(HeartbeatRow.process == TRAINER).limit(1))
    if running:
        return ", ".join(f"{trainer.place} (seen {trainer.age_s:.0f} s ago)" for trainer in running)
    remedy = "start one with `reactune run` (together with the bot) or `reactune trainer`"
    if ran_before:
        raise Problem(f"no trainer is running: {remedy}")
    raise Hint(f"no trainer has run yet: {remedy}")
