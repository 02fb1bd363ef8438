"""What servers do in place of answering; each text names the server."""

from __future__ import annotations

from bot.errors import BotError


class ServerError(BotError):
    """Root of what goes wrong with one server."""

    def __init__(self, url: str, what: str) -> None:
        super().__init__(f"{url} {what}")
        self.url = url
        self.what = what


class Unreachable(ServerError):
    """Nobody takes connections there, or one broke."""


class Faulty(ServerError):
    """It says that it failed, or what it says is no answer."""


class Slow(ServerError):
    """It is silent for longer than it may be."""


class Overloaded(ServerError):
    def __init__(self, url: str, retry_after_s: float) -> None:
        super().__init__(url, f"has too much to do for the next {retry_after_s:g} s")
        self.retry_after_s = retry_after_s


class Refused(ServerError):
    """It understands the request, and does not do it."""

    def __init__(self, url: str, status: int, says: str) -> None:
        super().__init__(url, f"refuses with status {status}: {says}")
        self.status = status
        self.says = says


class VersionRefused(ServerError):
    """It cannot answer with this version; others may."""
