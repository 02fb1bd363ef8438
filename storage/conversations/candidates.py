"""The candidates of an answer: how the shown one was chosen."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy.orm import Session

from storage.conversations.replies import lock_replies
from storage.database.tables import ReplyChoiceRow


@dataclass(frozen=True)
class CandidateChoice:
    utilities: tuple[float, ...]
    """What the taste model thought of each candidate."""
    shown: int
    """The index of the shown one."""
    propensity: float
    """Probability with which it was shown, given the candidates."""

    @property
    def is_best(self) -> bool:
        """Whether the shown one is better than some others, and none is better than it."""
        return min(self.utilities) < self.utilities[self.shown] == max(self.utilities)


def record_choice(session: Session, reply_id: int, choice: CandidateChoice) -> None:
    """Store how the answer was chosen, unless it was deleted in the meantime."""
    if lock_replies(session, {reply_id}):
        session.merge(
            ReplyChoiceRow(
                reply_id=reply_id,
                utilities=list(choice.utilities),
                shown=choice.shown,
                propensity=choice.propensity,
            )
        )
