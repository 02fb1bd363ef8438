"""Errors of the bot."""

from __future__ import annotations

from typing import ClassVar

from storage.errors import TranslatableError
from storage.wording import Duration


class BotError(Exception):
    """Base class of the errors that this package raises on purpose."""

    exit_code: ClassVar[int] = 1
    """Exit code of a command that ends with this error, as for StorageError."""


class UserFacingError(TranslatableError, BotError):
    """An error whose message is written for members, in English; they read its translation."""


class NothingAsked(UserFacingError):
    def __init__(self) -> None:
        super().__init__(
            "I don't see a question. Mention me together with your question, or reply to one of my messages."
        )


class EngineBusy(UserFacingError):
    def __init__(self, waiting: int) -> None:
        super().__init__(
            "I'm busy: answers are already waiting ({waiting}). Please try again in a moment.", waiting=waiting
        )
        self.waiting = waiting


class EngineClosed(UserFacingError):
    def __init__(self) -> None:
        super().__init__("I'm restarting. Please ask again in a minute.")


class LearningNow(UserFacingError):
    def __init__(self, seconds_left: float | None) -> None:
        """`seconds_left` is None if the time is unknown."""
        if seconds_left is None:
            super().__init__("I'm learning right now, so I can't answer. Please ask me again in a while.")
        else:
            super().__init__(
                "I'm learning right now, so I can't answer. Please ask me again in about {time}.",
                time=Duration(max(60.0, seconds_left)),
            )


class ServersUnreachable(UserFacingError):
    def __init__(self) -> None:
        super().__init__("I can't reach my model. Please try again in a few minutes.")


class SpentForToday(UserFacingError):
    def __init__(self) -> None:
        super().__init__("I've reached today's limit. I'll be back after midnight UTC.")


class EngineStopped(BotError):
    """The model could not be loaded, or its thread or process died."""


class VersionRefused(BotError):
    """The engine cannot answer with this version; it can with others, and with the base."""


class ConnectionRefused(BotError):
    """Discord refuses the bot until the operator changes something; the text says what."""

    exit_code = 2


class DiscordUnreachable(BotError):
    """Discord does not answer; a later start may work."""
