"""Lets admins say what the bot should look up: add, list, show, search, refresh and remove documents."""

from __future__ import annotations

import logging
from dataclasses import dataclass

import discord
from discord import app_commands
from discord.ext import commands
from sqlalchemy.orm import Session

from bot.errors import UserFacingError
from bot.guards.access import require_admin, user_label
from bot.guards.audit import action_of, record_done, run_audited
from bot.guards.error_handler import answer_privately
from bot.guards.interactions import Form
from bot.knowledge.library import Placement, ReportIndexing, Source
from bot.knowledge.quoting import MAX_TITLE_CHARS, cite_one
from bot.knowledge.sources import Channel, from_file, from_link, from_pins, from_text
from bot.personalities.card_form import FIELD_CHARS
from bot.personalities.selection import CHOICES, active_personality, offer_personalities
from bot.services import Services
from bot.text.attachments import answer_in_full
from bot.text.sanitize import escape_inline, sanitize_markdown
from bot.text.splitting import shorten
from storage.database.enums import DocumentKind
from storage.errors import DocumentRefused
from storage.knowledge.documents import Document, SearchScope, find_document, list_documents, read_text, remove_document
from storage.knowledge.search import Passage
from storage.personalities.personalities import personality_named
from storage.settings.sections import KnowledgeSettings, Settings
from storage.wording import count

log = logging.getLogger(__name__)

PROGRESS_PAUSE_S = 2.0
SHOWN_PASSAGES = 5
EXCERPT_CHARS = 160
ONE_SOURCE = "Give me one thing at a time: a text, a file, a message link, or a channel with pinned messages."
LINKED_ALREADY = "Leave `link` out: answers link to that message or channel itself."
NO_DOCUMENTS = "This server has no documents yet. `/knowledge add` adds one."
NOTHING_FOUND = "Nothing is found for that."
TYPED_IN = "That text was typed in or uploaded: give its new version as a file, or remove it and add it anew."
WORDS_ONLY = "For now it is found by its words alone"


@dataclass(frozen=True, kw_only=True)
class DocumentRequest:
    """What an admin gave to `/knowledge add`; one of the first four is there, or none for a form."""

    text: str | None = None
    file: discord.Attachment | None = None
    message: str | None = None
    pins: Channel | None = None
    title: str | None = None
    link: str | None = None

    @property
    def sources(self) -> int:
        return sum(source is not None for source in (self.text, self.file, self.message, self.pins))


@app_commands.guild_only()
@app_commands.default_permissions(manage_guild=True)
class Knowledge(
    commands.GroupCog, group_name="knowledge", group_description="Documents that the bot looks things up in"
):
    def __init__(self, bot: commands.AutoShardedBot, services: Services) -> None:
        self.bot = bot
        self.services = services

    async def interaction_check(self, interaction: discord.Interaction, /) -> bool:
        require_curator(interaction.user, self.services.settings)
        return True

    @app_commands.command()
    @app_commands.describe(
        text="A short text, in Markdown; without any source a form opens",
        file="A .txt, .md, .pdf, .html or .docx file",
        message="A message's link",
        pins="The channel whose pinned messages to add",
        title="What to call it below answers",
        link="Where people can read a text or file, for citations",
        channel="Look it up in this channel alone",
        personality="Let this personality alone look it up",
    )
    @app_commands.autocomplete(personality=offer_personalities)
    async def add(
        self,
        interaction: discord.Interaction,
        *,
        text: str | None = None,
        file: discord.Attachment | None = None,
        message: str | None = None,
        pins: discord.TextChannel | None = None,
        title: str | None = None,
        link: str | None = None,
        channel: discord.TextChannel | None = None,
        personality: str | None = None,
    ) -> None:
        """Add a document: text, a file, a message, or a channel's pinned messages."""
        request = DocumentRequest(text=text, file=file, message=message, pins=pins, title=title, link=link)
        channel_id = channel.id if channel else None
        if request.sources > 1:
            raise UserFacingError(ONE_SOURCE)
        if link and (message or pins):
            raise UserFacingError(LINKED_ALREADY)
        personality_id = await self._find_personality(personality, _guild_id(interaction))
        if request.sources == 0:
            await interaction.response.send_modal(TextForm(self.services, request, channel_id, personality_id))
            return
        await interaction.response.defer(ephemeral=True, thinking=True)
        added = await store_document(interaction, self.services, request, channel_id, personality_id)
        await interaction.edit_original_response(content=f"Added: {added}")

    @app_commands.command(name="list")
    async def list_(self, interaction: discord.Interaction) -> None:
        """List this server's documents."""
        await interaction.response.defer(ephemeral=True)
        documents = await self.services.database.read(list_documents, _guild_id(interaction))
        lines = [describe_document(document) for document in documents] or [NO_DOCUMENTS]
        await answer_in_full(interaction, lines, "\n".join(lines), "documents.txt")

    @app_commands.command()
    @app_commands.describe(document="Its number, or choose it")
    async def show(self, interaction: discord.Interaction, document: int) -> None:
        """Show a document's text."""
        await interaction.response.defer(ephemeral=True)

        def read(session: Session) -> tuple[Document, str]:
            found = find_document(session, _guild_id(interaction), document)
            return found, read_text(session, found.id)

        found, text = await self.services.database.read(read)
        lines = [describe_document(found), *sanitize_markdown(text, self.services.settings.output).splitlines()]
        await answer_in_full(interaction, lines, text, f"document-{found.id}.txt")

    @app_commands.command()
    @app_commands.describe(question="What a member might ask", channel="Where they ask; without it, here")
    async def search(
        self, interaction: discord.Interaction, question: str, channel: discord.TextChannel | None = None
    ) -> None:
        """Show what would be quoted in answer to a question."""
        await interaction.response.defer(ephemeral=True)
        where = {channel.id} if channel else {interaction.channel_id, getattr(interaction.channel, "parent_id", None)}
        voice = await active_personality(self.services, channel or interaction.channel)
        scope = SearchScope(_guild_id(interaction), frozenset(id_ for id_ in where if id_), voice.personality.id)
        found = await self.services.library.find(scope, question, SHOWN_PASSAGES)
        chosen = self.services.library.choose(found)
        lines = [describe_passage(passage, is_quoted=passage in chosen) for passage in found]
        lines += [f"-# {WORDS_ONLY}: {self.services.library.problem}"] if self.services.library.problem else []
        await answer_in_full(interaction, lines or [NOTHING_FOUND], "\n".join(lines), "passages.txt")

    @app_commands.command()
    @app_commands.describe(document="Its number, or choose it", file="The new version of a file or text")
    async def refresh(
        self, interaction: discord.Interaction, document: int, file: discord.Attachment | None = None
    ) -> None:
        """Read a document again where it comes from, or from a new file."""
        await interaction.response.defer(ephemeral=True, thinking=True)
        found = await self.services.database.read(find_document, _guild_id(interaction), document)
        source = await self._read_again(interaction, found, file)
        if await self.services.library.refresh(found, source, _progress(interaction)):
            answer = f"Read again: {await _describe(self.services, found)}"
        else:
            answer = f"Nothing has changed in **{_plain(found.title)}**."
        await interaction.edit_original_response(content=answer)

    @app_commands.command()
    @app_commands.describe(document="Its number, or choose it")
    async def remove(self, interaction: discord.Interaction, document: int) -> None:
        """Delete a document's text at once; earlier answers keep its title."""
        await interaction.response.defer(ephemeral=True)
        removed = await run_audited(interaction, remove_document, _guild_id(interaction), document)
        log.info("%s removed document %s (%s)", user_label(interaction.user), removed.id, removed.title)
        await answer_privately(interaction, f"Removed **{_plain(removed.title)}**. No answer quotes it from now on.")

    @show.autocomplete("document")
    @refresh.autocomplete("document")
    @remove.autocomplete("document")
    async def _choose(self, interaction: discord.Interaction, typed: str) -> list[app_commands.Choice[int]]:
        documents = await self.services.database.read(list_documents, _guild_id(interaction))
        fitting = [d for d in documents if typed.lower() in f"{d.id} {d.title}".lower()]
        return [
            app_commands.Choice(name=f"{d.id} · {d.title}"[:MAX_TITLE_CHARS], value=d.id) for d in fitting[:CHOICES]
        ]

    async def _read_again(
        self, interaction: discord.Interaction, document: Document, file: discord.Attachment | None
    ) -> Source:
        if file is not None:
            return await from_file(file, self.services.settings.knowledge)
        if document.kind is DocumentKind.MESSAGE:
            return (await from_link(document.link, _member(interaction)))[0]
        if document.kind is DocumentKind.PINS:
            assert interaction.guild is not None
            channel = interaction.guild.get_channel_or_thread(int(document.link.rsplit("/", 1)[-1]))
            if channel is None:
                raise DocumentRefused(f"the channel of document {document.id} is gone: remove the document")
            return await from_pins(channel, _member(interaction))
        raise UserFacingError(TYPED_IN)

    async def _find_personality(self, name: str | None, guild_id: int) -> int | None:
        if name is None:
            return None
        return (await self.services.database.read(personality_named, name, guild_id)).id


class TextForm(Form):
    """For a text of several lines, which a command's field cannot hold."""

    action = "knowledge text"

    def require(self, interaction: discord.Interaction) -> None:
        require_curator(interaction.user, self._services.settings)

    def __init__(
        self, services: Services, request: DocumentRequest, channel_id: int | None, personality_id: int | None
    ) -> None:
        super().__init__(title="Add a document")
        self._services = services
        self._request = request
        self._where = channel_id, personality_id
        self.name: discord.ui.TextInput[TextForm] = discord.ui.TextInput(
            max_length=MAX_TITLE_CHARS, default=request.title, custom_id="title"
        )
        self.text: discord.ui.TextInput[TextForm] = discord.ui.TextInput(
            style=discord.TextStyle.paragraph, max_length=FIELD_CHARS, custom_id="text"
        )
        self.add_item(discord.ui.Label(text="Title", component=self.name))
        self.add_item(discord.ui.Label(text="Text", description="Markdown; # begins a heading.", component=self.text))

    async def on_submit(self, interaction: discord.Interaction) -> None:
        await interaction.response.defer(ephemeral=True, thinking=True)
        request = DocumentRequest(text=self.text.value, title=self.name.value, link=self._request.link)
        added = await store_document(interaction, self._services, request, *self._where)
        await interaction.edit_original_response(content=f"Added: {added}")
        await record_done(interaction, action_of(interaction, self.action, self.name.value))


async def store_document(
    interaction: discord.Interaction,
    services: Services,
    request: DocumentRequest,
    channel_id: int | None = None,
    personality_id: int | None = None,
) -> str:
    """Read, store and embed the document, and return a line that describes it; show progress in the deferred answer."""
    source, title = await _read(request, _member(interaction), services.settings.knowledge)
    place = Placement(
        guild_id=_guild_id(interaction),
        channel_id=channel_id,
        personality_id=personality_id,
        title=" ".join((request.title or title).split())[:MAX_TITLE_CHARS],
        added_by=user_label(interaction.user),
    )
    document = await services.library.add(source, place, _progress(interaction))
    log.info("%s added document %s (%s)", user_label(interaction.user), document.id, document.title)
    return await _describe(services, document)


async def _read(request: DocumentRequest, reader: discord.Member, settings: KnowledgeSettings) -> tuple[Source, str]:
    """Return the requested text, and a title in case none was given."""
    if request.file is not None:
        source, title = await from_file(request.file, settings), request.file.filename
    elif request.message is not None:
        return await from_link(request.message, reader)
    elif request.pins is not None:
        return await from_pins(request.pins, reader), f"Pinned in #{request.pins.name}"
    else:
        text = request.text or ""
        source, title = from_text(text), text.strip().partition("\n")[0]
    return Source(source.kind, source.blocks, source.media_type, _web_link(request.link)), title


async def _describe(services: Services, document: Document) -> str:
    now = await services.database.read(find_document, document.guild_id, document.id)
    problem = services.library.problem
    return describe_document(now) + (f"\n-# {WORDS_ONLY}: {problem}" if problem else "")


def _progress(interaction: discord.Interaction) -> ReportIndexing:
    return ReportIndexing(lambda text: interaction.edit_original_response(content=text), PROGRESS_PAUSE_S)


def require_curator(user: discord.User | discord.Member, settings: Settings) -> None:
    """Raise NotAnAdmin unless the user is an admin or has one of knowledge.roles."""
    if not any(role.id in settings.knowledge.roles for role in getattr(user, "roles", ())):
        require_admin(user, settings.discord)


def describe_document(document: Document) -> str:
    """Return a document in a line: number, title, size, where it is looked up, who added it when."""
    waiting = f", {document.waiting} not read yet" if document.waiting else ""
    where = f"in <#{document.channel_id}>" if document.channel_id else "server-wide"
    whose = ", one personality" if document.personality_id else ""
    return (
        f"**{document.id}** · {cite_one(document.title, document.link)} · "
        f"{count(document.chunks, 'passage')}{waiting} · {where}{whose} · {document.added_by}, "
        f"<t:{int(document.refreshed_at.timestamp())}:d>"
    )


def describe_passage(passage: Passage, *, is_quoted: bool) -> str:
    """Return where a passage stands, how near it is, whether it would be quoted, and how it begins."""
    near = "by its words" if passage.similarity is None else f"similarity {passage.similarity:.2f}"
    quoted = "quoted" if is_quoted else "not quoted"
    words = " ".join(passage.text.split())
    excerpt = shorten(words, EXCERPT_CHARS)
    return f"- {cite_one(passage.title, passage.link)} · {near} · **{quoted}**\n  {escape_inline(excerpt)}"


def _plain(title: str) -> str:
    return cite_one(title, "")


def _web_link(link: str | None) -> str:
    if link is not None and not link.startswith(("https://", "http://")):
        raise UserFacingError("A link begins with https:// or http://.")
    return (link or "").strip()


def _guild_id(interaction: discord.Interaction) -> int:
    assert interaction.guild_id is not None  # guild_only
    return interaction.guild_id


def _member(interaction: discord.Interaction) -> discord.Member:
    assert isinstance(interaction.user, discord.Member)  # guild_only
    return interaction.user


async def setup(bot: commands.AutoShardedBot, services: Services) -> None:
    await bot.add_cog(Knowledge(bot, services))
