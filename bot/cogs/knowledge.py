"""`/knowledge`: admins add, list and search the documents that answers quote."""

from __future__ import annotations

import discord
from discord import app_commands
from discord.ext import commands

from bot.errors import UserFacingError
from bot.guards.audit import action_of, record_done
from bot.guards.interactions import guild_id_of
from bot.knowledge.adding import CuratorCog, DocumentForm, DocumentRequest, store_document, warn_about_search
from bot.knowledge.found import describe_found, explain_decision
from bot.knowledge.pages import answer_with_documents
from bot.localization.sentences import gettext
from bot.personalities.selection import active_personality, offer_personalities
from bot.services import Services
from bot.text.splitting import answer_in_full
from storage.knowledge.documents import SearchScope
from storage.personalities.personalities import personality_named
from storage.wording import gettext_noop

SHOWN_PASSAGES = 5
ONE_SOURCE = gettext_noop("Give me only one source: a text, a file, a message link, or a channel with pinned messages.")
NOTHING_FOUND = gettext_noop("I found nothing about that.")


class Knowledge(
    CuratorCog, commands.GroupCog, group_name="knowledge", group_description="Documents that answers quote"
):
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
            found = await self.services.database.read(personality_named, personality, guild_id_of(interaction))
            personality_id = found.id
        if request.sources == 0:
            await interaction.response.send_modal(TextForm(self.services, request, channel_id, personality_id))
            return
        await interaction.response.defer(ephemeral=True, thinking=True)
        added = await store_document(interaction, self.services, request, channel_id, personality_id)
        await interaction.edit_original_response(content=gettext("Added: {document}", document=added))

    @app_commands.command(name="list")
    async def list_(self, interaction: discord.Interaction) -> None:
        """List this server's documents; choose one to read, refresh or remove it."""
        await interaction.response.defer(ephemeral=True)
        await answer_with_documents(interaction, self.services)

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
        scope = SearchScope(guild_id_of(interaction), channel_ids, active.personality.id)
        decision, found = await self.services.library.find(scope, question, SHOWN_PASSAGES)
        limit = f"-# {explain_decision(decision)}"
        lines = [describe_found(one) for one in found]
        lines = [*([*lines, limit] if lines else [gettext(NOTHING_FOUND)]), *warn_about_search(self.services)]
        await answer_in_full(interaction, lines, "\n".join(lines), "passages.txt")


class TextForm(DocumentForm):
    """The form for a text of several lines, which a command's option cannot hold."""

    action = "knowledge text"

    def __init__(
        self, services: Services, request: DocumentRequest, channel_id: int | None, personality_id: int | None
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
