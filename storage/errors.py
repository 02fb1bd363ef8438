"""Errors of the shared floor; each message is a sentence that says what to do."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

REASONS_SHOWN = 5


class StorageError(Exception):
    """Root of everything this package raises on purpose."""


class SettingsError(StorageError):
    """A setting is unknown, has the wrong type or an impossible value."""


class DatabaseError(StorageError):
    """The database cannot be used as it is."""


class DataDirectoryInUse(StorageError):
    def __init__(self, what: str, path: Path, remedy: str) -> None:
        super().__init__(f"another {what} is using {path}: stop it first, or {remedy}")
        self.path = path


class TokenInUse(StorageError):
    def __init__(self) -> None:
        super().__init__(
            "another bot on this machine uses the same DISCORD_TOKEN and both would answer: "
            "stop it, or create a second bot"
        )


class ShardTaken(StorageError):
    """Two processes would answer the same servers."""

    def __init__(self, shard: str, worker: str) -> None:
        super().__init__(
            f"{worker} runs as {shard!r} on this database, and both would answer the same servers: stop it, or give "
            "each process its own discord.shards and all of them the same discord.shard_count"
        )
        self.shard = shard
        self.worker = worker


class AdapterError(StorageError):
    """An adapter directory is missing, incomplete, altered or not allowed."""


class StoreUnreachable(AdapterError):
    def __init__(self, url: str, error: Exception) -> None:
        detail = next(iter(str(error).strip().splitlines()), type(error).__name__)
        super().__init__(
            f"the adapter store {url} cannot be used ({detail}): check the network, data.adapters and the store's "
            "credentials in the environment (docs/scaling.md); versions in the cache can be used meanwhile"
        )
        self.url = url


class BaseModelError(StorageError):
    """The base model cannot be found, fetched, converted or matched."""


class VersionNotFound(StorageError):
    def __init__(self, name: str) -> None:
        super().__init__(f"there is no version {name}: list the versions to see those that exist")
        self.name = name


class AliasConflict(StorageError):
    def __init__(self, alias: str, expected: int, found: int) -> None:
        super().__init__(
            f"{alias} was moved by somebody else meanwhile (generation {found}, not {expected}): "
            "look again, then repeat"
        )
        self.alias = alias
        self.expected = expected
        self.found = found


class AlreadyChampion(StorageError):
    def __init__(self, name: str) -> None:
        super().__init__(f"the champion is {name} already: nothing was changed")
        self.name = name


class NothingToRollBack(StorageError):
    def __init__(self) -> None:
        super().__init__("the base model is answering already: there is nothing before it to roll back to")


class ReleaseRefused(StorageError):
    """A version may not be released in this way; nothing was changed."""


class GateNotPassed(ReleaseRefused):
    def __init__(self, name: str, verdict: str, reasons: Sequence[str] = ()) -> None:
        more = [f"and {len(reasons) - REASONS_SHOWN} more"] if len(reasons) > REASONS_SHOWN else []
        said = ": ".join([verdict, *filter(None, ["; ".join([*reasons[:REASONS_SHOWN], *more])])])
        super().__init__(
            f"{name} did not pass the gate ({said}): repeat with override and a reason to let it answer anyway"
        )
        self.name = name
        self.verdict = verdict
        self.reasons = reasons


class OverrideNeedsReason(ReleaseRefused):
    def __init__(self, name: str) -> None:
        super().__init__(f"overriding the gate needs a reason: say why {name} may answer, it is kept and shown")
        self.name = name


class VersionWithdrawn(ReleaseRefused, AdapterError):
    """The files of a version were withdrawn; its row and its lineage stay."""

    def __init__(self, name: str, withdrawn_on: str, because: str) -> None:
        super().__init__(
            f"the files of {name} were withdrawn on {withdrawn_on} ({because}): choose a version that has its files"
        )
        self.name = name


class CanaryRefused(ReleaseRefused):
    """A canary cannot be started or stopped as things are."""


class RoundConflict(StorageError):
    """A round is not in the state that the step needs."""


class LeaseRanOut(RoundConflict):
    def __init__(self, round_id: int) -> None:
        super().__init__(f"the lease of round {round_id} has run out, so another trainer may end it")
        self.round_id = round_id


class CorrectionRefused(StorageError):
    """A suggested answer does not pass its checks."""


class ArenaConflict(StorageError):
    """An arena is not in the state that the step needs."""


class ArenaClosed(StorageError):
    def __init__(self) -> None:
        super().__init__("this arena is closed")


class QuarantineConflict(StorageError):
    """Votes that wait for a decision were decided on by somebody else, or are gone."""


class CardError(StorageError):
    """A personality's card, or its name, is not as it must be."""


class PersonalityNotFound(StorageError):
    def __init__(self, name: str, others: Sequence[str] = ()) -> None:
        known = f": choose one of {', '.join(others)}" if others else ": list the personalities to see those that exist"
        super().__init__(f"there is no personality {name!r}{known}")
        self.name = name


class PersonalityConflict(StorageError):
    """A personality is not in the state that the step needs; nothing was changed."""


class ExportRefused(StorageError):
    """A personality cannot be written where it should go."""


class NoteRefused(StorageError):
    """A member's note about themselves does not pass its checks."""


class EncoderError(StorageError):
    """The sentence encoder is missing or cannot be read."""


class DocumentRefused(StorageError):
    """A document cannot be added, refreshed or removed as things are; nothing was changed."""


class CopyRefused(StorageError):
    """A database cannot be copied as things are; the target is as it was."""

    def __init__(self, table: str, what: str = "the target holds rows already: give an empty database") -> None:
        super().__init__(f"{what} (table {table}); nothing was changed there")
        self.table = table


class BackupRefused(StorageError):
    """A backup cannot be written, or cannot be restored; nothing was changed."""
