"""The documents of servers: cut, embedded on a thread of its own, and looked up for a question."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, TypeVar

from numpy.typing import NDArray
from sqlalchemy.orm import Session

from bot.errors import UserFacingError
from bot.knowledge.chunking import Block, CountTokens, cut_into_chunks
from bot.privacy.recent_deletions import Deletions
from storage.database.database import Database
from storage.database.enums import DocumentKind
from storage.errors import DocumentRefused, EncoderError
from storage.knowledge.documents import (
    Document,
    NewChunk,
    NewDocument,
    SearchScope,
    Waiting,
    add_document,
    count_waiting,
    find_document,
    has_chunks,
    refresh_document,
    store_embeddings,
    waiting_chunks,
)
from storage.knowledge.search import Passage, Question, relevant, search
from storage.knowledge.vectors import VectorIndex, prepare_vectors
from storage.models.sentence_encoder import BATCH, BundledEncoder, Encoder
from storage.privacy.erasure import lock_erasures
from storage.settings.sections import KnowledgeSettings

log = logging.getLogger(__name__)

T = TypeVar("T")
CHARS_PER_TOKEN = 3
"""A low guess, for cutting text without the encoder's tokenizer."""
LOOK_UP_S = 5.0
"""An answer does not wait longer than this for an encoder that is still loading: words alone must do."""

DELETED = "A message of that document was deleted meanwhile, so nothing is added."

Report = Callable[[int, int], Awaitable[None]]
"""Gets how many passages are embedded, and of how many."""


@dataclass(frozen=True)
class Source:
    """Where the text of a document comes from, as it was read just now."""

    kind: DocumentKind
    blocks: Sequence[Block]
    media_type: str
    link: str = ""
    speakers: frozenset[int] = frozenset()
    """Members whose messages it holds."""
    messages: Mapping[int, int] = field(default_factory=dict)
    """{message id: channel id} of those messages."""

    @property
    def text(self) -> str:
        """The blocks as Markdown."""
        return "\n\n".join(f"{'#' * block.level} {block.text}".lstrip() for block in self.blocks)


@dataclass(frozen=True)
class Placement:
    """Under which title a document stands, and where it is looked up."""

    guild_id: int
    channel_id: int | None
    personality_id: int | None
    title: str
    added_by: str


class Library:
    def __init__(
        self,
        database: Database,
        settings: KnowledgeSettings,
        load_encoder: Callable[[], Encoder] = BundledEncoder,
        deletions: Deletions | None = None,
    ) -> None:
        self._database = database
        self._settings = settings
        self._load_encoder = load_encoder
        self._deletions = deletions or Deletions()
        self._index = VectorIndex()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="encoder")
        self._encoder: Encoder | None = None
        self._embedding = asyncio.Lock()
        self._is_closed = False
        self.problem: str | None = None
        """Why meaning is not searched, only words; None where it is, or was not needed yet."""

    async def prepare(self) -> None:
        """Load the encoder and embed what waits, where there are documents at all."""
        if await self._database.read(has_chunks) and await self._ready_encoder() is not None:
            await self._embed(None, _silent)

    def close(self) -> None:
        """Stop after the batch that is being embedded; what waits goes on with the next start."""
        self._is_closed = True
        self._thread.shutdown(wait=False)

    async def add(self, source: Source, place: Placement, report: Report) -> Document:
        """Write the document, embed it and return it; until it is embedded its words are found already.

        Raises DocumentRefused or UserFacingError before anything is written.
        """
        _require_text(source, self._settings)
        new = NewDocument(
            guild_id=place.guild_id,
            channel_id=place.channel_id,
            personality_id=place.personality_id,
            title=place.title,
            kind=source.kind,
            link=source.link,
            media_type=source.media_type,
            text=source.text,
            chunks=await self._cut(place.title, source.blocks),
            speakers=source.speakers,
            added_by=place.added_by,
            sources=source.messages,
        )

        def add(session: Session) -> int:
            self._refuse_deleted(session, source)
            return add_document(session, new, self._settings)

        document_id = await self._database.run(add)
        await self._embed(document_id, report)
        return await self._database.read(find_document, place.guild_id, document_id)

    async def refresh(self, document: Document, source: Source, report: Report) -> bool:
        """Put what the source says now in place of the document's text; return whether it differs."""
        _require_text(source, self._settings)
        chunks = await self._cut(document.title, source.blocks)

        def replace(session: Session) -> bool:
            self._refuse_deleted(session, source)
            return refresh_document(
                session,
                document.id,
                source.text,
                chunks,
                speakers=source.speakers,
                sources=source.messages,
                settings=self._settings,
            )

        differs = await self._database.run(replace)
        if differs:
            await self._embed(document.id, report)
        return differs

    def _refuse_deleted(self, session: Session, source: Source) -> None:
        lock_erasures(session, shared=True)
        if self._deletions.concern({*source.messages, *source.messages.values()}):
            raise UserFacingError(DELETED)

    async def find(self, scope: SearchScope, words: str, limit: int) -> list[Passage]:
        """Return the best passages for the words, relevant or not, best first."""
        if not await self._database.read(has_chunks):
            return []
        question = await self._ask(words)
        return await self._database.read(search, self._index, scope, question, limit)

    async def look_up(self, scope: SearchScope, words: str) -> list[Passage]:
        """Return the passages to quote in answer to the words, best first; none where nothing is relevant."""
        if not self._settings.enabled:
            return []
        return self.choose(await self.find(scope, words, self._settings.passages))

    def choose(self, found: Sequence[Passage]) -> list[Passage]:
        """Return those that have to do with the question, by their meaning, or by their words where need be."""
        return relevant(found[: self._settings.passages], self._settings.min_similarity)

    async def _ask(self, words: str) -> Question:
        try:
            async with asyncio.timeout(LOOK_UP_S):
                encoder = await self._ready_encoder()
        except TimeoutError:
            return Question(words, None)
        if encoder is None:
            return Question(words, None)
        vectors = await self._run(lambda: encoder.encode([words]))
        return Question(words, vectors[0], encoder.name)

    async def _cut(self, title: str, blocks: Sequence[Block]) -> list[NewChunk]:
        encoder = await self._ready_encoder()
        count: CountTokens = encoder.count_tokens if encoder else _guess_tokens
        return await self._run(
            lambda: cut_into_chunks(
                title,
                blocks,
                count,
                chunk_tokens=self._settings.chunk_tokens,
                overlap_tokens=self._settings.overlap_tokens,
            )
        )

    async def embed(self, texts: Sequence[str]) -> NDArray[Any] | None:
        """Return a row of length 1 for each text, (N, D); None where there is no encoder."""
        encoder = await self._ready_encoder()
        return None if encoder is None else await self._run(lambda: encoder.encode(list(texts)))

    # The encoder

    async def _ready_encoder(self) -> Encoder | None:
        """Return the encoder, loaded once on its thread; None where it cannot be, which is logged once."""
        if self._encoder is None and self.problem is None:
            await asyncio.shield(self._run(self._load))
        return self._encoder

    def _load(self) -> None:
        if self._encoder is not None or self.problem is not None:
            return
        try:
            encoder = self._load_encoder()
        except EncoderError as error:
            self.problem = str(error)
            log.warning("Documents are found by their words alone: %s.", error)
            return
        dimensions = int(encoder.encode([""]).shape[1])
        with self._database.transaction() as session:
            prepare_vectors(session, dimensions, encoder.name)
        self._encoder = encoder

    async def _embed(self, document_id: int | None, report: Report) -> None:
        """Embed what waits, of one document or of all; a batch at a time, so that questions come in between."""
        encoder = await self._ready_encoder()
        if encoder is None:
            return
        total = await self._database.read(count_waiting, encoder.name, document_id)
        done = 0
        async with self._embedding:
            while batch := await self._database.read(waiting_chunks, encoder.name, BATCH, document_id):
                if self._is_closed:
                    return
                await self._embed_batch(encoder, batch)
                done += len(batch)
                await report(min(done, total), total)

    async def _embed_batch(self, encoder: Encoder, batch: Sequence[Waiting]) -> None:
        vectors = await self._run(lambda: encoder.encode([waiting.chunk.embedded_text for waiting in batch]))
        embeddings = {waiting.id: row.tobytes() for waiting, row in zip(batch, vectors, strict=True)}
        await self._database.run(store_embeddings, encoder.name, embeddings)

    async def _run(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)


class ReportIndexing:
    """Passes a report on, at most once in a while."""

    def __init__(self, say: Callable[[str], Awaitable[object]], pause_s: float) -> None:
        self._say = say
        self._pause_s = pause_s
        self._said_s = time.perf_counter()

    async def __call__(self, done: int, total: int) -> None:
        now_s = time.perf_counter()
        if done < total and now_s - self._said_s >= self._pause_s:
            self._said_s = now_s
            await self._say(f"Reading: {done} of {total} passages …")


def _require_text(source: Source, settings: KnowledgeSettings) -> None:
    if not any(block.text.strip() for block in source.blocks):
        raise UserFacingError("There is no text in it.")
    if len(source.text) > settings.max_chars:
        raise DocumentRefused(
            f"the text has {len(source.text):,} characters, and knowledge.max_chars allows {settings.max_chars:,}: "
            "split it"
        )


def _guess_tokens(text: str) -> int:
    return -(-len(text) // CHARS_PER_TOKEN)


async def _silent(_done: int, _total: int) -> None:
    pass
