"""What answers now is asked the everyday messages too, as it answers members."""

from __future__ import annotations

from typing import Any

import pytest

from storage.database.database import Database
from storage.database.enums import TrainingSource
from storage.models.base_model import BaseModel
from storage.personalities.cards import Card, Example
from storage.personalities.personalities import create_personality
from storage.releases.promotion import promote
from storage.settings.sections import Settings
from tests.past import add_version
from tests.trainer.contexts import context_of
from trainer.evaluation.context import ServedContext
from trainer.rounds.judging import ask_before

MESSAGES = ["Hi, how are you?", "What is tea?", "Good night!"]
ANSWER = "I am " + "so very " * 40 + "well."


@pytest.fixture
def ask(settings: Settings, database: Database, tiny_base: BaseModel):
    """Ask what answers for a personality."""

    def ask(personality_id: int) -> dict[str, Any]:
        context = context_of(database, settings, tiny_base, personality_id)
        return ask_before(context, ServedContext.read(context, TrainingSource.VOTES).examples, MESSAGES)

    return ask


@pytest.fixture
def create(database: Database):
    """Return a new personality's ID."""

    def create(name: str, *examples: Example) -> int:
        with database.transaction() as session:
            return create_personality(session, name, Card(examples=examples), by="test").id

    return create


def test_the_base_answers_with_the_examples_of_its_card(ask, create) -> None:
    plain, again = ask(create("plain")), ask(create("same"))
    assert plain == again, "the same messages, the same seed"
    assert plain["before"]["version_id"] is None
    assert len(plain["before"]["answers"]) == len(MESSAGES)
    with_examples = ask(create("shown", Example(dialogue=("How are you?", ANSWER))))
    assert with_examples["before"]["answers"] != plain["before"]["answers"]


def test_a_champion_that_cannot_answer_ends_no_round(
    ask, create, database: Database, tiny_base: BaseModel, caplog
) -> None:
    id_ = create("lost")
    with database.transaction() as session:
        version = add_version(session, personality_id=id_, base_revision=tiny_base.revision)
        promote(session, id_, version, expected_generation=0, by="test", reason="")
    assert ask(id_) == {}
    assert "the round has no answers from before" in caplog.text
