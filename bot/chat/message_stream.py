"""One answer as Discord messages: sent, edited while it grows, and finished."""

from __future__ import annotations

import contextlib
import logging
import secrets
import time
from collections.abc import Awaitable, Callable, Sequence

import discord

from bot.chat.voices import SentMessage, Voice
from bot.discord_errors import DISCORD_ERRORS, SLOW_MODE, UNKNOWN_WEBHOOK, is_temporary, retry_after_s
from bot.errors import BotError
from bot.localization.sentences import gettext
from bot.text.sanitize import sanitize_markdown
from bot.text.splitting import MAX_MESSAGE_CHARS, escape_lone_pipes, split_message
from bot.text.tables import show_tables
from storage.settings.sections import OutputSettings
from storage.wording import Duration

log = logging.getLogger(__name__)

CURSOR = " ▌"
SMALL_PRINT_CHARS = 150
PART_CHARS = MAX_MESSAGE_CHARS - SMALL_PRINT_CHARS  # the last part leaves room for the small print
SLOWABLE = (discord.TextChannel, discord.VoiceChannel, discord.StageChannel, discord.Thread)
SLOWED_DOWN = (
    "Slow mode in channel %s delays the rest of an answer by %s: give the bot the permission Bypass Slowmode there "
    "(Manage Messages no longer includes it)."
)


class AnswerDeleted(BotError):
    """A message of the answer was deleted while the answer grew."""


def is_slowed_down(channel: discord.abc.Messageable, error: BaseException) -> bool:
    """Return whether the channel's slow mode is why Discord refuses a new message for now.

    Discord says that it does not slow bots down, and that the permission Bypass Slowmode, since February 2026 no longer
    part of Manage Messages, exempts everybody. discord.py does not pass on the code of an error that it waits for.
    """
    if isinstance(error, discord.HTTPException) and error.code == SLOW_MODE:
        return True
    if not isinstance(channel, SLOWABLE) or not channel.slowmode_delay or not retry_after_s(error):
        return False
    parent = channel.parent if isinstance(channel, discord.Thread) else channel
    return parent is not None and not parent.permissions_for(channel.guild.me).bypass_slowmode


def lay_out(text: str, small_print: str, output: OutputSettings, opening: str = "") -> list[str]:
    """Return the contents of an answer's messages; small print that does not fit in the last one gets its own."""
    whole = escape_lone_pipes(show_tables(sanitize_markdown(text, output), output))
    first, *rest = _split_safely(whole, output) or [gettext("(no words)")]
    parts = [opening + first, *rest]
    last = f"{parts[-1]}\n{small_print}"
    return [*parts[:-1], last] if len(last) <= MAX_MESSAGE_CHARS else [*parts, small_print[:MAX_MESSAGE_CHARS]]


def lay_out_growing(text: str, output: OutputSettings, opening: str = "") -> list[str]:
    """Return the contents of the messages of an answer that is still being written; a spoiler in it is hidden already.

    The cursor is after what a part closes, where it is found again.
    """
    # Whether pipes at the end begin or end something shows only with what follows.
    written = sanitize_markdown(text, output).rstrip("| \n")
    first, *rest = _split_safely(show_tables(written, output), output) or [""]
    *parts, last = [opening + first, *rest]
    return [*parts, last + CURSOR]


def _split_safely(text: str, output: OutputSettings) -> list[str]:
    # Sanitized again after the cut: it may have moved to the start of a line what was harmless within one.
    parts = [sanitize_markdown(part, output) for part in split_message(text, PART_CHARS)]
    fits = [[part] if len(part) <= PART_CHARS else _split_safely(part, output) for part in parts]
    return [part for pieces in fits for part in pieces]


class MessageStream:
    """Shows a growing text, with at most one edit per message and interval."""

    def __init__(
        self,
        voice: Voice,
        *,
        edit_interval_s: float,
        output: OutputSettings,
        on_message: Callable[[SentMessage, int], Awaitable[None]],
        on_surplus: Callable[[int], Awaitable[None]],
        sent: Sequence[SentMessage] = (),
    ) -> None:
        """`on_message` gets each new message and its position in the answer.

        `on_surplus` gets the ID of a message that the text no longer needs, before the message is deleted. `sent` are
        the messages of an answer that an earlier stream began.
        """
        self._voice = voice
        self._edit_interval_s = edit_interval_s
        self._output = output
        self._on_message = on_message
        self._on_surplus = on_surplus
        self._messages: list[SentMessage] = list(sent)
        self._shown = [""] * len(self._messages)
        self._last_shown_s = -float("inf")
        self._paused_until_s = -float("inf")
        self._is_slowed_down = False
        self.has_lost_access = False
        """Discord forbids what it allowed before: somebody took a permission away while the answer grew."""
        self._attempt: tuple[str, str] | None = None
        """The nonce and the text of a message that is being sent."""

    @property
    def last_message(self) -> SentMessage | None:
        return self._messages[-1] if self._messages else None

    @property
    def pause_s(self) -> float:
        """Seconds until Discord accepts the next request."""
        return max(0.0, self._paused_until_s - time.monotonic())

    @property
    def is_due(self) -> bool:
        """Whether `show` would edit now: the last edit is long enough ago, and Discord allows it."""
        # perf_counter, because a simulator moves time.monotonic in steps.
        is_early = time.perf_counter() - self._last_shown_s < self._edit_interval_s
        return not (self.pause_s or self.has_lost_access or is_early)

    async def show(self, text: str) -> None:
        """Show the text so far if an edit is due.

        Raises AnswerDeleted if a message of the answer was deleted, discord.Forbidden if the bot may not write here.
        """
        if not self.is_due or not text.strip():
            return
        self._last_shown_s = time.perf_counter()
        try:
            await self._write(lay_out_growing(text, self._output, self._voice.opening))
        except DISCORD_ERRORS as error:
            if not is_temporary(error) and not self.has_lost_access:
                raise
            log.warning("Discord refused an edit of a growing answer (%s); the next edit has its text.", error)

    async def finish(self, text: str, small_print: str) -> None:
        """Show the whole text with its small print; raises what `show` raises, and DISCORD_ERRORS."""
        await self._write(lay_out(text, small_print, self._output, self._voice.opening))

    async def take_back(self) -> None:
        """Delete the messages of an answer whose prompt was deleted."""
        try:
            while self._messages:
                await self._messages.pop().delete()
        except DISCORD_ERRORS as error:
            log.warning("Discord refused to delete an answer whose prompt was deleted: %s", error)

    async def _write(self, parts: list[str]) -> None:
        try:
            await self._show_all(parts)
        except DISCORD_ERRORS as error:
            self._paused_until_s = time.monotonic() + retry_after_s(error)
            self.has_lost_access = bool(self._messages) and isinstance(error, discord.Forbidden)
            raise
        self.has_lost_access = False

    async def _show_all(self, parts: list[str]) -> None:
        try:
            await self._send_or_edit(parts)
        except discord.NotFound as error:
            if error.code != UNKNOWN_WEBHOOK:
                raise
            await self._give_up_messages()
            await self._send_or_edit(parts)

    async def _give_up_messages(self) -> None:
        """Begin the answer anew: somebody deleted the webhook of its messages, so that they cannot be edited."""
        while self._messages:
            message = self._messages[-1]
            await self._on_surplus(message.id)  # first: if the database fails, all is tried again
            del self._messages[-1], self._shown[-1]
            with contextlib.suppress(*DISCORD_ERRORS):  # only Manage Messages lets the bot delete them
                await message.channel.get_partial_message(message.id).delete()  # pyrefly: ignore[missing-attribute]

    async def _send_or_edit(self, parts: list[str]) -> None:
        for position, part in enumerate(parts):
            if position == len(self._messages):
                await self._send(part)
            if part != self._shown[position]:
                await self._edit(position, part)
        for message in self._messages[len(parts) :]:
            await self._on_surplus(message.id)
            await message.delete()
        del self._messages[len(parts) :], self._shown[len(parts) :]

    async def _send(self, part: str) -> None:
        # An attempt that seemed to fail may have succeeded: Discord answers the same nonce with the same message.
        nonce, sent = self._attempt = self._attempt or (secrets.token_hex(12), part)
        try:
            message = await self._voice.send(part, nonce)
        except DISCORD_ERRORS as error:
            self._note_slow_mode(error)
            raise
        self._attempt = None
        self._messages.append(message)
        self._shown.append(sent)
        await self._on_message(message, len(self._messages) - 1)

    def _note_slow_mode(self, error: Exception) -> None:
        if not self._is_slowed_down and is_slowed_down(self._voice.channel, error):
            self._is_slowed_down = True
            log.warning(SLOWED_DOWN, getattr(self._voice.channel, "id", "?"), Duration(retry_after_s(error)))

    async def _edit(self, position: int, part: str) -> None:
        try:
            await self._messages[position].edit(content=part)
        except discord.NotFound as error:
            if error.code == UNKNOWN_WEBHOOK:
                raise
            raise AnswerDeleted("a message of the answer was deleted") from error
        self._shown[position] = part
