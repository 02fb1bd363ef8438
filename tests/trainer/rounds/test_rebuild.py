"""What a round starts from, and what it learns after a deletion."""

from __future__ import annotations

from pathlib import Path

import pytest
from sqlalchemy.orm import Session

from storage.database.database import Database
from storage.database.enums import PairSource, RoundStatus, Split, TrainingSource
from storage.models.base_model import BaseModel
from storage.personalities.cards import Card, Example
from storage.personalities.personalities import change_card, ensure_personality, read_personality
from storage.privacy.erasure import delete_member
from storage.releases.promotion import promote
from storage.releases.versions import Version, list_versions, read_alias
from storage.settings.sections import Settings
from storage.training.rounds import (
    ManifestPair,
    Round,
    finish_round,
    last_trained,
    require_round,
    set_manifest,
)
from storage.votes.votes import Vote
from tests.past import add_round, add_version
from tests.seeding import ALICE, BOB, CAROL, add_reply, add_siblings, read_manifest, tiny_settings, vote
from tests.trainer.contexts import begin_round, context_of, learner_of
from tests.trainer.rounds.quick import approve, train_quickly
from trainer.data.dataset import TrainingSet, prepare_examples
from trainer.data.plan import make_plan
from trainer.data.survey import survey_votes
from trainer.rounds.round import run_round

Pair = tuple[int, int]
"""Ids of the chosen and of the rejected reply."""


@pytest.fixture
def plain(tmp_path: Path, tiny_base: BaseModel) -> Settings:
    return tiny_settings(tmp_path, tiny_base.path)


def add_pair(session: Session, base: BaseModel, number: int, *, speaker: int = ALICE, voter: int = CAROL) -> Pair:
    prompt = f"<|user|>question {number}<|bot|>"
    row = {"prompt": prompt, "base_revision": base.revision, "speakers": (speaker,), "author_id": speaker}
    chosen, rejected = add_reply(session, answer="good", **row), add_reply(session, answer="bad", **row)
    vote(session, chosen, voter, Vote.UP)
    vote(session, rejected, voter, Vote.DOWN)
    return chosen, rejected


def learn(session: Session, pairs: list[Pair], parent: Version | None, *, crowned: bool = True) -> Version:
    """Publish a version that learned these pairs and continues `parent`, and let it answer."""
    personality_id = ensure_personality(session)
    round_ = begin_round(session, personality_id)
    manifest = [ManifestPair(PairSource.SIBLINGS, Split.TRAIN, 1.0, rejected, chosen) for chosen, rejected in pairs]
    parent_id = parent.id if parent else None
    set_manifest(session, round_.id, manifest, parent_version_id=parent_id, settings={})
    finish_round(session, round_.id, RoundStatus.PUBLISHED, "done")
    version = add_version(
        session, round_.id, parent, personality_id=personality_id, digest=f"{round_.id:064x}", base_revision="r"
    )
    if crowned:
        generation = read_alias(session, personality_id).generation
        promote(session, personality_id, version, expected_generation=generation, by="admin", reason="nice")
    return version


def planned(session: Session, settings: Settings, base: BaseModel) -> tuple[str | None, set[Pair], list[str]]:
    """Return starter, pairs and notes of the round that would be planned now."""
    survey = survey_votes(session, learner_of(settings, base, ensure_personality(session)))
    plan = make_plan(survey, settings, lambda _pair: True)
    pairs = {(line.chosen_reply_id or 0, line.rejected_reply_id or 0) for line in plan.manifest}
    return (plan.start.starter.name if plan.start.starter else None), pairs, plan.learned_from["notes"]


def test_every_round_learns_all_that_stands_from_the_base(
    database: Database, plain: Settings, tiny_base: BaseModel
) -> None:
    with database.transaction() as session:
        a, b, c = (add_pair(session, tiny_base, number) for number in (1, 2, 3))
        learn(session, [b], learn(session, [a], None))
        assert planned(session, plain, tiny_base) == (None, {a, b, c}, [])


def test_what_was_deleted_is_learned_no_more_and_the_round_says_what_it_replaces(
    database: Database, plain: Settings, tiny_base: BaseModel
) -> None:
    with database.transaction() as session:
        a, b = add_pair(session, tiny_base, 1), add_pair(session, tiny_base, 2, speaker=BOB)
        learn(session, [a, b], None)
        assert delete_member(session, BOB).marked == ("v1",)
    with database.snapshot() as session:
        starter, pairs, notes = planned(session, plain, tiny_base)
    assert (starter, pairs) == (None, {a})
    assert notes == ["v1 learned from data that was later deleted; this round learns without it"]


@pytest.mark.parametrize("source", [TrainingSource.EXAMPLES, None], ids=["made from examples", "imported"])
def test_rounds_start_from_the_champions_starter(
    database: Database, plain: Settings, tiny_base: BaseModel, source: TrainingSource | None
) -> None:
    with database.transaction() as session:
        a, b = add_pair(session, tiny_base, 1), add_pair(session, tiny_base, 2)
        round_id = add_round(session, 0, learns_from=source) if source else None
        starter = add_version(session, round_id)
        assert planned(session, plain, tiny_base)[0] is None, "it does not answer"
        promote(session, 1, starter, expected_generation=0, by="admin", reason="ours")
        assert planned(session, plain, tiny_base)[0] == "v1"
        learn(session, [a], starter)
        assert planned(session, plain, tiny_base)[:2] == ("v1", {a, b})


def test_a_marked_version_that_does_not_answer_changes_nothing(
    database: Database, plain: Settings, tiny_base: BaseModel
) -> None:
    with database.transaction() as session:
        a, c = add_pair(session, tiny_base, 1), add_pair(session, tiny_base, 3)
        b = add_pair(session, tiny_base, 2, speaker=BOB)
        learn(session, [b], learn(session, [a], None), crowned=False)
        delete_member(session, BOB)
    with database.snapshot() as session:
        assert planned(session, plain, tiny_base) == (None, {a, c}, [])


def test_a_round_whose_version_must_be_withdrawn_does_not_block_training(
    database: Database, tiny_base: BaseModel
) -> None:
    with database.transaction() as session:
        pair = add_pair(session, tiny_base, 1)
        learn(session, [pair], None)
        last = last_trained(session, ensure_personality(session))
        assert last is not None
        vote(session, pair[0], BOB, Vote.UP)
        vote(session, pair[0], BOB, Vote.UP, added=False)  # it counted nothing, so the pairs stay as they are
        delete_member(session, BOB)
        assert last_trained(session, ensure_personality(session)) is None


def test_a_rebuilt_version_is_sound_and_says_what_it_replaces(
    database: Database, settings: Settings, tiny_base: BaseModel
) -> None:
    def run() -> Round:
        with database.transaction() as session:
            round_ = begin_round(session, ensure_personality(session))
        run_round(settings, round_.id, train=train_quickly, evaluate=approve)
        with database.snapshot() as session:
            return require_round(session, round_.id)

    with database.transaction() as session:
        add_siblings(session, 5, base_revision=tiny_base.revision)
        hers = add_pair(session, tiny_base, 99, speaker=CAROL, voter=BOB)
    run()
    with database.transaction() as session:
        [first] = list_versions(session, 1)
        promote(session, 1, first, expected_generation=0, by="admin", reason="nice", override=True)
        assert delete_member(session, CAROL).marked == ("v1",)
    ended = run()
    with database.snapshot() as session:
        second, first = list_versions(session, 1)
        manifest = read_manifest(session, ended.id)
    rows = {id_ for line in manifest for id_ in (line.chosen_reply_id, line.rejected_reply_id)}
    assert (first.trained_on_deleted_data, second.trained_on_deleted_data) == (True, False)
    assert (second.parent_id, ended.parent_version_id) == (None, None)
    assert len(rows) == 10
    assert rows.isdisjoint(hers)
    assert ended.reason.endswith(
        "; it learned without the deleted data that v1 had learned from: compare both with `/version compare v1 v2`"
    )


def test_a_round_on_examples_starts_from_the_base(database: Database, settings: Settings, tiny_base: BaseModel) -> None:
    examples = tuple(Example(dialogue=(f"Hi, I am {n}.", f"Hello {n}.")) for n in range(8))
    with database.transaction() as session:
        learn(session, [add_pair(session, tiny_base, 1)], None)
        change_card(session, read_personality(session, 1), Card(examples=examples), by="admin")
        round_ = begin_round(session, learns_from=TrainingSource.EXAMPLES)
    prepared = prepare_examples(context_of(database, settings, tiny_base), round_)
    assert isinstance(prepared, TrainingSet)
    assert prepared.start.starter is None
    with database.snapshot() as session:
        assert require_round(session, round_.id).parent_version_id is None
