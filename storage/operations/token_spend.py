"""Counts the tokens of remote servers per UTC day, for all bot processes together, and checks the daily limit."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import date

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from storage.database.rows import upsert
from storage.database.tables import SpendRow
from storage.settings.sections import RemoteSettings

MILLION = 1_000_000
NAME_CHARS = 255


@dataclass(frozen=True)
class Spend:
    """Number of answers and their tokens, as counted by the servers."""

    answers: int = 0
    prompt_tokens: int = 0
    answer_tokens: int = 0

    @property
    def tokens(self) -> int:
        return self.prompt_tokens + self.answer_tokens

    def cost(self, settings: RemoteSettings) -> float:
        """Return the price in the operator's currency; 0 if no prices are set."""
        prompts, answers = self.prompt_tokens * settings.prompt_price, self.answer_tokens * settings.answer_price
        return (prompts + answers) / MILLION


def add_spend(session: Session, day: date, server: str, model: str, spent: Spend) -> None:
    """Add to the day's row; safe when several processes do this at once."""
    counts = asdict(spent)
    values = {"day": day, "server": server[:NAME_CHARS], "model": model[:NAME_CHARS], **counts}
    statement = upsert(session, SpendRow).values(values)
    sums = {name: getattr(SpendRow, name) + statement.excluded[name] for name in counts}
    session.execute(statement.on_conflict_do_update(index_elements=["day", "server", "model"], set_=sums))


def spent_on(session: Session, day: date) -> Spend:
    """Return the tokens of all servers on a UTC day."""
    columns = (SpendRow.answers, SpendRow.prompt_tokens, SpendRow.answer_tokens)
    sums = session.execute(select(*map(func.sum, columns)).where(SpendRow.day == day)).one()
    return Spend(*(int(number or 0) for number in sums))


def is_used_up(spent: Spend, settings: RemoteSettings) -> bool:
    return bool(settings.tokens_per_day) and spent.tokens >= settings.tokens_per_day
