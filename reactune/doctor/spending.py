"""Checks what remote model servers have cost today."""

from __future__ import annotations

from bot.text.status import describe_spend
from reactune.doctor.findings import Problem
from reactune.shared import reading
from storage.database.columns import utc_now
from storage.operations.token_spend import is_used_up, spent_on
from storage.settings.sections import Settings


def check_spending(settings: Settings) -> str:
    with reading(settings) as session:
        spent = spent_on(session, utc_now().date())
    described = describe_spend(spent, settings.remote)
    if is_used_up(spent, settings.remote):
        raise Problem(
            f"{described}: the bot does not answer before midnight UTC; to continue now, raise remote.tokens_per_day "
            "and restart the bot"
        )
    return described
