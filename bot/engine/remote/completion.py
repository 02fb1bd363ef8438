"""One answer of a server, and the tokens of all answers, which are counted per day and limited."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Callable
from contextlib import aclosing
from dataclasses import replace
from datetime import date

from sqlalchemy.orm import Session

from bot.engine import Finish, GenerationRequest
from bot.engine.queue import QueuedGeneration
from bot.engine.remote.adapter_loading import Fields, Versions, VllmVersions
from bot.engine.rendering import Renderer
from bot.errors import SpentForToday, UserFacingError
from bot.model_server import NOT_FOUND, Faulty, Piece, Refused, RefusedByServer, ServerError, Slow, Usage
from storage.database.columns import utc_now
from storage.database.database import Database
from storage.database.engine import FAILURES, explain
from storage.models.answer_stream import AnswerStream
from storage.operations.token_spend import Spend, add_spend, is_used_up, spent_on
from storage.settings.sections import RemoteSettings

log = logging.getLogger(__name__)


Key = tuple[date, str, str]

FINISHES = {"stop": Finish.STOP, "length": Finish.LENGTH}


class Spending:
    """The limit is soft: tokens of answers in progress are only counted at their end."""

    def __init__(self, database: Database, settings: RemoteSettings) -> None:
        self._database = database
        self._settings = settings
        self._day = utc_now().date()
        self._spent = Spend()
        """The day's spending of all processes, as last read."""
        self._unwritten: Counter[tuple[Key, str]] = Counter()
        """Counts that are not in the database yet."""

    def require(self) -> None:
        """Raise SpentForToday if the day's tokens were used up at the last count."""
        if self._day == utc_now().date() and is_used_up(self._spent, self._settings):
            raise SpentForToday

    async def add(self, server: str, model: str, prompt_tokens: int, answer_tokens: int) -> None:
        key = utc_now().date(), server, model
        self._unwritten.update(
            {(key, "answers"): 1, (key, "prompt_tokens"): prompt_tokens, (key, "answer_tokens"): answer_tokens}
        )
        await self.exchange()

    async def exchange(self) -> None:
        """Write our counts and read those of all processes; if the database fails, the last known ones stay."""
        news, self._unwritten = self._unwritten, Counter()
        today = utc_now().date()
        try:
            spent = await (self._database.run(_write, news, today) if news else self._database.read(spent_on, today))
        except FAILURES as error:
            self._unwritten.update(news)
            log.warning("The token count cannot be stored now and is kept in memory: %s", explain(error))
        else:
            self._day, self._spent = today, spent


def _write(session: Session, news: Counter[tuple[Key, str]], today: date) -> Spend:
    for key in {key for key, _ in news}:
        counts = {name: news[key, name] for name in ("answers", "prompt_tokens", "answer_tokens")}
        add_spend(session, *key, Spend(**counts))
    return spent_on(session, today)


class RemoteAnswer:
    """One attempt at an answer, with its text so far."""

    def __init__(self, request: GenerationRequest, renderer: Renderer, started_at: float) -> None:
        """`started_at` is from time.perf_counter()."""
        self.request = request
        self.started_at = started_at
        self.first_token_at: float | None = None
        self.model = ""
        """Name by which the request selected a version; empty before the request."""
        self.text = ""
        """The text for members, without a thought."""
        self._prompt_ids: list[int] = []
        self._pieces: list[str] = []
        """All text, thoughts included. Each piece counts as one token, because servers send tokens one by one."""
        self._answer_ids: list[int] = []
        """Positions of the pieces outside a thought."""
        self._usage: Usage | None = None
        self._renderer = renderer

    async def fetch(self, extend: Callable[[str], None], versions: Versions) -> Finish:
        """Request the answer, call `extend` with each piece of text, and return how the answer ended.

        Raises ServerError. A server that lost the version in a restart loads it again, once.
        """
        sampling, chat = self.request.sampling, self._renderer.chat
        prompt = self._renderer.served(self.request.prompt)
        self._prompt_ids = await asyncio.to_thread(self._renderer.ids, prompt)
        longest_thought = self._renderer.room.beside(len(self._prompt_ids), sampling.max_new_tokens)
        stream = chat.stream(prompt, sampling.max_new_tokens, longest_thought, self._join)
        self._answer_ids = stream.answer_ids
        with_thought = replace(sampling, max_new_tokens=sampling.max_new_tokens + longest_thought)
        body = versions.sampling(replace(self.request, sampling=with_thought), chat)
        body["prompt"] = self._prompt_ids if versions.wants_tokens else prompt
        try:
            return await self._fetch(body, stream, extend, versions)
        except Refused as error:
            if error.status != NOT_FOUND or self.request.adapter is None:
                raise
            log.warning("%s has lost a version and loads it again: %s", versions.server.url, error)
            versions.forget(self.request.adapter)
        return await self._fetch(body, stream, extend, versions)

    async def _fetch(
        self,
        body: Fields,
        stream: AnswerStream,
        extend: Callable[[str], None],
        versions: Versions,
    ) -> Finish:
        def show(words: str) -> None:
            self.text += words
            extend(words)

        finish: str | None = None
        async with versions.naming(self.request.adapter) as names:
            self.model = names["model"]
            async with aclosing(versions.server.complete(body | names)) as pieces:
                async for piece in pieces:
                    if isinstance(versions, VllmVersions) and piece.model != self.model:
                        raise Faulty(versions.server.url, f"answers as {piece.model}, but {self.model} was requested")
                    if self._take(piece):
                        show(stream.push(len(self._pieces) - 1))
                    finish = piece.finish or finish
                    if stream.is_at_limit and body["max_tokens"] > self.request.sampling.max_new_tokens:
                        finish = finish or "length"  # what a thought left of the server's limit is not for the answer
                        break
        if finish not in FINISHES:
            raise Faulty(versions.server.url, f"ended an answer for an unknown reason ({finish})")
        show(stream.flush())
        self._compare_counts(versions)
        return Finish.THOUGHT if stream.is_silent else FINISHES[finish]

    def _take(self, piece: Piece) -> bool:
        """Add a piece, and return whether it has text."""
        self._usage = piece.usage or self._usage
        if piece.text:
            self.first_token_at = self.first_token_at or time.perf_counter()
            self._pieces.append(piece.text)
        return bool(piece.text)

    def _join(self, places: list[int]) -> str:
        return "".join(self._pieces[place] for place in places)

    def _compare_counts(self, versions: Versions) -> None:
        """Warn once if a server counts other tokens in a prompt than were rendered."""
        here, there = len(self._prompt_ids), self.prompt_tokens
        if here != there and not versions.reads_otherwise:
            versions.reads_otherwise = True
            log.warning(
                "%s read %d tokens, but model.base's tokenizer counts %d: it serves another model, or adds tokens.",
                versions.server.url,
                there,
                here,
            )

    @property
    def prompt_tokens(self) -> int:
        """The server's count, or ours if it reports none."""
        return self._usage.prompt_tokens if self._usage else len(self._prompt_ids)

    def answer_tokens(self, finish: Finish) -> int:
        """Return the count without a thought and the token that ended the answer; an estimate if it was cut short."""
        if self._usage is None:
            return len(self._answer_ids)
        thought_tokens = len(self._pieces) - len(self._answer_ids)
        return max(0, self._usage.answer_tokens - thought_tokens - (finish is Finish.STOP))

    def is_billed(self, error: Exception) -> bool:
        """Return whether a server bills this attempt although it failed."""
        return bool(self.model) and (bool(self._pieces) or isinstance(error, Slow))

    async def bill(self, spending: Spending, server: str) -> None:
        """Add the tokens of this attempt to the day's spending."""
        if self._usage:
            tokens = self._usage.answer_tokens
        else:
            tokens = len(await asyncio.to_thread(self._renderer.ids, "".join(self._pieces)))
        await spending.add(server, self.model, self.prompt_tokens, tokens)


class RemoteGeneration(QueuedGeneration):
    """An answer with its current attempt."""

    def __init__(self, request: GenerationRequest, on_cancel: Callable[[RemoteGeneration], None]) -> None:
        super().__init__(request, on_cancel)
        self.task: asyncio.Task[None] | None = None
        self._answer: RemoteAnswer | None = None

    def attempt(self, renderer: Renderer) -> RemoteAnswer:
        self._answer = RemoteAnswer(self.request, renderer, time.perf_counter())
        return self._answer

    def end(self, finish: Finish) -> None:
        """Complete it with its text so far, unless it has ended."""
        if self.has_ended:
            return
        if self._answer is None:
            self.complete(finish, time.perf_counter())
            return
        self.complete(
            finish,
            time.perf_counter(),
            started_at=self._answer.started_at,
            first_token_at=self._answer.first_token_at,
            prompt_tokens=self._answer.prompt_tokens,
            answer_tokens=self._answer.answer_tokens(finish),
        )

    @property
    def has_shown(self) -> bool:
        """Whether members have seen a part of the answer."""
        return self._answer is not None and bool(self._answer.text)

    def may_repeat(self, error: Exception) -> bool:
        """Return whether another attempt may help: members have seen nothing, and the server did not say no."""
        is_passing = isinstance(error, ServerError) and not isinstance(error, (Refused, RefusedByServer))
        return is_passing and not self.has_shown

    def give_up(self, error: Exception) -> None:
        """End the answer: with its text so far if the server went silent, else with the error."""
        if isinstance(error, Slow):
            log.warning("An answer ends early: %s", error)
            self.end(Finish.TIMEOUT)
            return
        if not isinstance(error, (ServerError, UserFacingError)):
            log.error("An answer failed", exc_info=error)
        self.fail(error)
