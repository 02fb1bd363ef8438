"""The documents of all servers: added, embedded in the background, and searched for passages to quote."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from enum import StrEnum
from functools import partial
from typing import Any, TypeVar

from numpy.typing import NDArray
from sqlalchemy.orm import Session

from bot.errors import UserFacingError
from bot.knowledge.chunking import CountTokens, cut_into_chunks
from bot.knowledge.decision import NOTHING, AskedMessage, ReplyDecision, ReplyKind, decide_reply
from bot.knowledge.extraction import MAX_DOCUMENT_CHARS, Block
from bot.knowledge.question_vectors import (
    CONSIDERED,
    Background,
    background_of,
    embed_question,
    lines_near,
    read_background,
)
from bot.knowledge.quoting import MAX_TITLE_CHARS
from bot.privacy.recent_deletions import Deletions
from storage.database.database import Database
from storage.database.enums import DocumentKind
from storage.errors import EncoderError
from storage.knowledge.documents import (
    Document,
    NewChunk,
    NewDocument,
    SearchScope,
    add_document,
    count_waiting,
    find_document,
    has_chunks,
    refresh_document,
    store_embeddings,
    waiting_chunks,
)
from storage.knowledge.search import Passage, Question, search
from storage.knowledge.vectors import VectorIndex
from storage.models.bundled import BATCH, BundledEncoder, Encoder
from storage.models.english import InEnglish
from storage.privacy.erasure import lock_erasures
from storage.settings.sections import KnowledgeSettings
from storage.wording import gettext_noop

log = logging.getLogger(__name__)


T = TypeVar("T")

CHARS_PER_TOKEN = 3
"""Characters per token, a low estimate for cutting text without the encoder's tokenizer."""
KEPT_LINES = 2_000
"""Lines whose vectors are kept, 3 MB."""
LOOK_UP_S = 5.0
"""Longest wait of an answer for an encoder that is still loading; after that, search matches words only."""

DELETED = gettext_noop("A message in that document was deleted just now, so nothing was stored.")

ReportPassages = Callable[[int, int], Awaitable[None]]
"""Gets the number of embedded passages, and of all."""


class PassageUse(StrEnum):
    """An answer's use of a passage that search found."""

    QUOTED = gettext_noop("would be quoted")
    NEAREST = gettext_noop("would be shown as one of the nearest")
    LEFT_OUT = gettext_noop("left out")


@dataclass(frozen=True)
class FoundPassage:
    passage: Passage
    use: PassageUse

    @property
    def is_shown(self) -> bool:
        return self.use is not PassageUse.LEFT_OUT


class EncoderThread:
    def __init__(self, load: Callable[[], Encoder]) -> None:
        self._load = load
        self._executor = ThreadPoolExecutor(1, thread_name_prefix="encoder")
        self._encoder: Encoder | None = None
        self.problem: str | None = None
        """The reason why the encoder cannot be loaded; None if it can, or was not needed yet."""

    @property
    def is_settled(self) -> bool:
        """Whether the encoder is loaded, or known to be missing."""
        return self._encoder is not None or self.problem is not None

    def close(self) -> None:
        self._executor.shutdown(wait=False)

    async def ready(self) -> Encoder | None:
        """Return the encoder, loaded once; None if that failed, which is logged once."""
        if not self.is_settled:
            await asyncio.shield(self.run(self._load_once))
        return self._encoder

    async def encode(self, encoder: Encoder, texts: Sequence[str]) -> NDArray[Any]:
        """Return a vector of length 1 for each text, (N, D)."""
        return await self.run(lambda: encoder.encode(list(texts)))

    async def run(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._executor, work)

    def _load_once(self) -> None:
        if self.is_settled:
            return
        try:
            encoder = self._load()
        except EncoderError as error:
            self.problem = str(error)
            log.warning("Search in documents matches words only: %s.", error)
            return
        self._encoder = encoder


@dataclass(frozen=True)
class Source:
    """The text of a document, as it was just read."""

    kind: DocumentKind
    blocks: Sequence[Block]
    media_type: str
    link: str = ""
    speakers: frozenset[int] = frozenset()
    """Members whose messages the document holds."""
    messages: Mapping[int, int] = field(default_factory=dict)
    """{message id: channel id} of those messages."""

    @property
    def text(self) -> str:
        """The blocks as Markdown."""
        return "\n\n".join(f"{'#' * block.level} {block.text}".lstrip() for block in self.blocks)


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
        self._deletions = deletions or Deletions()
        self._encoder = EncoderThread(lambda: InEnglish(load_encoder()))
        self._index = VectorIndex()
        self._embedding = asyncio.Lock()
        self._is_closed = False
        self._background: Background | None = None
        self._line_vectors: dict[str, NDArray[Any]] = {}

    @property
    def problem(self) -> str | None:
        """The reason why search matches words only; None if it matches meaning too, or was not needed yet."""
        return self._encoder.problem

    @property
    def is_ready(self) -> bool:
        """Whether the encoder is loaded, or known to be missing."""
        return self._encoder.is_settled

    async def prepare(self) -> None:
        """If there are documents, load the encoder and embed the passages that wait."""
        if await self._database.read(has_chunks) and await self._encoder.ready() is not None:
            await self._embed(None)

    def close(self) -> None:
        """Stop after the current batch; the next start continues."""
        self._is_closed = True
        self._encoder.close()

    async def add(
        self,
        source: Source,
        report: ReportPassages | None = None,
        *,
        guild_id: int,
        channel_id: int | None = None,
        personality_id: int | None = None,
        title: str,
        added_by: str,
        together_with: Callable[[Session], None] = lambda _session: None,
    ) -> Document:
        """Store the document, embed it and return it; until it is embedded, search matches its words.

        `together_with` runs in the same transaction. Raises UserFacingError, StorageError or what that raises before
        anything is written.
        """
        _require_text(source)
        title = " ".join(title.split())[:MAX_TITLE_CHARS]
        new = NewDocument(
            guild_id=guild_id,
            channel_id=channel_id,
            personality_id=personality_id,
            title=title,
            kind=source.kind,
            link=source.link,
            media_type=source.media_type,
            text=source.text,
            chunks=await self._cut(title, source.blocks),
            speakers=source.speakers,
            added_by=added_by,
            sources=source.messages,
        )

        def add(session: Session) -> int:
            self._refuse_deleted(session, source)
            together_with(session)
            return add_document(session, new, self._settings)

        document_id = await self._database.run(add)
        log.info("%s added document %d.", added_by, document_id)
        await self._embed_stored(document_id, report)
        return await self._database.read(find_document, guild_id, document_id)

    async def refresh(
        self,
        document: Document,
        source: Source,
        report: ReportPassages | None = None,
        *,
        before: str | None = None,
    ) -> bool:
        """Replace the document's text with the source's; return whether it differs.

        Raises DocumentRefused if the digest of its text is no longer `before`.
        """
        _require_text(source)
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
                before=before,
            )

        differs = await self._database.run(replace)
        if differs:
            await self._embed_stored(document.id, report)
        return differs

    def _refuse_deleted(self, session: Session, source: Source) -> None:
        lock_erasures(session, shared=True)
        channels = source.messages.values()
        if self._deletions.concern(source.messages) or any(map(self._deletions.concern_channel, channels)):
            raise UserFacingError(DELETED)

    async def find(self, scope: SearchScope, words: str, limit: int) -> tuple[ReplyDecision, list[FoundPassage]]:
        """Return the decision about a question, and its passages, best first."""
        if not await self._database.read(has_chunks):
            return NOTHING, []
        question = await self.ask(words)
        found = await self._database.read(search, self._index, scope, question)
        decision = await self.decide(question, found[:CONSIDERED])
        shown = dict.fromkeys(line.chunk_id for line in decision.lines)
        use = PassageUse.QUOTED if decision.outcome is ReplyKind.QUOTED else PassageUse.NEAREST
        uses = [FoundPassage(one, use if one.chunk_id in shown else PassageUse.LEFT_OUT) for one in found]
        order = {id_: place for place, id_ in enumerate(shown)}
        return decision, sorted(uses, key=lambda one: order.get(one.passage.chunk_id, len(order)))[:limit]

    def look_up(self, session: Session, scope: SearchScope, question: Question) -> list[Passage]:
        """Return the passages that may answer the question, best first."""
        return search(session, self._index, scope, question)[:CONSIDERED]

    async def decide(self, question: Question, passages: Sequence[Passage]) -> ReplyDecision:
        """Return the decision about a question, given the passages that may answer it."""
        encoder = await self._encoder.ready() if question.embeddings is not None else None
        if not passages:
            return NOTHING
        work = partial(self._decide, question, passages, encoder)
        return await (self._encoder.run(work) if encoder is not None else asyncio.to_thread(work))

    def _decide(self, question: Question, passages: Sequence[Passage], encoder: Encoder | None) -> ReplyDecision:
        if encoder is None or question.embeddings is None:
            asked = AskedMessage(question.text, question.earlier)
            return decide_reply(asked, lines_near(question, passages, lambda _texts: ()))
        if self._background is None:
            self._background = read_background(encoder)
        resembled = background_of(question, self._background)
        lines = lines_near(question, passages, partial(self._encode_lines, encoder))
        return decide_reply(AskedMessage(question.text, question.earlier, resembled), lines)

    def _encode_lines(self, encoder: Encoder, texts: Sequence[str]) -> list[NDArray[Any]]:
        """Return the vectors of lines; those of the last KEPT_LINES are kept, because the same ones come near often."""
        unknown = [text for text in dict.fromkeys(texts) if text not in self._line_vectors]
        if unknown:
            self._line_vectors |= dict(zip(unknown, encoder.encode(unknown), strict=True))
        found = [self._line_vectors[text] for text in texts]
        for text in list(self._line_vectors)[: max(0, len(self._line_vectors) - KEPT_LINES)]:
            del self._line_vectors[text]
        return found

    async def embed(self, texts: Sequence[str]) -> NDArray[Any] | None:
        """Return a vector of length 1 for each text, (N, D); None without an encoder."""
        encoder = await self._encoder.ready()
        return None if encoder is None else await self._encoder.encode(encoder, texts)

    async def ask(self, words: str, earlier: Sequence[str] = ()) -> Question:
        """Return the words as a question, with their meaning if the encoder is loaded within LOOK_UP_S.

        `earlier` holds people's earlier messages, newest first.
        """
        encoder = None
        with suppress(TimeoutError):
            async with asyncio.timeout(LOOK_UP_S):
                encoder = await self._encoder.ready()
        if encoder is None:
            return Question(words, None, earlier=tuple(earlier))
        return await self._encoder.run(partial(embed_question, encoder, words, earlier))

    async def _cut(self, title: str, blocks: Sequence[Block]) -> list[NewChunk]:
        encoder = await self._encoder.ready()
        count: CountTokens = encoder.count_tokens if encoder else _guess_tokens
        return await self._encoder.run(lambda: cut_into_chunks(title, blocks, count))

    async def _embed_stored(self, document_id: int, report: ReportPassages | None) -> None:
        """Embed a document that is stored; if that fails, it shows as not indexed yet, and the next start tries again.

        Nobody may read that it was refused.
        """
        try:
            await self._embed(document_id, report)
        except Exception:
            log.exception("Document %d is stored, but could not be indexed; the next start tries again", document_id)

    async def _embed(self, document_id: int | None, report: ReportPassages | None = None) -> None:
        """Embed waiting passages of one document or of all, in batches, so that questions need not wait."""
        encoder = await self._encoder.ready()
        if encoder is None:
            return
        total = await self._database.read(count_waiting, encoder.name, document_id)
        done = 0
        async with self._embedding:
            while batch := await self._database.read(waiting_chunks, encoder.name, BATCH, document_id):
                if self._is_closed:
                    return
                vectors = await self._encoder.encode(encoder, [waiting.chunk.embedded_text for waiting in batch])
                embeddings = {waiting.id: row.tobytes() for waiting, row in zip(batch, vectors, strict=True)}
                await self._database.run(store_embeddings, encoder.name, embeddings)
                done += len(batch)
                if report is not None:
                    await report(min(done, total), total)


def _require_text(source: Source) -> None:
    if not any(block.text.strip() for block in source.blocks):
        raise UserFacingError("That document has no text.")
    require_length(len(source.text))


def require_length(chars: int) -> None:
    """Raise UserFacingError if a document's text has too many characters."""
    if chars > MAX_DOCUMENT_CHARS:
        raise UserFacingError(
            "the text has {chars} characters; the limit is {limit}: split it",
            chars=chars,
            limit=MAX_DOCUMENT_CHARS,
        )


def _guess_tokens(text: str) -> int:
    return -(-len(text) // CHARS_PER_TOKEN)
