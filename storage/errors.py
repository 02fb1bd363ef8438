"""Errors of this package. Each message is one sentence: what happened, then what to do."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

from storage.sentences import Sentence, joined
from storage.wording import gettext_noop

REASONS_SHOWN = 5
QUOTED_CHARS = 60
"""Maximum number of characters of a person's input that a message quotes."""


class TranslatableError(Exception):
    """An error whose message, if it has values, is a template that the bot can translate before it fills it in."""

    def __init__(self, message: str = "", /, **values: object) -> None:
        super().__init__(message.format(**values) if values else message)
        self.message = message
        self.values = values

    @property
    def sentence(self) -> Sentence:
        """The message as a sentence that can be stored."""
        return self.message if isinstance(self.message, Sentence) else Sentence(self.message, **self.values)


class StorageError(TranslatableError):
    """Base class of the errors that this package raises on purpose."""

    exit_code: ClassVar[int] = 1
    """Exit code of a command that ends with this error; 2 if it fails until its arguments or set-up change."""


class SettingsError(StorageError):
    """A setting or an argument is unknown or has an invalid value."""

    exit_code = 2


class DatabaseError(StorageError):
    """The database cannot be used in its current state."""


class DataDirectoryInUse(StorageError):
    exit_code = 2

    def __init__(self, what: str, path: Path | str, remedy: str) -> None:
        super().__init__(f"another {what} is using {path}: stop it first, or {remedy}")


class TokenInUse(StorageError):
    exit_code = 2

    def __init__(self) -> None:
        super().__init__(
            "another bot on this machine uses the same DISCORD_TOKEN, and both would answer: "
            "stop it, or create a second bot in the Discord developer portal"
        )


class ShardTaken(StorageError):
    """Two processes would answer the same servers."""

    exit_code = 2

    def __init__(self, shard: str, worker: str) -> None:
        super().__init__(
            f"{worker} already runs {shard!r} on this database, and both would answer the same servers: stop it, or "
            "give each process different discord.shards and all of them the same discord.shard_count"
        )


class AdapterError(StorageError):
    """An adapter is missing, incomplete, altered or not allowed."""


class StoreUnreachable(AdapterError):
    def __init__(self, url: str, error: Exception) -> None:
        detail = next(iter(str(error).strip().splitlines()), type(error).__name__)
        super().__init__(
            f"the adapter store {url} cannot be used ({detail}): check the network, data.adapters and the store's "
            "credentials in the environment (docs/scaling.md); cached versions still work"
        )


class BaseModelError(StorageError):
    """The base model cannot be found, downloaded or converted, or does not match."""


class VersionNotFound(StorageError):
    exit_code = 2

    def __init__(self, name: str) -> None:
        super().__init__("there is no version {name}: list the versions to see which exist", name=name[:QUOTED_CHARS])


class AliasConflict(StorageError):
    def __init__(self, alias: str, expected: int, found: int) -> None:
        super().__init__("someone else just changed the version in use: check the change, then try again")
        self.alias = alias
        self.expected = expected
        self.found = found


class AlreadyChampion(StorageError):
    exit_code = 2

    def __init__(self, name: str) -> None:
        super().__init__("{name} is already in use: nothing was changed", name=name)


class NothingToRollBack(StorageError):
    exit_code = 2

    def __init__(self) -> None:
        super().__init__("the base model is already in use: there is no earlier version to roll back to")


class ReleaseRefused(StorageError):
    """A version cannot be released this way; nothing was changed."""

    exit_code = 2


NOT_READY = {
    "fail": gettext_noop("it failed a check"),
    "not enough evidence": gettext_noop("members have not decided yet"),
}
"""{verdict: the same in words}"""


class GateNotPassed(ReleaseRefused):
    def __init__(self, name: str, verdict: str, reasons: Sequence[str] = ()) -> None:
        more = len(reasons) - REASONS_SHOWN
        shown = [*reasons[:REASONS_SHOWN], *([Sentence("and {number} more", number=more)] if more > 0 else [])]
        said = Sentence(NOT_READY[verdict])
        if shown:
            said = Sentence("{claim}: {reason}", claim=said, reason=joined("; ", shown))
        super().__init__(
            "{name} is not ready ({said}): to use it anyway, repeat with override and a reason",
            name=name,
            said=said,
        )


class OverrideNeedsReason(ReleaseRefused):
    def __init__(self, name: str) -> None:
        super().__init__(
            "overriding the checks needs a reason, which is stored and shown: say why {name} should answer", name=name
        )


class VersionWithdrawn(ReleaseRefused, AdapterError):
    """The files of a version were withdrawn; its row and its lineage are kept."""

    def __init__(self, name: str, withdrawn_on: str, because: str) -> None:
        super().__init__(
            "the files of {name} were withdrawn on {withdrawn_on} ({because}): choose another version",
            name=name,
            withdrawn_on=withdrawn_on,
            because=because,
        )


class VersionOfOtherBase(ReleaseRefused, AdapterError):
    """A version was trained on another base model than the one in use."""

    def __init__(self, name: str, base: str, in_use: str) -> None:
        super().__init__(
            "{name} was trained on the base {base}, but {in_use} answers now: choose another "
            "version, or change the base (`reactune base show` lists those used before)",
            name=name,
            base=base,
            in_use=in_use,
        )


class RoundConflict(StorageError):
    """A round is in the wrong state for this step."""


class LeaseExpired(RoundConflict):
    def __init__(self, round_id: int) -> None:
        super().__init__(f"the lease of round {round_id} has expired, so another trainer can take it over")


class CorrectionRefused(StorageError):
    """A suggested answer does not pass its checks."""


class ArenaConflict(StorageError):
    """An arena is in the wrong state for this step."""


class ArenaClosed(StorageError):
    def __init__(self) -> None:
        super().__init__("this arena is closed")


class SittingConflict(StorageError):
    """A pair was labelled already, or there is nothing to take back."""


class QuarantineConflict(StorageError):
    """Quarantined votes were already decided on, or have been deleted."""


class CardError(StorageError):
    """A personality's card, name or picture is not valid."""

    exit_code = 2


class PersonalityNotFound(StorageError):
    exit_code = 2

    def __init__(self, name: str, others: Sequence[str] = ()) -> None:
        shown = repr(name[:QUOTED_CHARS])
        if others:
            super().__init__(
                "there is no personality {name}: choose one of {others}", name=shown, others=", ".join(others)
            )
        else:
            super().__init__(
                "there is no personality {name} yet: start the bot once, or check data.directory", name=shown
            )


class PersonalityConflict(StorageError):
    """A personality is in the wrong state for this step; nothing was changed."""

    exit_code = 2


class SetupConflict(StorageError):
    """Somebody else set the server up in the meantime; nothing was changed."""

    exit_code = 2

    def __init__(self, by: str) -> None:
        super().__init__(f"{by} has just changed this server's setup: check what is set now, then finish again")
        self.by = by


class ExportRefused(StorageError):
    """A personality cannot be exported to this place."""

    exit_code = 2


class NoteRefused(StorageError):
    """A member's note about themselves does not pass its checks."""


class EncoderError(StorageError):
    """The sentence encoder is missing or cannot be read."""


class DocumentRefused(StorageError):
    """A document cannot be added, refreshed or removed now; nothing was changed."""


class GapConflict(StorageError):
    def __init__(self) -> None:
        super().__init__("that gap is already settled")


class CopyRefused(StorageError):
    """A database cannot be copied; the target is unchanged."""

    exit_code = 2

    def __init__(self, table: str, what: str = "the target already has rows: use an empty database") -> None:
        super().__init__(f"{what} (table {table}); nothing was changed there")


class BackupRefused(StorageError):
    """A backup cannot be written or restored; nothing was changed."""

    exit_code = 2
