"""Answers people: mentions, direct messages, replies, threads it was called into, free-response channels."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import discord
from discord import app_commands
from discord.ext import commands

from bot.arenas.contenders import find_contenders
from bot.chat.answering import REGENERATE, Ask
from bot.chat.conversation import SPOKEN, Conversation, ConversationReader, is_one_conversation, own_words
from bot.chat.message_stream import CURSOR, DISCORD_ERRORS, PART_CHARS
from bot.chat.prompting import ChatMessage, to_messages, with_memory
from bot.chat.recovery import recover_answers
from bot.chat.summaries import Summaries
from bot.engine import RenderedPrompt
from bot.errors import EngineBusy, UserFacingError
from bot.guards.error_handler import NOT_MINE, answer_privately, member_message
from bot.guards.rate_limit import RateLimited
from bot.knowledge.quoting import PromptWithQuotes, render_with_quotes
from bot.personalities.selection import active_personality
from bot.privacy.first_notice import greet_once
from bot.services import Services
from storage.conversations.memory import list_notes
from storage.conversations.replies import (
    FINISHED_WHOLE,
    Reply,
    add_message,
    count_siblings,
    find_by_message,
    interrupt_unfinished,
    was_called_into,
)
from storage.database.columns import utc_now
from storage.database.enums import NOBODY, Origin
from storage.knowledge.documents import SearchScope, source_messages, speakers_of
from storage.knowledge.search import Passage
from storage.personalities.bindings import ActivePersonality
from storage.personalities.cards import settings_of
from storage.personalities.personalities import read_personality

log = logging.getLogger(__name__)

NOTICE_S = 20.0
TYPING_S = 3.0
NOTHING_ASKED = "You called me, but I see no question. Mention me together with your words, or reply to me."
OTHER_BASE = "I answered that with another base model, so I cannot try again. Please ask anew."
COMMAND_AS_TEXT = (
    "That was sent as a message, not as a command. Type `{command}`, choose the command from the list that opens, then "
    "fill in its fields. Some commands are for admins only."
)
EDITED = "A message that I answered there was edited since. Please ask anew."
BLIND_LABELS = ("A · rate both", "B · rate both")
TOO_SMALL = "I cannot fit that message into my memory, not even a part of it."
INTERRUPTED = "-# interrupted by a restart · press 🔁 for another answer"


class Chat(commands.Cog):
    def __init__(self, bot: commands.AutoShardedBot, services: Services) -> None:
        self.bot = bot
        self.services = services
        self._reader = ConversationReader(bot, services.database, services.settings.chat.history_messages)
        self._summaries = Summaries(services.engine, services.database, self._reader, services.deletions)
        self._interrupted: list[Reply] = []
        """Answers that the previous run left unfinished."""
        self._menu = app_commands.ContextMenu(name="Another answer", callback=self.another_answer)

    async def cog_load(self) -> None:
        self.bot.tree.add_command(self._menu)
        self._interrupted = await self.services.database.run(interrupt_unfinished, self.services.shards)

    async def cog_unload(self) -> None:
        self.bot.tree.remove_command(self._menu.name, type=self._menu.type)

    @commands.Cog.listener()
    async def on_ready(self) -> None:
        self.services.tasks.spawn(self._mend_interrupted(), "interrupted answers")

    @commands.Cog.listener()
    async def on_message(self, message: discord.Message) -> None:
        if message.type not in SPOKEN or message.author.bot:
            return
        guild_id = message.guild.id if message.guild else None
        refusal = await self.services.access.refusal(message.author, guild_id, message.channel)
        if refusal is not None:
            if self._is_spoken_to(message) and self.services.access.should_notify(message.channel.id):
                await self._notify(message.channel, refusal.value)
        elif await self._is_called(message):
            # Before anything is read or written: a flood costs a look into memory for each message.
            await self._unless_rate_limited(
                message, message.author.id, guild_id, partial(self._respond, message), "answer to"
            )

    @commands.Cog.listener()
    async def on_raw_reaction_add(self, payload: discord.RawReactionActionEvent) -> None:
        if (
            str(payload.emoji) != REGENERATE
            or _by_a_bot(payload, self.bot)
            or not self.services.access.may_react(payload)
        ):
            return
        reply = await self.services.database.read(find_by_message, payload.message_id)
        if payload.guild_id is None and not await self.services.access.may_write_directly(payload.user_id):
            return  # who left keeps the answers, and their 🔁
        if reply is not None:
            channel = self.bot.get_partial_messageable(payload.channel_id)
            message = channel.get_partial_message(payload.message_id)
            work = partial(self._regenerate, reply, channel, payload.user_id)
            await self._unless_rate_limited(message, payload.user_id, payload.guild_id, work, "another answer to")

    async def another_answer(self, interaction: discord.Interaction, message: discord.Message) -> None:
        """Give another answer to the same prompt."""
        await interaction.response.defer(ephemeral=True)
        reply = await self.services.database.read(find_by_message, message.id)
        if reply is None:
            raise UserFacingError(NOT_MINE)
        await answer_privately(interaction, "Another answer is on its way.")
        work = self._regenerate(reply, message.channel, interaction.user.id)
        self.services.tasks.spawn(self._serve(message, interaction.user.id, work), f"another answer to {message.id}")

    async def _unless_rate_limited(
        self,
        message: discord.Message | discord.PartialMessage,
        member_id: int,
        guild_id: int | None,
        work: Callable[[], Coroutine[Any, Any, None]],
        name: str,
    ) -> None:
        """Do the work in the background, unless it is one too many; a refusal is told now and then."""
        try:
            self.services.rate_limiter.require(member_id, message.channel.id, guild_id)
        except RateLimited as error:
            self.services.metrics.count_refusal("cooldown")
            await self._ask_to_wait(message.channel, member_id, error)
            return
        self.services.tasks.spawn(self._serve(message, member_id, work()), f"{name} {message.id}")

    async def _ask_to_wait(self, channel: discord.abc.MessageableChannel, member_id: int, error: RateLimited) -> None:
        if self.services.rate_limiter.should_notify(member_id, channel.id):
            await self._notify(channel, member_message(error))

    async def _notify(self, channel: discord.abc.MessageableChannel, text: str) -> None:
        with contextlib.suppress(*DISCORD_ERRORS):
            await channel.send(text, delete_after=NOTICE_S)

    def _is_spoken_to(self, message: discord.Message) -> bool:
        return isinstance(message.channel, discord.DMChannel) or self.bot.user in message.mentions

    async def _is_called(self, message: discord.Message) -> bool:
        channel = message.channel
        if self._is_spoken_to(message):
            return True
        if {channel.id, getattr(channel, "parent_id", None)} & set(
            self.services.settings.discord.free_response_channels
        ):
            return True
        if await self._is_reply_to_me(message):
            return True
        return isinstance(channel, discord.Thread) and await self.services.database.read(was_called_into, channel.id)

    async def _is_reply_to_me(self, message: discord.Message) -> bool:
        reference = message.reference
        if message.type is not discord.MessageType.reply or reference is None or reference.message_id is None:
            return False
        if isinstance(reference.resolved, discord.Message):
            return reference.resolved.author == self.bot.user
        replied_to = reference.message_id
        return await self.services.database.read(find_by_message, replied_to) is not None

    async def _serve(
        self, message: discord.Message | discord.PartialMessage, member_id: int, work: Awaitable[None]
    ) -> None:
        """Do the work; whatever goes wrong reaches the member as a sentence that goes away again."""
        try:
            await work
        except discord.Forbidden as error:
            log.warning("may not answer in channel %s: %s", message.channel.id, error)
        except RateLimited as error:
            self.services.metrics.count_refusal("cooldown")
            await self._ask_to_wait(message.channel, member_id, error)
        except Exception as error:
            if isinstance(error, EngineBusy):
                self.services.metrics.count_refusal("queue")
            await self._notify(message.channel, member_message(error))

    async def _respond(self, message: discord.Message) -> None:
        asked_at = utc_now()
        conversation = await self._reader.read(message)
        if command := self._command_in(message):
            raise UserFacingError(COMMAND_AS_TEXT.format(command=command))
        if not conversation.has_question:
            # A picture where every message is answered is no mistake; a mention without words may be one.
            if self.bot.user in message.mentions or isinstance(message.channel, discord.DMChannel):
                raise UserFacingError(NOTHING_ASKED)
            return
        self.services.rate_limiter.require_pause(message.author.id)
        await greet_once(self.services, message)
        async with _typing(message.channel):
            voice = await active_personality(self.services, message.channel)
            notes = [note.text for note in await self.services.database.read(list_notes, message.author.id)]
            informed = await self._render(message, conversation, voice, notes)
            told_of = {message.author.id} if notes else set()
            quoted = [passage.document_id for passage in informed.retrieved]
            quoted_messages = await self.services.database.read(source_messages, quoted)
            ask = Ask(
                prompt=informed.prompt,
                voice=voice,
                channel=message.channel,
                channel_id=message.channel.id,
                guild_id=message.guild.id if message.guild else None,
                author_id=message.author.id,
                speakers=conversation.speakers | told_of | await self.services.database.read(speakers_of, quoted),
                asked_at=asked_at,
                source_message_id=message.id,
                retrieved=informed.retrieved,
                sources=replace(
                    conversation.sources,
                    messages=dict.fromkeys(quoted_messages, NOBODY) | dict(conversation.sources.messages),
                ),
            )
            explores = random.random() < self.services.settings.arena.exploration_share
            if explores:
                await self._answer_twice(ask)
            else:
                await self.services.answerer.answer(ask)
        if conversation.is_full or (ask.prompt.dropped and is_one_conversation(message.channel)):
            self._remember(message.channel, conversation, ask.prompt)

    def _remember(
        self, channel: discord.abc.MessageableChannel, conversation: Conversation, prompt: RenderedPrompt
    ) -> None:
        """Have the older half of what was read summarised, or all that did not fit and half of the rest."""
        read = self.services.settings.chat.history_messages if conversation.is_full else len(conversation.turns)
        kept = max(1, (read - prompt.dropped) // 2)
        work = self._summaries.bring_up_to_date(channel, channel.id, kept_messages=kept)
        self.services.tasks.spawn(work, f"summary of {channel.id}")

    async def _answer_twice(self, ask: Ask) -> None:
        """Let the version whose turn it is and another one answer, in random order: readers do not learn who is who.

        Without another version the same one answers twice.
        """
        personality, strength = ask.voice.personality.id, ask.voice.strength
        own = await self.services.releases.current(personality, ask.channel_id, strength=strength)
        others = await find_contenders(self.services.database, self.services.releases, personality, strength)
        other = next((release for release in others if release.name != own.name), own)
        first, second = random.sample((own, other), 2)
        outcome = await self.services.answerer.answer(replace(ask, label=BLIND_LABELS[0]), first)
        if outcome not in FINISHED_WHOLE:
            return
        try:
            await self.services.answerer.answer(replace(ask, label=BLIND_LABELS[1], origin=Origin.ALTERNATIVE), second)
        except UserFacingError as error:
            log.info("there is no second answer to compare with: %s", error)

    def _command_in(self, message: discord.Message) -> str | None:
        """Return the slash command that was sent as words, such as "/model": no question for the model."""
        first = own_words(message, self.bot.user).split(" ", 1)[0]
        names = {f"/{command.name}" for command in self.bot.tree.get_commands(type=discord.AppCommandType.chat_input)}
        return first if first in names else None

    async def _render(
        self, message: discord.Message, conversation: Conversation, voice: ActivePersonality, notes: Sequence[str]
    ) -> PromptWithQuotes:
        """Render the prompt; what is remembered is left out where there is no room for it."""
        own = settings_of(self.services.settings, voice.personality.card).chat.system_prompt
        quotes = await self._look_up(message, conversation, voice)
        budget = self.services.settings.knowledge.budget_tokens
        remembering = with_memory(own, conversation.summary, message.author.display_name, notes)
        for system_prompt in dict.fromkeys((remembering, own)):
            with contextlib.suppress(ValueError):
                messages = to_messages(system_prompt, conversation.turns)
                return await render_with_quotes(self.services.engine, messages, quotes, budget)
        raise UserFacingError(TOO_SMALL)

    async def _look_up(
        self, message: discord.Message, conversation: Conversation, voice: ActivePersonality
    ) -> list[Passage]:
        """Return what the server's documents say to the newest words."""
        if message.guild is None or not conversation.turns:
            return []
        parent = getattr(message.channel, "parent_id", None) or message.channel.id
        scope = SearchScope(message.guild.id, frozenset({message.channel.id, parent}), voice.personality.id)
        return await self.services.library.look_up(scope, conversation.turns[-1].text)

    async def _regenerate(self, reply: Reply, channel: discord.abc.Messageable, user_id: int) -> None:
        """Answer the reply's prompt again, byte for byte, in the voice that answered it."""
        if reply.base_revision != self.services.base.revision:
            raise UserFacingError(OTHER_BASE)
        if reply.edited_at is not None:
            raise UserFacingError(EDITED)
        self.services.rate_limiter.require_pause(user_id)
        limit = self.services.settings.chat.siblings_per_prompt
        if await self.services.database.read(count_siblings, reply) >= limit:
            raise UserFacingError(f"That question has {limit} answers already, which is the most I give.")
        personality = await self.services.database.read(read_personality, reply.personality_id)
        if personality.archived_at is not None:
            raise UserFacingError(f"{personality.name} does not speak any more. Please ask anew.")
        async with _typing(channel):
            await self.services.answerer.answer(
                Ask(
                    prompt=_prompt_of(reply),
                    voice=ActivePersonality(personality, reply.strength),
                    channel=channel,
                    channel_id=reply.channel_id,
                    guild_id=reply.guild_id,
                    author_id=user_id,
                    speakers=frozenset(reply.speakers),
                    source_message_id=reply.source_message_id,
                    retrieved=reply.retrieved,
                    sources=reply.sources,
                )
            )

    async def _mend_interrupted(self) -> None:
        """Say under answers that an earlier life of the bot left unfinished that nothing more will come."""
        while self._interrupted:
            with contextlib.suppress(*DISCORD_ERRORS):
                await self._mend(self._interrupted.pop(0))

    async def _mend(self, reply: Reply) -> None:
        adopted = await recover_answers(self.bot, self.services, reply)
        for orphan in adopted:
            self.bot.dispatch("answer_adopted", orphan)
        message_ids = [*reply.message_ids, *(orphan.message_id for orphan in adopted)]
        channel = self.bot.get_partial_messageable(reply.channel_id)
        if message_ids:
            message = await channel.fetch_message(message_ids[-1])
            text = message.content.removesuffix(CURSOR)[:PART_CHARS]
            await message.edit(content=f"{text}\n{INTERRUPTED}")
        elif reply.source_message_id is not None:
            question = discord.MessageReference(
                message_id=reply.source_message_id, channel_id=reply.channel_id, fail_if_not_exists=False
            )
            message = await channel.send(INTERRUPTED, reference=question, mention_author=False)
            await self.services.database.run(add_message, reply.id, message.id, reply.channel_id, 0)


def _prompt_of(reply: Reply) -> RenderedPrompt:
    messages = [ChatMessage(role=m["role"], content=m["content"]) for m in reply.messages]  # type: ignore[typeddict-item]
    return RenderedPrompt(
        text=reply.prompt,
        messages=tuple(messages),
        tokens=reply.prompt_tokens,
        dropped=reply.dropped_turns,
        shortened=False,
    )


def _by_a_bot(payload: discord.RawReactionActionEvent, bot: commands.AutoShardedBot) -> bool:
    own = bot.user is not None and payload.user_id == bot.user.id
    return own or (payload.member is not None and payload.member.bot)


@contextlib.asynccontextmanager
async def _typing(channel: discord.abc.Messageable) -> AsyncIterator[None]:
    """Show that the bot is typing; where Discord does not take it, the answer comes without."""
    async with contextlib.AsyncExitStack() as stack:
        with contextlib.suppress(*DISCORD_ERRORS):
            async with asyncio.timeout(TYPING_S):  # discord.py tries again for half a minute
                await stack.enter_async_context(channel.typing())
        yield


async def setup(bot: commands.AutoShardedBot, services: Services) -> None:
    await bot.add_cog(Chat(bot, services))
