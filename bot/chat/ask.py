"""A question with everything that its answer needs, and the request, row and small print made from it."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime

import discord

from bot.engine import Completion, Engine, Finish, Generation, GenerationRequest, RenderedPrompt, Sampling
from bot.errors import UserFacingError
from bot.knowledge.quoting import Citation, cite, newest_question, without_quotes
from bot.knowledge.support import keeps_to
from bot.localization.sentences import gettext
from bot.releases.resolver import Release
from bot.text.addresses import without_invented
from bot.text.sanitize import escape_inline
from storage.adapters.folder_store import AS_TRAINED
from storage.conversations.example_turns import SHOWN_AS, ShownAs, order_in
from storage.conversations.replies import FINISHED_WHOLE, NO_SOURCES, FinishedReply, Retrieved, Sources
from storage.database.columns import utc_now
from storage.database.enums import Origin, Outcome
from storage.personalities.personalities import Personality
from storage.settings.sections import GenerationSettings
from storage.taste.likings import Effect
from storage.wording import gettext_noop, not_learned_yet

REGENERATE = "🔁"
SEEDS = ("👍", "👎", REGENERATE)
"""The reactions under a complete answer."""
OUTCOMES = {
    Finish.STOP: Outcome.COMPLETE,
    Finish.LENGTH: Outcome.LENGTH,
    Finish.TIMEOUT: Outcome.TIMEOUT,
    Finish.THOUGHT: Outcome.TIMEOUT,
    Finish.CANCELLED: Outcome.CANCELLED,
}
NOTES = {
    Finish.LENGTH: gettext_noop("stopped at the length limit"),
    Finish.TIMEOUT: gettext_noop("ran out of time"),
    Finish.THOUGHT: gettext_noop("thought too long to answer"),
    Finish.CANCELLED: gettext_noop("stopped, the bot is restarting"),
}
QUOTED_ALONE = gettext_noop("only quoted, because my own words strayed from the document")
INVENTED_ADDRESS = gettext_noop("left out an address that I made up")
WITHOUT_WORDS = {
    Outcome.TIMEOUT: gettext_noop("Sorry, that took too long and I gave up. Please try again."),
    Outcome.CANCELLED: gettext_noop("Sorry, I'm restarting. Please ask again in a minute."),
    Outcome.FAILED: gettext_noop("Sorry, something went wrong while I was answering. Please try again."),
}
"""Texts of answers that ended before their first word."""


@dataclass(frozen=True)
class Prompts:
    """The prompt that a version gets, and the one with examples that the base gets in its place."""

    plain: RenderedPrompt
    with_examples: RenderedPrompt | None = None
    """The prompt with examples; None if there are none, or no room for them."""

    def of(self, release: Release) -> RenderedPrompt:
        return self.with_examples if release.is_base and self.with_examples else self.plain


@dataclass(frozen=True)
class Ask:
    """A prompt, with its author, the version that answers, and the place of the answer."""

    prompts: Prompts
    personality: Personality
    release: Release
    channel: discord.abc.Messageable
    channel_id: int
    guild_id: int | None
    author_id: int
    speakers: frozenset[int]
    source_message_id: int | None
    strength: float = AS_TRAINED
    origin: Origin = Origin.CHAT
    asked_at: datetime = field(default_factory=utc_now)
    retrieved: tuple[Retrieved, ...] = ()
    citations: tuple[Citation, ...] = ()
    """Quoted lines, shown under a complete answer."""
    sources: Sources = NO_SOURCES
    notes: tuple[str, ...] = ()
    """Sentences for the small print about attachments of the question."""
    has_outside_text: bool = False
    """The prompt holds a description of a picture, a web page, a forwarded message or a note: never trained on."""
    label: str | None = None
    """Shown under a complete answer in place of the version, when the reader should not know the version."""
    beside: str | None = None
    """The first answer of two by one version: of several drawn, the one is shown that teaches most beside it."""

    @property
    def prompt(self) -> RenderedPrompt:
        return self.prompts.of(self.release)

    @property
    def follows_card_alone(self) -> bool:
        """Whether the base answers without the taste, with only the examples on the personality's card."""
        shown = {said.get(SHOWN_AS) for said in self.prompt.messages}
        return self.release.is_base and shown - {None} == {ShownAs.CARD}


@dataclass(frozen=True)
class AnswerEnd:
    """The end of an answer, and the final content of its messages."""

    finished: FinishedReply
    text: str = ""
    small_print: str = ""


def request_answer(
    prompt: RenderedPrompt, release: Release, settings: GenerationSettings, *, lane: int = 0
) -> GenerationRequest:
    """Return the request for one answer, with a new seed."""
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


def submit_all(engine: Engine, requests: Sequence[GenerationRequest]) -> list[Generation]:
    """Submit all requests, or none; raises EngineBusy and EngineClosed."""
    generations: list[Generation] = []
    try:
        for request in requests:
            generations.append(engine.submit(request))
    except BaseException:
        for generation in generations:
            generation.cancel()
        raise
    return generations


def finished_reply(completion: Completion, prompt: RenderedPrompt) -> FinishedReply:
    """Return the columns for the reply's row: the text as shown, without addresses that the model made up."""
    return FinishedReply(
        answer=without_invented(completion.text.strip(), (prompt.text,)).strip(),
        outcome=OUTCOMES[completion.finish],
        answer_tokens=completion.answer_tokens,
        queued_s=completion.queued_s,
        first_token_s=completion.first_token_s,
        total_s=completion.total_s,
    )


def end_of(ask: Ask, completion: Completion, *, is_first: bool, because: Effect | None = None) -> AnswerEnd:
    """Return the answer's end; a complete answer may hide its version, and names the documents that it quotes.

    The first answer in a channel says in full if nothing is learned yet. `because` is a liking of people that this one
    of several answers meets better.
    """
    finished = finished_reply(completion, ask.prompt)
    if ask.citations and finished.outcome is Outcome.TIMEOUT:
        return quoted_alone(ask, replace(finished, outcome=Outcome.COMPLETE))
    notes = ask.notes if finished.answer == completion.text.strip() else (*ask.notes, gettext(INVENTED_ADDRESS))
    label = label_of(ask.personality, ask.release)
    if is_first and ask.follows_card_alone:
        label = f"{label} · {gettext(not_learned_yet(follows_card=True))}"
    label = " · ".join([label, *_what_acts(ask, because)])
    if finished.outcome not in FINISHED_WHOLE:
        words = finished.answer or gettext(WITHOUT_WORDS[finished.outcome])
        return AnswerEnd(finished, words, small_print(label, ask.prompt, completion.finish, notes))
    if ask.citations and not _keeps_to_lines(ask, completion.text):
        return quoted_alone(ask, finished)
    lines = [small_print(ask.label or label, ask.prompt, completion.finish, notes)]
    if ask.citations:
        lines.append(cite(ask.citations))
    return AnswerEnd(finished, finished.answer, "\n".join(lines))


def _what_acts(ask: Ask, because: Effect | None) -> list[str]:
    """Return people's likings that shaped the answer, besides the version."""
    messages = ask.prompt.messages
    said = []
    if any(message.get(SHOWN_AS) == ShownAs.LIKED for message in messages):
        said.append(gettext("follows answers that you like"))
    if order := order_in(messages):
        said.append(gettext("told: “{order}”", order=order))
    if because is not None:
        said.append(gettext("chosen for: {liking}", liking=gettext(because.words)))
    return said


def _keeps_to_lines(ask: Ask, answer: str) -> bool:
    asked = without_quotes(newest_question(ask.prompt.messages))
    sources = [f"{one.title} {one.line}" for one in ask.citations]
    return keeps_to(answer, sources, asked=asked, known=(ask.personality.shown_name or "",))


def quoted_alone(ask: Ask, finished: FinishedReply) -> AnswerEnd:
    """Return the end of an answer whose words say more than the lines that it quotes: the lines alone."""
    words = gettext("This is what I find in this server's documents:")
    return AnswerEnd(
        replace(finished, answer=words, origin=Origin.FIXED),
        words,
        f"{cite(ask.citations)}\n-# {gettext(QUOTED_ALONE)}",
    )


CANCELLED_END = AnswerEnd(FinishedReply("", Outcome.CANCELLED))
"""The end of an answer that was deleted while it grew."""


def failed_end(ask: Ask, cause: BaseException | None = None) -> AnswerEnd:
    """Return the end of an answer that failed; the member reads the cause if it is meant for them."""
    if isinstance(cause, UserFacingError):
        words = gettext(cause.message, **cause.values)
    else:
        words = gettext(WITHOUT_WORDS[Outcome.FAILED])
    return AnswerEnd(FinishedReply("", Outcome.FAILED), words, f"-# {label_of(ask.personality, ask.release)}")


def label_of(personality: Personality, release: Release) -> str:
    """Return the version for the small print, with its personality and strength unless they are the default and 1."""
    whose = "" if personality.is_default else f"{personality.name} "
    if release.strength == AS_TRAINED:
        return f"{whose}{release.name}"
    return gettext("{version} at strength {strength}", version=f"{whose}{release.name}", strength=release.strength)


def small_print(label: str, prompt: RenderedPrompt, finish: Finish, more: Sequence[str] = ()) -> str:
    """Return the line under an answer: the version that gave it, and notes for the reader.

    `more` is what else to know, which may repeat words of members and names of their files.
    """
    notes = [label, *map(escape_inline, more)]
    if prompt.dropped:
        notes.append(gettext("the {number} oldest messages did not fit", number=prompt.dropped))
    if prompt.shortened:
        notes.append(gettext("the middle of your message did not fit"))
    if finish in NOTES:
        notes.append(gettext(NOTES[finish]))
    if finish is Finish.LENGTH:
        notes.append(gettext("reply “go on” for the rest"))
    return "-# " + " · ".join(notes)
