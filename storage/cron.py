"""Cron expressions as people know them: five fields, in UTC, weekdays counted from Sunday."""

from __future__ import annotations

from datetime import UTC, datetime

from apscheduler.triggers.cron import CronTrigger

from storage.errors import SettingsError

WEEKDAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")


def parse_schedule(key: str, text: str) -> CronTrigger | None:
    """Return the trigger of a setting's cron expression, or None where it is empty; raises SettingsError."""
    if not text.strip():
        return None
    try:
        trigger = CronTrigger.from_crontab(_name_weekdays(text), timezone=UTC)
    except ValueError as error:
        raise SettingsError(
            f'{key} = {text!r} is no cron expression ({error}): write five fields, such as "0 4 * * *", '
            "or leave it empty"
        ) from error
    if trigger.get_next_fire_time(None, datetime.now(UTC)) is None:
        raise SettingsError(f"{key} = {text!r} names a date that never comes: correct its day or month")
    return trigger


def _name_weekdays(text: str) -> str:
    """Write the last field's weekdays as names: cron counts from Sunday (0 or 7), APScheduler 3 from Monday."""
    *others, field = text.lower().split()
    if field == "*":
        return text
    return " ".join([*others, ",".join(name for part in field.split(",") for name in _weekdays(part))])


def _weekdays(part: str) -> list[str]:
    """Return the names behind a number, name, range or step, such as "1-5/2"; raises ValueError."""
    span, _, step = part.partition("/")
    start, _, end = ("sun-sat" if span == "*" else span).partition("-")
    first = _weekday(start)
    last = _weekday(end or ("sat" if step else start))
    last += 7 * (last < first)  # "fri-sun" goes on into the next week
    return [WEEKDAYS[day % 7] for day in range(first, last + 1, int(step or 1))]


def _weekday(name: str) -> int:
    if name in WEEKDAYS:
        return WEEKDAYS.index(name)
    if name in ("0", "1", "2", "3", "4", "5", "6", "7"):
        return int(name)
    raise ValueError(f"{name} is no weekday")
