"""What a round trains on and is judged by: splits that hold over a line of versions, replay, caps and the notes."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from storage.database.enums import GateVerdict, PairSource, Split
from storage.releases.versions import Continuation, Version
from storage.settings.sections import PairSettings, Settings, TrainingSettings, VoteSettings
from storage.training.evidence import RatedReply, WrittenCorrection
from storage.training.rounds import ManifestPair, digest_manifest
from storage.votes.weights import WeightedVotes
from tests.trainer.rated import ANN, BEN, CAT, DAN, crowd, rated, sample, written
from trainer.data.pairs import Pair, PairSide
from trainer.data.plan import (
    NO_OPINION,
    TrainingPlan,
    VoterPreferences,
    lone_votes,
    make_plan,
    split_prompts,
    wanted_samples,
)
from trainer.data.survey import Survey, read_history


def settings(*, max_voter_share: float = 1.0, pairs: dict[str, Any] | None = None, **training: Any) -> Settings:
    return Settings(
        votes=VoteSettings(max_voter_share=max_voter_share),
        pairs=PairSettings(**pairs or {}),
        training=TrainingSettings(**{"min_pairs": 1, "holdout_share": 0.0} | training),
    )


def version(id_: int) -> Version:
    return Version(id_, 1, id_, "d" * 64, "tiny", "0" * 16, None, 1, {}, GateVerdict.PASS, False, datetime.now(UTC))


def survey(
    answers: Sequence[RatedReply],
    corrections: Sequence[WrittenCorrection] = (),
    *,
    line: Sequence[ManifestPair] = (),
    parent: Version | None = None,
    removed: dict[str, float] | None = None,
) -> Survey:
    by_reply = {answer.id: answer.votes for answer in answers if answer.votes}
    total = sum(map(len, by_reply.values())) + round(sum((removed or {}).values()))
    return Survey(
        replies=tuple(answers),
        corrections=tuple(corrections),
        votes=WeightedVotes(by_reply, total, removed or {}),
        continuation=Continuation(parent),
        history=read_history(line, {answer.id: answer for answer in answers}),
    )


def siblings(count: int, first: int = 1) -> list[RatedReply]:
    """Return two answers to each of `count` prompts, one that Ann likes and one that Ben does not."""
    return [
        answer
        for i in range(first, first + count)
        for answer in (
            rated(2 * i, up=[ANN], prompt=f"prompt {i}"),
            rated(2 * i + 1, down=[BEN], prompt=f"prompt {i}"),
        )
    ]


def prompts(items: Sequence[Any]) -> set[str]:
    return {item.prompt for item in items}


# The split


def pair_on(prompt: str, id_: int = 1) -> Pair:
    return Pair(prompt, PairSide("a", reply_id=id_), PairSide("b"), PairSource.SIBLINGS, 1.0, ((ANN, 1.0),))


def test_half_of_the_prompts_are_held_out() -> None:
    pairs = [pair_on(f"prompt {i}") for i in range(10)]
    train, holdout = split_prompts(pairs, 0.5, seed=1)
    assert len(train) == len(holdout) == 5
    assert split_prompts(pairs, 0.5, seed=1) == (train, holdout)
    assert split_prompts(pairs, 0.5, seed=2) != (train, holdout)


def test_a_prompt_stays_where_an_earlier_round_put_it() -> None:
    pairs = [pair_on(f"prompt {i}") for i in range(10)]
    keep, hold_out = {f"prompt {i}" for i in range(4)}, {f"prompt {i}" for i in range(4, 8)}
    train, holdout = split_prompts(pairs, 0.5, seed=1, keep=keep, hold_out=hold_out)
    assert keep <= prompts(train)
    assert hold_out <= prompts(holdout)
    assert (len(train), len(holdout)) == (5, 5)


def test_at_least_one_prompt_is_learned_from_unless_all_were_held_out() -> None:
    assert split_prompts([pair_on("a")], 0.99, seed=1) == ([pair_on("a")], [])
    assert split_prompts([pair_on("a")], 0.0, seed=1, hold_out={"a"}) == ([], [pair_on("a")])
    assert split_prompts([pair_on("a"), pair_on("b")], 0.99, seed=1, keep={"a"}) == ([pair_on("a")], [pair_on("b")])


@given(
    st.lists(st.sampled_from("abcdefgh").map(pair_on)),
    st.floats(0, 0.99),
    st.integers(0, 5),
    st.sets(st.sampled_from("abcd")),
    st.sets(st.sampled_from("efgh")),
)
def test_no_prompt_is_both_trained_on_and_held_out(
    pairs: list[Pair], share: float, seed: int, keep: set[str], hold_out: set[str]
) -> None:
    train, holdout = split_prompts(pairs, share, seed, keep=keep, hold_out=hold_out)
    assert sorted([*train, *holdout], key=lambda pair: pair.prompt) == sorted(pairs, key=lambda pair: pair.prompt)
    assert not prompts(train) & prompts(holdout)
    assert not prompts(train) & hold_out
    assert not prompts(holdout) & keep
    assert bool(train) == bool(prompts(pairs) - hold_out)


# What becomes of votes


def test_every_source_is_tagged_and_weighted_in_the_manifest() -> None:
    answers = [
        *siblings(1),
        rated(10, "wrong", prompt="corrected"),
        sample(11, prompt="corrected"),
        rated(20, down=[CAT], prompt="lone"),
        sample(21, prompt="lone"),
    ]
    opinion = VoterPreferences({20: 0.2, 21: 0.7}, 0.9)
    plan = make_plan(survey(answers, [written(5, 10, "right", author_id=DAN)]), opinion, settings())
    lines = {
        (line.source, line.chosen_reply_id, line.rejected_reply_id, line.correction_id): line for line in plan.manifest
    }
    weights = {key: round(line.weight, 3) for key, line in lines.items()}
    assert weights == {
        (PairSource.SIBLINGS, 2, 3, None): 0.667,
        (PairSource.CORRECTION, None, 10, 5): 1.0,
        (PairSource.CORRECTED_SAMPLE, None, 11, 5): 0.5,
        (PairSource.LONE_VOTE, 21, 20, None): 0.5,
    }
    assert plan.evidence["pairs_by_source"] == {"siblings": 1, "correction": 1, "corrected sample": 1, "lone vote": 1}
    assert plan.new_pairs == 4


def test_lone_votes_that_were_learned_from_are_not_completed_again() -> None:
    answers = [rated(1, down=[ANN], prompt="p"), sample(2, prompt="p"), sample(3, prompt="p", version_id=1)]
    known = ManifestPair(PairSource.LONE_VOTE, Split.TRAIN, 0.5, rejected_reply_id=1, chosen_reply_id=2)
    held_out = replace(known, split=Split.HOLDOUT)
    assert [reply.id for reply in lone_votes(survey(answers), settings())] == [1]
    assert lone_votes(survey(answers, line=[known], parent=version(1)), settings()) == []
    assert [reply.id for reply in lone_votes(survey(answers, line=[held_out], parent=version(1)), settings())] == [1]
    opinion = VoterPreferences({1: 0.1, 2: 0.9, 3: 0.9}, 0.9)
    assert make_plan(survey(answers, line=[known], parent=version(1)), opinion, settings()).manifest == []


def test_the_newest_lone_votes_are_completed_or_none() -> None:
    answers = [rated(i, down=[ANN], prompt=f"p{i}") for i in range(1, 9)]

    def lone(**pairs: Any) -> list[int]:
        return [reply.id for reply in lone_votes(survey(answers), settings(pairs=pairs))]

    assert lone(max_lone_votes=3) == [6, 7, 8]
    assert lone(max_lone_votes=0) == lone(lone_votes=False) == []
    assert len(lone()) == 8


def test_completed_lone_votes_are_a_share_of_the_new_pairs() -> None:
    answers = siblings(4)
    scores = {}
    for i in range(50, 60):
        answers += [rated(2 * i, down=[CAT], prompt=f"lone {i}"), sample(2 * i + 1, prompt=f"lone {i}")]
        scores |= {2 * i: 0.1, 2 * i + 1: 0.9}
    plan = make_plan(survey(answers), VoterPreferences(scores, 0.9), settings(pairs={"max_lone_vote_share": 0.5}))
    assert plan.evidence["pairs_by_source"] == {"siblings": 4, "lone vote": 4}
    few = make_plan(
        survey(answers), VoterPreferences(scores, 0.9), settings(pairs={"max_lone_vote_share": 0.5}, min_pairs=5)
    )
    assert few.evidence["pairs_by_source"] == {"siblings": 4, "lone vote": 10}


def test_samples_are_wanted_for_new_corrections_and_lone_votes() -> None:
    answers = [rated(1, prompt="p"), rated(2, prompt="q"), rated(3, down=[ANN], prompt="r")]
    corrections = [written(1, 1), written(2, 2)]
    known = ManifestPair(PairSource.CORRECTION, Split.TRAIN, 1.0, rejected_reply_id=1, correction_id=1)
    found = survey(answers, corrections, line=[known], parent=version(1))
    assert [(w.reply_id, w.count) for w in wanted_samples(found, settings(), lone_too=True)] == [(2, 1), (3, 4)]
    assert [(w.reply_id, w.count) for w in wanted_samples(found, settings(), lone_too=False)] == [(2, 1)]


def test_suggestions_of_new_accounts_teach_nothing_and_the_round_says_so() -> None:
    answers = [rated(1, prompt="p"), rated(2, prompt="q"), rated(3, prompt="r")]
    corrections = [written(1, 1, weight=0.0), written(2, 2, weight=0.0), written(3, 3)]
    found = survey(answers, corrections, parent=version(1))
    assert [want.reply_id for want in wanted_samples(found, settings(), lone_too=True)] == [3]
    plan = make_plan(found, NO_OPINION, settings())
    assert [pair.chosen.correction_id for pair in plan.train] == [3]
    assert "2 suggested answers by new accounts or new members not counted" in plan.evidence["notes"]


def test_samples_of_the_parent_are_there_already_even_those_without_words() -> None:
    lone = rated(1, up=[ANN], version_id=7)
    of_parent = [sample(2, version_id=7), sample(3, version_id=7)]
    others = [sample(4, version_id=None), sample(5, version_id=8), rated(6, version_id=7)]
    found = survey([lone, *of_parent, *others], parent=version(7))

    def wanted(empty: int) -> list[int]:
        with_empty = replace(found, empty_samples=(lone.prompt,) * empty)
        return [want.count for want in wanted_samples(with_empty, settings(), lone_too=True)]

    assert [wanted(0), wanted(1), wanted(2)] == [[2], [1], []]


def test_without_votes_there_is_an_empty_plan() -> None:
    plan = make_plan(survey([]), NO_OPINION, settings())
    assert (plan.manifest, plan.new_pairs, plan.voters) == ([], 0, ())
    assert plan.evidence["removed_shares"] == {"voter cap": 0.0}


def test_the_newest_pairs_make_the_round() -> None:
    plan = make_plan(survey(siblings(9)), NO_OPINION, settings(max_pairs=3))
    assert [pair.chosen.reply_id for pair in plan.train] == [14, 16, 18]


def test_validation_pairs_are_taken_only_where_training_may_stop_early() -> None:
    found = survey(siblings(20))
    patient = make_plan(found, NO_OPINION, settings(patience=2, holdout_share=0.25))
    assert [len(part) for part in (patient.train, patient.validation, patient.holdout)] == [11, 4, 5]
    assert len(prompts(patient.train) | prompts(patient.validation) | prompts(patient.holdout)) == 20
    assert patient.new_pairs == 15
    assert make_plan(found, NO_OPINION, settings(holdout_share=0.25)).validation == ()


# Replay


def learned(count: int) -> list[ManifestPair]:
    return [ManifestPair(PairSource.SIBLINGS, Split.TRAIN, 0.6, 2 * i + 1, 2 * i) for i in range(1, count + 1)]


def test_a_share_of_the_round_repeats_old_lessons() -> None:
    found = survey(siblings(20), line=learned(12), parent=version(1))
    plan = make_plan(found, NO_OPINION, settings(pairs={"replay_share": 0.2}))
    assert [pair.replayed for pair in plan.train] == [False] * 8 + [True] * 2
    assert plan.evidence["pairs_by_source"] == {"siblings": 8, "replay": 2}
    assert (plan.new_pairs, [line.replayed for line in plan.manifest]) == (8, [False] * 8 + [True] * 2)
    assert prompts([pair for pair in plan.train if pair.replayed]) <= {f"prompt {i}" for i in range(1, 13)}
    none = make_plan(found, NO_OPINION, settings(pairs={"replay_share": 0.0}))
    assert none.evidence["pairs_by_source"] == {"siblings": 8}


def test_every_parent_is_reminded_of_other_lessons() -> None:
    drawn = {
        tuple(pair.rows for pair in make_plan(found, NO_OPINION, settings()).train if pair.replayed)
        for found in (survey(siblings(20), line=learned(12), parent=version(id_)) for id_ in range(1, 9))
    }
    assert len(drawn) > 4


def test_a_lesson_whose_votes_are_gone_is_not_repeated() -> None:
    answers = [replace(answer, votes=()) if answer.id < 26 else answer for answer in siblings(20)]
    found = survey(answers, line=learned(12), parent=version(1))
    plan = make_plan(found, NO_OPINION, settings(pairs={"replay_share": 0.9}))
    assert not any(pair.replayed for pair in plan.train)
    assert plan.new_pairs == 8


def test_without_new_lessons_nothing_is_repeated() -> None:
    plan = make_plan(survey(siblings(12), line=learned(12), parent=version(1)), NO_OPINION, settings())
    assert (plan.train, plan.new_pairs) == ((), 0)


# Voters and the notes for admins


def test_no_voter_carries_more_of_the_round_than_allowed() -> None:
    answers = siblings(20)  # Ann and Ben
    for i in range(30, 50):
        answers += [rated(2 * i, up=[i], prompt=f"p{i}"), rated(2 * i + 1, down=[i], prompt=f"p{i}")]
    plan = make_plan(survey(answers), NO_OPINION, settings(max_voter_share=0.1))
    assert max(voter.share for voter in plan.voters) <= 0.1 + 1e-9
    assert sum(voter.share for voter in plan.voters) == pytest.approx(1)
    weight = sum(pair.weight for pair in plan.train)
    # Ann and Ben have a third of the pairs' weight each before: 2/3 * 40 / 2 pairs, of 40 pairs of 2/3.
    assert plan.evidence["removed_shares"]["voter cap"] == pytest.approx(1 - weight / (40 * 2 / 3))
    assert plan.evidence["voters"] == 22
    assert plan.evidence["notes"] == []


@pytest.mark.parametrize(
    ("voters", "note"),
    [
        (1, "only 1 person voted, so the 10 % limit per voter is not applied"),
        (2, "only 2 people voted, so the 10 % limit per voter is not applied"),
        (8, "only 8 people voted, so the 10 % limit per voter is raised to 25 %"),
    ],
)
def test_too_few_voters_are_reported(voters: int, note: str) -> None:
    answers = []
    for i in range(1, voters + 1):
        answers += [rated(2 * i, up=[i], prompt=f"p{i}"), rated(2 * i + 1, down=[i], prompt=f"p{i}")]
    plan = make_plan(survey(answers), NO_OPINION, settings(max_voter_share=0.1))
    assert plan.evidence["notes"] == [note]


def test_influence_counts_only_pairs_that_the_round_learns_newly() -> None:
    """Of eight pairs Ann and Ben make six that the parent knows, and Cat and Dan the two that are new."""
    answers = siblings(6)
    for i in (7, 8):
        answers += [rated(2 * i, up=[CAT], prompt=f"prompt {i}"), rated(2 * i + 1, down=[DAN], prompt=f"prompt {i}")]
    found = survey(answers, line=learned(6), parent=version(1))
    plan = make_plan(found, NO_OPINION, settings(pairs={"replay_share": 0.5}))
    influences = {voter.pseudonym: voter.influence for voter in plan.voters}
    shares = {voter.pseudonym: voter.share for voter in plan.voters}
    assert influences == {ANN: 0.0, BEN: 0.0, CAT: 1.0, DAN: 1.0}
    assert shares == pytest.approx(dict.fromkeys((ANN, BEN, CAT, DAN), 0.25))
    assert [voter.pseudonym for voter in plan.voters] == [CAT, DAN, ANN, BEN]


def test_lone_votes_have_influence_too() -> None:
    answers = [
        rated(1, down=[ANN], prompt="p"),
        sample(2, prompt="p"),
        rated(3, up=[BEN, CAT], prompt="q"),
        sample(4, prompt="q"),
    ]
    opinion = VoterPreferences({1: 0.1, 2: 0.9, 3: 0.9, 4: 0.1}, 0.9)
    plan = make_plan(survey(answers), opinion, settings())
    assert {voter.pseudonym: voter.influence for voter in plan.voters} == {ANN: 0.5, BEN: 0.0, CAT: 0.0}


def test_the_evidence_has_numbers_and_no_names() -> None:
    removed = {"account age": 2.0, "membership": 0.0, "quarantine": 4.0}
    answers = [rated(2, up=[987_654_321]), rated(3, down=[123_456_789])]
    opinion = VoterPreferences({}, 0.55, "lone votes are not used: a coin would do as well")
    plan = make_plan(survey(answers, removed=removed), opinion, settings())
    assert plan.evidence == {
        "votes": 8,
        "removed_shares": {"account age": 0.25, "quarantine": 0.5, "voter cap": 0.0},
        "voters": 2,
        "pairs_by_source": {"siblings": 1},
        "preference_auc": 0.55,
        "notes": ["lone votes are not used: a coin would do as well"],
    }
    told = json.dumps(plan.evidence)
    assert "987654321" not in told
    assert "123456789" not in told


def test_disagreement_is_measured_for_the_objective() -> None:
    quarrels = [rated(100 + i, up=crowd(3), down=[CAT], prompt=f"quarrel {i}") for i in range(4)]
    plan = make_plan(survey([*siblings(2), *quarrels]), NO_OPINION, settings())
    assert 2 * plan.label_noise * (1 - plan.label_noise) == pytest.approx(1 / 2)
    assert make_plan(survey(siblings(2)), NO_OPINION, settings()).label_noise == 0.0


# Rounds in a line


def random_round(
    chance: random.Random, first: int, versions: list[int | None]
) -> tuple[list[RatedReply], list[WrittenCorrection]]:
    answers, corrections = [], []
    for id_ in range(first, first + chance.randrange(1, 25)):
        prompt = f"prompt {chance.randrange(12)}"
        if chance.random() < 0.3:
            answers.append(sample(id_, prompt=prompt, version_id=chance.choice(versions)))
            continue
        voters = chance.sample(range(1, 15), chance.randrange(4))
        ups = [user_id for user_id in voters if chance.random() < 0.5]
        answers.append(rated(id_, up=ups, down=set(voters) - set(ups), prompt=prompt))
        if chance.random() < 0.2:
            corrections.append(written(id_, id_, f"better {id_}", author_id=chance.randrange(1, 15)))
    return answers, corrections


@given(
    st.randoms(use_true_random=False),
    st.sampled_from([0, 2]),
    st.sampled_from([0.1, 1.0]),
)
def test_no_line_of_versions_is_judged_on_what_it_learned(
    chance: random.Random, patience: int, max_voter_share: float
) -> None:
    answers: list[RatedReply] = []
    corrections: list[WrittenCorrection] = []
    line: list[ManifestPair] = []
    parent = None
    for number in range(1, 5):
        versions = [None, *range(1, number)]
        more, written_ones = random_round(chance, len(answers) + 1, versions)
        answers, corrections = [*answers, *more], [*corrections, *written_ones]
        configured = settings(holdout_share=0.3, patience=patience, max_voter_share=max_voter_share)
        scores = {answer.id: chance.random() for answer in answers}
        found = survey(answers, corrections, line=line, parent=parent)
        plan = make_plan(found, VoterPreferences(scores, 0.9), configured)
        check(plan, found, answers, corrections)
        shuffled = replace(
            found,
            replies=tuple(answers),
            corrections=tuple(chance.sample(corrections, len(corrections))),
        )
        assert digest_manifest(
            make_plan(shuffled, VoterPreferences(scores, 0.9), configured).manifest
        ) == digest_manifest(plan.manifest)
        if chance.random() < 0.8:  # promoted: the next round continues it
            line, parent = [*line, *plan.manifest], version(number)


def check(plan: TrainingPlan, found: Survey, answers: list[RatedReply], corrections: list[WrittenCorrection]) -> None:
    """Check a plan against the line behind it, and that its manifest tells all of it."""
    history, by_id = found.history, {answer.id: answer for answer in answers}
    texts = {correction.id: correction.text for correction in corrections}
    taught = prompts([*plan.train, *plan.validation])
    judged = prompts(plan.holdout)
    assert not taught & judged
    assert not taught & history.held_out_prompts
    assert not judged & history.trained_prompts
    pairs = [*plan.train, *plan.validation, *plan.holdout]
    for pair, entry in zip(pairs, plan.manifest, strict=True):
        assert by_id[entry.rejected_reply_id or 0].answer == pair.rejected.text
        chosen = texts[entry.correction_id] if entry.correction_id else by_id[entry.chosen_reply_id or 0].answer
        assert chosen == pair.chosen.text
        assert by_id[entry.rejected_reply_id or 0].prompt == pair.prompt
        assert (entry.source, entry.weight, entry.replayed) == (pair.source, pair.weight, pair.replayed)
        assert entry.weight > 0
        assert history.has_learned(pair) == pair.replayed
    assert [entry.split for entry in plan.manifest] == (
        [Split.TRAIN] * len(plan.train)
        + [Split.VALIDATION] * len(plan.validation)
        + [Split.HOLDOUT] * len(plan.holdout)
    )
    learned_now = [entry for entry in plan.manifest if entry.split is not Split.HOLDOUT and not entry.replayed]
    fresh = {(e.chosen_reply_id, e.rejected_reply_id, e.correction_id) for e in learned_now}
    assert not fresh & history.trained_rows
