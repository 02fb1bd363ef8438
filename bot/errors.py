"""Errors of the talking side."""

from __future__ import annotations


class BotError(Exception):
    """Root of everything this package raises on purpose."""


class UserFacingError(BotError):
    """Its text is a plain sentence that a member may read."""


class EngineBusy(UserFacingError):
    def __init__(self, waiting: int) -> None:
        super().__init__(f"I am busy: {waiting} answers are waiting already. Please try again in a moment.")
        self.waiting = waiting


class EngineClosed(UserFacingError):
    def __init__(self) -> None:
        super().__init__("I am restarting. Please ask again in a minute.")


class ServersUnreachable(UserFacingError):
    def __init__(self) -> None:
        super().__init__("I cannot reach the servers that I think with. Please try again in a few minutes.")


class SpentForToday(UserFacingError):
    def __init__(self) -> None:
        super().__init__("I have used up what I may think today. I answer again after midnight UTC.")


class EngineStopped(BotError):
    """The model cannot be loaded, or its thread or process died."""


class ConnectionRefused(BotError):
    """Discord does not let the bot in, and will not by itself; the text says what to do."""


class DiscordUnreachable(BotError):
    """Discord does not answer; starting again later may help."""
