"""Nearest chunks by the cosine of their embeddings, with one matrix in memory for each server."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Collection
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sqlalchemy import select
from sqlalchemy.orm import Session
from threadpoolctl import ThreadpoolController

from storage.database.tables import ChunkRow, DocumentRow

if TYPE_CHECKING:
    from numpy.typing import NDArray

RESIDENT_SERVERS = 8
"""Number of servers whose matrices are kept in memory; 10,000 chunks take 15 MB."""

Stamp = tuple[str, tuple[tuple[int, int], ...]]
"""A matrix's origin: the encoder, and (id, revision) of every document."""


@dataclass(frozen=True)
class Matrix:
    stamp: Stamp
    chunk_ids: NDArray[Any]
    document_ids: NDArray[Any]
    vectors: NDArray[Any]
    """The embeddings, (N, D), with rows of length 1."""


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
