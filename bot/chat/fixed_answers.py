"""Answers that no model writes: what the bot is, what it does, and that it cannot see what the question is about.

A model could deny that it is a bot, and votes could train it to; it could describe a picture that nobody opened. Such
an answer has a row of its own origin, no votes and no other answer.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import discord

from bot.chat.ask import Ask, Prompts
from bot.chat.conversation import History
from bot.chat.identity import About, Asked, asks_about_itself, doubts_it
from bot.chat.own_threads import move_to_own_thread
from bot.chat.prompting import ChatMessage
from bot.engine import RenderedPrompt
from bot.knowledge.quoting import Citation, cite
from bot.localization.languages import languages_of
from bot.localization.sentences import gettext, speaking
from bot.personalities.selection import active_personality
from bot.privacy.notices import send_first_notice
from bot.releases.resolver import BASE_RELEASE
from bot.services import Services
from bot.text.sanitize import escape_inline
from storage.conversations.replies import Reply, Sources, newest_replies
from storage.database.columns import utc_now
from storage.database.enums import Origin
from storage.personalities.personalities import Personality
from storage.wording import gettext_noop

SMALL_PRINT = gettext_noop("a fixed sentence, not written by the model · votes don't change it")
WHAT_IT_DOES = gettext_noop(
    "I chat and answer questions here. 👍 or 👎 under an answer tells me how you like it. My commands are in the list "
    "that opens when you type `/`."
)
DOUBTED_FOR = timedelta(minutes=10)
"""Time after an answer during which "really?" refers to it."""
MOST_DOUBTS = 20
"""Most doubts in a row about one answer, each about the answer before."""
_POINTS = re.compile(
    r"\b(?:pics?|pictures?|photos?|images?|screenshots?|memes?|drawings?|files?|documents?|attach\w*|pdf|this|that|these|"
    r"here|it|look|see|describe|read|summari[sz]e|who|where|bild(?:er|es)?|fotos?|datei(?:en)?|dokument|anhang|das|dies\w*|"
    r"hier|schau\w*|guck\w*|siehst|sieht|beschreib\w*|lies|fass|wer|wo|was)\b",
    re.IGNORECASE,
)
"""Words with which a message points at its attachments."""


def fixed_small_print(citations: Sequence[Citation] = ()) -> str:
    """Return the small print of a fixed sentence, below the lines that it announces."""
    return "\n".join(filter(None, (cite(citations), f"-# {gettext(SMALL_PRINT)}")))


@dataclass(frozen=True)
class FixedAnswer:
    to: str
    """The member's message."""
    words: str
    small_print: str
    personality: Personality


class FixedAnswers:
    def __init__(self, client: discord.Client, services: Services) -> None:
        self._client = client
        self._services = services

    async def find(self, history: History, message: discord.Message) -> FixedAnswer | None:
        """Return the fixed answer to the newest message; None if the model answers it.

        What came with the messages has been read.
        """
        said, own_name = history.posts[-1].text, self._own_name(message)
        is_unread = history.has_only_unread and (not said or _POINTS.search(said) is not None)
        # "Is this AI?" asks about the picture that came with it.
        asked = None if any(post.files for post in history.called) else await self._asked(said, own_name, message)
        if asked is None and not is_unread:
            return None
        personality = (await active_personality(self._services, message.channel)).personality
        if asked is None:
            return FixedAnswer(said, " ".join(history.notes), fixed_small_print(), personality)
        with speaking(languages_of(self._client).find(asked.language)):
            words = self._introduce(personality, own_name, asked.about)
            return FixedAnswer(said, words, fixed_small_print(), personality)

    async def say(self, answer: FixedAnswer, message: discord.Message, asked_at: datetime) -> None:
        """Answer with the fixed sentence; raises the same errors as `Answerer.say`."""
        own = message.author.id
        await send_first_notice(self._services, message)
        asked: ChatMessage = {"role": "user", "content": answer.to}
        ask = Ask(
            prompts=Prompts(RenderedPrompt("", (asked,), tokens=0, dropped=0, shortened=False)),
            personality=answer.personality,
            release=BASE_RELEASE,
            channel=message.channel,
            channel_id=message.channel.id,
            guild_id=message.guild.id if message.guild else None,
            author_id=own,
            speakers=frozenset({own}),
            source_message_id=message.id,
            origin=Origin.FIXED,
            asked_at=asked_at,
            sources=Sources({message.id: own}),
        )
        ask = await move_to_own_thread(self._services.setups, message, answer.to, ask)
        await self._services.answerer.say(ask, answer.words, answer.small_print)

    async def _asked(self, said: str, own_name: str, message: discord.Message) -> Asked | None:
        if asked := asks_about_itself(said, own_name):
            return asked
        if not doubts_it(said):
            return None
        newest = await self._services.database.read(newest_replies, message.channel.id, MOST_DOUBTS)
        return _doubted(newest, message.author.id, own_name)

    def _introduce(self, personality: Personality, own_name: str, about: About) -> str:
        name = escape_inline(personality.shown_name or own_name)
        if personality.is_default:
            what = gettext("I'm {name}, a bot and not a person.", name=name)
        else:
            what = gettext("I'm a bot and not a person. Here I play {name}.", name=name)
        if about is About.KIND:
            base = escape_inline(self._services.base.name)
            return f"{what} {gettext('A language model ({base}) writes my answers.', base=base)}"
        return f"{what} {gettext(WHAT_IT_DOES)}"

    def _own_name(self, message: discord.Message) -> str:
        me = message.guild.me if message.guild else self._client.user
        return me.display_name if me else ""


def _doubted(newest: Sequence[Reply], author_id: int, own_name: str) -> Asked | None:
    """Return a member's question about the bot if they only doubted the answers since; replies are newest first."""
    if not newest or utc_now() - newest[0].created_at > DOUBTED_FOR:
        return None
    for reply in newest:
        if reply.origin is not Origin.FIXED or reply.author_id != author_id:
            return None
        before = reply.messages[-1]["content"]
        if (asked := asks_about_itself(before, own_name)) or not doubts_it(before):
            return asked
    return None
