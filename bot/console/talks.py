"""Answers of the playground while they are written, and their rows once they are."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime

from sqlalchemy.orm import Session

from bot.arenas.answers import DrawnAnswer, reply_row
from bot.chat.ask import Prompts, finished_reply, request_answer, submit_all
from bot.chat.recorder import ERASED
from bot.console.suggestions import Author
from bot.engine import Generation, GenerationFailed, GenerationRequest
from bot.errors import EngineStopped, UserFacingError
from bot.guards.error_handler import member_message
from bot.releases.resolver import Release
from bot.services import Services
from storage.conversations.replies import FINISHED_WHOLE, store_reply
from storage.database.enums import OPERATOR, Basis, Origin
from storage.personalities.cards import tuned
from storage.personalities.personalities import Personality
from storage.privacy.consent import basis_of_chat, erased_since
from storage.runtime.requests import current_request, working_on

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
    """IDs of the answers from which the talk continued so far."""
    asked_at: datetime
    """Time before the question's words, and those of the talk, were read."""


@dataclass
class GrowingTalk:
    """A question whose answers are being written."""

    question: TalkQuestion
    answers: list[GrowingAnswer]
    key: str = field(default_factory=lambda: secrets.token_hex(8))
    done: asyncio.Event = field(default_factory=asyncio.Event)
    chosen_id: int | None = None
    """The answer that members would like most, once all are stored."""
    problem: str = ""

    @property
    def talk(self) -> tuple[int, ...]:
        """IDs of the answers from which the talk continues."""
        return (*self.question.earlier, *([self.chosen_id] if self.chosen_id is not None else []))


class Talks:
    """The questions that are being answered, one of each visitor."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._growing: dict[str, tuple[GrowingTalk, Sequence[Generation]]] = {}

    def ask(self, session_key: str, question: TalkQuestion, releases: Sequence[Release]) -> GrowingTalk:
        """Begin to answer; the visitor's previous question is dropped if it is still being answered.

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
        generations = submit_all(self._services.engine, [answer.request for answer in answers])
        talk = GrowingTalk(question, answers)
        self._growing[session_key] = talk, generations
        self._services.tasks.spawn(self._follow(talk, generations, current_request()), "answer in the playground")
        return talk

    def find(self, session_key: str, key: str) -> GrowingTalk | None:
        """Return the visitor's question of this key; None if a newer one took its place, or the bot restarted."""
        talk, _ = self._growing.get(session_key, (None, ()))
        return talk if talk is not None and talk.key == key else None

    async def _follow(self, talk: GrowingTalk, generations: Sequence[Generation], request_id: str | None) -> None:
        try:
            with working_on(request_id):
                pairs = zip(talk.answers, generations, strict=True)
                prompts = talk.question.prompts
                drawn = await asyncio.gather(*(_listen(prompts, answer, generation) for answer, generation in pairs))
                # Versions may give the same answer, but one version gives each answer once.
                differing = {(one.release.name, one.finished.answer): one for one in drawn if one is not None}
                await self._store(talk, list(differing.values()))
        except Exception as error:
            talk.problem = member_message(error)
        finally:
            talk.done.set()

    async def _store(self, talk: GrowingTalk, drawn: Sequence[DrawnAnswer]) -> None:
        if not drawn:
            raise UserFacingError(NO_ANSWER)
        reply_ids = await self._services.database.run(self._write, talk.question, drawn)
        texts = [one.finished.answer for one in drawn]
        best = favourite(self._services, talk.question.personality, texts)
        talk.chosen_id = reply_ids[best or 0]

    def _write(self, session: Session, question: TalkQuestion, drawn: Sequence[DrawnAnswer]) -> list[int]:
        """Store the answers and return their IDs; raises UserFacingError if the author's data was deleted."""
        author = question.author
        speakers = () if author.user_id == OPERATOR else (author.user_id,)
        # The rows would bring deleted words back.
        if erased_since(session, speakers, question.asked_at):
            raise UserFacingError(ERASED)
        basis = Basis.LOCAL if author.member is None else basis_of_chat(session, speakers)
        about = {"origin": Origin.PLAYGROUND, "basis": basis, "author_id": author.user_id, "speakers": speakers}
        rows = [reply_row(self._services, question.personality, one, guild_id=None) for one in drawn]
        return [store_reply(session, replace(row, **about), one.finished) for row, one in zip(rows, drawn, strict=True)]


def favourite(services: Services, personality: Personality, texts: Sequence[str]) -> int | None:
    """Return the index of the text that members would like most, or None while the taste may not choose."""
    known = services.tastes.chooser_for(personality)
    return int(known.taste.score(texts).argmax()) if known else None


async def _listen(prompts: Prompts, answer: GrowingAnswer, generation: Generation) -> DrawnAnswer | None:
    """Let the answer grow; return None if it failed, was stopped or is empty."""
    try:
        async for delta in generation:
            answer.text += delta
    except (GenerationFailed, EngineStopped):
        return None
    prompt = prompts.of(answer.release)
    finished = finished_reply(generation.completion, prompt)
    is_whole = finished.outcome in FINISHED_WHOLE and finished.answer
    return DrawnAnswer(answer.release, prompt, answer.request, finished) if is_whole else None
