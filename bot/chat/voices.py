"""The senders of an answer's messages: the bot itself, or a personality with its own name and picture."""

from __future__ import annotations

import logging
import re

import aiohttp
import discord

from bot.discord_errors import is_temporary
from bot.personalities.webhooks import Guise, Webhooks
from storage.personalities.personalities import Personality
from storage.wording import message_link

log = logging.getLogger(__name__)

SentMessage = discord.Message | discord.PartialMessage
OPENING = "-# ↪ <@{author_id}> · [question]({link})\n"
ATTEMPTS = 2
"""Attempts to send a message; the second uses a new webhook, in case somebody deleted the first."""
LOOKED_BACK = 20
"""Number of newest messages to search for one that may have been sent."""
_ANSWERED = re.compile(r"-# ↪ <@\d+> · \[question\]\(https://discord\.com/channels/\d+/\d+/(?P<id>\d+)\)\n")


class BotVoice:
    """The bot itself: the first message is a reply to the question."""

    opening = ""

    def __init__(self, channel: discord.abc.Messageable, reference: discord.MessageReference | None) -> None:
        self.channel = channel
        self._reference = reference

    async def send(self, text: str, nonce: str) -> SentMessage:
        """Send a message, once for each nonce; raises DISCORD_ERRORS."""
        message = await self.channel.send(text, reference=self._reference, mention_author=False, nonce=nonce)  # pyrefly: ignore[no-matching-overload]
        self._reference = None
        return message


class PersonalityVoice:
    """A personality through a webhook, whose messages cannot be replies; as the bot itself if Discord refuses that."""

    def __init__(
        self, webhooks: Webhooks, personality: Personality, guild_id: int | None, channel_id: int, otherwise: BotVoice
    ) -> None:
        self.channel = otherwise.channel
        self.opening = ""
        """Line of the first message with a link to the question."""
        self._webhooks = webhooks
        self._where = (personality, guild_id, channel_id)
        self._otherwise = otherwise
        self._uncertain: dict[str, str] = {}
        """The texts, by nonce, of messages that may have been sent, although the connection failed."""

    async def send(self, text: str, nonce: str) -> SentMessage:
        """Send a message, once for each nonce as far as that can be known; raises DISCORD_ERRORS."""
        for _ in range(ATTEMPTS):
            guise = await self._webhooks.guise_of(*self._where)
            if guise is None:
                break
            try:
                return await self._send_as(guise, text, nonce)
            except discord.HTTPException as error:
                if is_temporary(error):
                    raise
                log.warning("Discord refused a webhook's message in channel %d: %s", self._where[2], error)
                self._webhooks.look_again(guise.webhook.channel_id or 0)
        text, self.opening = text.removeprefix(self.opening), ""
        return await self._otherwise.send(text, nonce)

    async def _send_as(self, guise: Guise, text: str, nonce: str) -> SentMessage:
        # Discord knows no nonces of webhooks.
        if nonce in self._uncertain and (sent := await self._find(guise, self._uncertain[nonce])):
            return sent
        try:
            return await guise.send(text)
        except (OSError, aiohttp.ClientError, discord.DiscordServerError):
            self._uncertain.setdefault(nonce, text)
            raise

    async def _find(self, guise: Guise, text: str) -> discord.Message | None:
        """Return the message with this text among the newest ones, if there is one."""
        async for message in self.channel.history(limit=LOOKED_BACK):
            if message.webhook_id == guise.webhook.id and message.content == text.strip():
                return await guise.fetch(message.id)
        return None


Voice = BotVoice | PersonalityVoice


def opening_for(author_id: int, guild_id: int | None, channel_id: int, question_id: int) -> str:
    """Return the small line that replaces a reply: the author, without a ping, and a link to the question.

    It quotes no words, which would stay when the question is deleted.
    """
    return OPENING.format(author_id=author_id, link=message_link(guild_id, channel_id, question_id))


def question_of_message(message: discord.Message) -> int | None:
    """Return the ID of the question that one of the bot's messages, the first of an answer, replies to."""
    if message.reference is not None:
        return message.reference.message_id
    opened = _ANSWERED.match(message.content) if message.webhook_id else None
    return int(opened["id"]) if opened else None
