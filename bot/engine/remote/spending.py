"""Counts the tokens that servers read and write, and refuses requests once the day's limit is reached."""

from __future__ import annotations

import logging
from collections import Counter
from datetime import date

from sqlalchemy.orm import Session

from bot.errors import SpentForToday
from storage.database.columns import utc_now
from storage.database.database import Database
from storage.database.engine import FAILURES, explain
from storage.operations.token_spend import Spend, add_spend, is_used_up, spent_on
from storage.settings.sections import RemoteSettings

log = logging.getLogger(__name__)

Key = tuple[date, str, str]


class Spending:
    """The limit is soft: tokens of answers in progress are only counted at their end."""

    def __init__(self, database: Database, settings: RemoteSettings) -> None:
        self._database = database
        self._settings = settings
        self._day = utc_now().date()
        self._spent = Spend()
        """The day's spending of all processes, as last read."""
        self._unwritten: Counter[tuple[Key, str]] = Counter()
        """Counts that are not in the database yet."""

    def require(self) -> None:
        """Raise SpentForToday if the day's tokens were used up at the last count."""
        if self._day == utc_now().date() and is_used_up(self._spent, self._settings):
            raise SpentForToday

    async def look(self) -> None:
        """Read the spending of all processes; if the database fails, the last known count stays."""
        await self._exchange()

    async def add(self, server: str, model: str, prompt_tokens: int, answer_tokens: int) -> None:
        key = utc_now().date(), server, model
        self._unwritten.update(
            {(key, "answers"): 1, (key, "prompt_tokens"): prompt_tokens, (key, "answer_tokens"): answer_tokens}
        )
        await self._exchange()

    async def _exchange(self) -> None:
        news, self._unwritten = self._unwritten, Counter()
        today = utc_now().date()
        try:
            spent = await (self._database.run(_write, news, today) if news else self._database.read(spent_on, today))
        except FAILURES as error:
            self._unwritten.update(news)
            log.warning("The token count cannot be stored now and is kept in memory: %s", explain(error))
        else:
            self._day, self._spent = today, spent


def _write(session: Session, news: Counter[tuple[Key, str]], today: date) -> Spend:
    for key in {key for key, _ in news}:
        counts = {name: news[key, name] for name in ("answers", "prompt_tokens", "answer_tokens")}
        add_spend(session, *key, Spend(**counts))
    return spent_on(session, today)
