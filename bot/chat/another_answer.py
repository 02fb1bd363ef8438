"""Gathers the inputs of another answer to the same question."""

from __future__ import annotations

from dataclasses import dataclass

import discord
from sqlalchemy.orm import Session

from bot.chat.ask import Ask, Prompts
from bot.chat.context import UNSURE
from bot.chat.prompting import ChatMessage
from bot.chat.rendering import TOO_LONG
from bot.engine import RenderedPrompt
from bot.errors import UserFacingError
from bot.knowledge.citations import citations_of
from bot.knowledge.decision import ReplyKind
from bot.knowledge.quoting import Citation
from bot.localization.languages import Languages
from bot.releases.resolver import ReleaseCandidates, read_candidates
from bot.services import Services
from storage.conversations.replies import Reply, count_siblings
from storage.database.columns import utc_now
from storage.database.enums import Origin
from storage.personalities.personalities import Personality, read_personality
from storage.wording import gettext_noop

FIXED = gettext_noop("That sentence is fixed: I always say it, so there is nothing to rate, to improve or to repeat.")
FROM_DOCUMENTS = gettext_noop(
    "That answer is no more than what this server's documents say, so there is nothing to improve or to repeat. If it "
    "is wrong, choose **What is wrong with it?** in its menu."
)
EDITED = gettext_noop("A message that I answered there was edited since. Please ask again.")


def require_written(reply: Reply, languages: Languages) -> None:
    """Raise UserFacingError if the answer is not the model's words."""
    if reply.origin is Origin.FIXED:
        raise UserFacingError(FROM_DOCUMENTS if is_from_documents(reply, languages) else FIXED)


def is_from_documents(reply: Reply, languages: Languages) -> bool:
    """Return whether a fixed answer quotes documents, or says that they do not tell it."""
    unknown = UNSURE[ReplyKind.UNKNOWN]
    said = (languages.find(code).translations.gettext(unknown) for code in languages.codes)
    return bool(reply.retrieved) or reply.answer in said


async def gather_again(services: Services, reply: Reply, channel: discord.abc.Messageable, user_id: int) -> Ask:
    """Return the same prompt for another answer by the personality that gave the first.

    If another base gave it, the same messages are rendered anew. Raises UserFacingError if another answer is not
    possible.
    """
    if reply.edited_at is not None:
        raise UserFacingError(EDITED)
    asked_at = utc_now()
    prompt = await _prompt_of(services, reply)
    rows = await services.database.read(_read, reply, prompt.text)
    limit = services.settings.chat.siblings_per_prompt
    if rows.siblings >= limit:
        raise UserFacingError("That question already has {limit} answers, and that is the most I give.", limit=limit)
    if rows.personality.archived_at is not None:
        raise UserFacingError("{name} is not in use any more. Please ask again.", name=rows.personality.name)
    return Ask(
        prompts=Prompts(prompt),
        personality=rows.personality,
        strength=reply.strength,
        release=await services.releases.choose(rows.candidates, strength=reply.strength),
        channel=channel,
        channel_id=reply.channel_id,
        guild_id=reply.guild_id,
        author_id=user_id,
        speakers=frozenset(reply.speakers),
        asked_at=asked_at,
        source_message_id=reply.source_message_id,
        retrieved=reply.retrieved,
        citations=rows.citations,
        sources=reply.sources,
        has_outside_text=reply.has_outside_text,
    )


@dataclass(frozen=True)
class _Rows:
    siblings: int
    personality: Personality
    candidates: ReleaseCandidates
    citations: tuple[Citation, ...]


def _read(session: Session, reply: Reply, prompt: str) -> _Rows:
    return _Rows(
        siblings=count_siblings(session, reply, prompt),
        personality=read_personality(session, reply.personality_id),
        candidates=read_candidates(session, reply.personality_id),
        citations=tuple(citations_of(session, reply)),
    )


async def _prompt_of(services: Services, reply: Reply) -> RenderedPrompt:
    messages = [ChatMessage(**message) for message in reply.messages]  # pyrefly: ignore[bad-argument-type]
    if reply.base_revision != services.base.revision:
        try:
            return await services.engine.render(messages)
        except ValueError as error:  # this base's window is smaller
            raise UserFacingError(TOO_LONG) from error
    return RenderedPrompt(
        text=reply.prompt,
        messages=tuple(messages),
        tokens=reply.prompt_tokens,
        dropped=reply.dropped_turns,
        shortened=False,
    )
