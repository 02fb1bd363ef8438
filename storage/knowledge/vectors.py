"""Nearest chunks by the cosine of their embeddings, with pgvector on PostgreSQL, else with a matrix in memory."""

from __future__ import annotations

import logging
import threading
from collections import OrderedDict
from collections.abc import Collection, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

from sqlalchemy import Integer, TableClause, any_, column, delete, exists, literal, select, table, text
from sqlalchemy.dialects.postgresql import ARRAY, insert
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session
from threadpoolctl import ThreadpoolController

from storage.database.tables import ChunkRow, DocumentRow

if TYPE_CHECKING:
    from numpy.typing import NDArray

log = logging.getLogger(__name__)

RESIDENT_SERVERS = 8
"""Servers whose matrices are kept in memory; 10,000 chunks take 15 MB."""
EF_SEARCH = 200
"""Candidates kept while searching the HNSW graph (Malkov and Yashunin 2018)."""
BUILD_MEMORY = "512MB"
"""For building the graph, which is many times slower if it does not fit."""
FILL_BATCH = 5_000

Stamp = tuple[str, tuple[tuple[int, int], ...]]
"""A matrix's origin: the encoder, and (id, revision) of every document."""


@dataclass(frozen=True)
class Matrix:
    stamp: Stamp
    chunk_ids: NDArray[Any]
    document_ids: NDArray[Any]
    vectors: NDArray[Any]
    """(N, D), rows of length 1."""


class VectorIndex:
    """Finds the nearest chunks; thread-safe."""

    def __init__(self) -> None:
        self._matrices: OrderedDict[int, Matrix] = OrderedDict()
        self._changing = threading.Lock()
        self._threads: ThreadpoolController | None = None

    def nearest(
        self,
        session: Session,
        guild_id: int,
        document_ids: Collection[int],
        *,
        query: NDArray[Any],
        encoder: str,
        limit: int,
    ) -> list[int]:
        """Return the ids of the nearest chunks that this encoder has embedded, best first; query is (D,)."""
        if not document_ids:
            return []
        if has_pgvector(session):
            return _nearest_in_postgres(session, document_ids, query, limit)
        with self._one_thread():
            return _nearest_in(self._matrix(session, guild_id, encoder), document_ids, query, limit)

    def _one_thread(self) -> AbstractContextManager[Any]:
        """Limit BLAS to one thread: on busy cores, waiting for a second one takes ten times as long as the product."""
        import numpy as np  # noqa: F401 (the controller finds the libraries that are loaded)

        self._threads = self._threads or ThreadpoolController()
        limited: AbstractContextManager[Any] = self._threads.limit(limits=1, user_api="blas")
        return limited

    def _matrix(self, session: Session, guild_id: int, encoder: str) -> Matrix:
        stamp = (encoder, _revisions(session, guild_id))
        with self._changing:
            matrix = self._matrices.pop(guild_id, None)
            if matrix is None or matrix.stamp != stamp:
                matrix = _load(session, guild_id, stamp)
            self._matrices[guild_id] = matrix
            while len(self._matrices) > RESIDENT_SERVERS:
                self._matrices.popitem(last=False)
        return matrix


def _revisions(session: Session, guild_id: int) -> tuple[tuple[int, int], ...]:
    query = select(DocumentRow.id, DocumentRow.revision).where(
        DocumentRow.guild_id == guild_id, DocumentRow.removed_at.is_(None)
    )
    return tuple(sorted((row.id, row.revision) for row in session.execute(query)))


def _load(session: Session, guild_id: int, stamp: Stamp) -> Matrix:
    import numpy as np

    rows = session.execute(
        select(ChunkRow.id, ChunkRow.document_id, ChunkRow.embedding)
        .join(DocumentRow)
        .where(DocumentRow.guild_id == guild_id, ChunkRow.encoder == stamp[0])
        .order_by(ChunkRow.id)
    ).all()
    joined = b"".join(row.embedding for row in rows)
    return Matrix(
        stamp,
        np.array([row.id for row in rows], dtype=np.int64),
        np.array([row.document_id for row in rows], dtype=np.int64),
        np.frombuffer(joined, dtype="<f4").reshape(len(rows), -1) if rows else np.zeros((0, 0), dtype="<f4"),
    )


def _nearest_in(matrix: Matrix, document_ids: Collection[int], query: NDArray[Any], limit: int) -> list[int]:
    import numpy as np

    if not len(matrix.chunk_ids):
        return []
    similarities = matrix.vectors @ query.astype("<f4")
    if len(document_ids) < len(matrix.stamp[1]):
        similarities[~np.isin(matrix.document_ids, list(document_ids))] = -np.inf
    best = np.argpartition(-similarities, limit)[:limit] if len(similarities) > limit else np.arange(len(similarities))
    best = best[np.argsort(-similarities[best], kind="stable")]
    return [int(matrix.chunk_ids[i]) for i in best if np.isfinite(similarities[i])]


# PostgreSQL


@cache
def _chunk_vectors() -> TableClause:
    """Return pgvector's copy of the embeddings, with the encoder's dimensions."""
    from pgvector.sqlalchemy import VECTOR  # in the extra `postgres`, like the driver

    columns = (column("chunk_id", Integer), column("document_id", Integer), column("embedding", VECTOR))
    return table("chunk_vectors", *columns)


def has_pgvector(session: Session) -> bool:
    """Return whether this database searches chunks with pgvector."""
    if session.get_bind().dialect.name != "postgresql":
        return False
    return session.scalar(text("SELECT to_regclass('chunk_vectors') IS NOT NULL")) is True


def prepare_vectors(session: Session, dimensions: int, encoder: str) -> bool:
    """Create and fill pgvector's table and index if PostgreSQL allows it; return whether they exist.

    Without the extension, or the right to create it, nothing is changed and the matrix in memory is used.
    """
    if session.get_bind().dialect.name != "postgresql":
        return False
    if not has_pgvector(session) and not _create(session, dimensions):
        return False
    vectors = _chunk_vectors()
    session.execute(delete(vectors).where(vectors.c.chunk_id == ChunkRow.id, ChunkRow.encoder != encoder))
    _fill(session, encoder)
    session.execute(text(f"SET LOCAL maintenance_work_mem = '{BUILD_MEMORY}'"))
    session.execute(
        text(
            "CREATE INDEX IF NOT EXISTS ix_chunk_vectors_near ON chunk_vectors USING hnsw (embedding vector_cosine_ops)"
        )
    )
    return True


def _create(session: Session, dimensions: int) -> bool:
    try:
        with session.begin_nested():
            session.execute(text("CREATE EXTENSION IF NOT EXISTS vector"))
            session.execute(
                text(
                    "CREATE TABLE chunk_vectors (chunk_id integer PRIMARY KEY REFERENCES chunks ON DELETE CASCADE, "
                    f"document_id integer NOT NULL, embedding vector({dimensions:d}) NOT NULL)"
                )
            )
            session.execute(text("CREATE INDEX ix_chunk_vectors_document ON chunk_vectors (document_id)"))
    except DBAPIError as error:
        detail = next(iter(str(error.orig).splitlines()), "")
        log.warning("PostgreSQL cannot use pgvector (%s): documents are searched in the bot's memory.", detail)
        return False
    return True


def _fill(session: Session, encoder: str) -> None:
    mirrored = exists().where(_chunk_vectors().c.chunk_id == ChunkRow.id)
    missing = select(ChunkRow.id, ChunkRow.embedding).where(ChunkRow.encoder == encoder, ~mirrored).limit(FILL_BATCH)
    while rows := session.execute(missing).all():
        mirror_vectors(session, {row.id: row.embedding for row in rows})


def mirror_vectors(session: Session, embeddings: Mapping[int, bytes]) -> None:
    """Copy new embeddings, by chunk id, into pgvector's table; does nothing on other databases."""
    import numpy as np

    if not embeddings or not has_pgvector(session):
        return
    chunks = session.execute(select(ChunkRow.id, ChunkRow.document_id).where(ChunkRow.id.in_(embeddings)))
    new = insert(_chunk_vectors())
    session.execute(
        new.on_conflict_do_update(index_elements=["chunk_id"], set_={"embedding": new.excluded.embedding}),
        [
            {"chunk_id": row.id, "document_id": row.document_id, "embedding": np.frombuffer(embeddings[row.id], "<f4")}
            for row in chunks
        ],
    )


def _nearest_in_postgres(session: Session, document_ids: Collection[int], query: NDArray[Any], limit: int) -> list[int]:
    session.execute(text(f"SET LOCAL hnsw.ef_search = {EF_SEARCH:d}"))
    session.execute(text("SET LOCAL hnsw.iterative_scan = strict_order"))
    # A generic plan would not use the graph: it cannot know that the list has most of the documents.
    session.execute(text("SET LOCAL plan_cache_mode = force_custom_plan"))
    vectors = _chunk_vectors()
    rows = session.scalars(
        select(vectors.c.chunk_id)
        .where(vectors.c.document_id == any_(literal(list(document_ids), ARRAY(Integer))))
        .order_by(vectors.c.embedding.cosine_distance(query))
        .limit(limit)
    )
    return list(rows)
