"""Part of `reactune bench votes`: how long one more vote takes a taste, and how long ranking four answers takes."""

from __future__ import annotations

import random
import statistics
import time
from collections.abc import Callable
from datetime import timedelta
from functools import partial
from typing import Any, NamedTuple, TypeVar

from sqlalchemy import insert, select
from sqlalchemy.orm import Session

from bot.demo.community import question, read_community_answers
from storage.database.columns import utc_now
from storage.database.database import Database
from storage.database.tables import ReplyMeasuresRow, ReplyRow, VoteEventRow
from storage.personalities.personalities import ensure_personality
from storage.settings.sections import Settings
from storage.taste.measures import REVISION, measure_style, pack_numbers
from storage.taste.updating import KnownTaste, learn_all, learn_votes_on
from storage.votes.votes import Thumb, VoteEvent, append_events
from tests.seeding import add_reply, message_of

VOTES = 10_000
VOTERS = 200
NOISE = 0.1
RELEARNED, ADDED, RANKED = 3, 30, 200
"""How often each is measured."""
CANDIDATES = 4
LEARN_ALL, ADD_VOTE, RANK = "learn a taste from all rows", "add a vote to a taste", "rank 4 answers by a taste"
SETTINGS = Settings()

T = TypeVar("T")


class Taken(NamedTuple):
    ms: float
    cpu_ms: float
    """Without what a database server does, and without waiting for other work on the machine."""


def measure_taste(database: Database, votes: int) -> list[dict[str, Any]]:
    """Return what was measured with so many votes on a personality's answers: median, longest and processor time."""
    rng = random.Random(19)
    answers = [answer for answered in read_community_answers() for answer in answered.answers]
    with database.transaction() as session:
        personality_id, reply_ids = _fill(session, answers, votes, rng)
    whole = [_timed(partial(_learn_all, database, personality_id))[0] for _ in range(RELEARNED)]
    known = _learn_all(database, personality_id)
    added = []
    for reply_id in reply_ids[votes:]:
        with database.transaction() as session:
            thumb = Thumb(message_of(reply_id), rng.randint(1, VOTERS), "👍")
            append_events(session, [VoteEvent(reply_id, thumb, added=True)])
        taken, known = _timed(partial(_add, database, personality_id, known, reply_id))
        added.append(taken)
    drafts = [[(answer, True) for answer in rng.sample(answers, CANDIDATES)] for _ in range(RANKED)]
    ranked = [_timed(partial(known.taste.score_begun, some))[0] for some in drafts]
    return [_row(LEARN_ALL, whole, votes), _row(ADD_VOTE, added, votes), _row(RANK, ranked, votes)]


def _fill(session: Session, answers: list[str], votes: int, rng: random.Random) -> tuple[int, list[int]]:
    """Add a personality with so many answers that have a vote each, and a few without; return it and its answers."""
    personality_id = ensure_personality(session, "liked")
    first = add_reply(session, personality_id=personality_id)
    template = dict(session.execute(select(ReplyRow.__table__).where(ReplyRow.id == first)).mappings().one())
    del template["id"]
    said = rng.choices(answers, k=votes + ADDED)
    session.execute(
        insert(ReplyRow), [template | {"answer": answer, "source_message_id": i} for i, answer in enumerate(said)]
    )
    mine = select(ReplyRow.id).where(ReplyRow.personality_id == personality_id, ReplyRow.id > first)
    reply_ids = list(session.scalars(mine.order_by(ReplyRow.id)))
    numbers = {answer: pack_numbers(measure_style(answer)) for answer in answers}
    measured = [
        {"reply_id": reply_id, "revision": REVISION, "numbers": numbers[answer]}
        for reply_id, answer in zip(reply_ids, said, strict=True)
    ]
    session.execute(insert(ReplyMeasuresRow), measured)
    began = utc_now() - timedelta(seconds=votes)
    thumbs = [
        {
            "reply_id": reply_id,
            "message_id": message_of(reply_id),
            "user_id": rng.randint(1, VOTERS),
            "emoji": "👍" if (question("", answer) > 0) is (rng.random() >= NOISE) else "👎",
            "burst": False,
            "added": True,
            "created_at": began + timedelta(seconds=number),
        }
        for number, (reply_id, answer) in enumerate(zip(reply_ids[:votes], said, strict=False))
    ]
    session.execute(insert(VoteEventRow), thumbs)
    return personality_id, reply_ids


def _learn_all(database: Database, personality_id: int) -> KnownTaste:
    with database.snapshot() as session:
        return learn_all(session, personality_id, SETTINGS)


def _add(database: Database, personality_id: int, known: KnownTaste, reply_id: int) -> KnownTaste:
    with database.snapshot() as session:
        return learn_votes_on(session, personality_id, SETTINGS, known, {reply_id})


def _timed(work: Callable[[], T]) -> tuple[Taken, T]:
    began_s, began_cpu_s = time.perf_counter(), time.thread_time()
    result = work()
    return Taken((time.perf_counter() - began_s) * 1_000, (time.thread_time() - began_cpu_s) * 1_000), result


def _row(what: str, times: list[Taken], votes: int) -> dict[str, Any]:
    return {
        "what": what,
        "votes": votes,
        "unit": "ms",
        "value": round(statistics.median(taken.ms for taken in times), 2),
        "longest": round(max(taken.ms for taken in times), 2),
        "cpu_ms": round(statistics.median(taken.cpu_ms for taken in times), 2),
        "repeats": len(times),
    }
