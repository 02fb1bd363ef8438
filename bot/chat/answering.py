"""Answers a question: one version generates, Discord shows it while it grows, and its row records it."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, replace

from bot.chat.ask import CANCELLED_END, AnswerEnd, Ask, end_of, failed_end, request_answer
from bot.chat.candidates import CandidateDrawer, CandidateGeneration
from bot.chat.delivery import AnswerDelivery
from bot.chat.message_stream import AnswerDeleted, MessageStream
from bot.chat.recorder import DELETED, ReplyRecorder
from bot.chat.voices import SentMessage
from bot.discord_errors import DISCORD_ERRORS
from bot.engine import Finish, Generation, GenerationFailed, GenerationRequest
from bot.errors import EngineStopped, UserFacingError
from bot.privacy.recent_deletions import Deletions
from bot.text.addresses import growing_without_invented
from bot.text.rounds import sentence
from storage.conversations.replies import FINISHED_WHOLE, FinishedReply
from storage.database.enums import Outcome
from storage.personalities.cards import tuned
from storage.runtime.requests import ensure_request
from storage.settings.sections import GenerationSettings

log = logging.getLogger(__name__)

QUOTING_TEMPERATURE = 0.2
"""The most for an answer that quotes a document: a fact has one wording, not many."""


@dataclass(frozen=True)
class AnswerResult:
    reply_id: int
    outcome: Outcome
    message: SentMessage | None
    """The last message of the answer, if it has one."""
    text: str = ""


class Answerer:
    def __init__(
        self,
        *,
        drawer: CandidateDrawer,
        recorder: ReplyRecorder,
        delivery: AnswerDelivery,
        generation: GenerationSettings,
        deletions: Deletions,
        on_finished: Callable[[FinishedReply], None],
    ) -> None:
        self.delivery = delivery
        self._drawer = drawer
        self._recorder = recorder
        self._generation = generation
        self._deletions = deletions
        self._on_finished = on_finished
        self._introduced: set[tuple[int, int]] = set()
        """(channel id, personality id) where members have read since the start that it has not learned yet."""
        self.at_work = 0
        """The number of answers that are being written."""

    async def answer(self, ask: Ask) -> AnswerResult:
        """Answer, and return how it ended.

        If Discord refuses the end of the answer for now, it is delivered in the background. If a message of the prompt
        is deleted, generation stops and the answer is taken back; it is CANCELLED if that message was the question.

        Raises EngineBusy, EngineClosed, UserFacingError if other words of the prompt were deleted, or
        discord.HTTPException if Discord refuses the answer permanently.
        """
        ensure_request()
        settings = tuned(self._generation, ask.personality.card)
        if ask.citations:
            settings = settings.model_copy(update={"temperature": min(settings.temperature, QUOTING_TEMPERATURE)})
        request = request_answer(ask.prompt, ask.release, settings, lane=ask.personality.id)
        self.at_work += 1
        try:
            return await self._answer(ask, request)
        finally:
            self.at_work -= 1

    async def say(self, ask: Ask, words: str, small_print: str) -> None:
        """Answer with a fixed sentence, which the model has no part in.

        Raises UserFacingError if the question was deleted, and discord.HTTPException if Discord refuses the sentence.
        """
        ensure_request()
        reply_id = await self._recorder.store_fixed(ask, words, small_print)
        end = AnswerEnd(FinishedReply(words, Outcome.COMPLETE), words, small_print)
        await self.delivery.say_fixed(ask, reply_id, end)

    async def _answer(self, ask: Ask, request: GenerationRequest) -> AnswerResult:
        # A blind comparison of versions must compare what each would say by itself.
        # What quotes a fact is drawn once: taste chooses by style.
        is_alone = bool(ask.citations) or (ask.label is not None and ask.beside is None)
        most = 1 if is_alone else self._generation.candidates // self.at_work
        generation = self._drawer.submit(request, ask.personality.id, most, beside=ask.beside)
        try:
            with self._deletions.watching(ask.channel_id, ask.sources, ask.asked_at, generation.cancel) as is_deleted:
                reply_id = await self._recorder.start(ask, request)
                stream = await self.delivery.open(ask, reply_id)
                finished = await self._show(ask, reply_id, generation, stream, is_deleted)
                if not is_deleted():
                    return AnswerResult(reply_id, finished.outcome, stream.last_message, finished.answer)
                await stream.take_back()
                if self._deletions.concern({ask.source_message_id or 0}):
                    return AnswerResult(reply_id, Outcome.CANCELLED, None)
                raise UserFacingError(DELETED)
        finally:
            generation.cancel()

    async def _show(
        self,
        ask: Ask,
        reply_id: int,
        generation: CandidateGeneration,
        stream: MessageStream,
        is_deleted: Callable[[], bool],
    ) -> FinishedReply:
        """Show the answer from its first word to its reactions, and record its end."""
        end, is_delivered, is_kept = failed_end(ask), True, True
        try:
            end = await self._generate(ask, generation, stream)
            if is_deleted():
                raise AnswerDeleted("a message of the prompt was deleted")
            is_delivered = await self.delivery.finish(stream, end)
        except AnswerDeleted:
            end = CANCELLED_END
        except DISCORD_ERRORS:
            end = replace(end, finished=replace(end.finished, outcome=Outcome.FAILED))
            raise
        finally:
            self._report(reply_id, ask.release.name, end.finished)
            is_kept = await self._recorder.finish(reply_id, end, generation, is_delivered=is_delivered)
        if not is_delivered:
            self.delivery.finish_later(reply_id, stream)
        elif is_kept and end.finished.outcome in FINISHED_WHOLE and not end.is_fixed:
            await self.delivery.add_reactions(stream)
        return end.finished

    async def _generate(self, ask: Ask, generation: Generation, stream: MessageStream) -> AnswerEnd:
        """Show the answer while it grows, and return its end."""
        text = ""
        try:
            async for delta in generation:
                text += delta
                if not ask.citations:  # an answer that quotes a document is looked over first
                    await stream.show(growing_without_invented(text, (ask.prompt.text,)))
        except (GenerationFailed, EngineStopped) as error:
            log.error("An answer failed: %s", sentence(str(error.__cause__ or error)))
            return failed_end(ask, error.__cause__)
        completion = generation.completion
        if completion.finish is Finish.THOUGHT:
            log.warning(
                "The model's thought left no room for an answer: raise generation.max_thought_tokens, and "
                "model.context_tokens with it."
            )
        return end_of(ask, completion, is_first=self._is_first(ask))

    def _is_first(self, ask: Ask) -> bool:
        """Return whether this is the first answer since the start that shows its channel that the base follows a card.

        A blind one of two shows nothing.
        """
        where = (ask.channel_id, ask.personality.id)
        is_first = where not in self._introduced
        if ask.follows_card and ask.label is None:
            self._introduced.add(where)
        return is_first

    def _report(self, reply_id: int, release: str, finished: FinishedReply) -> None:
        took = f" in {finished.total_s:.1f} s" if finished.total_s is not None else ""
        tokens = finished.answer_tokens
        log.info("Reply %d by %s is %s: %d tokens%s.", reply_id, release, finished.outcome, tokens, took)
        self._on_finished(finished)
