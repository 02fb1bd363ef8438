"""From a prompt to an answer on Discord and its row: exactly one version, recorded with it."""

from __future__ import annotations

import logging
import secrets
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from datetime import datetime
from functools import partial

import discord
from sqlalchemy.orm import Session

from bot.background.write_queue import WriteBehindQueue
from bot.chat.message_stream import DISCORD_ERRORS, AnswerDeleted, MessageStream
from bot.engine import (
    Completion,
    Engine,
    Finish,
    Generation,
    GenerationFailed,
    GenerationRequest,
    RenderedPrompt,
    Sampling,
)
from bot.errors import EngineStopped, UserFacingError
from bot.knowledge.quoting import cite
from bot.privacy.recent_deletions import Deletions
from bot.releases.resolver import Release, ReleaseResolver
from storage.adapters.folder_store import AS_TRAINED
from storage.conversations.replies import (
    FINISHED_WHOLE,
    NO_SOURCES,
    FinishedReply,
    NewReply,
    Retrieved,
    Sources,
    abandon_reply,
    add_message,
    drop_message,
    finish_reply,
    start_reply,
)
from storage.database.columns import utc_now
from storage.database.database import Database
from storage.database.engine import is_away
from storage.database.enums import Basis, Origin, Outcome
from storage.knowledge.documents import titles_of
from storage.models.base_model import BaseModel
from storage.personalities.bindings import ActivePersonality
from storage.personalities.cards import tuned
from storage.personalities.personalities import Personality
from storage.privacy.consent import basis_of_chat, erased_since
from storage.runtime.request_ids import take_up
from storage.settings.sections import GenerationSettings, OutputSettings

log = logging.getLogger(__name__)

REGENERATE = "🔁"
SEEDS = ("👍", "👎", REGENERATE)
OUTCOMES = {
    Finish.STOP: Outcome.COMPLETE,
    Finish.LENGTH: Outcome.LENGTH,
    Finish.TIMEOUT: Outcome.TIMEOUT,
    Finish.CANCELLED: Outcome.CANCELLED,
}
NOTES = {
    Finish.LENGTH: "stopped at the length limit",
    Finish.TIMEOUT: "ran out of time",
    Finish.CANCELLED: "stopped, the bot is restarting",
}
WITHOUT_WORDS = {
    Finish.TIMEOUT: "Sorry, that took too long and I gave up. Please try again.",
    Finish.CANCELLED: "Sorry, I am restarting. Please ask again in a minute.",
}
ERASED = "Somebody whose words I was to answer has deleted their data meanwhile. Please ask anew."
DELETED = "A message that I was to answer, or one before it, was deleted meanwhile. Please ask anew."
FAILED = "Sorry, something went wrong while I was answering. Please try again."


@dataclass(frozen=True)
class Ask:
    """A prompt, who asks, whose voice answers, and where the answer goes."""

    prompt: RenderedPrompt
    voice: ActivePersonality
    channel: discord.abc.Messageable
    channel_id: int
    guild_id: int | None
    author_id: int
    speakers: frozenset[int]
    source_message_id: int | None
    origin: Origin = Origin.CHAT
    asked_at: datetime = field(default_factory=utc_now)
    retrieved: tuple[Retrieved, ...] = ()
    """The passages that the prompt quotes; the answer names their documents."""
    sources: Sources = NO_SOURCES
    """The Discord messages whose words the prompt holds."""
    label: str | None = None
    """Stands under a whole answer in place of the version, which the reader should not know."""


class Answerer:
    def __init__(
        self,
        *,
        engine: Engine,
        releases: ReleaseResolver,
        database: Database,
        write_queue: WriteBehindQueue,
        base: BaseModel,
        generation: GenerationSettings,
        edit_interval_s: float,
        output: OutputSettings,
        fixed_basis: Basis | None,
        on_recorded: Callable[[int], None],
        deletions: Deletions,
        on_finished: Callable[[FinishedReply], None],
    ) -> None:
        """`fixed_basis` holds outside Discord; without one the speakers' consent decides.

        `on_recorded` gets the id of every message of an answer once its row stands, `on_finished` each end.
        """
        self._engine = engine
        self._releases = releases
        self._database = database
        self._late_rows = write_queue
        self._base = base
        self._generation = generation
        self._edit_interval_s = edit_interval_s
        self._output = output
        self._fixed_basis = fixed_basis
        self._on_recorded = on_recorded
        self._deletions = deletions
        self._on_finished = on_finished

    async def answer(self, ask: Ask, release: Release | None = None) -> Outcome:
        """Answer with the version whose turn it is in the conversation, or with the given one; return how it ended.

        Raises EngineBusy, EngineClosed, or UserFacingError where a speaker deleted their data since they were asked,
        before anything is written; discord.HTTPException where Discord refuses the answer, whose row is finished then.
        """
        take_up()
        personality = ask.voice.personality
        release = release or await self._releases.current(personality.id, ask.channel_id, strength=ask.voice.strength)
        request = request_answer(ask.prompt, release, tuned(self._generation, personality.card), lane=personality.id)
        generation = self._engine.submit(request)
        try:
            reply_id = await self._database.run(self._start, ask, release, request)
        except BaseException as error:
            generation.cancel()
            if is_away(error):
                await self._late_rows.write(partial(abandon_reply, channel_id=ask.channel_id, seed=request.seed))
            raise
        stream = self._open_stream(ask, reply_id)
        finished = FinishedReply(answer="", outcome=Outcome.FAILED)
        try:
            finished = await self._stream(generation, stream, ask, release)
        except AnswerDeleted:
            finished = FinishedReply(answer="", outcome=Outcome.CANCELLED)
        finally:
            generation.cancel()
            self._note_end(reply_id, release, finished)
            await self._late_rows.write(partial(finish_reply, reply_id=reply_id, finished=finished))
        if finished.outcome in FINISHED_WHOLE:
            await _seed(stream)
        return finished.outcome

    def _note_end(self, reply_id: int, release: Release, finished: FinishedReply) -> None:
        took = f" in {finished.total_s:.1f} s" if finished.total_s is not None else ""
        log.info(
            "Reply %d by %s is %s: %d tokens%s.", reply_id, release.name, finished.outcome, finished.answer_tokens, took
        )
        self._on_finished(finished)

    def _start(self, session: Session, ask: Ask, release: Release, request: GenerationRequest) -> int:
        if erased_since(session, ask.speakers, ask.asked_at):
            raise UserFacingError(ERASED)  # or their words would come back with this row
        if self._deletions.concern_prompt(ask.channel_id, ask.sources, ask.asked_at):
            raise UserFacingError(DELETED)
        messages: list[dict[str, str]] = [
            {"role": message["role"], "content": message["content"]} for message in ask.prompt.messages
        ]
        return start_reply(
            session,
            NewReply(
                personality_id=ask.voice.personality.id,
                version_id=release.version.id if release.version else None,
                strength=ask.voice.strength,
                base_revision=self._base.revision,
                prompt=ask.prompt.text,
                messages=messages,
                sampling=asdict(request.sampling),
                seed=request.seed,
                prompt_tokens=ask.prompt.tokens,
                dropped_turns=ask.prompt.dropped,
                guild_id=ask.guild_id,
                channel_id=ask.channel_id,
                author_id=ask.author_id,
                source_message_id=ask.source_message_id,
                basis=self._fixed_basis or basis_of_chat(session, ask.speakers),
                speakers=ask.speakers,
                origin=ask.origin,
                retrieved=ask.retrieved,
                sources=ask.sources,
            ),
        )

    def _open_stream(self, ask: Ask, reply_id: int) -> MessageStream:
        async def record(message: discord.Message, position: int) -> None:
            note = partial(
                add_message, reply_id=reply_id, message_id=message.id, channel_id=ask.channel_id, position=position
            )
            await self._late_rows.write(note, partial(self._on_recorded, message.id))

        async def forget(message: discord.Message) -> None:
            await self._database.run(drop_message, message.id)

        return MessageStream(
            ask.channel,
            _reference(ask),
            edit_interval_s=self._edit_interval_s,
            output=self._output,
            on_message=record,
            on_surplus=forget,
        )

    async def _stream(self, generation: Generation, stream: MessageStream, ask: Ask, release: Release) -> FinishedReply:
        try:
            text = ""
            async for delta in generation:
                text += delta
                await stream.show(text)
        except (GenerationFailed, EngineStopped) as error:
            log.error("An answer failed: %s.", error)
            words = str(error.__cause__) if isinstance(error.__cause__, UserFacingError) else FAILED
            await stream.finish(words, f"-# {label_of(ask.voice.personality, release)}")
            return FinishedReply(answer="", outcome=Outcome.FAILED)
        completion = generation.completion
        finished = finished_reply(completion)
        words = finished.answer or WITHOUT_WORDS.get(completion.finish, "")
        blind = ask.label if finished.outcome in FINISHED_WHOLE else None
        label = blind or label_of(ask.voice.personality, release)
        print_ = small_print(label, ask.prompt, completion.finish)
        if ask.retrieved and finished.outcome in FINISHED_WHOLE:
            sources = await self._database.read(titles_of, [passage.document_id for passage in ask.retrieved])
            print_ = f"{print_}\n{cite(sources)}"
        await stream.finish(words, print_)
        return finished


def label_of(personality: Personality, release: Release) -> str:
    """Return who answers, for the small print: the version, and what differs from the default personality at 1."""
    whose = "" if personality.is_default else f"{personality.name} "
    return f"{whose}{release.name}" + ("" if release.strength == AS_TRAINED else f" at strength {release.strength:g}")


def request_answer(
    prompt: RenderedPrompt, release: Release, settings: GenerationSettings, *, lane: int = 0
) -> GenerationRequest:
    """Return the request for one answer, with a seed of its own."""
    return GenerationRequest(
        prompt=prompt.text,
        seed=secrets.randbits(31),
        sampling=Sampling(
            temperature=settings.temperature,
            top_p=settings.top_p,
            presence_penalty=settings.presence_penalty,
            max_new_tokens=settings.max_new_tokens,
        ),
        adapter=release.adapter,
        lane=lane,
    )


def finished_reply(completion: Completion) -> FinishedReply:
    """Return what the reply's row gets from its completion."""
    return FinishedReply(
        answer=completion.text.strip(),
        outcome=OUTCOMES[completion.finish],
        answer_tokens=completion.answer_tokens,
        queued_s=completion.queued_s,
        first_token_s=completion.first_token_s,
        total_s=completion.total_s,
    )


def small_print(label: str, prompt: RenderedPrompt, finish: Finish) -> str:
    """Return the line under an answer: the version that gave it, and what the reader should know."""
    notes = [label]
    if prompt.dropped:
        notes.append(f"the {prompt.dropped} oldest messages did not fit")
    if prompt.shortened:
        notes.append("the middle of your message did not fit")
    if finish in NOTES:
        notes.append(NOTES[finish])
    return "-# " + " · ".join(notes)


def _reference(ask: Ask) -> discord.MessageReference | None:
    if ask.source_message_id is None:
        return None
    return discord.MessageReference(
        message_id=ask.source_message_id,
        channel_id=ask.channel_id,
        guild_id=ask.guild_id,
        fail_if_not_exists=False,  # the question may be deleted meanwhile
    )


async def _seed(stream: MessageStream) -> None:
    if stream.last_message is None:
        return
    for emoji in SEEDS:
        try:
            await stream.last_message.add_reaction(emoji)
        except DISCORD_ERRORS as error:
            log.warning("could not put %s under an answer: %s", emoji, error)
            return
