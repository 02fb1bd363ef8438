from __future__ import annotations

from dataclasses import replace

import pytest

from bot.demo.community import MEMBERS, Answered, OtherBase, find_taste, is_settled, read_community_answers, settle
from bot.engine import RenderedPrompt
from storage.database.database import Database, open_database
from storage.models.base_model import BUNDLED_NAME, BaseModel
from storage.personalities.personalities import ensure_personality
from storage.settings.sections import Settings, TrainingSettings
from storage.training.feedback import read_replies
from storage.training.trainable import TrainingScope
from storage.votes.weights import read_weighted_votes
from trainer.data.pairs import pair_siblings


@pytest.fixture
def bundled(base: BaseModel) -> BaseModel:
    return replace(base, name=BUNDLED_NAME)


@pytest.fixture
def database(settings: Settings) -> Database:
    return open_database(settings)


def rendered(exchange: Answered) -> RenderedPrompt:
    text = f"<|user|>{exchange.message}<|bot|>"
    return RenderedPrompt(text, ({"role": "user", "content": exchange.message},), 5, 0, shortened=False)


def test_the_shipped_answers_are_siblings_of_many_messages() -> None:
    answered = read_community_answers()
    assert len(answered) >= 40
    assert all(len(exchange.answers) >= 2 and all(exchange.answers) for exchange in answered)
    for taste in map(find_taste, ("short", "short-question")):
        votes = [{taste(exchange.message, answer) >= 0.5 for answer in exchange.answers} for exchange in answered]
        assert votes.count({True, False}) >= 2 * TrainingSettings().min_pairs, "enough messages have a pair"


def test_a_community_gives_a_first_round_enough_to_learn_from(
    database: Database, settings: Settings, bundled: BaseModel
) -> None:
    answered = [(exchange, rendered(exchange)) for exchange in read_community_answers()]
    with database.transaction() as session:
        personality_id = ensure_personality(session)
        assert not is_settled(session)
        votes = settle(session, personality_id, bundled, answered, find_taste("short-question"))
        assert is_settled(session)
        ballots = read_weighted_votes(session, personality_id, settings.votes)
        replies = read_replies(
            session, TrainingScope(personality_id, settings.privacy, bundled.revision), ballots.by_reply
        )
    assert votes == ballots.given == sum(len(exchange.answers) for exchange, _ in answered)
    assert set(ballots.removed.values()) == {0}
    assert len({ballot.voter for found in ballots.by_reply.values() for ballot in found}) == MEMBERS
    assert len(pair_siblings(replies)) >= 2 * settings.training.min_pairs


def test_another_base_is_refused(database: Database, base: BaseModel) -> None:
    with database.transaction() as session, pytest.raises(OtherBase, match=r"model\.base is tiny: leave model\.base"):
        settle(session, ensure_personality(session), base, [], find_taste("short"))
