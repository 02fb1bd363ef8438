"""A large server in a database: answers, votes, suggestions and choices of two hundred members, written in bulk."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from datetime import timedelta
from itertools import pairwise

from sqlalchemy import insert, select

from bot.demo.community import question, read_community_answers
from storage.conversations.replies import digest_prompt
from storage.database.columns import utc_now
from storage.database.database import Database
from storage.database.enums import Basis
from storage.database.tables import (
    ComparisonRow,
    CorrectionRow,
    ReplyMeasuresRow,
    ReplyRow,
    ReplySpeakerRow,
    VoteEventRow,
)
from storage.members import note_members
from storage.personalities.personalities import DEFAULT_PERSONALITY, ensure_personality
from storage.privacy.consent import give_consent
from storage.style import REVISION, measure_style, pack_numbers
from tests.benchmarks.report import Row
from tests.seeding import account, add_reply, message_of

VOTES_PER_ANSWER = 5
MEMBERS = [account(days_old=1_000 + number) for number in range(200)]
GUILD = 7
ASKED_AGAIN = 0.15
"""Share of the answers that replace another one to the same prompt."""
CORRECTED, COMPARED = 0.01, 0.02
"""Shares of the answers."""
NOISE = 0.2
PROMPT_CHARS = 1_000, 2_000
ANSWERS_AT_ONCE = 5_000
ASKED = ("prompt", "prompt_digest", "messages", "author_id", "source_message_id")


def fill_server(
    database: Database,
    answers: int,
    *,
    votes_each: int = VOTES_PER_ANSWER,
    unvoted: int = 0,
    name: str = DEFAULT_PERSONALITY,
) -> tuple[int, range]:
    """Add a personality's answers and return both; the last `unvoted` answers have no votes."""
    with database.transaction() as session:
        personality_id = ensure_personality(session, name)
        note_members(session, GUILD, dict.fromkeys(MEMBERS, utc_now() - timedelta(days=900)))
        for member in MEMBERS:
            give_consent(session, member)
        first = add_reply(session, personality_id=personality_id, basis=Basis.LIVE_CHAT, guild_id=GUILD)
        template = dict(session.execute(select(ReplyRow.__table__).where(ReplyRow.id == first)).mappings().one())
    ids = range(first + 1, first + 1 + answers)
    writer = _Writer(template, votes_each, ids[: answers - unvoted])
    for start in range(0, answers, ANSWERS_AT_ONCE):
        writer.write(database, ids[start : start + ANSWERS_AT_ONCE])
    return personality_id, ids


class _Writer:
    def __init__(self, template: Row, votes_each: int, voted: range) -> None:
        self._template = template
        self._votes_each = votes_each
        self._voted = voted
        self._rng = random.Random(23)
        self._answers = [answer for answered in read_community_answers() for answer in answered.answers]
        self._measures = {answer: pack_numbers(measure_style(answer)) for answer in self._answers}
        self._words = " ".join(self._answers).split()
        self._began = utc_now() - timedelta(days=300)

    def write(self, database: Database, ids: range) -> None:
        replies = list(self._replies(ids))
        tables = {
            ReplyRow: replies,
            ReplySpeakerRow: [{"reply_id": row["id"], "user_id": row["author_id"]} for row in replies],
            ReplyMeasuresRow: [
                {"reply_id": row["id"], "revision": REVISION, "numbers": self._measures[row["answer"]]}
                for row in replies
            ],
            VoteEventRow: [vote for row in replies if row["id"] in self._voted for vote in self._votes(row)],
            CorrectionRow: [self._correction(row) for row in self._some(replies, CORRECTED)],
            ComparisonRow: list(self._comparisons(replies)),
        }
        with database.transaction() as session:
            for table, rows in tables.items():
                if rows:
                    session.execute(insert(table.__table__), rows)

    def _some(self, replies: Sequence[Row], share: float) -> list[Row]:
        return self._rng.sample(replies, round(share * len(replies)))

    def _replies(self, ids: Sequence[int]) -> Iterator[Row]:
        """Yield the answers; one that replaces another has its prompt."""
        before: Row = {}
        for id_ in ids:
            if before and self._rng.random() < ASKED_AGAIN:
                asked = {key: before[key] for key in ASKED}
            else:
                asked = self._asked(id_)
            before = (
                self._template
                | asked
                | {
                    "id": id_,
                    "answer": self._rng.choice(self._answers),
                    "created_at": self._began + timedelta(seconds=60 * id_),
                }
            )
            yield before

    def _asked(self, id_: int) -> Row:
        words = " ".join(self._rng.choices(self._words, k=400))[: self._rng.randint(*PROMPT_CHARS)]
        prompt = f"<|user|>{words}<|bot|>"
        return {
            "prompt": prompt,
            "prompt_digest": digest_prompt(prompt),
            "messages": [{"role": "user", "content": words}],
            "author_id": self._rng.choice(MEMBERS),
            "source_message_id": id_,
        }

    def _votes(self, reply: Row) -> Iterator[Row]:
        liked = question("", reply["answer"]) > 0
        for member in self._rng.sample(MEMBERS, self._votes_each):
            yield {
                "reply_id": reply["id"],
                "message_id": message_of(reply["id"]),
                "user_id": member,
                "emoji": "👍" if liked is (self._rng.random() >= NOISE) else "👎",
                "burst": False,
                "added": True,
                "created_at": reply["created_at"],
            }

    def _correction(self, reply: Row) -> Row:
        return {
            "reply_id": reply["id"],
            "author_id": self._rng.choice(MEMBERS),
            "text": f"Rather: {self._rng.choice(self._answers)}",
            "basis": Basis.LIVE_CHAT,
            "created_at": reply["created_at"],
        }

    def _comparisons(self, replies: Sequence[Row]) -> Iterator[Row]:
        twice = [both for both in pairwise(replies) if both[0]["prompt_digest"] == both[1]["prompt_digest"]]
        for first, second in self._rng.sample(twice, min(len(twice), round(COMPARED * len(replies)))):
            yield {
                "first_id": first["id"],
                "second_id": second["id"],
                "user_id": self._rng.choice(MEMBERS),
                "better_id": self._rng.choice([first["id"], second["id"], None]),
                "created_at": second["created_at"],
            }
