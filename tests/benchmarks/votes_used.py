"""Part of `reactune bench votes`: how long a taste takes for one more vote, and a round until it is prepared."""

from __future__ import annotations

import random
import statistics
import tempfile
import time
from collections.abc import Callable
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import NamedTuple, TypeVar

from bot.demo.community import read_community_answers
from storage.database.database import Database, open_database
from storage.models.base_model import BaseModel
from storage.personalities.personalities import ensure_personality
from storage.settings.sections import DatabaseSettings, PrivacySettings, Settings
from storage.taste.learning import learn_taste
from storage.taste.updating import KnownTaste, learn_all, learn_votes_on
from storage.training.samples import newest_prompts
from storage.votes.quarantines import quarantine_bursts
from storage.votes.votes import Thumb, VoteEvent, append_events
from tests.benchmarks.apart import TellRow, rows_apart
from tests.benchmarks.filled_server import MEMBERS, VOTES_PER_ANSWER, fill_server
from tests.benchmarks.report import Row
from tests.seeding import BASE_REVISION, message_of
from trainer.base import RoundBase
from trainer.data.plan import make_plan
from trainer.data.survey import survey_votes
from trainer.round_context import Learner

VOTES = 10_000
RELEARNED, ADDED, RANKED = 3, 30, 200
"""How often each is measured."""
CANDIDATES = 4
LEARN_ALL, ADD_VOTE, RANK = "learn a taste from all rows", "add a vote to a taste", "rank 4 answers by a taste"
PREPARE = "prepare a round"
SETTINGS = Settings()
BASE = BaseModel("stand-in", Path(), BASE_REVISION, "")

T = TypeVar("T")


class Taken(NamedTuple):
    ms: float
    cpu_ms: float
    """Without what a database server does, and without waiting for other work on the machine."""


def measure_taste(database: Database, votes: int) -> list[Row]:
    """Return what was measured with so many votes on a personality's answers: median, longest and processor time."""
    rng = random.Random(19)
    answers = [answer for answered in read_community_answers() for answer in answered.answers]
    personality_id, reply_ids = fill_server(database, votes + ADDED, votes_each=1, unvoted=ADDED, name="liked")
    whole = [_timed(partial(_learn_all, database, personality_id))[0] for _ in range(RELEARNED)]
    known = _learn_all(database, personality_id)
    added = []
    for reply_id in reply_ids[votes:]:
        with database.transaction() as session:
            thumb = Thumb(message_of(reply_id), rng.choice(MEMBERS), "👍")
            append_events(session, [VoteEvent(reply_id, thumb, added=True)])
        taken, known = _timed(partial(_add, database, personality_id, known, reply_id))
        added.append(taken)
    drafts = [[(answer, True) for answer in rng.sample(answers, CANDIDATES)] for _ in range(RANKED)]
    ranked = [_timed(partial(known.taste.score_begun, some))[0] for some in drafts]
    return [_row(LEARN_ALL, whole, votes), _row(ADD_VOTE, added, votes), _row(RANK, ranked, votes)]


def measure_preparation(votes: int) -> Row:
    """Return seconds and peak memory of surveying and planning a round on so many votes, without a model."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "server.db"
        url = f"sqlite:///{file}"
        with closing(open_database(_settings(url))) as database:
            fill_server(database, max(4, votes // VOTES_PER_ANSWER))
        (row,) = rows_apart(prepare, url)
        return row | {"what": PREPARE, "votes": votes, "unit": "s", "file_mib": round(file.stat().st_size / 2**20)}


def prepare(url: str, tell: TellRow) -> None:
    settings = _settings(url)
    with closing(open_database(settings)) as database:
        personality_id = database.call(ensure_personality)
        began_s, began_cpu_s = time.perf_counter(), time.process_time()
        quarantine_bursts(database, personality_id, settings.votes)
        with database.snapshot() as session:
            learn_taste(session, personality_id, settings)
        with database.snapshot() as session:
            learner = Learner(personality_id, RoundBase(BASE, settings.model), settings)
            most = settings.pairs.ranked_prompts
            prompts = newest_prompts(session, learner.scope, most, render=learner.base.render)
            survey = survey_votes(session, learner, prompts)
            plan = make_plan(survey, settings, lambda _pair: True)
        tell(
            {
                "value": round(time.perf_counter() - began_s, 2),
                "cpu_s": round(time.process_time() - began_cpu_s, 2),
                "pairs": plan.learned_from["pairs_by_source"],
            }
        )


def _settings(url: str) -> Settings:
    return Settings(database=DatabaseSettings(url=url), privacy=PrivacySettings(discord_training_permission=True))


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


def _row(what: str, times: list[Taken], votes: int) -> Row:
    return {
        "what": what,
        "votes": votes,
        "unit": "ms",
        "value": round(statistics.median(taken.ms for taken in times), 2),
        "longest": round(max(taken.ms for taken in times), 2),
        "cpu_ms": round(statistics.median(taken.cpu_ms for taken in times), 2),
        "repeats": len(times),
    }
