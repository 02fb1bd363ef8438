"""Rounds that learn from a card: how its dialogues are split, what is skipped, and the version that comes out."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from bot.text.rounds import describe_metrics
from storage.database.database import Database
from storage.database.enums import GateVerdict, RoundStatus, TrainingSource
from storage.models.base_model import BaseModel
from storage.models.chat_format import ChatFormat, Messages
from storage.personalities.cards import Card, Example
from storage.personalities.personalities import change_card, create_personality, personality_named
from storage.releases.versions import Version, list_versions
from storage.settings.sections import DemonstrationSettings, Settings, TrainingSettings
from storage.training.rounds import Round, require_round
from tests.trainer.contexts import begin_round, context_of
from trainer.data.dataset import TrainingSet, prepare_examples, render_dialogue, split_examples
from trainer.rounds.round import run_round
from trainer.training.recipes import TrainingSplit
from trainer.training.rows import Demonstration


class Templates(ChatFormat):
    """A format without a tokenizer, which only renders."""

    def __init__(self) -> None:
        pass

    def render(self, messages: Messages) -> str:
        return " / ".join(f"{message['role']}: {message['content']}" for message in messages)


def split(*dialogues: tuple[str, ...], patience: int = 1, seed: int = 0) -> TrainingSplit:
    card = Card(examples=tuple(Example(dialogue=dialogue) for dialogue in dialogues))
    training = TrainingSettings(patience=patience, seed=seed)
    return split_examples(card, "Be brief.", Templates(), training)


def test_every_answer_of_a_dialogue_is_shown_after_all_that_was_said() -> None:
    parts = split(("Hi", "Hello.", "Tea?", "Yes, please."))
    assert parts.train == (
        Demonstration("system: Be brief. / user: Hi", "Hello."),
        Demonstration("system: Be brief. / user: Hi / assistant: Hello. / user: Tea?", "Yes, please."),
    )
    assert parts.validation == ()


def test_a_dialogue_stays_on_one_side_of_the_split() -> None:
    dialogues = [(f"{n}", f"first {n}", "and?", f"second {n}") for n in range(20)]
    parts = split(*dialogues, seed=3)
    sides = (parts.train, parts.validation)
    assert [len(part) for part in sides] == [2 * 16, 2 * 4]
    for part in sides:
        said = {shown.answer for shown in part}
        assert {answer.replace("first", "second") for answer in said} <= said
    assert len({shown.answer for part in sides for shown in part}) == 40
    assert parts == split(*dialogues, seed=3)


def test_without_early_stopping_all_examples_are_trained_on() -> None:
    assert split(*((f"{n}", "Hello.") for n in range(5)), patience=0).validation == ()


NAMES = (
    "Ana", "Bo", "Cy", "Di", "Eve", "Flo", "Gus", "Hal", "Ida", "Jo", "Kit", "Lou", "Max", "Ned", "Ola", "Pia"
)  # fmt: skip
EXAMPLES = tuple(Example(dialogue=(f"How are you, {name}?", "Yes, of course.")) for name in NAMES)

pytestmark = pytest.mark.usefixtures("few_questions")


def test_a_card_that_is_edited_during_a_round_is_not_mixed_in(
    database: Database, settings: Settings, tiny_base: BaseModel
) -> None:
    with database.transaction() as session:
        keeper = create_personality(session, "keeper", Card(examples=EXAMPLES), by="grace")
        round_ = begin_round(session, keeper.id, "grace", TrainingSource.EXAMPLES)
    context = context_of(database, settings, tiny_base, keeper.id)
    with database.transaction() as session:
        edited = tuple(Example(dialogue=(one.dialogue[0], "Never.")) for one in EXAMPLES)
        change_card(session, keeper, Card(system_prompt="Say no.", examples=edited), by="grace")
    prepared = prepare_examples(context, round_)
    assert isinstance(prepared, TrainingSet)
    assert {shown.answer for shown in prepared.split.train} == {"Yes, of course."}


@pytest.fixture
def train(database: Database, settings: Settings) -> Callable[..., Round]:
    """Run a round on the examples of a personality with this card, and return how it ended."""

    def run(card: Card) -> Round:
        own = lenient(settings)
        with database.transaction() as session:
            keeper = create_personality(session, "keeper", card, by="grace")
            round_ = begin_round(session, keeper.id, "grace", TrainingSource.EXAMPLES)
        run_round(own, round_.id)
        with database.snapshot() as session:
            return require_round(session, round_.id)

    return run


def lenient(settings: Settings) -> Settings:
    training = settings.training.model_copy(update={"learning_rate": 0.02, "patience": 9})
    return settings.model_copy(update={"demonstration": DemonstrationSettings(epochs=4.0), "training": training})


def versions(database: Database) -> list[Version]:
    with database.snapshot() as session:
        return list_versions(session, personality_named(session, "keeper").id)


def test_a_card_becomes_a_first_version_that_needs_no_choices_of_members(
    database: Database, train: Callable[..., Round]
) -> None:
    card = Card(system_prompt="You keep a lighthouse.", examples=EXAMPLES)
    ended = train(card)
    [version] = versions(database)
    assert (ended.status, version.verdict) == (RoundStatus.PUBLISHED, GateVerdict.PASS)
    assert ended.reason == "v1 learned from 13 example answers and passed the checks; promote it to use it"
    assert (ended.manifest_digest, ended.learned_from) == (card.digest, {"examples": 16})
    assert "people" not in {check["name"] for check in ended.gate["checks"]}
    assert describe_metrics(ended.metrics).startswith(
        "13 example answers trained on · 3 for validation · 100% of them likelier than before · strength 1"
    )


@pytest.mark.parametrize("examples", [0, 1, 7])
def test_too_few_examples_are_reported_with_a_remedy(
    database: Database, train: Callable[..., Round], examples: int
) -> None:
    ended = train(Card(system_prompt="x", examples=EXAMPLES[:examples]))
    assert ended.status is RoundStatus.SKIPPED
    assert f"the card of keeper has {examples} example dialogue" in ended.reason
    assert "8 needed: add more" in ended.reason
    assert versions(database) == []


def test_a_blank_system_prompt_is_none_as_where_the_prompt_is_served() -> None:
    assert render_dialogue(["Hi"], " ", Templates()) == "user: Hi"
    assert render_dialogue(["Hi"], "Be brief.", Templates()) == "system: Be brief. / user: Hi"
