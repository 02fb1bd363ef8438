"""Checks of the database: its server, backups, retention and the trainer's heartbeat."""

from __future__ import annotations

from collections.abc import Iterator

from sqlalchemy import select, text
from sqlalchemy.orm import Session

from reactune.doctor.findings import Hint, Problem
from reactune.shared import reading
from storage.backups.backup import last_backup
from storage.database.columns import utc_now
from storage.database.engine import OVERFLOW
from storage.database.tables import HeartbeatRow, ReplyRow
from storage.privacy.retention import LONGEST_WAIT, count_past, read_expiry, votes_keep_answers
from storage.runtime.processes import TRAINER, live_processes
from storage.settings.sections import DatabaseSettings, Settings
from storage.wording import count

MAX_BACKUP_DAYS = 7


def check_database(settings: Settings) -> str:
    with reading(settings) as session:
        dialect = session.get_bind().dialect.name
        facts = _describe_postgres(session, settings.database) if dialect == "postgresql" else ()
        return "; ".join([f"{dialect}, schema up to date", *facts])


def _describe_postgres(session: Session, settings: DatabaseSettings) -> Iterator[str]:
    replicas = session.scalar(text("SELECT count(*) FROM pg_stat_replication"))
    yield f"server {session.scalar(text('SHOW server_version'))}, {replicas} replicas"
    yield f"{settings.pool_size} to {(1 + OVERFLOW) * settings.pool_size} connections per process"
    if settings.statement_timeout_s and session.scalar(text("SHOW statement_timeout")) == "0":
        yield "a pooler drops the time limits: set them with ALTER ROLE (docs/scaling.md)"


def check_backups(settings: Settings) -> str:
    with reading(settings) as session:
        made_at = last_backup(session)
        has_answers = session.scalar(select(ReplyRow.id).limit(1)) is not None
    remedy = "run `reactune backup FILE` (docs/deploy.md has a timer for it)"
    if made_at is None and not has_answers:
        return "nothing to back up yet"
    if made_at is None:
        raise Hint(f"no backup yet: {remedy}")
    days = (utc_now() - made_at).days
    if days > MAX_BACKUP_DAYS:
        raise Problem(f"the last backup is {days} days old: {remedy}")
    return f"last backup {made_at:%Y-%m-%d %H:%M} UTC"


def check_retention(settings: Settings) -> str:
    expiry = read_expiry(settings.privacy)
    if expiry is None:
        return "data is kept until members delete it (privacy.retention_days = 0)"
    with reading(settings) as session:
        past = count_past(session, expiry)
    due = f"; the bot will delete {count(past, 'answer')} within a day" if past else ""
    days = settings.privacy.retention_days
    longest = max(days, LONGEST_WAIT.days)
    kept = "votes, choices or suggestions" if votes_keep_answers(settings.privacy) else "choices or suggestions"
    return f"answers are deleted after {days:g} days, those with {kept} after {longest:g}{due}"


def check_trainer(settings: Settings) -> str:
    with reading(settings) as session:
        running = live_processes(session, TRAINER)
        ran_before = session.scalar(select(HeartbeatRow.worker).where(HeartbeatRow.process == TRAINER).limit(1))
    if running:
        return ", ".join(f"{trainer.place} (seen {trainer.age_s:.0f} s ago)" for trainer in running)
    remedy = "start one with `reactune run` (together with the bot) or `reactune trainer`"
    if ran_before:
        raise Problem(f"no trainer is running: {remedy}")
    raise Hint(f"no trainer has run yet: {remedy}")
