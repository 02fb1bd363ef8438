"""Part of `reactune bench votes`: how long a round is prepared on a large server, and how much memory that takes."""

from __future__ import annotations

import random
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import closing
from datetime import timedelta
from itertools import pairwise
from multiprocessing.connection import Connection
from pathlib import Path
from typing import NamedTuple

from sqlalchemy import insert, select

from bot.demo.community import question, read_community_answers
from storage.conversations.replies import digest_prompt
from storage.database.columns import utc_now
from storage.database.database import Database, open_database
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
from storage.models.base_model import BaseModel
from storage.personalities.personalities import ensure_personality
from storage.privacy.consent import give_consent
from storage.settings.sections import DatabaseSettings, PrivacySettings, Settings
from storage.taste.learning import learn_taste
from storage.taste.measures import REVISION, measure_style, pack_numbers
from storage.training.samples import newest_prompts
from storage.votes.quarantines import quarantine_bursts
from tests.benchmarks.apart import rows_apart
from tests.benchmarks.report import Row
from tests.seeding import BASE_REVISION, account, add_reply, message_of
from trainer.data.plan import make_plan
from trainer.data.survey import survey_votes
from trainer.rendering import renderer_of

VOTES_PER_ANSWER = 5
MEMBERS = 200
GUILD = 7
ASKED_AGAIN = 0.15
"""Share of the answers that replace another one to the same prompt."""
CORRECTED, COMPARED = 0.01, 0.02
"""Shares of the answers."""
NOISE = 0.2
PROMPT_CHARS = 1_000, 2_000
ANSWERS_AT_ONCE = 5_000
ASKED = ("prompt", "prompt_digest", "messages", "author_id", "source_message_id")
PREPARE = "prepare a round"
BASE = BaseModel("stand-in", Path(), BASE_REVISION, "")


class Server(NamedTuple):
    url: str
    personality_id: int


def measure_preparation(votes: int) -> Row:
    """Return seconds and peak memory of surveying and planning a round on so many votes, without a model."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "server.db"
        server = fill_server(f"sqlite:///{file}", votes)
        (row,) = rows_apart(prepare, server)
        return row | {"what": PREPARE, "votes": votes, "unit": "s", "file_mib": round(file.stat().st_size / 2**20)}


def prepare(server: Server, rows: Connection) -> None:
    settings = _settings(server.url)
    with closing(open_database(settings)) as database:
        began_s, began_cpu_s = time.perf_counter(), time.process_time()
        where = (server.personality_id, settings.privacy, BASE.revision)
        quarantine_bursts(database, server.personality_id, settings.votes)
        with database.snapshot() as session:
            learn_taste(session, server.personality_id, settings)
        with database.snapshot() as session:
            render = renderer_of(BASE, settings.model)
            prompts = newest_prompts(session, *where, settings.pairs.ranked_prompts, render=render)
            survey = survey_votes(session, settings, BASE, server.personality_id, prompts)
            plan = make_plan(survey, settings, lambda _pair: True)
        rows.send(
            {
                "value": round(time.perf_counter() - began_s, 2),
                "cpu_s": round(time.process_time() - began_cpu_s, 2),
                "pairs": plan.evidence["pairs_by_source"],
            }
        )


def _settings(url: str) -> Settings:
    return Settings(database=DatabaseSettings(url=url), privacy=PrivacySettings(discord_training_permission=True))


# Filling


def fill_server(url: str, votes: int) -> Server:
    rng = random.Random(23)
    members = [account(days_old=1_000 + number) for number in range(MEMBERS)]
    with closing(open_database(_settings(url))) as database:
        with database.transaction() as session:
            personality_id = ensure_personality(session)
            note_members(session, GUILD, dict.fromkeys(members, utc_now() - timedelta(days=900)))
            for member in members:
                give_consent(session, member)
            first = add_reply(session, basis=Basis.LIVE_CHAT, guild_id=GUILD)
            template = dict(session.execute(select(ReplyRow.__table__)).mappings().one())
        answers = max(4, votes // VOTES_PER_ANSWER)
        writer = _Writer(template, members, rng)
        for start in range(first + 1, first + 1 + answers, ANSWERS_AT_ONCE):
            writer.write(database, range(start, min(start + ANSWERS_AT_ONCE, first + 1 + answers)))
    return Server(url, personality_id)


class _Writer:
    """Writes answers, and what members said of them."""

    def __init__(self, template: Row, members: Sequence[int], rng: random.Random) -> None:
        self._template = template
        self._members = members
        self._rng = rng
        self._answers = [answer for answered in read_community_answers() for answer in answered.answers]
        self._measures = {answer: pack_numbers(measure_style(answer)) for answer in self._answers}
        self._words = " ".join(self._answers).split()
        self._began = utc_now() - timedelta(days=300)

    def write(self, database: Database, ids: Sequence[int]) -> None:
        replies = list(self._replies(ids))
        tables = {
            ReplyRow: replies,
            ReplySpeakerRow: [{"reply_id": row["id"], "user_id": row["author_id"]} for row in replies],
            ReplyMeasuresRow: [
                {"reply_id": row["id"], "revision": REVISION, "numbers": self._measures[row["answer"]]}
                for row in replies
            ],
            VoteEventRow: [vote for row in replies for vote in self._votes(row)],
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
            "author_id": self._rng.choice(self._members),
            "source_message_id": id_,
        }

    def _votes(self, reply: Row) -> Iterator[Row]:
        liked = question("", reply["answer"]) > 0
        for member in self._rng.sample(self._members, VOTES_PER_ANSWER):
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
            "author_id": self._rng.choice(self._members),
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
                "user_id": self._rng.choice(self._members),
                "better_id": self._rng.choice([first["id"], second["id"], None]),
                "created_at": second["created_at"],
            }
