"""Allowed values of the tables' text columns."""

from __future__ import annotations

from enum import StrEnum

from storage.wording import gettext_noop

CHAMPION = "champion"
LAST_GOOD = "last-good"
ALIASES = (CHAMPION, LAST_GOOD)

NOBODY = 0
"""Used instead of a Discord id, which is never 0: outside Discord, and for members who deleted their data."""
OPERATOR = 1
"""The id of the person who uses the console on the operator's machine; no Discord account has it."""


class Basis(StrEnum):
    """Training basis: the reason why a row can be trained on. A row without a basis never is."""

    LOCAL = "local"
    PROMPT_BANK = "prompt_bank"
    LIVE_CHAT = "live_chat"


class Origin(StrEnum):
    """The origin of an answer."""

    CHAT = "chat"
    ARENA = "arena"
    ALTERNATIVE = "alternative"
    """A blind second answer in chat."""
    FIXED = "fixed"
    """A fixed sentence in place of an answer: no version wrote it, and it takes no votes."""
    SITTING = "sitting"
    """Drawn for a person who labels pairs in the console."""
    PLAYGROUND = "playground"
    """Said to a person who tries versions in the console."""
    SAMPLE = "sample"
    """Sampled by a round, or drawn for a sitting and not shown: nobody ever saw it."""


CHOSEN_AMONG = (Origin.ARENA, Origin.SITTING)
"""Origins of answers among which people choose: a thumb on one is part of a choice, and no vote besides."""
ASKED = (*CHOSEN_AMONG, Origin.PLAYGROUND)
"""Origins of answers that people drew in order to judge them: choosing these shows no approval in conversations."""


class Rule(StrEnum):
    """The messages that the bot answers in a channel; each rule includes those before it."""

    NEVER = "never"
    MENTION = "mention"
    REPLY = "reply"
    QUESTION = "question"
    ALWAYS = "always"


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
    PASS = "pass"
    FAIL = "fail"
    NOT_ENOUGH_EVIDENCE = "not enough evidence"


class PairSource(StrEnum):
    CORRECTION = "correction"
    CORRECTED_SAMPLE = "corrected sample"
    """A correction preferred to an answer that no member compared it with: a fresh sample or an earlier answer."""
    SIBLINGS = "siblings"
    CHOICE = "choice"
    """People picked one of several answers, in an arena or as the better of two."""
    TASTE = "taste"
    """The best and the worst of several fresh answers, as ranked by the taste model."""


class Split(StrEnum):
    TRAIN = "train"
    VALIDATION = "validation"
    """Decides when training stops, and the adapter's strength."""


class QuarantineRule(StrEnum):
    """The common trait of a burst of votes."""

    REPLY = "reply"
    AUTHOR = "author"
    VERSION = "version"


class QuarantineStatus(StrEnum):
    OPEN = "open"
    """Its votes do not count until an admin decides."""
    EXCLUDED = "excluded"
    COUNTED = "counted"


class ArenaStatus(StrEnum):
    PREPARING = "preparing"
    OPEN = "open"
    CLOSED = "closed"
    FAILED = "failed"


class Cause(StrEnum):
    """A member's reason for giving an answer 👎."""

    WRONG_FACT = "wrong fact"
    """Calls for a document, and is excluded from training."""
    WRONG_TONE = "wrong tone"
    TOO_LONG = "too long"
    UNSAFE = "unsafe"
    OTHER = "other"


class Label(StrEnum):
    """A person's choice between the two answers of a pair in a sitting."""

    FIRST = "first"
    SECOND = "second"
    BOTH_GOOD = "both good"
    BOTH_BAD = "both bad"
    SAME = "same"
    SKIPPED = "skipped"


class PairChoice(StrEnum):
    """The reason why a sitting asks about a pair."""

    LESSON = "lesson"
    """The pair, of several answers, whose comparison teaches the taste model most."""
    CHANCE = "chance"
    SHARED = "shared"
    """Somebody else has labelled the same pair, so that their agreement can be measured."""
    RIVALS = "rivals"
    """One answer of the champion and one of a version that waits for people's choices."""


class TrainingSource(StrEnum):
    """The source of a round's training data."""

    VOTES = "votes"
    EXAMPLES = "examples"
    """The example dialogues of the personality's card."""


class Scope(StrEnum):
    """Kinds of places that a personality can be bound to, most specific first."""

    THREAD = "thread"
    CHANNEL = "channel"
    CATEGORY = "category"
    SERVER = "server"


class DocumentKind(StrEnum):
    """The origin of a document's text."""

    TEXT = "text"
    FILE = "file"
    MESSAGE = "message"
    PINS = "pins"


class AuditOutcome(StrEnum):
    """Outcome of an admin's command."""

    DONE = "done"
    REFUSED = "refused"
    """The admin lacked the rights, or the command was not possible."""
    FAILED = "failed"
    """An unexpected error, which is in the log."""


SOURCE_WORDS = {
    PairSource.CORRECTION: gettext_noop("suggestions"),
    PairSource.CORRECTED_SAMPLE: gettext_noop("suggestions vs. other answers"),
    PairSource.SIBLINGS: gettext_noop("answers to the same question"),
    PairSource.CHOICE: gettext_noop("choices between answers"),
    PairSource.TASTE: gettext_noop("answers that I ranked"),
}
"""Shown to members, as in "3 from suggestions"."""
