"""Reads documents from their sources: typed text, a file, a message, or the pinned messages of a channel."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import discord
from discord.utils import format_dt
from sqlalchemy.orm import Session

from bot.attachments.files import fetch_file
from bot.discord_errors import is_temporary
from bot.errors import UserFacingError
from bot.guards.access import require_admin, user_label
from bot.guards.audit import action_of, record_done
from bot.guards.interactions import AdminCog, Form
from bot.guards.permissions import may_read
from bot.knowledge.extraction import Block, MediaType, extract, media_type_of, parse_markdown, too_large
from bot.knowledge.library import ReportPassages, Source, require_length
from bot.knowledge.quoting import MAX_TITLE_CHARS, cite_one
from bot.localization.sentences import gettext, ngettext
from bot.personalities.card_form import FIELD_CHARS
from bot.services import Services
from storage.database.enums import DocumentKind
from storage.errors import DocumentRefused
from storage.knowledge.documents import Document, find_document
from storage.settings.sections import KnowledgeSettings, Settings
from storage.wording import shorten

MESSAGE_LINK = re.compile(r"https://(?:\w+\.)?discord(?:app)?\.com/channels/(\d+)/(\d+)/(\d+)/?")

Channel = discord.abc.GuildChannel | discord.Thread
PinsChannel = discord.TextChannel | discord.VoiceChannel | discord.StageChannel | discord.Thread

PROGRESS_PAUSE_S = 2.0


async def from_file(file: discord.Attachment, settings: KnowledgeSettings) -> Source:
    """Download and read an attachment; raises UserFacingError."""
    media_type_of(file.filename)  # so that nothing else is downloaded
    if file.size > settings.max_file_bytes:
        raise too_large(file.filename, file.size, settings)
    return await from_content(await fetch_file(file, settings.max_file_bytes), file.filename, settings)


async def from_content(content: bytes, filename: str, settings: KnowledgeSettings) -> Source:
    """Read a file; raises Unreadable."""
    return Source(DocumentKind.FILE, await extract(content, filename, settings), media_type_of(filename))


async def from_text(text: str) -> Source:
    """Return a typed Markdown text as a source; raises UserFacingError if it is too long."""
    require_length(len(text))  # before it is parsed, which takes seconds for a long text
    return Source(DocumentKind.TEXT, await asyncio.to_thread(parse_markdown, text), MediaType.MARKDOWN)


def with_link(source: Source, link: str) -> Source:
    """Return the source with the address where people can read it, if there is one; raises UserFacingError."""
    if link and not link.startswith(("https://", "http://")):
        raise UserFacingError("A link must start with https:// or http://.")
    return replace(source, link=link)


def title_of_text(text: str) -> str:
    return shorten(text.strip().partition("\n")[0].lstrip("#").strip(), MAX_TITLE_CHARS)


async def read_again(document: Document, guild: discord.Guild, reader: discord.Member | None) -> Source:
    """Return the current messages on Discord of a document; raises UserFacingError and DocumentRefused.

    Without a reader, the operator reads, who may read what the bot may.
    """
    if document.kind is DocumentKind.MESSAGE:
        return (await from_link(document.link, guild, reader))[0]
    if document.kind is not DocumentKind.PINS:
        raise UserFacingError(
            "That text was typed in or uploaded. Choose a file with its new version, or remove it and add it again."
        )
    channel = await _find_channel(guild, int(document.link.rsplit("/", 1)[-1]))
    if channel is None:
        raise DocumentRefused("the channel of document {id} no longer exists: remove the document", id=str(document.id))
    return await from_pins(channel, reader)


async def from_link(link: str, guild: discord.Guild, reader: discord.Member | None) -> tuple[Source, str]:
    """Return the linked message, and a title for it; raises UserFacingError."""
    message = await _fetch(link, guild, reader)
    return from_message(message), _title_of(message)


def _title_of(message: discord.Message) -> str:
    """Return a title without the member's words: it is seen where the document is not, and kept by admins' lists."""
    return gettext("Message in #{channel}", channel=str(message.channel))


async def from_shown(message: discord.Message) -> Source:
    """Return the text of a message that a person looks at; raises UserFacingError if it has changed."""
    try:
        now = await message.channel.fetch_message(message.id)
    except (discord.NotFound, discord.Forbidden) as error:
        raise _not_found() from error
    if now.edited_at != message.edited_at:
        raise UserFacingError("That message was edited since you opened the form. Look at it, then try again.")
    return from_message(message)  # not what was fetched: that has no text without the intent Message Content


def from_message(message: discord.Message) -> Source:
    """Return the text of a message; raises UserFacingError if it has none."""
    blocks = parse_markdown(message.content)
    if not blocks:
        raise UserFacingError("That message has no text. If it has a file, add the file instead.")
    return Source(
        DocumentKind.MESSAGE, blocks, MediaType.MARKDOWN, message.jump_url, _speakers([message]), _ids([message])
    )


async def from_pins(channel: Channel, reader: discord.Member | None) -> Source:
    """Return the pinned messages of a channel that the reader can see; raises UserFacingError."""
    if not isinstance(channel, PinsChannel) or not _is_open_to(reader, channel):
        raise _not_yours()
    return await read_pins(channel)


async def read_pins(channel: PinsChannel) -> Source:
    """Return the pinned messages of a channel, each below its author and date.

    Raises UserFacingError, and one of DISCORD_ERRORS if Discord may answer a little later.
    """
    try:
        pinned = [message async for message in channel.pins(limit=None)]
    except discord.HTTPException as error:
        if is_temporary(error):
            raise
        raise UserFacingError("I can't read the pinned messages of #{channel}.", channel=str(channel)) from error
    blocks = [block for message in reversed(pinned) for block in _under_its_author(message)]
    if not blocks:
        raise UserFacingError("No message with text is pinned there.")
    return Source(DocumentKind.PINS, blocks, MediaType.MARKDOWN, channel.jump_url, _speakers(pinned), _ids(pinned))


async def _fetch(link: str, guild: discord.Guild, reader: discord.Member | None) -> discord.Message:
    match = MESSAGE_LINK.fullmatch(link.strip())
    if match is None:
        raise UserFacingError("That is not a message link. Choose Copy Message Link in the message's menu.")
    guild_id, channel_id, message_id = (int(part) for part in match.groups())
    if guild_id != guild.id:
        raise UserFacingError("That message is in another server. I only add messages of this one.")
    channel = await _find_channel(guild, channel_id)
    if not isinstance(channel, discord.abc.Messageable):
        raise _not_found()
    if not _is_open_to(reader, channel):
        raise _not_yours()
    try:
        return await channel.fetch_message(message_id)
    except (discord.NotFound, discord.Forbidden) as error:
        raise _not_found() from error


async def _find_channel(guild: discord.Guild, channel_id: int) -> Channel | None:
    """Return the server's channel or thread, or None; Discord is asked for archived threads."""
    try:
        return guild.get_channel_or_thread(channel_id) or await guild.fetch_channel(channel_id)
    except (discord.NotFound, discord.Forbidden, discord.InvalidData):
        return None


def _not_found() -> UserFacingError:
    return UserFacingError("I can't find that message: it was deleted, or I can't read its channel.")


def _not_yours() -> UserFacingError:
    return UserFacingError("You can't read that channel yourself.")


def _is_open_to(reader: discord.Member | None, channel: Channel) -> bool:
    return reader is None or may_read(channel, reader)


def _under_its_author(message: discord.Message) -> list[Block]:
    blocks = parse_markdown(message.content)
    heading = Block(f"{message.author.display_name}, {message.created_at:%Y-%m-%d}", level=1)
    return [heading, *(block.lowered for block in blocks)] if blocks else []


def _ids(messages: Sequence[discord.Message]) -> dict[int, int]:
    return {message.id: message.channel.id for message in messages if message.content}


def _speakers(messages: Sequence[discord.Message]) -> frozenset[int]:
    return frozenset(message.author.id for message in messages if message.content and not message.author.bot)


@dataclass(frozen=True, kw_only=True)
class DocumentRequest:
    """A document to add, from one of the first four fields."""

    text: str | None = None
    file: discord.Attachment | None = None
    message: str | discord.Message | None = None
    """The message: a link to it, or one that the curator has in front of them."""
    pins: Channel | None = None
    title: str | None = None
    link: str | None = None

    @property
    def sources(self) -> int:
        return sum(source is not None for source in (self.text, self.file, self.message, self.pins))


def report_in(interaction: discord.Interaction) -> ReportPassages:
    """Return a function that shows the progress of embedding in a deferred answer, with a pause between two updates."""
    shown_at_s = time.perf_counter()

    async def report(done: int, total: int) -> None:
        nonlocal shown_at_s
        if done < total and time.perf_counter() - shown_at_s >= PROGRESS_PAUSE_S:
            shown_at_s = time.perf_counter()
            await interaction.edit_original_response(
                content=gettext("Indexing: {done} of {total} passages …", done=done, total=total)
            )

    return report


def require_curator(user: discord.User | discord.Member, settings: Settings) -> None:
    """Raise NotAnAdmin unless the user is an admin or has one of knowledge.roles."""
    if not any(role.id in settings.knowledge.roles for role in getattr(user, "roles", ())):
        require_admin(user, settings.discord)


class CuratorCog(AdminCog):
    """A cog whose commands are for curators too."""

    async def interaction_check(self, interaction: discord.Interaction, /) -> bool:
        require_curator(interaction.user, self.services.settings)
        return True


class CuratorForm(Form):
    def require(self, interaction: discord.Interaction) -> None:
        require_curator(interaction.user, self._services.settings)


class DocumentForm(CuratorForm):
    """Asks for a title and a text of several lines."""

    def __init__(
        self, services: Services, *, label: str, help_text: str, title: str | None = None, about: str | None = None
    ) -> None:
        """`about` is shown above the empty title: of a member's question, which the title would outlive."""
        super().__init__(services, gettext("Add a document"))
        self._title = self._ask(
            "title", gettext("Title"), about, limit=MAX_TITLE_CHARS, default=title or "", required=True
        )
        self._text = self._ask("text", label, help_text, limit=FIELD_CHARS, long=True, required=True)


class MessageForm(CuratorForm):
    """Makes a message a document; its text stays as its author wrote it, so that their edits reach the document."""

    action = "add to knowledge"

    def __init__(self, services: Services, message: discord.Message, *, everywhere: bool) -> None:
        """`everywhere` is the proposed choice."""
        super().__init__(services, gettext("Add this message to the knowledge"))
        self._message = message
        title = _title_of(message)
        self._title = self._ask("title", gettext("Title"), limit=MAX_TITLE_CHARS, default=title, required=True)
        self._only_here = gettext("Only in this channel")
        places = (gettext("Everywhere in this server"), self._only_here)
        chosen = places[0] if everywhere else self._only_here
        self._where = self._let_choose("where", gettext("Where to use it"), places, chosen=chosen)

    async def on_submit(self, interaction: discord.Interaction) -> None:
        await interaction.response.defer(ephemeral=True, thinking=True)
        request = DocumentRequest(message=self._message, title=self._title.value)
        channel_id = self._message.channel.id if self._where.value == self._only_here else None
        added = await store_document(interaction, self._services, request, channel_id)
        undo = gettext("To undo this, choose it in `/knowledge list`.")
        text = f"{gettext('Added: {document}', document=added)}\n{undo}"
        await interaction.edit_original_response(content=text)
        await record_done(interaction, action_of(interaction, self.action, self._message.jump_url))


async def store_document(
    interaction: discord.Interaction,
    services: Services,
    request: DocumentRequest,
    channel_id: int | None = None,
    personality_id: int | None = None,
    *,
    together_with: Callable[[Session], None] = lambda _session: None,
) -> str:
    """Read, store and embed the document, with progress in the deferred answer; return a line that describes it.

    `together_with` runs in the transaction that stores it.
    """
    assert isinstance(interaction.user, discord.Member)  # guild_only
    source, title = await _read(request, interaction.user, services.settings.knowledge)
    document = await services.library.add(
        source,
        report_in(interaction),
        guild_id=interaction.user.guild.id,
        channel_id=channel_id,
        personality_id=personality_id,
        title=request.title or title,
        added_by=user_label(interaction.user),
        together_with=together_with,
    )
    return await describe_stored(services, document)


async def _read(request: DocumentRequest, reader: discord.Member, settings: KnowledgeSettings) -> tuple[Source, str]:
    """Return the source, and a title in case none was given."""
    if request.file is not None:
        source, title = await from_file(request.file, settings), request.file.filename
    elif isinstance(request.message, discord.Message):
        return await from_shown(request.message), _title_of(request.message)
    elif request.message is not None:
        return await from_link(request.message, reader.guild, reader)
    elif request.pins is not None:
        return await from_pins(request.pins, reader), gettext("Pinned in #{channel}", channel=request.pins.name)
    else:
        text = request.text or ""
        source, title = await from_text(text), title_of_text(text)
    return with_link(source, (request.link or "").strip()), title


async def describe_stored(services: Services, document: Document) -> str:
    """Return the document as it is stored now, with a warning if its meaning is not searched."""
    now = await services.database.read(find_document, document.guild_id, document.id)
    return "\n".join([describe_document(now), *warn_about_search(services)])


def warn_about_search(services: Services) -> list[str]:
    """Return a line of small print if search matches words only."""
    problem = services.library.problem
    if problem is None:
        return []
    return [f"-# {gettext('For now, search matches words only, not meaning ({problem}).', problem=problem)}"]


def describe_document(document: Document) -> str:
    """Return a document in a line: number, title, size, place, author and time of the last update."""
    passages = ngettext("{count} passage", "{count} passages", document.chunks)
    if document.waiting:
        passages += f" ({gettext('{number} not indexed yet', number=document.waiting)})"
    where = f"<#{document.channel_id}>" if document.channel_id else gettext("server-wide")
    if document.personality_id:
        where += f", {gettext('for one personality')}"
    added = gettext("added by {who}", who=document.added_by)
    updated = gettext("updated {date}", date=format_dt(document.refreshed_at, "d"))
    title = cite_one(document.title, document.link)
    return f"**{document.id}** · {title} · {passages} · {where} · {added} · {updated}"
