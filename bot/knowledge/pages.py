"""The pages of `/knowledge list`: the documents, and one of them with what a curator can do about it.

A page replaces the one before it in the curator's private message, and works after a restart too.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Self

import discord
from sqlalchemy.orm import Session

from bot.guards.access import user_label
from bot.guards.audit import action_of, record_done, run_audited
from bot.guards.interactions import PersistentButton, PersistentSelect, button_row, guild_id_of, list_page
from bot.knowledge.adding import (
    CuratorForm,
    describe_document,
    describe_stored,
    from_file,
    read_again,
    report_in,
    require_curator,
)
from bot.knowledge.library import Source
from bot.knowledge.quoting import cite_one
from bot.localization.sentences import gettext, ngettext
from bot.services import Services
from bot.text.sanitize import sanitize_markdown
from bot.text.splitting import answer_in_full, fit_lines
from storage.database.enums import DocumentKind
from storage.knowledge.documents import Document, find_document, list_documents, read_text, remove_document
from storage.wording import gettext_noop

log = logging.getLogger(__name__)

NO_DOCUMENTS = gettext_noop("This server has no documents yet. Add one with `/knowledge add`.")
ON_DISCORD = (DocumentKind.MESSAGE, DocumentKind.PINS)


async def answer_with_documents(
    interaction: discord.Interaction, services: Services, page: int = 0, note: str = ""
) -> None:
    """Show a page of the server's documents, newest first, below a note, in place of the page before."""
    known = (await services.database.read(list_documents, guild_id_of(interaction)))[::-1]
    shown, turns = list_page(known, page, gettext("Newer"), gettext("Older"))
    lines = [describe_document(document) for document in shown] or [gettext(NO_DOCUMENTS)]
    items: list[PersistentSelect | PersistentButton] = [DocumentSelect(shown)] if shown else []
    items += [DocumentsButton(*turn) for turn in turns]
    text = fit_lines([*filter(None, [note]), *lines], f"-# {gettext('… and {left} more: choose them below')}")
    await interaction.edit_original_response(content=text, attachments=[], view=button_row(items) if items else None)


async def answer_with_document(
    interaction: discord.Interaction, services: Services, document_id: int, note: str = ""
) -> None:
    """Show one document with its text, below a note; raises DocumentRefused if it was removed."""

    def read(session: Session) -> tuple[Document, str]:
        found = find_document(session, guild_id_of(interaction), document_id)
        return found, read_text(session, found.id)

    found, text = await services.database.read(read)
    lines = [note or describe_document(found), *sanitize_markdown(text, services.settings.output).splitlines()]
    newer = ReadAgainButton(found.id) if found.kind in ON_DISCORD else ReplaceButton(found.id)
    view = button_row([newer, RemoveButton(found.id), DocumentsButton(0, gettext("All documents"))])
    await answer_in_full(interaction, lines, text, f"document-{found.id}.txt", view)


class DocumentSelect(PersistentSelect, template=r"reactune:document"):
    def __init__(self, documents: Sequence[Document] = ()) -> None:
        passages = [ngettext("{count} passage", "{count} passages", one.chunks) for one in documents]
        about = {f"{one.id} · {one.title}": words for one, words in zip(documents, passages, strict=True)}
        super().__init__("reactune:document", gettext("Open a document"), about)

    async def press(self, interaction: discord.Interaction, services: Services) -> None:
        require_curator(interaction.user, services.settings)
        await interaction.response.defer()
        await answer_with_document(interaction, services, int(self.chosen.partition(" ")[0]))


class DocumentsButton(PersistentButton, template=r"reactune:documents:(?P<page>\d+)"):
    """Shows a page of the list."""

    def __init__(self, page: int, label: str = "") -> None:
        self.page = page
        super().__init__(f"reactune:documents:{page}", label)

    async def press(self, interaction: discord.Interaction, services: Services) -> None:
        require_curator(interaction.user, services.settings)
        await interaction.response.defer()
        await answer_with_documents(interaction, services, self.page)


class RemoveButton(PersistentButton, template=r"reactune:document:remove:(?P<id>\d+)"):
    """Deletes the document's text; new answers don't quote it."""

    action = "knowledge remove"

    def __init__(self, document_id: int) -> None:
        self.document_id = document_id
        super().__init__(f"reactune:document:remove:{document_id}", gettext("Remove"), discord.ButtonStyle.danger)

    async def press(self, interaction: discord.Interaction, services: Services) -> None:
        require_curator(interaction.user, services.settings)
        await interaction.response.defer()
        action = action_of(interaction, self.action, f"document: {self.document_id}")
        removed = await run_audited(interaction, action, remove_document, guild_id_of(interaction), self.document_id)
        log.info("%s removed document %d.", user_label(interaction.user), removed.id)
        note = gettext("Removed **{title}**. New answers won't quote it.", title=cite_one(removed.title, ""))
        await answer_with_documents(interaction, services, note=note)


class ReadAgainButton(PersistentButton, template=r"reactune:document:again:(?P<id>\d+)"):
    """Reads a message or the pinned messages again."""

    action = "knowledge refresh"

    def __init__(self, document_id: int) -> None:
        self.document_id = document_id
        super().__init__(f"reactune:document:again:{document_id}", gettext("Read it again"))

    async def press(self, interaction: discord.Interaction, services: Services) -> None:
        require_curator(interaction.user, services.settings)
        assert isinstance(interaction.user, discord.Member)  # only in servers
        await interaction.response.defer()
        found = await services.database.read(find_document, guild_id_of(interaction), self.document_id)
        source = await read_again(found, interaction.user.guild, interaction.user)
        await _refresh(interaction, services, found, source)


class ReplaceButton(PersistentButton, template=r"reactune:document:replace:(?P<id>\d+)"):
    """Opens the form for the new version of a typed text or a file."""

    def __init__(self, document_id: int) -> None:
        self.document_id = document_id
        super().__init__(f"reactune:document:replace:{document_id}", gettext("Replace by a file …"))

    async def press(self, interaction: discord.Interaction, services: Services) -> None:
        require_curator(interaction.user, services.settings)
        found = await services.database.read(find_document, guild_id_of(interaction), self.document_id)
        await interaction.response.send_modal(ReplaceForm(services, found))


class ReplaceForm(CuratorForm):
    action = "knowledge refresh"

    def __init__(self, services: Services, document: Document) -> None:
        super().__init__(services, document.title)
        self._document_id = document.id
        self._file: discord.ui.FileUpload[Self] = discord.ui.FileUpload(custom_id="file")
        help_text = gettext("A .txt, .md, .pdf, .html, .csv or .docx file")
        self.add_item(discord.ui.Label(text=gettext("Its new version"), description=help_text, component=self._file))

    async def on_submit(self, interaction: discord.Interaction) -> None:
        await interaction.response.defer()
        found = await self._services.database.read(find_document, guild_id_of(interaction), self._document_id)
        source = await from_file(self._file.values[0], self._services.settings.knowledge)
        await _refresh(interaction, self._services, found, source)


async def _refresh(interaction: discord.Interaction, services: Services, document: Document, source: Source) -> None:
    """Replace the document's text, with progress in the page, and show the document again."""
    if await services.library.refresh(document, source, report_in(interaction)):
        note = gettext("Updated: {document}", document=await describe_stored(services, document))
    else:
        note = gettext("**{title}** has not changed.", title=cite_one(document.title, ""))
    await record_done(interaction, action_of(interaction, "knowledge refresh", f"document: {document.id}"))
    await answer_with_document(interaction, services, document.id, note)
