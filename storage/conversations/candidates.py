"""The candidates for an answer, and the choice of the shown one."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy.orm import Session

from storage.conversations.replies import lock_replies
from storage.database.tables import ReplyChoiceRow


@dataclass(frozen=True)
class CandidateChoice:
    utilities: tuple[float, ...]
    """The taste model's utility of each candidate."""
    shown: int
    """The index of the shown candidate."""
    propensity: float
    """Probability of showing this candidate, given the candidates."""

    @property
    def is_best(self) -> bool:
        """True if the shown candidate is better than some others, and none is better."""
        return min(self.utilities) < self.utilities[self.shown] == max(self.utilities)


def record_choice(session: Session, reply_id: int, choice: CandidateChoice) -> None:
    """Store the choice among an answer's candidates, unless the answer was deleted in the meantime."""
    if lock_replies(session, {reply_id}):
        session.merge(
            ReplyChoiceRow(
                reply_id=reply_id,
                utilities=list(choice.utilities),
                shown=choice.shown,
                propensity=choice.propensity,
            )
        )
