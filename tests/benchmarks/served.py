"""The bot as members meet it, without Discord: the product's own parts render, show examples, draw and choose."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Coroutine, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar, cast

import discord

from bot.background import BackgroundTasks, WriteBehindQueue
from bot.chat.ask import AnswerEnd, Ask, Prompts, end_of, request_answer
from bot.chat.candidates import CandidateDrawer, CandidateGeneration
from bot.chat.conversation import Conversation
from bot.chat.prompting import Turn
from bot.chat.recorder import ReplyRecorder
from bot.chat.rendering import add_examples, render_question, render_with_examples
from bot.services import Services, make_services
from storage.conversations.replies import add_message
from storage.database.database import open_database
from storage.database.enums import Basis
from storage.models.base_model import resolve_base_model
from storage.models.bundled import BundledEncoder
from storage.personalities.cards import tuned
from storage.personalities.personalities import Personality, open_personality
from storage.releases.versions import Version
from storage.settings.sections import Settings
from storage.taste.examples import Examples

T = TypeVar("T")

AT_ONCE = 8
"""Questions that are answered side by side; each has all its candidates, as on a server that is not busy."""
MEMBER = "Sam"
GUILD, CHANNEL = 7_001, 7_002
FIRST_MESSAGE = 10**9


@dataclass(frozen=True)
class Question:
    message: str
    asker: int = 1


@dataclass(frozen=True)
class Served:
    """An answer as a member sees it."""

    message: str
    text: str
    reply_id: int = 0
    """Of its row, if it has one."""


class ServedBot:
    """A bot whose event loop runs only while a bench waits for it."""

    def __init__(
        self, wait: Callable[[Coroutine[Any, Any, Any]], Any], services: Services, personality: Personality
    ) -> None:
        self.wait = wait
        self.services = services
        self.personality = personality
        exploration, embed = services.settings.generation.exploration, services.library.embed
        self._drawer = CandidateDrawer(services.engine, services.tastes, exploration, embed)
        self._recorder = ReplyRecorder(
            database=services.database,
            write_queue=WriteBehindQueue(services.database, services.tasks),
            deletions=services.deletions,
            base_revision=services.base.revision,
            fixed_basis=services.fixed_basis,
        )
        self._messages = itertools.count(1)

    def beside(self, work: Callable[[], T]) -> T:
        """Return what `work` returns, which runs in a thread while the bot goes on, as a round does."""
        return cast(T, self.wait(asyncio.to_thread(work)))

    def note_votes(self, reply_ids: Sequence[int]) -> None:
        """Let the taste learn the new votes on these answers."""
        self.wait(self._note_votes(reply_ids))

    async def _note_votes(self, reply_ids: Sequence[int]) -> None:
        for reply_id in reply_ids:
            self.services.tastes.note_vote(self.personality.id, reply_id)
        await self.services.tastes.settle()

    def learn(self) -> None:
        """Let the taste learn everything again, and choose its examples."""
        self.wait(self.learn_everything())

    async def learn_everything(self) -> None:
        self.services.tastes.of(self.personality.id)  # the first look starts it
        await self.services.tastes.refresh(self.personality.id)
        await self.services.tastes.settle()

    def ask(self, questions: Sequence[Question], version: Version | None) -> list[Served]:
        """Answer members as this version, with all that they are served, and store the answers."""
        return cast(list[Served], self.wait(self._side_by_side(self._ask(one, version) for one in questions)))

    def answer(
        self, messages: Sequence[str], version: Version | None, *, shown: Examples | None = None, candidates: int = 0
    ) -> list[Served]:
        """Return answers that nobody sees.

        `shown` is what the base is shown, what members are served if it is None; `candidates` are those of each answer,
        as many as members are served if it is 0.
        """
        answers = (self._answer(one, version, shown, candidates) for one in messages)
        return cast(list[Served], self.wait(self._side_by_side(answers)))

    async def _side_by_side(self, answers: Iterator[Coroutine[Any, Any, Served]]) -> list[Served]:
        room = asyncio.Semaphore(AT_ONCE)

        async def in_turn(answer: Coroutine[Any, Any, Served]) -> Served:
            async with room:
                return await answer

        return await asyncio.gather(*map(in_turn, answers))

    async def _answer(self, message: str, version: Version | None, shown: Examples | None, candidates: int) -> Served:
        ask = await self._make_ask(Question(message), version, shown)
        _, end = await self._finish(ask, self._submit(ask, candidates))
        return Served(message, end.finished.answer)

    async def _ask(self, question: Question, version: Version | None) -> Served:
        ask = await self._make_ask(question, version)
        drawn = self._submit(ask)
        reply_id = await self._recorder.start(ask, drawn.request)
        drawn, end = await self._finish(ask, drawn)
        await self._recorder.finish(reply_id, end, drawn, is_delivered=True)
        await self.services.database.run(add_message, reply_id, FIRST_MESSAGE + reply_id, CHANNEL, 0)
        return Served(question.message, end.finished.answer, reply_id)

    async def _make_ask(self, question: Question, version: Version | None, shown: Examples | None = None) -> Ask:
        services, personality = self.services, self.personality
        people = frozenset({question.asker})
        conversation = Conversation((Turn(MEMBER, question.message),), people)
        rendered = await render_question(services, personality, conversation, author=MEMBER, notes=(), lines=())
        if shown is None:
            prompts = await add_examples(services, personality, rendered.prompt)
        else:
            prompts = Prompts(rendered.prompt, await render_with_examples(services.engine, rendered.prompt, shown))
        return Ask(
            prompts=prompts,
            personality=personality,
            release=await asyncio.to_thread(services.releases.open, version),
            channel=cast(discord.abc.Messageable, None),  # only what delivers an answer needs it
            channel_id=CHANNEL,
            guild_id=GUILD,
            author_id=question.asker,
            speakers=people,
            source_message_id=next(self._messages),
        )

    def _submit(self, ask: Ask, candidates: int = 0) -> CandidateGeneration:
        generation = tuned(self.services.settings.generation, ask.personality.card)
        request = request_answer(ask.prompt, ask.release, generation, lane=ask.personality.id)
        most = candidates or generation.candidates
        return self._drawer.submit(request, ask.personality, most, asked=ask.prompt.messages)

    async def _finish(self, ask: Ask, drawn: CandidateGeneration) -> tuple[CandidateGeneration, AnswerEnd]:
        async for _ in drawn:
            pass
        return drawn, end_of(ask, drawn.completion, is_first=False)


@contextmanager
def served_bot(settings: Settings, *, basis: Basis | None = None) -> Iterator[ServedBot]:
    """Start the bot's parts with this training basis of what members say; None asks whether they opted in."""
    with asyncio.Runner() as loop, closing(open_database(settings)) as database:
        personality = database.call(open_personality, settings, "default")
        base = resolve_base_model(settings.model.base, settings.data.directory)

        async def start() -> Services:
            services = make_services(
                discord.Client(intents=discord.Intents.none()),
                settings,
                database,
                base,
                engine=None,
                fixed_basis=basis,
                load_encoder=BundledEncoder,
                tasks=BackgroundTasks(),
            )
            await services.engine.start()
            await services.library.embed([MEMBER])  # candidates do not wait for an encoder that is still loading
            services.model_loaded.set()
            return services

        async def stop(services: Services) -> None:
            services.tastes.close()
            await services.tasks.finish()
            services.tasks.cancel()
            services.library.close()
            await services.engine.close(0.0)

        services = loop.run(start())
        try:
            yield ServedBot(loop.run, services, personality)
        finally:
            loop.run(stop(services))
