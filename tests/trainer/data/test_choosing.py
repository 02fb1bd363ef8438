"""Pairs are chosen by ids and votes; texts are read of these pairs alone."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from sqlalchemy.orm import Session

from bot.demo.community import read_community_answers
from storage.conversations.replies import digest_prompt
from storage.database.database import Database
from storage.database.enums import Origin, PairSource
from storage.models.base_model import BaseModel
from storage.personalities.personalities import ensure_personality
from storage.settings.sections import Settings, TrainingSettings
from storage.training.feedback import RatedReply, Texts, WrittenCorrection
from storage.training.samples import AskedPrompt
from storage.votes.votes import Vote
from tests.seeding import ALICE, BASE_REVISION, BOB, add_correction, add_reply, add_taste, vote
from tests.trainer.contexts import learner_of
from tests.trainer.rated import ANN, BEN, corrections, crowd, rated, reader, replies
from trainer.data.pairs import MAX_PAIRS_PER_PROMPT, Pair, RoundFeedback, pair_by_people
from trainer.data.plan import TrainingPlan, choose_pairs, make_plan
from trainer.data.survey import ReadTexts, survey_votes

BASE = BaseModel("tiny", Path("unused"), BASE_REVISION, "LlamaForCausalLM")


def add_question(session: Session, number: int) -> None:
    """Add a liked answer and a disliked one to a question, with a better one suggested."""
    prompt = f"question {number}"
    liked, disliked = (add_reply(session, prompt=prompt, answer=f"{word} {number}") for word in ("good", "bad"))
    vote(session, liked, ALICE, Vote.UP)
    vote(session, disliked, BOB, Vote.DOWN)
    add_correction(session, disliked, f"better {number}")


def plan(database: Database, *prompts: AskedPrompt, max_pairs: int) -> tuple[TrainingPlan, set[int]]:
    """Plan a round in which the taste ranks the answers to these prompts; return it and the answers that it read."""
    settings = Settings(training=TrainingSettings(max_pairs=max_pairs, patience=0))
    was_read: set[int] = set()
    with database.transaction() as session:
        survey = survey_votes(session, learner_of(settings, BASE, ensure_personality(session)), prompts)

        def read(*, replies: Collection[int], corrections: Collection[int]) -> Texts:
            was_read.update(replies)
            return survey.read(replies=replies, corrections=corrections)

        return make_plan(replace(survey, read=read), settings, lambda _pair: True), was_read


def test_a_round_reads_the_texts_of_no_more_pairs_than_it_may_train_on(database: Database) -> None:
    with database.transaction() as session:
        add_taste(session, 60)
        for number in range(20):
            add_question(session, number)
        for answer in read_community_answers()[0].answers:
            add_reply(session, prompt="bank", answer=answer, origin=Origin.SAMPLE)
    bank = AskedPrompt("bank", digest_prompt("bank"))
    full, read_for_full = plan(database, bank, max_pairs=4)
    assert full.learned_from["pairs_by_source"].keys() == {PairSource.SIBLINGS, PairSource.CORRECTION, PairSource.TASTE}
    assert len(read_for_full) <= 2 * (4 + 1)
    whole, read_for_whole = plan(database, bank, max_pairs=100)
    assert whole.learned_from["pairs_by_source"] == {
        PairSource.SIBLINGS: 20 + MAX_PAIRS_PER_PROMPT,  # those on the answers that taught the taste
        PairSource.CORRECTION: 20,
        PairSource.TASTE: 1,
    }
    in_manifest = {id_ for line in whole.manifest for id_ in (line.chosen_reply_id, line.rejected_reply_id)} - {None}
    assert read_for_whole == in_manifest


def choose(
    feedback: RoundFeedback, limit: int | None = None, *, read: ReadTexts | None = None, longest: int = 99
) -> list[Pair]:
    """Return the newest pairs whose better answer is not too long, from feedback of which no text is known at first."""
    unread = RoundFeedback(
        tuple(replace(reply, answer=None) for reply in feedback.replies),
        tuple(replace(correction, text=None) for correction in feedback.corrections),
        feedback.choices,
    )
    return choose_pairs(
        unread.by_prompt(),
        pair_by_people,
        newest_first,
        limit,
        fits=lambda pair: len(pair.chosen) <= longest,
        read=read or reader(feedback.replies, feedback.corrections),
    ).pairs


def newest_first(pair: Pair) -> tuple[int, ...]:
    return tuple(-row for row in pair.recency)


def siblings(first: int, good: str, bad: str = "bad") -> list[RatedReply]:
    return [rated(first, good, up=[ANN], prompt=f"p{first}"), rated(first + 1, bad, down=[BEN], prompt=f"p{first}")]


@pytest.mark.parametrize("useless", ["🎉🔥✨🎉🔥✨", "bad", "much longer than the others"])
def test_what_a_text_rules_out_gives_its_place_to_others(useless: str) -> None:
    """The better answer is broken, equal to the worse one, or too long."""
    answers = [*siblings(1, "one"), *siblings(3, "two"), *siblings(5, "three"), *siblings(7, useless)]
    read: list[int] = []

    def note(*, replies: Collection[int], corrections: Collection[int]) -> Texts:
        read.extend(replies)
        return reader(answers)(replies=replies, corrections=corrections)

    found = choose(RoundFeedback(tuple(answers)), 2, read=note, longest=10)
    assert [pair.rows for pair in found] == [(5, 6, None), (3, 4, None)]
    assert sorted(read) == [3, 4, 5, 6, 7, 8]


def test_a_broken_answer_gives_its_place_to_another_one_to_the_same_prompt() -> None:
    answers = [
        rated(1, "🎉🔥✨🎉🔥✨", up=crowd(9)),
        rated(2, "fine", up=crowd(2)),
        *(rated(id_, down=crowd(3)) for id_ in range(3, 9)),
    ]
    found = choose(RoundFeedback(tuple(answers)))
    assert {pair.chosen.reply_id for pair in found} == {2}
    assert len(found) == MAX_PAIRS_PER_PROMPT


@given(replies, corrections)
def test_reading_only_what_is_chosen_chooses_the_same(
    answers: list[RatedReply], written_ones: list[WrittenCorrection]
) -> None:
    feedback = RoundFeedback(tuple(answers), tuple(written_ones))
    assert choose(feedback) == sorted(pair_by_people(feedback), key=newest_first)
