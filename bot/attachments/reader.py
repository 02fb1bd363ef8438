"""Reads the attachments of a question: pictures, files, voice messages and links."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import aiohttp
import discord

from bot.attachments.files import fetch_file, text_of, text_type_of
from bot.attachments.links import fetch_page, links_in, site_of
from bot.attachments.material import (
    Material,
    Reading,
    RecentReadings,
    file_material,
    heard_material,
    page_material,
    picture_material,
    unread_material,
)
from bot.attachments.pictures import BLIND, PICTURE_TYPES, put_into_words
from bot.chat.conversation import History, Post
from bot.engine import Engine
from bot.errors import UserFacingError
from bot.localization.sentences import gettext, ngettext, sentence
from bot.model_server import Faulty, ServerError, connect
from bot.privacy.recent_deletions import Deletions
from bot.text.splitting import MAX_MESSAGE_CHARS
from storage.settings.sections import Settings
from storage.wording import gettext_noop, shorten

log = logging.getLogger(__name__)

AT_ONCE = 4
"""Number of attachments, of all members, that are read at the same time."""
MAX_FILES = 4
"""Maximum pictures, files and links of a message that are read: more would not fit into a prompt."""
MAX_READ_CHARS = 4_000
"""Maximum length of a file's or page's text in a prompt: about half of the usual context of 2,048 tokens."""
MAX_VOICE_S = 300.0
"""Maximum length of a voice message: `voice.timeout_s` must be long enough to write it down."""
HEARD_CHARS = 200
LOOKED = "looked at a picture"
BLIND_TO_TYPE = gettext_noop("I can't look at {name}. Please send pictures as PNG, JPEG, GIF or WebP.")
DEAF = gettext_noop("I can't listen to voice messages here. Please write to me instead.")
TOO_LONG_TO_HEAR = gettext_noop("I can't listen to that voice message: it is longer than {limit} seconds.")
SILENT = gettext_noop("I heard nobody speak in the voice message.")
NOT_TEXT = gettext_noop("I can't read {name}. I read text, Markdown, CSV, PDF, HTML and Word files.")
NOT_HEARING = gettext_noop(
    "I couldn't hear the voice message, because the service that I listen with doesn't answer right now."
)

Thing = discord.Attachment | str
"""A file, or the address of a web page."""


class AttachmentReader:
    def __init__(self, settings: Settings, engine: Engine, deletions: Deletions) -> None:
        """The `engine` looks at pictures if no server does."""
        self._settings = settings
        self._engine = engine
        self._deletions = deletions
        self._turns = asyncio.Semaphore(AT_ONCE)
        self.recent = RecentReadings()

    def can_read(self, history: History) -> bool:
        """Return whether the question has an attachment that may be read."""
        return not all(self._excuses(history))

    def excuse(self, history: History) -> str:
        """Return the reasons why the question's attachments cannot be read; empty if there are none."""
        return " ".join(dict.fromkeys(self._excuses(history)))

    async def read(self, history: History) -> History:
        """Return the history with its attachments in words: read now for the question, else remembered."""
        target = self._target(history)
        if target is None:
            return replace(history, posts=tuple(map(self._remembered, history.posts)))
        reading = await self._read(self._things(target), history.posts[-1].text)
        reading = _from_outside(reading) if target.is_forwarded else reading
        self.recent.keep(target.id, reading)
        known = replace(history, posts=tuple(map(self._remembered, history.posts)), notes=reading.notes)
        if self._deletions.concern({target.id}):  # it was deleted while it was read
            self.recent.forget({target.id})
        return known

    def with_heard(self, post: Post) -> Post:
        """Return the post with its author's words in voice messages, as far as they are remembered."""
        return replace(post, text="\n".join(filter(None, (post.text, self.recent.of(post.id).heard))))

    def _remembered(self, post: Post) -> Post:
        return replace(self.with_heard(post), materials=(*post.materials, *self.recent.of(post.id).materials))

    # What came

    def _target(self, history: History) -> Post | None:
        """Return the message whose attachments are read: the question, or the one that it replies to if it has none."""
        return next((post for post in history.called if self._things(post)), None)

    def _things(self, post: Post) -> Sequence[Thing]:
        """Return a message's files, and its links if they may be opened."""
        return (*post.files, *(links_in(post.text) if self._settings.attachments.links else ()))

    def _excuses(self, history: History) -> list[str]:
        target = self._target(history)
        return [self._why_not(thing) for thing in self._things(target)] if target else []

    def _why_not(self, thing: Thing) -> str:
        """Return the reason why a kind of attachment cannot be read; empty if it may be."""
        if isinstance(thing, str):
            return ""
        if thing.is_voice_message():
            return self._why_not_heard(thing)
        if _is_picture(thing):
            return self._why_not_seen(thing)
        return "" if text_type_of(thing) else gettext(NOT_TEXT, name=thing.filename)

    def _why_not_heard(self, voice: discord.Attachment) -> str:
        if not self._settings.voice.url:
            return gettext(DEAF)
        return gettext(TOO_LONG_TO_HEAR, limit=MAX_VOICE_S) if (voice.duration or 0.0) > MAX_VOICE_S else ""

    def _why_not_seen(self, picture: discord.Attachment) -> str:
        if not self._settings.pictures.url and not self._engine.sees:
            return gettext(BLIND)
        return "" if _type_of(picture) in PICTURE_TYPES else gettext(BLIND_TO_TYPE, name=picture.filename)

    # Reading

    async def _read(self, things: Sequence[Thing], asked: str) -> Reading:
        found = await asyncio.gather(*(self._read_one(thing, asked) for thing in things[:MAX_FILES]))
        notes = Counter(note for one in found for note in one.notes)
        seen = notes.pop(LOOKED, 0)
        looked = [ngettext("looked at {count} picture", "looked at {count} pictures", seen)] if seen else []
        is_any_open = any(one.heard or any(material.text for material in one.materials) for one in found)
        is_cut = is_any_open and len(things) > MAX_FILES
        left = [gettext("only the first {limit} were opened", limit=MAX_FILES)] if is_cut else []
        return Reading(
            materials=tuple(material for one in found for material in one.materials),
            heard="\n".join(one.heard for one in found if one.heard),
            notes=(*looked, *notes, *left),
        )

    async def _read_one(self, thing: Thing, asked: str) -> Reading:
        """Return the attachment in words; if it cannot be read, only that it exists."""
        try:
            if why := self._why_not(thing):
                raise UserFacingError(why)
            async with self._turns:
                return await (self._open_page(thing) if isinstance(thing, str) else self._open_file(thing, asked))
        except UserFacingError as error:
            return Reading(
                (unread_material(_name_of(thing)),), notes=(sentence(gettext(error.message, **error.values)),)
            )

    async def _open_file(self, file: discord.Attachment, asked: str) -> Reading:
        content = await fetch_file(file, self._settings.attachments.max_bytes)
        if file.is_voice_message():
            return await self._listen(content)
        media_type = None if _is_picture(file) else text_type_of(file)
        if media_type is None:
            description = await put_into_words(content, asked, self._settings, self._engine)
            return Reading((picture_material(description),), notes=(LOOKED,))
        text = await text_of(content, file.filename, media_type, self._settings.knowledge, MAX_READ_CHARS)
        return _quoting(text, file.filename, file_material(file.filename, shorten(text, MAX_READ_CHARS)))

    async def _open_page(self, link: str) -> Reading:
        content, media_type = await fetch_page(link, self._settings.attachments.max_bytes)
        text = await text_of(content, site_of(link), media_type, self._settings.knowledge, MAX_READ_CHARS)
        return _quoting(text, site_of(link), page_material(link, shorten(text, MAX_READ_CHARS)))

    async def _listen(self, content: bytes) -> Reading:
        try:
            heard = await write_down(content, self._settings)
        except ServerError as error:
            log.warning("A voice message was not written down: %s", error)
            raise UserFacingError(NOT_HEARING) from error
        if not heard:
            raise UserFacingError(SILENT)
        words = shorten(" ".join(heard.split()), HEARD_CHARS)
        return Reading(heard=heard, notes=(gettext("heard: “{words}”", words=words),))


def _from_outside(reading: Reading) -> Reading:
    """Return a forwarded message's attachments as outside material: the member did not write or say them."""
    heard = (heard_material(reading.heard),) if reading.heard else ()
    materials = tuple(replace(material, is_outside=True) for material in (*reading.materials, *heard))
    return replace(reading, materials=materials, heard="")


def _quoting(text: str, name: str, material: Material) -> Reading:
    note = gettext("read {name}", name=name)
    if material.text != text:
        note = gettext("read the beginning of {name}", name=name)
    cut_note = gettext("read only a part of {name}", name=name)
    return Reading((replace(material, read_note=note, cut_note=cut_note),), notes=(note,))


def _is_picture(file: discord.Attachment) -> bool:
    return _type_of(file).startswith("image/")


def _type_of(file: discord.Attachment) -> str:
    return (file.content_type or "").partition(";")[0].strip().lower()


def _name_of(thing: Thing) -> str:
    """Return the attachment's name in the prompt."""
    if isinstance(thing, str):
        return f"a link to {site_of(thing)}"
    if thing.is_voice_message():
        return "a voice message"
    return "a picture" if _is_picture(thing) else f"the file {thing.filename}"


async def write_down(content: bytes, settings: Settings, *, filename: str = "voice-message.ogg") -> str:
    """Return the words of a voice message, at most as long as a message; empty if nobody speaks in it.

    Raises ServerError if the server fails. Its file type is what its name says, as servers expect.
    """
    own = settings.voice
    form = aiohttp.FormData({"response_format": "json"})
    if own.model:
        form.add_field("model", own.model)
    form.add_field("file", content, filename=filename)
    async with connect(own.url, settings.voice_api_key, settings.remote) as server:
        reply = await server.post_form("/v1/audio/transcriptions", form, own.timeout_s)
    return shorten(_text(own.url, reply), MAX_MESSAGE_CHARS)


def _text(url: str, reply: Any) -> str:
    said = reply.get("text") if isinstance(reply, dict) else None
    if not isinstance(said, str):
        raise Faulty(url, "sends a reply that is not a transcription")
    return said.strip()
