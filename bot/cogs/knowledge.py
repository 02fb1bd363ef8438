"""`/knowledge`: admins add, list, show, search, refresh and remove the documents that answers quote."""

from __future__ import annotations

import logging

import discord
from discord import app_commands
from discord.ext import commands
from sqlalchemy.orm import Session

from bot.errors import UserFacingError
from bot.guards.access import user_label
from bot.guards.audit import action_of, record_done, run_audited
from bot.guards.error_handler import answer_privately
from bot.guards.interactions import AdminCog
from bot.knowledge.adding import (
    DocumentForm,
    DocumentRequest,
    describe_document,
    describe_stored,
    from_file,
    read_again,
    report_in,
    require_curator,
    store_document,
    warn_about_search,
)
from bot.knowledge.found import describe_found, explain_decision
from bot.knowledge.library import Source
from bot.knowledge.quoting import MAX_TITLE_CHARS, cite_one
from bot.localization.sentences import gettext
from bot.personalities.selection import CHOICES, active_personality, offer_personalities
from bot.services import Services
from bot.text.sanitize import sanitize_markdown
from bot.text.splitting import answer_in_full
from storage.knowledge.documents import Document, SearchScope, find_document, list_documents, read_text, remove_document
from storage.personalities.personalities import personality_named
from storage.wording import gettext_noop

log = logging.getLogger(__name__)

SHOWN_PASSAGES = 5
ONE_SOURCE = gettext_noop("Give me only one source: a text, a file, a message link, or a channel with pinned messages.")
NO_DOCUMENTS = gettext_noop("This server has no documents yet. Add one with `/knowledge add`.")
NOTHING_FOUND = gettext_noop("I found nothing about that.")


class Knowledge(AdminCog, commands.GroupCog, group_name="knowledge", group_description="Documents that answers quote"):
    async def interaction_check(self, interaction: discord.Interaction, /) -> bool:
        """Curators are allowed too."""
        require_curator(interaction.user, self.services.settings)
        return True

    @app_commands.command()
    @app_commands.describe(
        text="A short text in Markdown; without any source, a form opens",
        file="A .txt, .md, .pdf, .html, .csv or .docx file",
        message="A link to a message",
        pins="A channel whose pinned messages to add",
        title="The title that answers cite",
        link="The web address of a text or file, for citations",
        channel="Use it only in this channel",
        personality="Use it only for this personality",
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
        """Add a document: a text, a file, a message, or a channel's pinned messages."""
        request = DocumentRequest(text=text, file=file, message=message, pins=pins, title=title, link=link)
        channel_id = channel.id if channel else None
        if request.sources > 1:
            raise UserFacingError(ONE_SOURCE)
        if link and (message or pins):
            raise UserFacingError("Leave out `link`: answers already link to that message or channel.")
        personality_id = None
        if personality is not None:
            found = await self.services.database.read(personality_named, personality, _guild_id(interaction))
            personality_id = found.id
        if request.sources == 0:
            await interaction.response.send_modal(TextForm(self.services, request, channel_id, personality_id))
            return
        await interaction.response.defer(ephemeral=True, thinking=True)
        added = await store_document(interaction, self.services, request, channel_id, personality_id)
        await interaction.edit_original_response(content=gettext("Added: {document}", document=added))

    @app_commands.command(name="list")
    async def list_(self, interaction: discord.Interaction) -> None:
        """List this server's documents."""
        await interaction.response.defer(ephemeral=True)
        known = await self.services.database.read(list_documents, _guild_id(interaction))
        lines = [describe_document(document) for document in known] or [gettext(NO_DOCUMENTS)]
        await answer_in_full(interaction, lines, "\n".join(lines), "documents.txt")

    @app_commands.command()
    @app_commands.describe(document="Its number; choose it from the list")
    async def show(self, interaction: discord.Interaction, document: int) -> None:
        """Show a document's text."""
        await interaction.response.defer(ephemeral=True)

        def read(session: Session) -> tuple[Document, str]:
            found = find_document(session, _guild_id(interaction), document)
            return found, read_text(session, found.id)

        found, text = await self.services.database.read(read)
        lines = [describe_document(found)]
        lines += sanitize_markdown(text, self.services.settings.output).splitlines()
        await answer_in_full(interaction, lines, text, f"document-{found.id}.txt")

    @app_commands.command()
    @app_commands.describe(question="A question that a member might ask", channel="Where they ask; without it, here")
    async def search(
        self, interaction: discord.Interaction, question: str, channel: discord.TextChannel | None = None
    ) -> None:
        """Show which passages an answer to a question would quote."""
        await interaction.response.defer(ephemeral=True)
        where = {channel.id} if channel else {interaction.channel_id, getattr(interaction.channel, "parent_id", None)}
        active = await active_personality(self.services, channel or interaction.channel)
        channel_ids = frozenset(id_ for id_ in where if id_)
        scope = SearchScope(_guild_id(interaction), channel_ids, active.personality.id)
        decision, found = await self.services.library.find(scope, question, SHOWN_PASSAGES)
        limit = f"-# {explain_decision(decision)}"
        lines = [describe_found(one) for one in found]
        lines = [*([*lines, limit] if lines else [gettext(NOTHING_FOUND)]), *warn_about_search(self.services)]
        await answer_in_full(interaction, lines, "\n".join(lines), "passages.txt")

    @app_commands.command()
    @app_commands.describe(
        document="Its number; choose it from the list", file="The new version of a typed text or an uploaded file"
    )
    async def refresh(
        self, interaction: discord.Interaction, document: int, file: discord.Attachment | None = None
    ) -> None:
        """Read a document again from Discord, or from a new file."""
        await interaction.response.defer(ephemeral=True, thinking=True)
        found = await self.services.database.read(find_document, _guild_id(interaction), document)
        source = await self._read_again(interaction, found, file)
        if await self.services.library.refresh(found, source, report_in(interaction)):
            stored = await describe_stored(self.services, found)
            answer = gettext("Updated: {document}", document=stored)
        else:
            answer = gettext("**{title}** has not changed.", title=_plain(found.title))
        await interaction.edit_original_response(content=answer)

    @app_commands.command()
    @app_commands.describe(document="Its number; choose it from the list")
    async def remove(self, interaction: discord.Interaction, document: int) -> None:
        """Delete a document; new answers won't quote it."""
        await interaction.response.defer(ephemeral=True)
        removed = await run_audited(interaction, remove_document, _guild_id(interaction), document)
        log.info("%s removed document %d.", user_label(interaction.user), removed.id)
        await answer_privately(
            interaction, gettext("Removed **{title}**. New answers won't quote it.", title=_plain(removed.title))
        )

    @show.autocomplete("document")
    @refresh.autocomplete("document")
    @remove.autocomplete("document")
    async def _choose(self, interaction: discord.Interaction, typed: str) -> list[app_commands.Choice[int]]:
        known = await self.services.database.read(list_documents, _guild_id(interaction))
        fitting = [d for d in known if typed.lower() in f"{d.id} {d.title}".lower()]
        return [
            app_commands.Choice(name=f"{d.id} · {d.title}"[:MAX_TITLE_CHARS], value=d.id) for d in fitting[:CHOICES]
        ]

    async def _read_again(
        self, interaction: discord.Interaction, document: Document, file: discord.Attachment | None
    ) -> Source:
        assert isinstance(interaction.user, discord.Member)  # guild_only
        if file is not None:
            return await from_file(file, self.services.settings.knowledge)
        return await read_again(document, interaction.user.guild, interaction.user)


class TextForm(DocumentForm):
    """The form for a text of several lines, which a command's option cannot hold."""

    action = "knowledge text"

    def __init__(
        self,
        services: Services,
        request: DocumentRequest,
        channel_id: int | None,
        personality_id: int | None,
    ) -> None:
        super().__init__(
            services, title=request.title, label=gettext("Text"), help_text=gettext("Markdown; # starts a heading.")
        )
        self._link = request.link
        self._where = channel_id, personality_id

    async def on_submit(self, interaction: discord.Interaction) -> None:
        await interaction.response.defer(ephemeral=True, thinking=True)
        request = DocumentRequest(text=self._text.value, title=self._title.value, link=self._link)
        added = await store_document(interaction, self._services, request, *self._where)
        await interaction.edit_original_response(content=gettext("Added: {document}", document=added))
        await record_done(interaction, action_of(interaction, self.action, self._title.value))


def _plain(title: str) -> str:
    return cite_one(title, "")


def _guild_id(interaction: discord.Interaction) -> int:
    assert interaction.guild_id is not None  # guild_only
    return interaction.guild_id


async def setup(bot: commands.AutoShardedBot, services: Services) -> None:
    await bot.add_cog(Knowledge(bot, services))
