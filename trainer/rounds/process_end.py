"""Describes how a round's process ended if it recorded no reason itself."""

from __future__ import annotations

import signal

from storage.models.free_memory import oom_kills
from storage.sentences import Sentence
from storage.training.rounds import MEMORY_RAN_OUT

STOPPED = Sentence("the trainer was stopped during this round and nothing was published: start a new round")


class ProcessEnd:
    """Create it before the process starts: it compares the counts of processes that the kernel killed for memory."""

    def __init__(self) -> None:
        self._kills = oom_kills()

    def describe(self, exit_code: int | None) -> str:
        return describe_exit(exit_code, ran_out=oom_kills() > self._kills)


def describe_exit(exit_code: int | None, *, ran_out: bool) -> str:
    """Return a sentence about a round's process that ended without recording a reason.

    `ran_out` is true if the kernel killed a process for its memory meanwhile.
    """
    if exit_code == -signal.SIGKILL and ran_out:
        return Sentence("the round's process was killed by the kernel because {reason}", reason=MEMORY_RAN_OUT)
    if exit_code is not None and exit_code < 0:
        return Sentence(
            "the round's process was killed by signal {number} ({name}): start a new round",
            number=-exit_code,
            name=signal.strsignal(-exit_code),
        )
    return Sentence(
        "the round's process ended with exit code {code}: see the trainer's log for the reason", code=str(exit_code)
    )
