"""Decides whether a message calls the bot: mentions, direct messages and replies, the channel's rule, quiet hours."""

from __future__ import annotations

import discord
from discord.ext import commands

from bot.chat.conversation import is_own_thread, mentions_bot, own_words
from bot.chat.own_threads import is_closed
from bot.guards.access import is_quiet
from bot.servers.setups import rule_in
from bot.services import Services
from bot.text.questions import is_question
from storage.conversations.replies import find_by_message, was_called_into
from storage.database.columns import utc_now
from storage.database.enums import Rule


class Calls:
    def __init__(self, bot: commands.AutoShardedBot, services: Services) -> None:
        self._bot = bot
        self._services = services

    def is_addressed(self, message: discord.Message) -> bool:
        """Return whether the message pings the bot, as most replies do, or is a direct message.

        A reply to one of the bot's webhooks is meant the same, and pings nobody.
        """
        is_direct = isinstance(message.channel, discord.DMChannel)
        return is_direct or mentions_bot(message, self._bot.user) or self._answers_webhook(message)

    async def is_called(self, message: discord.Message) -> bool:
        channel = message.channel
        if isinstance(channel, discord.Thread) and is_closed(channel):
            return False
        if isinstance(channel, discord.DMChannel) or self._is_named(message):
            return True
        rule = self._rule_in(channel)
        if rule is Rule.MENTION or is_quiet(self._services.settings.chat, utc_now()):
            return False
        if rule is Rule.ALWAYS or self.is_addressed(message):
            return True
        return await self._continues(message) or (rule is Rule.QUESTION and self._asks(message))

    def is_silent_in(self, channel: object) -> bool:
        """Return whether the server's admins chose that nothing is answered there."""
        return self._rule_in(channel) is Rule.NEVER

    def _rule_in(self, channel: object) -> Rule:
        rule = rule_in(channel, self._services.settings, self._services.setups)
        return Rule.ALWAYS if rule is not Rule.NEVER and is_own_thread(channel, self._bot.user) else rule

    def _is_named(self, message: discord.Message) -> bool:
        """Return whether the text mentions the bot, or the role that Discord made for it."""
        role = message.guild.self_role if message.guild else None
        is_role_named = role is not None and role.id in message.raw_role_mentions
        return is_role_named or (self._bot.user is not None and self._bot.user.id in message.raw_mentions)

    async def _continues(self, message: discord.Message) -> bool:
        """Return whether the message replies to the bot, or is in a thread that the bot was called into."""
        if await self._is_reply_to_me(message):
            return True
        channel = message.channel
        return isinstance(channel, discord.Thread) and await self._services.database.read(was_called_into, channel.id)

    def _answers_webhook(self, message: discord.Message) -> bool:
        replied_to = message.reference.resolved if message.reference else None
        return isinstance(replied_to, discord.Message) and self._services.webhooks.is_own(replied_to)

    def _asks(self, message: discord.Message) -> bool:
        """Return whether the message is a question to everybody, and not one to somebody else."""
        is_to_somebody = message.reference is not None or bool(message.raw_mentions or message.raw_role_mentions)
        return not is_to_somebody and is_question(own_words(message, self._bot.user))

    async def _is_reply_to_me(self, message: discord.Message) -> bool:
        reference = message.reference
        if message.type is not discord.MessageType.reply or reference is None or reference.message_id is None:
            return False
        if isinstance(reference.resolved, discord.Message):
            return self._services.webhooks.wrote(reference.resolved)
        replied_to = reference.message_id
        return await self._services.database.read(find_by_message, replied_to) is not None
