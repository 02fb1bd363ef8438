"""The docs' pictures of the report and of `/taste`, from a month of simulated votes on the bundled model's answers."""

from __future__ import annotations

import os
from pathlib import Path
from random import Random

import pytest

from bot.charts.frame import to_png
from bot.charts.report import build_figure
from bot.charts.taste import build_taste_figure
from bot.demo.community import question, read_community_answers
from storage.database.database import open_database
from storage.database.enums import Cause, PairSource, TrainingSource
from storage.insights.report import DAYS, read_report
from storage.insights.taste_report import read_taste_report
from storage.personalities.personalities import ensure_personality
from storage.releases.promotion import promote
from storage.releases.versions import id_of
from storage.settings.sections import DataSettings, Settings
from storage.votes.corrections import give_cause
from storage.votes.votes import Vote
from tests.bot.charts.drawn import words_of
from tests.past import add_round, add_version, day, pair, thumb_on
from tests.seeding import account, add_reply
from tests.trainer.judgements import JUDGEMENT
from trainer.evaluation.gate import decide

pytestmark = pytest.mark.slow

MEMBERS = [account(days_old=1_000 + number) for number in range(20)]
ASKING = (0.3, 0.4, 0.4, 0.55, 0.7)
"""Share of the answers of the base and of each version that end with a question, which most members like."""
NOISE = 0.2
ROUND_DAYS = 5
CAUSES = (Cause.TOO_LONG, Cause.WRONG_FACT, Cause.TOO_LONG)
SOURCES = {PairSource.CORRECTION: 4, PairSource.SIBLINGS: 11, PairSource.CHOICE: 14, PairSource.TASTE: 9}


@pytest.fixture
def filled(tmp_path):
    settings = Settings(data=DataSettings(directory=tmp_path))
    database = open_database(settings)
    with database.transaction() as session:
        personality_id = ensure_personality(session, "keeper")
        live_a_month(session, personality_id)
        yield session, personality_id, settings
    database.close()


def live_a_month(session, personality_id: int) -> None:
    rng, champion, past = Random(7), None, []
    answers = [answer for answered in read_community_answers() for answer in answered.answers]
    by_asking = {asks: [one for one in answers if bool(question("", one)) is asks] for asks in (True, False)}
    for today in range(DAYS):
        if today and today % ROUND_DAYS == 0:
            number = today // ROUND_DAYS
            round_id = train(session, personality_id, number, today, past)
            version = add_version(session, round_id, champion, personality_id=personality_id)
            if number < len(ASKING):  # people have not compared the last one yet
                promote(session, personality_id, version, expected_generation=number - 1, by="grace", reason="")
                champion = version
        for _ in range(rng.randint(5, 9)):
            asks = rng.random() < ASKING[min(today // ROUND_DAYS, len(ASKING) - 1)]
            reply = add_reply(
                session,
                prompt=f"question {len(past)}",
                answer=rng.choice(by_asking[asks]),
                personality_id=personality_id,
                version_id=id_of(champion),
            )
            past.append(reply)
            for member in rng.sample(MEMBERS, rng.randint(1, 2)):
                liked = asks is (rng.random() > NOISE)
                thumb_on(session, today, reply, member, Vote.UP if liked else Vote.DOWN)
                if not liked and rng.random() < NOISE:
                    give_cause(session, reply, member, rng.choice(CAUSES))


def train(session, personality_id: int, number: int, today: int, past: list[int]) -> int:
    verdict = decide(1.0, JUDGEMENT, Settings().gate, learns_from=TrainingSource.VOTES)
    checks = [{"name": one.name, "outcome": one.outcome, "sentence": one.sentence} for one in verdict.checks]
    return add_round(
        session,
        today,
        [pair(*past[:2], source=source) for source, pairs in SOURCES.items() for _ in range(number * pairs)],
        personality_id=personality_id,
        metrics={"loss_curve": [0.39 + 0.3 * 0.94**step + Random(step).gauss(0, 0.01) for step in range(68)]},
        gate={"verdict": verdict.outcome, "checks": checks},
    )


def test_the_docs_pictures_are_drawn_from_a_month_of_votes(filled):
    session, personality_id, settings = filled
    now = day(DAYS - 1)
    figures = {
        "report": build_figure(read_report(session, personality_id, now, settings), "keeper"),
        "taste": build_taste_figure(read_taste_report(session, personality_id, settings), "keeper", now),
    }
    if folder := os.environ.get("DOCS_PICTURES"):
        for name, figure in figures.items():
            (Path(folder) / f"{name}.png").write_bytes(to_png(figure))
    for figure in figures.values():
        assert any(text.startswith("Clearly liked: ") and "question" in text for text, _ in words_of(figure))
