"""Answers a question: one version generates, Discord shows it while it grows, and its row records it.

If the engine refuses the version, an older one or the base answers the same question.
"""

from __future__ import annotations

import asyncio
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
from bot.engine import Finish, GenerationFailed, GenerationRequest
from bot.errors import EngineStopped, UserFacingError, VersionRefused
from bot.localization.sentences import sentence
from bot.privacy.recent_deletions import Deletions
from bot.releases.resolver import BASE_RELEASE, ReleaseResolver
from bot.text.addresses import growing_without_invented
from storage.conversations.replies import FINISHED_WHOLE, FinishedReply
from storage.database.enums import Origin, Outcome
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
    fell_back: bool = False
    """The engine refused the version that was asked, so another one answered."""


@dataclass
class _Attempt:
    """One attempt at an answer: the request to a version, and its generation so far."""

    ask: Ask
    request: GenerationRequest
    generation: CandidateGeneration
    reply_id: int = 0
    fell_back: bool = False

    def cancel(self) -> None:
        self.generation.cancel()


class Answerer:
    def __init__(
        self,
        *,
        drawer: CandidateDrawer,
        recorder: ReplyRecorder,
        delivery: AnswerDelivery,
        releases: ReleaseResolver,
        generation: GenerationSettings,
        deletions: Deletions,
        on_finished: Callable[[FinishedReply], None],
    ) -> None:
        self.delivery = delivery
        self._drawer = drawer
        self._recorder = recorder
        self._releases = releases
        self._generation = generation
        self._deletions = deletions
        self._on_finished = on_finished
        self._introduced: set[tuple[int, int]] = set()
        """(channel id, personality id) where members have read since the start that it has not learned yet."""
        self.at_work = 0

    async def answer(self, ask: Ask) -> AnswerResult:
        """Answer, and return the end of the answer.

        If Discord refuses the end of the answer for now, it is delivered in the background. If a message of the prompt
        is deleted, generation stops and the answer is taken back; it is CANCELLED if that message was the question.
        If the engine refuses the version, an older one or the base answers, without the label of a blind answer.

        Raises EngineBusy, EngineClosed, UserFacingError if other words of the prompt were deleted, VersionRefused if
        the version of a second answer is, or discord.HTTPException if Discord refuses the answer permanently.
        """
        ensure_request()
        self.at_work += 1
        try:
            return await self._answer(ask)
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

    async def _answer(self, ask: Ask) -> AnswerResult:
        attempt = _Attempt(ask, *self._submit(ask))
        try:
            with self._deletions.watching(ask.channel_id, ask.sources, ask.asked_at, attempt.cancel) as is_deleted:
                reply_id = attempt.reply_id = await self._recorder.start(ask, attempt.request)
                stream = await self.delivery.open(ask, reply_id)
                finished = await self._show(attempt, stream, is_deleted)
                if not is_deleted():
                    message, text = stream.last_message, finished.answer
                    return AnswerResult(reply_id, finished.outcome, message, text, attempt.fell_back)
                await stream.take_back()
                if self._deletions.concern({ask.source_message_id or 0}):
                    return AnswerResult(reply_id, Outcome.CANCELLED, None)
                raise UserFacingError(DELETED)
        finally:
            attempt.cancel()

    def _submit(self, ask: Ask) -> tuple[GenerationRequest, CandidateGeneration]:
        settings = tuned(self._generation, ask.personality.card)
        if ask.citations:
            settings = settings.model_copy(update={"temperature": min(settings.temperature, QUOTING_TEMPERATURE)})
        request = request_answer(ask.prompt, ask.release, settings, lane=ask.personality.id)
        # A blind comparison of versions must compare what each would say by itself.
        # What quotes a fact is drawn once: taste chooses by style.
        is_alone = bool(ask.citations) or (ask.label is not None and ask.beside is None)
        most = 1 if is_alone else min(self._generation.candidates // self.at_work, self._drawer.pace.most)
        asked = ask.prompt.messages
        return request, self._drawer.submit(request, ask.personality, most, asked=asked, beside=ask.beside)

    async def _show(self, attempt: _Attempt, stream: MessageStream, is_deleted: Callable[[], bool]) -> FinishedReply:
        """Show the answer from its first word to its reactions, and record its end."""
        reply_id = attempt.reply_id
        end, is_delivered, is_kept = failed_end(attempt.ask), True, True
        try:
            end = await self._generate(attempt, stream)
            if is_deleted():
                raise AnswerDeleted("a message of the prompt was deleted")
            is_delivered = await self.delivery.finish(stream, end)
        except AnswerDeleted:
            end = CANCELLED_END
        except DISCORD_ERRORS:
            end = replace(end, finished=replace(end.finished, outcome=Outcome.FAILED))
            raise
        except asyncio.CancelledError:
            is_delivered = False  # the bot stops: its next start delivers the end
            raise
        finally:
            self._report(reply_id, attempt.ask.release.name, end.finished)
            is_kept = await self._recorder.finish(reply_id, end, attempt.generation, is_delivered=is_delivered)
        if not is_delivered:
            self.delivery.finish_later(reply_id, stream)
        elif is_kept and end.finished.outcome in FINISHED_WHOLE and end.finished.origin is not Origin.FIXED:
            await self.delivery.add_reactions(stream)
        return end.finished

    async def _generate(self, attempt: _Attempt, stream: MessageStream) -> AnswerEnd:
        """Show the answer while it grows, and return its end."""
        text = ""
        try:
            async for delta in attempt.generation:
                text += delta
                # An answer that quotes a document is looked over first.
                if not attempt.ask.citations and stream.is_due:
                    await stream.show(growing_without_invented(text, (attempt.ask.prompt.text,)))
        except (GenerationFailed, EngineStopped) as error:
            if isinstance(error.__cause__, VersionRefused) and not text:
                await self._fall_back(attempt, error.__cause__)
                return await self._generate(attempt, stream)
            log.error("An answer failed: %s", sentence(str(error.__cause__ or error)))
            return failed_end(attempt.ask, error.__cause__)
        ask, completion = attempt.ask, attempt.generation.completion
        if completion.finish is Finish.THOUGHT:
            log.warning(
                "The model's thought left no room for an answer: raise generation.max_thought_tokens, and "
                "model.context_tokens with it."
            )
        return end_of(ask, completion, is_first=self._is_first(attempt), because=attempt.generation.because)

    async def _fall_back(self, attempt: _Attempt, refusal: VersionRefused) -> None:
        """Let another version answer if the engine refuses one; raise the error if this is a second answer."""
        refused = attempt.ask
        if refused.origin is Origin.ALTERNATIVE:
            raise refusal
        release = await self._releases.current(refused.personality.id, strength=refused.strength)
        if release == refused.release:  # its refusal is not remembered: it came from one of several servers
            release = BASE_RELEASE
        log.error("%s cannot answer, %s answers: %s", refused.release.name, release.name, sentence(str(refusal)))
        attempt.ask = ask = replace(refused, release=release, label=None, beside=None)
        attempt.request, attempt.generation = self._submit(ask)
        attempt.fell_back = True
        await self._recorder.restart(attempt.reply_id, ask, attempt.request)

    def _is_first(self, attempt: _Attempt) -> bool:
        """Return whether this is the first answer since the start that shows its channel that nothing is learned yet.

        A blind one of two shows nothing.
        """
        ask = attempt.ask
        may_learn = ask.personality.follows_taste and not attempt.generation.follows_taste
        if not (ask.follows_card_alone and may_learn) or ask.label is not None:
            return False
        where = (ask.channel_id, ask.personality.id)
        is_first = where not in self._introduced
        self._introduced.add(where)
        return is_first

    def _report(self, reply_id: int, release: str, finished: FinishedReply) -> None:
        took = f" in {finished.total_s:.1f} s" if finished.total_s is not None else ""
        tokens = finished.answer_tokens
        log.info("Reply %d by %s is %s: %d tokens%s.", reply_id, release, finished.outcome, tokens, took)
        self._on_finished(finished)
