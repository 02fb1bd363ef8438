"""Describes the database: server, replicas, connections, time limits and document search."""

from __future__ import annotations

from collections.abc import Iterator

from sqlalchemy import Connection, text

from storage.database.database import Database
from storage.knowledge.vectors import has_pgvector
from storage.settings.sections import DatabaseSettings


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
