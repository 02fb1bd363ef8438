"""Tokens of all processes are counted together by day, and limited together."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import date

import pytest

from storage.database.database import Database
from storage.operations.token_spend import Spend, add_spend, is_used_up, spent_on
from storage.settings.sections import RemoteSettings

pytestmark = pytest.mark.both_databases

TODAY, YESTERDAY = date(2026, 11, 26), date(2026, 11, 25)


def test_days_are_counted_apart_and_servers_together(database: Database) -> None:
    with database.transaction() as session:
        add_spend(session, TODAY, "http://a", "base", Spend(1, 100, 10))
        add_spend(session, TODAY, "http://a", "base", Spend(1, 50, 5))
        add_spend(session, TODAY, "http://b", "v1", Spend(1, 3_000_000_000, 1))
        add_spend(session, YESTERDAY, "http://a", "base", Spend(1, 7, 7))
    with database.snapshot() as session:
        assert spent_on(session, TODAY) == Spend(3, 3_000_000_150, 16)
        assert spent_on(session, YESTERDAY) == Spend(1, 7, 7)
        assert spent_on(session, date(2026, 11, 27)) == Spend()


def test_nothing_is_lost_where_several_add_at_once(database: Database) -> None:
    def add(_number: int) -> None:
        with database.transaction() as session:
            add_spend(session, TODAY, "http://a", "base", Spend(1, 10, 1))

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(add, range(40)))
    assert database.fetch(spent_on, TODAY) == Spend(40, 400, 40)


def test_a_reached_limit_is_reported() -> None:
    settings = RemoteSettings(tokens_per_day=1_000, prompt_price=2.0, answer_price=10_000.0)
    assert not is_used_up(Spend(1, 900, 99), settings)
    assert is_used_up(Spend(1, 900, 100), settings)
    assert not is_used_up(Spend(1, 900, 100), RemoteSettings())
