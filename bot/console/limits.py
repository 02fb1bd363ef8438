"""Limits the sign-in attempts of strangers, and the requests of visitors who signed in with Discord."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field

from bot.errors import UserFacingError
from bot.guards.rate_limit import HOUR_S, MINUTE_S, RateLimited, SlidingWindows, Window

SIGN_INS_OF_ADDRESS, SIGN_INS = 10, 60
"""Sign-ins a minute, from one address and from all. Each asks Discord, which blocks the bot after many refusals."""
LINKS = 60
"""Attempts with a link a minute, of all together: only programs on the bot's machine can try one."""
REQUESTS, WRITES = 300, 120
"""Requests and writes a minute of one visitor: more than pages that follow a round, or fast labelling, need."""
AT_ONCE, WAITING = 3, 12
"""Requests of one visitor that are answered at once, and that may wait: a page loads some parts at once."""
FULL_S = 5.0
"""Seconds until a visitor may come back if as many requests are waiting already."""
STILL_ANSWERING = "I'm still answering your last question. Ask again when it is done."


@dataclass
class _Turns:
    """The requests of one visitor."""

    free: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(AT_ONCE))
    open: int = 0


class ConsoleLimits:
    def __init__(self) -> None:
        self._windows = SlidingWindows()
        self._turns: dict[int, _Turns] = {}
        self._asking: set[int] = set()

    def require_sign_in(self, caller: str) -> None:
        """Count an attempt to sign in; raises RateLimited."""
        of_address = Window(("sign in", caller), SIGN_INS_OF_ADDRESS, MINUTE_S)
        self._windows.require(of_address, Window("sign in", SIGN_INS, MINUTE_S))

    def require_link(self) -> None:
        """Count an attempt with a link; raises RateLimited."""
        self._windows.require(Window("link", LINKS, MINUTE_S))

    def require_request(self, user_id: int, *, writes: bool) -> None:
        """Count a request; raises RateLimited."""
        windows = [Window(("request", user_id), REQUESTS, MINUTE_S)]
        if writes:
            windows.append(Window(("write", user_id), WRITES, MINUTE_S))
        self._windows.require(*windows)

    @asynccontextmanager
    async def in_turn(self, user_id: int) -> AsyncIterator[None]:
        """Wait until few of the visitor's requests are being answered; raises RateLimited if many wait already."""
        turns = self._turns.setdefault(user_id, _Turns())
        if turns.open >= AT_ONCE + WAITING:
            raise RateLimited(FULL_S)
        turns.open += 1
        try:
            async with turns.free:
                yield
        finally:
            turns.open -= 1
            if not turns.open:
                del self._turns[user_id]

    def should_record_refusal(self, user_id: int) -> bool:
        """Return whether the audit trail needs another line: repeated attempts of one visitor must not fill it."""
        return not self._windows.take([Window(("refused", user_id), 1, HOUR_S)], time.monotonic())

    @contextmanager
    def one_at_a_time(self, user_id: int) -> Iterator[None]:
        """Let a visitor occupy the model with one thing only; raises UserFacingError."""
        if user_id in self._asking:
            raise UserFacingError(STILL_ANSWERING)
        self._asking.add(user_id)
        try:
            yield
        finally:
            self._asking.discard(user_id)
