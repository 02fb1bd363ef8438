"""How many answers to a question can be begun at once, so that nobody waits much longer than for one."""

from __future__ import annotations

from bot.engine import Completion

MOST_EXTRA, UNNOTICED_S = 0.5, 0.6
"""Time that choosing among candidates may add: a share of what an answer takes alone, and always so many seconds."""
USUAL_S, USUAL_EXTRA_S = 3.0, 0.5
"""What an answer takes alone, and what each further candidate adds, until more is known: as if measured once."""
LEAST_EXTRA_S = 0.001
REMEMBERED = 0.8
"""Weight of the earlier answers next to each new one: after a round that took the cores, it forgets how slow it was."""


class Pace:
    """Learns from each answer: its candidates share the machine until one is chosen, which goes on alone."""

    def __init__(self) -> None:
        self._rest_s = self._rest_chars = 0.0
        """What was written alone."""
        self._answers, self._alone_s = 1.0, USUAL_S
        self._further, self._extra_s = 1.0, USUAL_EXTRA_S
        """Answers with what they would have taken alone; further candidates with what they added."""

    @property
    def most(self) -> int:
        """The most answers to begin, at least one."""
        allowed_s = max(UNNOTICED_S, MOST_EXTRA * self._alone_s / self._answers)
        return 1 + int(allowed_s / max(LEAST_EXTRA_S, self._extra_s / self._further))

    def note(self, begun: int, chosen_s: float, chosen_chars: int, whole: Completion) -> None:
        """Learn from an answer, chosen among `begun` after `chosen_s`, when it had `chosen_chars` characters."""
        chars, first_s = len(whole.text), whole.first_token_s
        if first_s is None or not chars:
            return
        if begun == 1:
            chosen_s, chosen_chars = first_s, 0
        if chars > chosen_chars:
            self._rest_s = REMEMBERED * self._rest_s + max(0.0, whole.total_s - chosen_s)
            self._rest_chars = REMEMBERED * self._rest_chars + chars - chosen_chars
        if not self._rest_chars:
            return
        # Each reads the prompt by itself, and all that begin together have read it at about the same moment.
        alone_s = first_s / begun + chars * self._rest_s / self._rest_chars
        extra_s = max(chosen_s, whole.total_s) - alone_s if begun > 1 else 0.0
        self._answers = _remember(self._answers, 1.0, 1.0)
        self._alone_s = _remember(self._alone_s, alone_s, USUAL_S)
        self._further = _remember(self._further, begun - 1, 1.0)
        self._extra_s = _remember(self._extra_s, extra_s, USUAL_EXTRA_S)


def _remember(known: float, new: float, usual: float) -> float:
    """Return the sum with the new number; in time it forgets all but what is usual."""
    return usual + REMEMBERED * (known - usual) + new
