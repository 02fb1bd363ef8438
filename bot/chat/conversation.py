"""Turns Discord messages into the turns of a conversation."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from re import Match

import discord

from bot.attachments.material import Material, forwarded_material, with_materials
from bot.chat.prompting import Turn
from bot.discord_errors import DISCORD_ERRORS
from bot.personalities.webhooks import Webhooks
from storage.conversations.replies import NO_SOURCES, Reply, Sources, find_by_message
from storage.conversations.summaries import Memory
from storage.database.database import Database
from storage.database.enums import NOBODY

SPOKEN = (discord.MessageType.default, discord.MessageType.reply)
# Discord's own words for a mention that it cannot resolve.
UNKNOWN_USER, UNKNOWN_ROLE, UNKNOWN_CHANNEL = "@unknown-user", "@unknown-role", "#unknown"
_MENTION = re.compile(r"<(@!?|@&|#)(\d+)>")


@dataclass(frozen=True)
class Post:
    """A Discord message, as far as a conversation needs it."""

    id: int
    author_id: int
    author: str
    text: str
    """A person's words; empty if the message is not part of a conversation, and for the bot's own messages."""
    is_own: bool = False
    files: tuple[discord.Attachment, ...] = ()
    materials: tuple[Material, ...] = ()
    """Texts about these files and linked web pages, and the text of a forwarded message."""
    is_forwarded: bool = False
    """Somebody else may have written the message and sent its files, elsewhere."""

    @property
    def says_something(self) -> bool:
        return bool(self.text) or any(one.text for one in self.materials)


@dataclass(frozen=True)
class History:
    """The posts from which a conversation is made, oldest first; the last one calls the bot."""

    posts: tuple[Post, ...]
    is_continuous: bool = False
    """Everything in the channel is one conversation, as in direct messages and threads; elsewhere, a reply chain."""
    replied_to: int | None = None
    """ID of the message that the last post replies to."""
    limit: int = 0
    """Maximum number of earlier messages to read."""
    notes: tuple[str, ...] = ()
    """Sentences for the small print about attachments of the question."""

    @property
    def asks(self) -> bool:
        """Whether there is something to answer, in the message itself or in one that it replies to."""
        is_reply = self.replied_to is not None
        return self.posts[-1].says_something or (is_reply and any(post.says_something for post in self.posts))

    @property
    def has_only_unread(self) -> bool:
        """Whether the question, or a message of files alone that it replies to, has files and none could be read."""
        *_, newest = self.posts
        bearing = [post for post in self.called if post.files and post.materials and (post is newest or not post.text)]
        return bool(bearing and self.notes) and not any(one.text for post in bearing for one in post.materials)

    @property
    def called(self) -> tuple[Post, ...]:
        """The message that calls the bot, and the one that it replies to."""
        return (self.posts[-1], *(post for post in self.posts[:-1] if post.id == self.replied_to))

    @property
    def newest_words(self) -> str:
        """The latest words of a person."""
        return next((post.text for post in self.newest_of_people(1)), "")

    def newest_of_people(self, limit: int) -> list[Post]:
        """Return the latest posts with words of people, newest first."""
        return [post for post in reversed(self.posts) if post.text][:limit]

    def remembers(self, memory: Memory, limit: int) -> bool:
        """Return whether the latest posts with words of people are still in the conversation word for word."""
        remembered = posts_since(self, memory)
        return all(post in remembered for post in self.newest_of_people(limit))


@dataclass(frozen=True)
class SpokenMessage:
    """A message with words, or a whole answer of which a message carries a part."""

    message_id: int
    turn: Turn
    people: frozenset[int]
    reply: Reply | None = None

    @property
    def messages(self) -> dict[int, int]:
        """Return {message id: author's id} of the Discord messages that carry it; NOBODY for the bot's own."""
        if self.reply is not None:
            return dict.fromkeys(self.reply.message_ids, NOBODY)
        (author_id,) = self.people
        return {self.message_id: author_id}


@dataclass(frozen=True)
class Conversation:
    """The turns, oldest first and the question last, and the people whose words they hold."""

    turns: tuple[Turn, ...]
    speakers: frozenset[int]
    summary: str = ""
    is_full: bool = False
    """The limit of earlier messages was reached, so there may be more."""
    sources: Sources = NO_SOURCES
    has_outside_text: bool = False
    """A turn holds a description of a picture, a web page, or a message that was forwarded."""


def converse(history: History, memory: Memory, replies: Mapping[int, Reply]) -> Conversation:
    """Return the conversation that the history, the channel's memory and the bot's earlier answers make.

    `replies` maps the bot's messages to the answers that they carry.
    """
    posts = posts_since(history, memory)
    spoken = spoken_messages(posts, replies)
    remembered = memory if history.is_continuous else Memory()
    return Conversation(
        turns=tuple(said.turn for said in spoken),
        speakers=remembered.speakers.union(*(said.people for said in spoken)),
        summary=remembered.summary,
        is_full=history.is_continuous and len(posts) > history.limit > 0,
        sources=Sources({id_: user for said in spoken for id_, user in said.messages.items()}, remembered.span),
        has_outside_text=any(material.is_outside for post in posts for material in post.materials),
    )


def posts_since(history: History, memory: Memory) -> list[Post]:
    """Return the posts that belong to the conversation word for word: not forgotten, and not in its summary."""
    start = memory.begins_after if history.is_continuous else memory.forgotten_to
    return [post for post in history.posts if post.id > start]


def spoken_messages(posts: Sequence[Post], replies: Mapping[int, Reply]) -> list[SpokenMessage]:
    """Return the messages of the conversation, with only the latest answer to each question.

    An answer that was sent as several messages appears once.
    """
    spoken = [said for post in posts if (said := _spoken(post, replies)) is not None]
    latest = {said.reply.source_message_id: said.reply.id for said in spoken if said.reply}
    seen: set[int] = set()
    kept = []
    for said in spoken:
        if said.reply:
            if said.reply.id in seen or latest[said.reply.source_message_id] != said.reply.id:
                continue
            seen.add(said.reply.id)
        kept.append(said)
    return kept


def _spoken(post: Post, replies: Mapping[int, Reply]) -> SpokenMessage | None:
    if not post.is_own:
        words = with_materials(post.text, post.materials)
        said = SpokenMessage(post.id, Turn(post.author, words), frozenset({post.author_id}))
        return said if words else None
    reply = replies.get(post.id)  # notices of the bot are not answers
    if reply is None or not reply.answer:
        return None
    # An answer may quote the people it answers, so it counts as their words too.
    return SpokenMessage(post.id, Turn(None, reply.answer), frozenset(reply.speakers), reply)


def own_ids(posts: Iterable[Post]) -> list[int]:
    """Return the ids of the bot's own messages."""
    return [post.id for post in posts if post.is_own]


# Reading Discord


class HistoryReader:
    """Reads the messages of a conversation from Discord."""

    def __init__(self, client: discord.Client, database: Database, webhooks: Webhooks, history_messages: int) -> None:
        self._client = client
        self._database = database
        self._webhooks = webhooks
        self._limit = history_messages

    async def read(self, message: discord.Message) -> History:
        """Return the reply chain that ends with `message`; in direct messages and threads, the newest messages."""
        is_continuous = isinstance(message.channel, discord.DMChannel | discord.Thread)  # one conversation
        earlier = await (self._newest(message) if is_continuous else self._chain(message))
        posts = tuple(self._post(one) for one in (*earlier, message))
        return History(posts, is_continuous, replied_to_by(message), limit=self._limit)

    async def read_after(self, channel: discord.abc.Messageable, message_id: int, limit: int) -> list[Post]:
        """Return the first posts after a message, oldest first; without one (0), the newest posts."""
        since = discord.Object(message_id) if message_id else None
        found = [m async for m in channel.history(limit=limit, after=since, oldest_first=since is not None)]
        if since is None:
            found = found[::-1] if len(found) == limit else await self._with_start(channel, found[::-1])
        return [self._post(message) for message in found]

    async def _newest(self, message: discord.Message) -> list[discord.Message]:
        found = [m async for m in message.channel.history(limit=self._limit, before=message)][::-1]
        return await self._with_start(message.channel, found) if len(found) < self._limit else found

    async def _with_start(
        self, channel: discord.abc.Messageable, found: list[discord.Message]
    ) -> list[discord.Message]:
        """Put the message first from which the bot made the thread: it is in the channel, not in the thread."""
        if not isinstance(channel, discord.Thread) or not is_own_thread(channel, self._client.user):
            return found
        start = await find_start(channel)
        return [start, *found] if start else found

    async def _chain(self, message: discord.Message) -> list[discord.Message]:
        chain = [message]
        while len(chain) <= self._limit and (replied_to := await self._replied_to(chain[-1])) is not None:
            chain.append(replied_to)
        return chain[:0:-1]

    async def _replied_to(self, message: discord.Message) -> discord.Message | None:
        if message.reference is not None:
            return await _replied_to(message)
        if not self._webhooks.is_own(message):
            return None
        reply = await self._database.read(find_by_message, message.id)  # a webhook's message is never a reply
        question_id = reply.source_message_id if reply else None
        return await _fetch(message.channel, question_id) if question_id else None

    def _post(self, message: discord.Message) -> Post:
        author, bot = message.author, self._client.user
        if self._webhooks.wrote(message):
            return Post(message.id, NOBODY, "", "", is_own=True)
        if author.bot or message.type not in SPOKEN:
            return Post(message.id, author.id, author.display_name, "")
        words, files = own_words(message, bot), tuple(message.attachments)
        post = Post(message.id, author.id, author.display_name, words, files=files)
        return with_forwarded(post, message.message_snapshots)


def with_forwarded(post: Post, snapshots: Sequence[discord.MessageSnapshot]) -> Post:
    """Return the post with the text and the files of the messages that it forwards."""
    if not snapshots:
        return post
    texts = [_with_unknown_names(snapshot.content).strip() for snapshot in snapshots]
    return replace(
        post,
        files=(*post.files, *(file for snapshot in snapshots for file in snapshot.attachments)),
        materials=tuple(forwarded_material(text) for text in texts if text),
        is_forwarded=True,
    )


def replied_to_by(message: discord.Message) -> int | None:
    """Return the ID of the message that it replies to; a forwarded message only refers to its origin."""
    reference = message.reference
    if reference is None or reference.type is not discord.MessageReferenceType.reply:
        return None
    return reference.message_id


async def _replied_to(message: discord.Message) -> discord.Message | None:
    reference, replied_to = message.reference, replied_to_by(message)
    if reference is None or replied_to is None:
        return None
    if isinstance(reference.resolved, discord.Message):
        return reference.resolved
    if isinstance(reference.resolved, discord.DeletedReferencedMessage):
        return None
    return await _fetch(message.channel, replied_to)


async def _fetch(channel: discord.abc.Messageable, message_id: int) -> discord.Message | None:
    try:
        return await channel.fetch_message(message_id)
    except DISCORD_ERRORS:
        return None


def is_own_thread(channel: object, bot: discord.ClientUser | None) -> bool:
    """Return whether the bot opened the thread, for a conversation with it."""
    return isinstance(channel, discord.Thread) and bot is not None and channel.owner_id == bot.id


async def find_start(thread: discord.Thread) -> discord.Message | None:
    """Return the message of the channel from which the thread was made; None if there is none."""
    return await _fetch(thread.parent, thread.id) if isinstance(thread.parent, discord.TextChannel) else None


async def find_opener(thread: discord.Thread) -> int | None:
    """Return the member who asked for a thread of the bot: its first message's author, or the user of `/thread`."""
    start = await find_start(thread)
    if start is None:
        return None
    return start.interaction_metadata.user.id if start.interaction_metadata else start.author.id


def mentions_bot(message: discord.Message, bot: discord.ClientUser | None) -> bool:
    """Return whether the message mentions the bot, or the role that Discord made for it: people confuse the two."""
    role = message.guild.self_role if message.guild else None
    return bot in message.mentions or (
        role is not None and (role in message.role_mentions or role.id in message.raw_role_mentions)
    )


def own_words(message: discord.Message, bot: discord.ClientUser | None) -> str:
    """Return the person's words, with names in place of mentions, and without the mention of the bot."""
    role = message.guild.self_role if message.guild else None
    called = "|".join(str(one.id) for one in (bot, role) if one is not None)
    content = re.sub(rf"\s*<@[!&]?(?:{called})>\s*", " ", message.content).strip() if called else message.content
    return _MENTION.sub(lambda mention: _name_of(mention, message), content)


def _with_unknown_names(text: str) -> str:
    """Return a text from elsewhere, whose mentions nobody here can resolve."""
    unknown = {"#": UNKNOWN_CHANNEL, "@&": UNKNOWN_ROLE}
    return _MENTION.sub(lambda mention: unknown.get(mention[1], UNKNOWN_USER), text)


def _name_of(mention: Match[str], message: discord.Message) -> str:
    kind, id_ = mention[1], int(mention[2])
    if kind == "#":
        return _channel_name(message, id_)
    if kind == "@&":
        found = message.guild.get_role(id_) if message.guild else None
        return f"@{found.name.removeprefix('@')}" if found else UNKNOWN_ROLE  # that of everyone is called @everyone
    return next((f"@{user.display_name}" for user in message.mentions if user.id == id_), UNKNOWN_USER)


def _channel_name(message: discord.Message, channel_id: int) -> str:
    """Return the channel's name if the author can see the channel: anybody can write any ID."""
    channel = message.guild.get_channel_or_thread(channel_id) if message.guild else None
    if channel is None or (isinstance(channel, discord.Thread) and channel.is_private()):
        return UNKNOWN_CHANNEL
    parent = channel.parent if isinstance(channel, discord.Thread) else channel
    viewer = message.author if isinstance(message.author, discord.Member) else channel.guild.default_role
    is_visible = parent is not None and parent.permissions_for(viewer).view_channel
    return f"#{channel.name}" if is_visible else UNKNOWN_CHANNEL
