"""Keeps in a file what Discord would keep of the demo, and puts it back at the next start."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
from dataclasses import dataclass, field
from pathlib import Path

import simcord
from pydantic import TypeAdapter, ValidationError
from simcord.backend.models import Channel, Message, User, Webhook

from bot.demo.channel.world import World
from bot.demo.folder import ATTACHMENTS, CHAT_FILE
from storage.errors import SettingsError

log = logging.getLogger(__name__)


@dataclass
class Kept:
    """The server as people see it, by simcord's models."""

    channels: list[Channel] = field(default_factory=list)
    """Text channels and threads. Direct messages are left out, because everyone has that channel from the start."""
    messages: list[Message] = field(default_factory=list)
    webhooks: list[Webhook] = field(default_factory=list)
    causes: dict[int, str] = field(default_factory=dict)
    """A person's action, by ID of the message that responds to it."""
    read_to: list[tuple[int, int, int]] = field(default_factory=list)
    """(person's ID, channel's ID, ID of the newest message seen)"""


KEPT = TypeAdapter(Kept)


class ChatFile:
    def __init__(self, folder: Path, world: World) -> None:
        self._file, self._attachments, self._world = folder / CHAT_FILE, folder / ATTACHMENTS, world
        self._writing = threading.Lock()
        self._saved: object = None
        """The state of the server that the file holds."""
        self._unsaved: object = None
        """The state that could not be written."""

    def restore(self, welcome: str) -> None:
        """Put everything back before the bot starts. At the first start, post the welcome in the lounge."""
        backend = self._world.env.backend
        try:
            kept = KEPT.validate_json(self._file.read_bytes()) if self._file.exists() else Kept()
        except (OSError, ValidationError) as error:
            raise SettingsError(
                f"{self._file} cannot be read: delete it to begin with an empty chat (votes and versions stay)"
            ) from error
        for id_ in {one.id for one in (*kept.channels, *kept.messages, *kept.webhooks)}:
            with contextlib.suppress(simcord.SetupError):  # the first places have theirs already
                backend.reserve_id(id_)
        self._open_places(kept)
        for message in kept.messages:
            if message.channel_id in backend.channels:
                backend.messages[message.channel_id][message.id] = message
                self._restore_attachments(message)
        self._world.causes |= kept.causes
        self._world.read_to |= {(person, channel): newest for person, channel, newest in kept.read_to}
        if not kept.messages:
            backend.create_message(self._world.lounge.id, backend.bot_user.id, welcome)

    def _open_places(self, kept: Kept) -> None:
        backend, guild_id = self._world.env.backend, self._world.guild.id
        guild = backend.get_guild(guild_id)
        for channel in kept.channels:
            if channel.id in backend.channels:  # one of the first places, which others hold
                vars(backend.channels[channel.id]).update(vars(channel))
                continue
            backend.channels[channel.id] = channel
            backend.messages[channel.id] = {}
            (guild.thread_ids if channel.is_thread else guild.channel_ids).append(channel.id)
        for webhook in kept.webhooks:
            backend.users[webhook.webhook_user_id] = User(webhook.webhook_user_id, webhook.name, bot=True)
            backend.webhooks[webhook.id] = webhook
            backend.webhook_tokens[webhook.token] = webhook.id

    def _restore_attachments(self, message: Message) -> None:
        for attached in message.attachments:
            with contextlib.suppress(FileNotFoundError):
                self._world.env.backend.cdn._blobs[attached["url"]] = (self._attachments / attached["id"]).read_bytes()

    async def save(self) -> None:
        """Write the file if anything has changed. Ephemeral messages are left out, as Discord does not keep them."""
        backend, state = self._world.env.backend, (self._world.changes, dict(self._world.read_to))
        if state == self._saved:
            return
        kept = Kept(
            channels=[one for one in backend.channels.values() if one.guild_id == self._world.guild.id],
            messages=[one for sent in backend.messages.values() for one in sent.values() if not one.is_ephemeral],
            webhooks=list(backend.webhooks.values()),
            causes=self._world.causes,
            read_to=[(*whose, newest) for whose, newest in self._world.read_to.items()],
        )
        contents = {
            attached["id"]: content
            for message in kept.messages
            for attached in message.attachments
            if (content := backend.cdn.get(attached["url"])) is not None
        }
        try:
            await asyncio.to_thread(self._write, KEPT.dump_json(kept), contents)
        except OSError as error:
            if state != self._unsaved:
                reason = error.strerror
                log.warning("The demo's chat could not be saved (%s). A restart would lose new messages.", reason)
            self._unsaved = state
        else:
            self._saved = state

    def _write(self, chat: bytes, attachments: dict[str, bytes]) -> None:
        with self._writing:  # at the end of the demo, one that was begun may still go on
            self._attachments.mkdir(exist_ok=True)
            stored = {path.name: path for path in self._attachments.iterdir()}
            for id_ in attachments.keys() - stored.keys():
                _replace(self._attachments / id_, attachments[id_])
            _replace(self._file, chat)
            for id_ in stored.keys() - attachments.keys():
                stored[id_].unlink()


def _replace(file: Path, content: bytes) -> None:
    """Write the whole file, or leave it as it was."""
    half = file.with_suffix(".new")
    half.write_bytes(content)
    half.replace(file)
