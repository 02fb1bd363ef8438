"""What rows may hold: the values of the tables' text columns."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    pass


CHAMPION = "champion"


CHALLENGER = "challenger"


LAST_GOOD = "last-good"


ALIASES = (CHAMPION, CHALLENGER, LAST_GOOD)


NOBODY = 0
"""In place of a Discord id, which is never 0: said outside Discord, or by a member who deleted their data."""


class Basis(StrEnum):
    """Why a row may be trained on; no basis means never."""

    LOCAL = "local"
    PROMPT_BANK = "prompt_bank"
    LIVE_CHAT = "live_chat"


class Origin(StrEnum):
    """How an answer came about."""

    CHAT = "chat"
    ARENA = "arena"
    ALTERNATIVE = "alternative"
    """A blind second answer beside one in chat."""
    SAMPLE = "sample"
    """Drawn by a round; no member ever saw it."""


class Outcome(StrEnum):
    STREAMING = "streaming"
    COMPLETE = "complete"
    LENGTH = "length"
    TIMEOUT = "timeout"
    CANCELLED = "cancelled"
    FAILED = "failed"
    INTERRUPTED = "interrupted"


class RoundStatus(StrEnum):
    REQUESTED = "requested"
    RUNNING = "running"
    PUBLISHED = "published"
    SKIPPED = "skipped"
    REJECTED = "rejected"
    FAILED = "failed"
    INTERRUPTED = "interrupted"


class GateVerdict(StrEnum):
    """What the gate says of a version."""

    PASS = "pass"
    FAIL = "fail"
    NOT_ENOUGH_EVIDENCE = "not enough evidence"


class PairSource(StrEnum):
    CORRECTION = "correction"
    CORRECTED_SAMPLE = "corrected sample"
    """A correction preferred to an answer that nobody compared it with: a fresh sample, or an earlier version's."""
    SIBLINGS = "siblings"
    LONE_VOTE = "lone vote"
    """One side was voted on, the other was sampled and picked by the preference model."""


REPLAY = "replay"
"""In a round's counts, pairs of any source that an earlier round learned from."""


class Split(StrEnum):
    TRAIN = "train"
    VALIDATION = "validation"
    """Decides when training stops early."""
    HOLDOUT = "holdout"


class QuarantineRule(StrEnum):
    """What a burst of votes has in common."""

    REPLY = "reply"
    AUTHOR = "author"
    VERSION = "version"


class QuarantineStatus(StrEnum):
    OPEN = "open"
    """Its votes wait for an admin and do not count."""
    EXCLUDED = "excluded"
    COUNTED = "counted"


class ArenaStatus(StrEnum):
    PREPARING = "preparing"
    OPEN = "open"
    CLOSED = "closed"
    FAILED = "failed"


class Cause(StrEnum):
    """What is wrong with an answer, as a member says with their 👎."""

    WRONG_FACT = "wrong fact"
    """It asks for knowledge, and is kept out of training."""
    WRONG_TONE = "wrong tone"
    TOO_LONG = "too long"
    UNSAFE = "unsafe"
    OTHER = "other"


class TrainingSource(StrEnum):
    """What a round learns from."""

    VOTES = "votes"
    EXAMPLES = "examples"
    """The example dialogues of the personality's card."""


class Scope(StrEnum):
    """What kind of place a personality is bound to, the most specific first."""

    THREAD = "thread"
    CHANNEL = "channel"
    CATEGORY = "category"
    SERVER = "server"


class CanaryStatus(StrEnum):
    RUNNING = "running"
    PROMOTED = "promoted"
    ROLLED_BACK = "rolled back"
    INCONCLUSIVE = "inconclusive"
    STOPPED = "stopped"


class DocumentKind(StrEnum):
    """Where the text of a document comes from."""

    TEXT = "text"
    FILE = "file"
    MESSAGE = "message"
    PINS = "pins"


class AuditOutcome(StrEnum):
    """What became of what somebody wanted to do with an admin's rights."""

    DONE = "done"
    REFUSED = "refused"
    """They had no right to, or things were not as the command needs them."""
    FAILED = "failed"
    """Something unforeseen went wrong; the log has it."""


SOURCE_WORDS = {
    PairSource.CORRECTION: "suggestions",
    PairSource.CORRECTED_SAMPLE: "suggestions against other answers",
    PairSource.SIBLINGS: "answers to the same question",
    PairSource.LONE_VOTE: "lone votes",
    REPLAY: "earlier rounds",
}
"""What members read: "3 from suggestions"."""
