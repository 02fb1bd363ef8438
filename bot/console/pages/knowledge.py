"""The page of a server's documents: add, read, replace, remove and search them."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import discord
from aiohttp import web
from sqlalchemy.orm import Session

from bot.console.page import Here, get, post, without_nul
from bot.console.places import visible_servers
from bot.errors import UserFacingError
from bot.guards.error_handler import member_message
from bot.knowledge.adding import from_content, from_text, read_again, title_of_text, with_link
from bot.knowledge.decision import NOTHING
from bot.knowledge.extraction import Unreadable
from bot.knowledge.found import describe_score, explain_decision
from bot.knowledge.library import FoundPassage, Source
from bot.knowledge.quoting import MAX_TITLE_CHARS
from bot.text.sanitize import escape_inline
from storage.database.enums import DocumentKind
from storage.knowledge import documents
from storage.operations.audit import AuditedAction
from storage.personalities.personalities import Personality, list_personalities, personality_named
from storage.wording import shorten

log = logging.getLogger(__name__)

SHOWN = 20
SHOWN_PASSAGES = 30
FOUND = 10
A_MOMENT = timedelta(seconds=1)
"""Longest gap between two times of one new row."""
KINDS = {
    DocumentKind.TEXT: "text",
    DocumentKind.FILE: "file",
    DocumentKind.MESSAGE: "message",
    DocumentKind.PINS: "pinned messages",
}
WRITTEN = (DocumentKind.TEXT, DocumentKind.FILE)
NO_SERVERS = "I am not in any server that you may see. Documents belong to a server, so please invite me first."
NOT_YOUR_SERVER = "You don't have access to that server, or I am no longer in it."
NOTHING_GIVEN = "Choose a file, or write a text."
ONE_TITLE = "A title and a link are for one document. Leave both empty to add several."


@dataclass(frozen=True)
class ServerPage:
    """A request with the server whose documents it concerns."""

    here: Here
    server: discord.Guild
    reader: discord.Member | None
    """The member whose rights on Discord count; None for the operator, who may read everything that the bot may."""

    @property
    def servers(self) -> list[discord.Guild]:
        return visible_servers(self.here)

    @property
    def channels(self) -> list[discord.TextChannel]:
        """The channels that the visitor can see."""
        channels = self.server.text_channels
        return [one for one in channels if self.here.visitor.may_see_channel(self.server.id, one.id)]

    def address(self, path: str = "", **query: object) -> str:
        return self.here.address(f"/knowledge{path}", server=self.server.id, **query)

    def action(self, what: str, subject: str) -> AuditedAction:
        return self.here.action(what, subject, guild_id=self.server.id)

    def fill(self, template: str, **facts: object) -> web.Response:
        return self.here.fill(template, page=self, **facts)

    async def find_document(self) -> documents.Document:
        """Return the document that the address names; raises DocumentRefused."""
        document_id = self.here.number_in_path("document")
        return await self.here.services.database.read(documents.find_document, self.server.id, document_id)

    def channel_named(self, channel_id: str) -> discord.TextChannel | None:
        """Return the chosen channel; None if none was chosen. Raises UserFacingError."""
        found = next((channel for channel in self.channels if str(channel.id) == channel_id), None)
        if channel_id and found is None:
            raise UserFacingError("That channel is gone. Reload the page, then choose another one.")
        return found


def find_server(here: Here) -> ServerPage:
    """Return the server that the address names, or the first one; raises UserFacingError."""
    servers = visible_servers(here)
    if not servers:
        raise UserFacingError(NO_SERVERS)
    asked = here.request.query.get("server", str(servers[0].id))
    server = next((server for server in servers if str(server.id) == asked), None)
    if server is None:
        raise UserFacingError(NOT_YOUR_SERVER)
    return ServerPage(here, server, here.visitor.member_in(server.id))


@dataclass(frozen=True)
class ShownDocument:
    document: documents.Document
    kind: str
    where: str
    """The channels and personality whose answers quote the document, in words."""

    @property
    def updated_at(self) -> datetime | None:
        """Time when the document's text was replaced; None if it never was."""
        refreshed_at = self.document.refreshed_at
        return refreshed_at if refreshed_at - self.document.added_at > A_MOMENT else None


async def show_documents(here: Here) -> web.Response:
    if not visible_servers(here):
        return here.fill("no_server.html", sentence=NO_SERVERS)
    return await _show_documents(find_server(here), "knowledge.html")


async def _show_documents(
    page: ServerPage, template: str, added: Sequence[documents.Document] = (), refused: Sequence[str] = ()
) -> web.Response:
    before_id = page.here.number("before")
    found, personalities = await page.here.services.database.read(_read_documents, page.server.id, before_id)
    shown = [_shown(page, document, personalities) for document in found[:SHOWN]]
    return page.fill(
        template,
        documents=shown,
        personalities=[one for one in personalities if one.archived_at is None],
        added=added,
        refused=refused,
        older=found[SHOWN - 1].id if len(found) > SHOWN else None,
        is_first=before_id is None,
    )


def _read_documents(
    session: Session, guild_id: int, before_id: int | None
) -> tuple[list[documents.Document], list[Personality]]:
    found = documents.newest_documents(session, guild_id, SHOWN + 1, before_id)
    return found, list_personalities(session, guild_id, archived=None)


def _shown(page: ServerPage, document: documents.Document, personalities: Sequence[Personality]) -> ShownDocument:
    channel = page.server.get_channel_or_thread(document.channel_id) if document.channel_id else None
    where = "everywhere in this server"
    if document.channel_id:
        where = f"only in #{channel}" if channel else "only in a closed thread or deleted channel"
    if document.personality_id:
        names = {one.id: one.name for one in personalities}
        where += f", only as {names.get(document.personality_id, 'a personality that is gone')}"
    return ShownDocument(document, KINDS[document.kind], where)


@dataclass(frozen=True)
class DocumentOptions:
    """The title, link and use that a person chose for a document."""

    title: str
    """The document's title; empty for the file's name, or the first line of the text."""
    link: str
    channel_id: int | None
    personality_id: int | None


async def add_documents(here: Here) -> web.Response:
    """Add a text and files; one that is refused does not keep the others out."""
    page = find_server(here)
    text, options = here.form.text("text", "", limit=None), await _read_options(page)
    given = [*here.form.files("files"), *([text] if text else [])]
    if not given:
        raise UserFacingError(NOTHING_GIVEN)
    if len(given) > 1 and (options.title or options.link):
        raise UserFacingError(ONE_TITLE)
    results = [await _add(page, one, options) for one in given]
    added = [result for result in results if isinstance(result, documents.Document)]
    refused = [result for result in results if isinstance(result, str)]
    template = "added.html" if here.is_partial else "knowledge.html"
    return await _show_documents(page, template, added, refused)


async def _read_options(page: ServerPage) -> DocumentOptions:
    form = page.here.form
    channel, name, personality = page.channel_named(form.text("channel", "")), form.text("only_as", ""), None
    if name:
        personality = await page.here.services.database.read(personality_named, name, page.server.id)
    return DocumentOptions(
        form.text("title", ""),
        form.text("link", ""),
        channel.id if channel else None,
        personality.id if personality else None,
    )


async def _add(page: ServerPage, given: web.FileField | str, options: DocumentOptions) -> documents.Document | str:
    """Add a text or a file; return the document, or the reason for a refusal."""
    title = options.title or (title_of_text(given) if isinstance(given, str) else given.filename)
    try:
        async with page.here.recorded(page.action("add document", title)):
            document = await page.here.services.library.add(
                with_link(await _read(page, given), options.link),
                guild_id=page.server.id,
                channel_id=options.channel_id,
                personality_id=options.personality_id,
                title=title,
                added_by=page.here.visitor.name,
            )
    except Unreadable as error:
        return member_message(error)  # it names the file
    except Exception as error:
        return f"{escape_inline(shorten(title, MAX_TITLE_CHARS))}: {member_message(error)}"
    return document


async def _read(page: ServerPage, given: web.FileField | str) -> Source:
    if isinstance(given, str):
        return await from_text(given)
    return await from_content(given.file.read(), given.filename, page.here.services.settings.knowledge)


async def show_document(here: Here) -> web.Response:
    """Show a document with its passages, and the ways to change it."""
    page = find_server(here)
    document, after = await page.find_document(), here.number("after")
    passages, personalities, text = await here.services.database.read(_read_document, document, after)
    return page.fill(
        "document.html",
        shown=_shown(page, document, personalities),
        passages=passages[:SHOWN_PASSAGES],
        later=passages[SHOWN_PASSAGES - 1].position if len(passages) > SHOWN_PASSAGES else None,
        text=text,
        changed=here.request.query.get("changed", ""),
    )


def _read_document(
    session: Session, document: documents.Document, after: int | None
) -> tuple[list[documents.StoredPassage], list[Personality], str]:
    """Return the document's passages, the personalities that its server knows, and its text if it can be edited."""
    return (
        documents.read_passages(session, document.id, SHOWN_PASSAGES + 1, after),
        list_personalities(session, document.guild_id, archived=None),
        documents.read_text(session, document.id) if document.kind is DocumentKind.TEXT else "",
    )


async def refresh(here: Here) -> web.Response:
    """Replace a document's text by a newer one, or by the present text on Discord."""
    page = find_server(here)
    document = await page.find_document()
    async with here.recorded(page.action("refresh document", f"document {document.id}")):
        source = await _read_newer(page, document)
        before = here.form.text("before") if document.kind in WRITTEN else None  # else it is what Discord has now
        differs = await here.services.library.refresh(document, source, before=before)
    return here.go(page.address(f"/{document.id}", changed="yes" if differs else "no"))


async def _read_newer(page: ServerPage, document: documents.Document) -> Source:
    form = page.here.form
    if files := form.files("files"):
        return await _read(page, files[0])
    if document.kind is DocumentKind.TEXT:
        return await _read(page, form.text("text", limit=None))
    return await read_again(document, page.server, page.reader)


async def remove_chosen(here: Here) -> web.Response:
    page = find_server(here)
    document = await page.find_document()
    action = page.action("remove document", f"document {document.id}")
    await here.run_audited(action, documents.remove_document, page.server.id, document.id)
    log.info("%s removed document %d.", here.visitor.name, document.id)
    raise web.HTTPSeeOther(page.address())


async def show_search(here: Here) -> web.Response:
    """Show which passages an answer to a question would quote, and which not."""
    page = find_server(here)
    services, question = here.services, without_nul(here.request.query.get("question", "")).strip()
    channel = page.channel_named(here.request.query.get("channel", ""))
    channel_ids = frozenset({channel.id} if channel else ())
    scope = documents.SearchScope(page.server.id, channel_ids, here.personality.id)
    decision, found = NOTHING, list[FoundPassage]()
    if question:
        decision, found = await services.library.find(scope, question, FOUND)
    return page.fill(
        "search.html",
        question=question,
        asked_in=channel,
        found=found,
        score_of=describe_score,
        verdict=explain_decision(decision),
        problem=services.library.problem,
    )


ONE = r"/knowledge/{document:\d+}"
ROUTES = [
    get("/knowledge", show_documents),
    post("/knowledge", add_documents),
    get("/knowledge/search", show_search),
    get(ONE, show_document),
    post(f"{ONE}/refresh", refresh),
    post(f"{ONE}/remove", remove_chosen),
]
