"""After a deletion the next round continues a version that never saw the deleted data, and learns the rest again."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy.orm import Session

from storage.database.database import Database, open_database
from storage.database.enums import PairSource, RoundStatus, Split, TrainingSource
from storage.models.base_model import BaseModel
from storage.personalities.cards import Card, Example
from storage.personalities.personalities import change_card, ensure_personality, read_personality
from storage.privacy.erasure import delete_member
from storage.releases.promotion import promote
from storage.releases.versions import Version, continuation_of, list_versions, read_alias, register
from storage.settings.sections import Settings
from storage.training.rounds import (
    ManifestPair,
    Round,
    claim_round,
    finish_round,
    last_trained,
    request_round,
    require_round,
    set_manifest,
)
from storage.votes.votes import Vote
from tests.seeding import ALICE, BOB, CAROL, add_reply, add_siblings, read_manifest, tiny_settings, vote
from trainer.data.dataset import TrainingSet, prepare_examples
from trainer.data.plan import NO_OPINION, make_plan
from trainer.data.survey import survey_votes
from trainer.rounds.round import run_round

Pair = tuple[int, int]
"""Ids of the chosen and of the rejected reply."""


@pytest.fixture
def plain(tmp_path: Path, tiny_base: BaseModel) -> Settings:
    """Settings under which a round learns what is new, all of it, and nothing else."""
    return tiny_settings(tmp_path, tiny_base.path, holdout_share=0.0, pairs={"replay_share": 0.0})


@pytest.fixture
def database(settings: Settings) -> Iterator[Database]:
    with closing(open_database(settings)) as database:
        yield database


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
    request_round(session, personality_id, "admin")
    round_ = claim_round(session, "here")
    assert round_ is not None
    manifest = [ManifestPair(PairSource.SIBLINGS, Split.TRAIN, 1.0, rejected, chosen) for chosen, rejected in pairs]
    parent_id = parent.id if parent else None
    set_manifest(session, round_.id, manifest, parent_version_id=parent_id, settings={})
    finish_round(session, round_.id, RoundStatus.PUBLISHED, "done")
    version = register(
        session,
        personality_id,
        digest=f"{round_.id:064x}",
        base_name="tiny",
        base_revision="r",
        parent_id=parent_id,
        round_id=round_.id,
        metrics={},
    )
    if crowned:
        generation = read_alias(session, personality_id).generation
        promote(session, personality_id, version, expected_generation=generation, by="admin", reason="nice")
    return version


def planned(session: Session, settings: Settings, base: BaseModel) -> tuple[str | None, set[Pair], list[str]]:
    """Return parent, pairs and notes of the round that would be planned now."""
    survey = survey_votes(session, settings, base, ensure_personality(session))
    plan = make_plan(survey, NO_OPINION, settings)
    pairs = {(line.chosen_reply_id or 0, line.rejected_reply_id or 0) for line in plan.manifest}
    assert not any(line.replayed for line in plan.manifest)
    return (plan.parent.name if plan.parent else None), pairs, plan.evidence["notes"]


def test_the_next_round_continues_the_nearest_sound_version(
    database: Database, plain: Settings, tiny_base: BaseModel
) -> None:
    """v1 learned a; v2 b and c; v3 d. Bob's words are in b, so v2 and v3 are marked; e is new."""
    with database.transaction() as session:
        a, c, d, e = (add_pair(session, tiny_base, number) for number in (1, 3, 4, 5))
        b = add_pair(session, tiny_base, 2, speaker=BOB)
        first = learn(session, [a], None)
        second = learn(session, [b, c], first)
        learn(session, [d], second)
        assert planned(session, plain, tiny_base)[:2] == ("v3", {e})
    with database.transaction() as session:
        assert delete_member(session, BOB).marked == ("v2", "v3")
    with database.snapshot() as session:
        parent, pairs, notes = planned(session, plain, tiny_base)
    assert (parent, pairs) == ("v1", {c, d, e})
    assert notes[0] == (
        "v3 learned from data that was later deleted, so this round starts from v1 and is compared with it; it trains "
        "again on what v2 and v3 learned, without the deleted data"
    )


def test_a_round_without_a_sound_version_starts_from_the_base(
    database: Database, plain: Settings, tiny_base: BaseModel
) -> None:
    with database.transaction() as session:
        a, b = add_pair(session, tiny_base, 1, speaker=BOB), add_pair(session, tiny_base, 2)
        learn(session, [b], learn(session, [a], None))
        delete_member(session, BOB)
    with database.snapshot() as session:
        assert planned(session, plain, tiny_base)[:2] == (None, {b})


def test_a_marked_version_that_does_not_answer_changes_nothing(
    database: Database, plain: Settings, tiny_base: BaseModel
) -> None:
    with database.transaction() as session:
        a, c = add_pair(session, tiny_base, 1), add_pair(session, tiny_base, 3)
        b = add_pair(session, tiny_base, 2, speaker=BOB)
        learn(session, [b], learn(session, [a], None), crowned=False)
        delete_member(session, BOB)
    with database.snapshot() as session:
        assert planned(session, plain, tiny_base)[:2] == ("v1", {c})
        assert continuation_of(session, ensure_personality(session)).note is None


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
            request_round(session, ensure_personality(session), "admin")
            round_ = claim_round(session, "here")
        assert round_ is not None
        run_round(settings, round_.id)
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
        "; it was rebuilt from base, without the deleted data that v1 had learned from: "
        "compare both with `/model compare v1 v2`"
    )
    assert "this round starts from base" in ended.evidence["notes"][0]


def test_a_round_on_examples_continues_a_sound_version_too(
    database: Database, settings: Settings, tiny_base: BaseModel
) -> None:
    examples = tuple(Example(dialogue=(f"Hi, I am {n}.", f"Hello {n}.")) for n in range(8))
    with database.transaction() as session:
        first = learn(session, [add_pair(session, tiny_base, 1)], None)
        learn(session, [add_pair(session, tiny_base, 2, speaker=BOB)], first)
        delete_member(session, BOB)
        change_card(session, read_personality(session, 1), Card(examples=examples), by="admin")
        request_round(session, 1, "admin", TrainingSource.EXAMPLES)
        round_ = claim_round(session, "here")
    assert round_ is not None
    prepared = prepare_examples(database, settings, round_, tiny_base)
    assert isinstance(prepared, TrainingSet)
    assert prepared.continuation.parent is not None
    assert prepared.continuation.parent.id == first.id
    with database.snapshot() as session:
        written = require_round(session, round_.id)
    assert written.parent_version_id == first.id
    assert written.evidence["notes"] == [prepared.continuation.note]
