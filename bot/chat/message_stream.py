"""One answer as Discord messages: sent, edited while it grows, and finished."""

from __future__ import annotations

import logging
import secrets
import time
from collections.abc import Awaitable, Callable
from functools import partial

import aiohttp
import discord
from tenacity import AsyncRetrying

from bot.errors import BotError
from bot.text.sanitize import sanitize_markdown
from bot.text.splitting import MAX_MESSAGE_CHARS, split_message
from storage.retrying import retries
from storage.settings.sections import OutputSettings

log = logging.getLogger(__name__)

CURSOR = " ▌"
SMALL_PRINT_CHARS = 150
PART_CHARS = MAX_MESSAGE_CHARS - SMALL_PRINT_CHARS  # the last part leaves room for the small print
FINISH_PATIENCE_S = 15.0

DISCORD_ERRORS = (discord.HTTPException, discord.RateLimited, aiohttp.ClientError, OSError)
"""What a request to Discord can raise: its own answers, and those of a connection that breaks."""
PASSING = (408, 429)
SERVER_TROUBLE = 500

OnMessage = Callable[[discord.Message, int], Awaitable[None]]
OnSurplus = Callable[[discord.Message], Awaitable[None]]


class AnswerDeleted(BotError):
    """A message of the answer was deleted while it grew."""


def is_temporary(error: Exception) -> bool:
    """Return whether Discord may take the same request, which ended in TROUBLE, a little later."""
    if isinstance(error, discord.HTTPException):
        return error.status in PASSING or error.status >= SERVER_TROUBLE
    return True


def _may_pass(error: BaseException) -> bool:
    return isinstance(error, DISCORD_ERRORS) and is_temporary(error)


def lay_out(text: str, small_print: str, output: OutputSettings) -> list[str]:
    """Return the contents of the messages that carry a whole answer; small print too long for the last has its own."""
    parts = _split_safely(text, output) or ["(no words)"]
    last = f"{parts[-1]}\n{small_print}"
    return [*parts[:-1], last] if len(last) <= MAX_MESSAGE_CHARS else [*parts, small_print[:MAX_MESSAGE_CHARS]]


def _split_safely(text: str, output: OutputSettings, cursor: str = "") -> list[str]:
    # Once more after the cut: it may have put at the start of a line what was harmless within one.
    parts = split_message(sanitize_markdown(text, output) + cursor, PART_CHARS)
    return [sanitize_markdown(part, output)[:MAX_MESSAGE_CHARS] for part in parts]


class MessageStream:
    """Shows a growing text, at most one edit per message and interval."""

    def __init__(
        self,
        channel: discord.abc.Messageable,
        reference: discord.MessageReference | None,
        *,
        edit_interval_s: float,
        output: OutputSettings,
        on_message: OnMessage,
        on_surplus: OnSurplus,
    ) -> None:
        """`on_surplus` gets a message that the text does not need any more, before it is taken back."""
        self._channel = channel
        self._reference = reference
        self._edit_interval_s = edit_interval_s
        self._output = output
        self._on_message = on_message
        self._on_surplus = on_surplus
        self._messages: list[discord.Message] = []
        self._shown: list[str] = []
        self._last_shown_s = -float("inf")
        self._attempt: tuple[str, str] | None = None
        """The nonce and the text of a message that is being sent."""

    @property
    def last_message(self) -> discord.Message | None:
        return self._messages[-1] if self._messages else None

    async def show(self, text: str) -> None:
        """Show the text so far, unless the last edit was a moment ago.

        Raises AnswerDeleted where a message of the answer is gone, discord.Forbidden where the bot may not write.
        """
        # perf_counter, because the simulator owns time.monotonic.
        now_s = time.perf_counter()
        if now_s - self._last_shown_s < self._edit_interval_s or not text.strip():
            return
        self._last_shown_s = now_s
        try:
            await self._write(_split_safely(text, self._output, CURSOR))
        except DISCORD_ERRORS as error:
            if not is_temporary(error):
                raise
            log.warning("Discord did not take an edit (%s); the next one will hold its text", error)

    async def finish(self, text: str, small_print: str) -> None:
        """Show the whole text with its small print, trying again while Discord has trouble."""
        report = partial(log.warning, "Discord did not take the end of an answer (%s); trying again.")
        options = retries(_may_pass, report, FINISH_PATIENCE_S)
        await AsyncRetrying(**options)(self._write, lay_out(text, small_print, self._output))

    async def _write(self, parts: list[str]) -> None:
        for position, part in enumerate(parts):
            if position == len(self._messages):
                await self._send(part)
            elif part != self._shown[position]:
                await self._edit(position, part)
        for message in self._messages[len(parts) :]:
            await self._on_surplus(message)
            await message.delete()
        del self._messages[len(parts) :], self._shown[len(parts) :]

    async def _send(self, part: str) -> None:
        # An attempt that seemed to fail may have come through: Discord answers the same nonce with the same message.
        nonce, sent = self._attempt = self._attempt or (secrets.token_hex(12), part)
        message = await self._channel.send(part, reference=self._reference, mention_author=False, nonce=nonce)  # type: ignore[arg-type]
        self._reference, self._attempt = None, None
        self._messages.append(message)
        self._shown.append(sent)
        await self._on_message(message, len(self._messages) - 1)

    async def _edit(self, position: int, part: str) -> None:
        try:
            await self._messages[position].edit(content=part)
        except discord.NotFound as error:
            raise AnswerDeleted("a message of the answer was deleted") from error
        self._shown[position] = part
