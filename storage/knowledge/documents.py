"""A server's documents, and the chunks that are searched."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from types import MappingProxyType

from sqlalchemy import ColumnElement, Select, delete, func, select, update
from sqlalchemy.orm import Session

from storage.database.columns import utc_now
from storage.database.enums import DocumentKind
from storage.database.rows import any_row, column_values, count_rows, from_row, read_all
from storage.database.tables import ChunkRow, DocumentRow, DocumentSourceRow, DocumentSpeakerRow
from storage.errors import DocumentRefused
from storage.settings.sections import KnowledgeSettings
from storage.wording import gettext_noop

JUST_REMOVED = gettext_noop("that document was just removed, so nothing was changed")


@dataclass(frozen=True)
class SearchScope:
    """The place of a question. Only documents of that server, channel and personality are searched."""

    guild_id: int
    channel_ids: frozenset[int]
    """The channel, and a thread's parent channel."""
    personality_id: int


@dataclass(frozen=True)
class NewChunk:
    heading: str
    text: str

    @property
    def embedded_text(self) -> str:
        return f"{self.heading}\n{self.text}"


@dataclass(frozen=True)
class NewDocument:
    guild_id: int
    channel_id: int | None
    personality_id: int | None
    title: str
    kind: DocumentKind
    link: str
    media_type: str
    text: str
    chunks: Sequence[NewChunk]
    speakers: Collection[int]
    added_by: str
    sources: Mapping[int, int] = field(default_factory=dict)
    """{message id: channel id} of the Discord messages that it was made from."""


@dataclass(frozen=True)
class Document:
    id: int
    guild_id: int
    channel_id: int | None
    personality_id: int | None
    title: str
    kind: DocumentKind
    link: str
    digest: str
    added_by: str
    added_at: datetime
    refreshed_at: datetime
    removed_at: datetime | None
    chars: int
    chunks: int
    waiting: int
    """Number of chunks that are not embedded yet; until then search only matches their words."""


@dataclass(frozen=True)
class StoredPassage:
    """A passage of a document, as it was cut."""

    position: int
    heading: str
    text: str


@dataclass(frozen=True)
class Waiting:
    """A chunk that is not embedded yet."""

    id: int
    chunk: NewChunk


def add_document(session: Session, new: NewDocument, settings: KnowledgeSettings) -> int:
    """Store the document and its chunks, without embeddings, and return its id.

    Raises DocumentRefused if the server already has it, or has reached a limit.
    """
    digest = _digest(new.text)
    _refuse_duplicate(session, new, digest)
    _refuse_excess(session, new.guild_id, len(new.chunks), settings)
    row = DocumentRow(**column_values(DocumentRow, new), digest=digest)
    session.add(row)
    session.flush()
    _add_parts(session, row.id, new.chunks, new.speakers, new.sources)
    return row.id


def refresh_document(
    session: Session,
    document_id: int,
    text: str,
    chunks: Sequence[NewChunk],
    *,
    speakers: Collection[int],
    sources: Mapping[int, int] = MappingProxyType({}),
    settings: KnowledgeSettings,
    before: str | None = None,
) -> bool:
    """Replace the document's text, and return whether it differs.

    Raises DocumentRefused if the document was removed, if its digest is no longer `before`, or if the server would
    exceed a limit.
    """
    row = _lock(session, document_id)
    row.refreshed_at = utc_now()
    if row.digest == _digest(text):
        return False
    if before not in (None, row.digest):
        raise DocumentRefused(
            "someone else changed this document since you opened it: copy your text, then reload this page"
        )
    _delete_parts(session, document_id)
    _refuse_excess(session, row.guild_id, len(chunks), settings, more_documents=0)
    row.text, row.digest, row.revision = text, _digest(text), row.revision + 1
    session.flush()
    _add_parts(session, document_id, chunks, speakers, sources)
    return True


def remove_document(session: Session, guild_id: int, document_id: int) -> Document:
    """Delete the document's text and return the document; its title is kept for earlier citations.

    The title of a document made of messages is deleted too, because it can hold members' words.

    Raises DocumentRefused if the server has no such document.
    """
    document = find_document(session, guild_id, document_id)
    _erase(session, [document.id])
    return document


def remove_words_of(session: Session, user_id: int) -> int:
    """Remove the documents that hold messages of the member, and return their number."""
    return erase_documents(session, select(DocumentSpeakerRow.document_id).where(DocumentSpeakerRow.user_id == user_id))


def erase_documents(session: Session, document_ids: Select[int]) -> int:
    """Delete the text of the selected documents that are not removed, and return their number."""
    ids = select(DocumentRow.id).where(DocumentRow.id.in_(document_ids), DocumentRow.removed_at.is_(None))
    found = list(session.scalars(ids))
    _erase(session, found)
    return len(found)


def has_chunks(session: Session) -> bool:
    """Return whether any server has documents to search."""
    return any_row(session, select(ChunkRow.id))


def find_document(session: Session, guild_id: int, document_id: int) -> Document:
    """Return a document of the server that is not removed; raises DocumentRefused if there is none."""
    found = _read(session, DocumentRow.id == document_id, DocumentRow.guild_id == guild_id)
    if not found:
        raise DocumentRefused("there is no document {id}: it was removed, or never existed", id=str(document_id))
    return found[0]


def list_documents(session: Session, guild_id: int) -> list[Document]:
    """Return the server's documents that are not removed, oldest first."""
    return _read(session, DocumentRow.guild_id == guild_id)


def newest_documents(session: Session, guild_id: int, limit: int, before_id: int | None = None) -> list[Document]:
    """Return the server's documents that are not removed, newest first."""
    ids = select(DocumentRow.id).where(DocumentRow.guild_id == guild_id, DocumentRow.removed_at.is_(None))
    if before_id is not None:
        ids = ids.where(DocumentRow.id < before_id)
    newest = session.scalars(ids.order_by(DocumentRow.id.desc()).limit(limit)).all()
    return _read(session, DocumentRow.id.in_(newest))[::-1]


def read_passages(session: Session, document_id: int, limit: int, after: int | None = None) -> list[StoredPassage]:
    """Return the passages of a document in order, starting after the position `after`."""
    chunks = select(ChunkRow).where(ChunkRow.document_id == document_id)
    if after is not None:
        chunks = chunks.where(ChunkRow.position > after)
    return read_all(session, StoredPassage, chunks.order_by(ChunkRow.position).limit(limit))


def made_of(session: Session, message_id: int) -> list[Document]:
    """Return the documents, of any server, that hold the Discord message."""
    return _read(session, DocumentRow.id.in_(documents_with([message_id])))


def documents_with(message_ids: Collection[int]) -> Select[int]:
    """Select the documents, of any server, that hold one of the Discord messages."""
    return select(DocumentSourceRow.document_id).where(DocumentSourceRow.message_id.in_(message_ids))


def read_text(session: Session, document_id: int) -> str:
    return session.scalars(select(DocumentRow.text).where(DocumentRow.id == document_id)).one()


def speakers_of(session: Session, document_ids: Collection[int]) -> frozenset[int]:
    """Return the members whose messages the documents hold."""
    speakers = select(DocumentSpeakerRow.user_id).where(DocumentSpeakerRow.document_id.in_(document_ids))
    return frozenset(session.scalars(speakers))


def source_messages(session: Session, document_ids: Collection[int]) -> frozenset[int]:
    """Return the ids of the Discord messages that the documents were made from."""
    query = select(DocumentSourceRow.message_id).where(DocumentSourceRow.document_id.in_(document_ids))
    return frozenset(session.scalars(query))


def titles_of(session: Session, document_ids: Sequence[int]) -> list[tuple[str, str]]:
    """Return (title, link) of each document in the given order, also of removed ones that still have a title."""
    query = select(DocumentRow.id, DocumentRow.title, DocumentRow.link).where(
        DocumentRow.id.in_(document_ids), DocumentRow.title != ""
    )
    found = {row.id: (row.title, row.link) for row in session.execute(query)}
    return [found[id_] for id_ in dict.fromkeys(document_ids) if id_ in found]


# Embedding: it can be interrupted and continued at any time


def count_waiting(session: Session, encoder: str, document_id: int | None = None) -> int:
    """Count the chunks that this encoder has not embedded, of one document or of all."""
    return count_rows(session, _waiting(encoder, document_id))


def waiting_chunks(session: Session, encoder: str, limit: int, document_id: int | None = None) -> list[Waiting]:
    """Return the first chunks that this encoder has not embedded, of one document or of all."""
    rows = session.scalars(_waiting(encoder, document_id).order_by(ChunkRow.id).limit(limit))
    return [Waiting(row.id, NewChunk(row.heading, row.text)) for row in rows]


def _waiting(encoder: str, document_id: int | None) -> Select[ChunkRow]:
    chunks = select(ChunkRow).where(ChunkRow.encoder != encoder)
    return chunks if document_id is None else chunks.where(ChunkRow.document_id == document_id)


def store_embeddings(session: Session, encoder: str, embeddings: Mapping[int, bytes]) -> None:
    """Store the vectors by chunk id; chunks that were removed in the meantime are skipped."""
    affected = select(ChunkRow.document_id).where(ChunkRow.id.in_(list(embeddings)))
    session.execute(update(DocumentRow).where(DocumentRow.id.in_(affected)).values(revision=DocumentRow.revision + 1))
    for chunk_id, embedding in embeddings.items():
        session.execute(update(ChunkRow).where(ChunkRow.id == chunk_id).values(encoder=encoder, embedding=embedding))


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _refuse_duplicate(session: Session, new: NewDocument, digest: str) -> None:
    same = select(DocumentRow.id, DocumentRow.title).where(
        DocumentRow.guild_id == new.guild_id,
        DocumentRow.channel_id.is_not_distinct_from(new.channel_id),
        DocumentRow.personality_id.is_not_distinct_from(new.personality_id),
        DocumentRow.digest == digest,
    )
    if found := session.execute(same.limit(1)).one_or_none():
        raise DocumentRefused(
            "that text is already stored as document {id} ({title})", id=str(found.id), title=found.title
        )


def _refuse_excess(
    session: Session, guild_id: int, chunks: int, settings: KnowledgeSettings, *, more_documents: int = 1
) -> None:
    ids = select(DocumentRow.id).where(DocumentRow.guild_id == guild_id, DocumentRow.removed_at.is_(None))
    documents = count_rows(session, ids)
    if documents + more_documents > settings.max_documents:
        raise DocumentRefused(
            "this server has reached its limit of documents, {limit}: remove one first",
            limit=settings.max_documents,
        )
    stored = count_rows(session, select(ChunkRow.id).where(ChunkRow.document_id.in_(ids)))
    if stored + chunks > settings.max_chunks:
        raise DocumentRefused(
            "the text has {passages} passages and this server already has {stored}; the limit is "
            "{limit}: remove documents, or add a shorter text",
            passages=chunks,
            stored=stored,
            limit=settings.max_chunks,
        )


def _lock(session: Session, document_id: int) -> DocumentRow:
    """Lock and return the row; raises DocumentRefused if the document was removed."""
    row = session.get(DocumentRow, document_id, with_for_update=True)
    if row is None or row.removed_at is not None:
        raise DocumentRefused(JUST_REMOVED)
    return row


def _add_parts(
    session: Session,
    document_id: int,
    chunks: Sequence[NewChunk],
    speakers: Collection[int],
    sources: Mapping[int, int],
) -> None:
    session.add_all(
        ChunkRow(document_id=document_id, position=position, heading=chunk.heading, text=chunk.text)
        for position, chunk in enumerate(chunks)
    )
    session.add_all(DocumentSpeakerRow(document_id=document_id, user_id=user) for user in sorted(set(speakers)))
    session.add_all(
        DocumentSourceRow(document_id=document_id, message_id=message, channel_id=channel)
        for message, channel in sorted(sources.items())
    )
    session.flush()


def _delete_parts(session: Session, *document_ids: int) -> None:
    for table in (ChunkRow, DocumentSpeakerRow, DocumentSourceRow):
        session.execute(delete(table).where(table.document_id.in_(document_ids)))


def _erase(session: Session, document_ids: Sequence[int]) -> None:
    _delete_parts(session, *document_ids)
    session.execute(
        update(DocumentRow)
        .where(DocumentRow.id.in_(document_ids))
        .values(text="", digest="", removed_at=utc_now(), revision=DocumentRow.revision + 1)
    )
    of_messages = DocumentRow.kind.in_((DocumentKind.MESSAGE, DocumentKind.PINS))
    session.execute(update(DocumentRow).where(DocumentRow.id.in_(document_ids), of_messages).values(title="", link=""))


def _read(session: Session, *conditions: ColumnElement[bool]) -> list[Document]:
    # The texts, which can be long, are left out.
    columns = [column for column in DocumentRow.__table__.columns if column.name != "text"]
    rows = session.execute(
        select(
            *columns,
            func.length(DocumentRow.text).label("chars"),
            func.count(ChunkRow.id).label("chunks"),
            func.count(ChunkRow.id).filter(ChunkRow.encoder == "").label("waiting"),
        )
        .outerjoin(ChunkRow, ChunkRow.document_id == DocumentRow.id)
        .where(DocumentRow.removed_at.is_(None), *conditions)
        .group_by(DocumentRow.id)
        .order_by(DocumentRow.id)
    )
    return [from_row(Document, row) for row in rows]
