"""Answers of the playground while they are written, and their rows once they are."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from bot.arenas.answers import DrawnAnswer, reply_row
from bot.chat.ask import Prompts, finished_reply, request_answer
from bot.console.suggestions import Author
from bot.engine import Generation, GenerationFailed, GenerationRequest
from bot.errors import EngineStopped, UserFacingError
from bot.guards.error_handler import member_message
from bot.releases.resolver import Release
from bot.services import Services
from storage.conversations.replies import FINISHED_WHOLE
from storage.database.enums import OPERATOR, Basis, Origin
from storage.personalities.cards import tuned
from storage.personalities.personalities import Personality
from storage.privacy.consent import basis_of_chat
from storage.runtime.requests import current_request, working_on
from storage.sittings.talks import store_answers

NO_ANSWER = "No version answered: the operator finds the reason in the log. Ask again."


@dataclass
class GrowingAnswer:
    release: Release
    request: GenerationRequest
    text: str = ""


@dataclass(frozen=True)
class TalkQuestion:
    text: str
    prompts: Prompts
    personality: Personality
    author: Author
    earlier: tuple[int, ...]
    """The answers that the talk went on from so far."""


@dataclass
class GrowingTalk:
    """A question whose answers are being written."""

    question: TalkQuestion
    answers: list[GrowingAnswer]
    key: str = field(default_factory=lambda: secrets.token_hex(8))
    done: asyncio.Event = field(default_factory=asyncio.Event)
    chosen_id: int | None = None
    """The answer that people would like most, once all are stored."""
    problem: str = ""

    @property
    def talk(self) -> tuple[int, ...]:
        """The answers that the talk goes on from."""
        return (*self.question.earlier, *([self.chosen_id] if self.chosen_id is not None else []))


class Talks:
    """The questions that are being answered, one of each session."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._growing: dict[str, tuple[GrowingTalk, Sequence[Generation]]] = {}

    def ask(self, session_key: str, question: TalkQuestion, releases: Sequence[Release]) -> GrowingTalk:
        """Begin to answer; the session's question before, if it is still being answered, is dropped.

        Raises EngineBusy and EngineClosed.
        """
        for generation in self._growing.pop(session_key, (None, ()))[1]:
            generation.cancel()
        settings = tuned(self._services.settings.generation, question.personality.card)
        lane = question.personality.id
        answers = [
            GrowingAnswer(release, request_answer(question.prompts.of(release), release, settings, lane=lane))
            for release in releases
        ]
        generations: list[Generation] = []
        try:
            for answer in answers:
                generations.append(self._services.engine.submit(answer.request))
        except BaseException:
            for generation in generations:
                generation.cancel()
            raise
        talk = GrowingTalk(question, answers)
        self._growing[session_key] = talk, generations
        self._services.tasks.spawn(self._follow(talk, generations, current_request()), "answer in the playground")
        return talk

    def find(self, session_key: str, key: str) -> GrowingTalk | None:
        """Return the session's question of this key; None if a newer one took its place, or the bot restarted."""
        talk, _ = self._growing.get(session_key, (None, ()))
        return talk if talk is not None and talk.key == key else None

    async def _follow(self, talk: GrowingTalk, generations: Sequence[Generation], request_id: str | None) -> None:
        try:
            with working_on(request_id):
                pairs = zip(talk.answers, generations, strict=True)
                drawn = await asyncio.gather(*(_listen(answer, generation) for answer, generation in pairs))
                await self._store(talk, {one.finished.answer: one for one in drawn if one is not None})
        except Exception as error:
            talk.problem = member_message(error)
        finally:
            talk.done.set()

    async def _store(self, talk: GrowingTalk, drawn: Mapping[str, DrawnAnswer]) -> None:
        if not drawn:
            raise UserFacingError(NO_ANSWER)
        question, services = talk.question, self._services
        author = question.author
        rows = [
            replace(
                reply_row(services, question.personality, question.prompts, one, guild_id=None),
                origin=Origin.PLAYGROUND,
                basis=await self._basis(author),
                author_id=author.user_id,
                speakers=() if author.user_id == OPERATOR else (author.user_id,),
            )
            for one in drawn.values()
        ]
        finished = [one.finished for one in drawn.values()]
        reply_ids = await services.database.run(store_answers, list(zip(rows, finished, strict=True)))
        best = favourite(services, question.personality.id, list(drawn))
        talk.chosen_id = reply_ids[best or 0]

    async def _basis(self, author: Author) -> Basis | None:
        """Return the basis of a question: on the operator's machine it is local, of an admin it is a member's words."""
        if author.member is None:
            return Basis.LOCAL
        return await self._services.database.read(basis_of_chat, {author.user_id})


def favourite(services: Services, personality_id: int, texts: Sequence[str]) -> int | None:
    """Return the place of the text that people would like most, or None while too little is known of them."""
    taste = services.tastes.of(personality_id)
    return int(taste.score(texts).argmax()) if taste is not None and taste.may_act else None


async def _listen(answer: GrowingAnswer, generation: Generation) -> DrawnAnswer | None:
    """Let the answer grow; return None if it failed, was stopped or is empty."""
    try:
        async for delta in generation:
            answer.text += delta
    except (GenerationFailed, EngineStopped):
        return None
    finished = finished_reply(generation.completion)
    is_whole = finished.outcome in FINISHED_WHOLE and finished.answer
    return DrawnAnswer(answer.release, answer.request, finished) if is_whole else None
