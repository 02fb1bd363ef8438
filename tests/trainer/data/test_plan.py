"""What a round trains on: people's pairs, capped and watched, pairs that the taste ranked, and the notes."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from functools import cache, partial
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from storage.database.enums import GateVerdict, PairSource, Split
from storage.releases.versions import StartingPoint, Version
from storage.settings.sections import PairSettings, Settings, TrainingSettings, VoteSettings
from storage.style import measure_style
from storage.taste.learning import LearnedTaste, arrange, learn
from storage.taste.opinions import Opinion, Preference
from storage.taste.relevance import NOISE
from storage.training.feedback import RatedReply, WrittenCorrection
from storage.votes.weights import WeightedVotes
from tests.trainer.rated import ANN, BEN, CAT, DAN, corrections, rated, reader, replies, sample, written
from trainer.data.pairs import Pair, RoundFeedback
from trainer.data.plan import TrainingPlan, make_plan
from trainer.data.survey import Survey
from trainer.training.rows import PreferencePair

NOW = datetime(2026, 11, 4, 12, tzinfo=UTC)
SHORT = ("Tea.", "Sure.", "Try soup.", "Go early.")
LONG = tuple(
    f"{start} then you walk on through the old town for quite a while until you see the sea." for start in SHORT
)


def settings(*, max_voter_share: float = 1.0, pairs: dict[str, Any] | None = None, **training: Any) -> Settings:
    return Settings(
        votes=VoteSettings(max_voter_share=max_voter_share),
        pairs=PairSettings(**pairs or {}),
        training=TrainingSettings(**{"min_pairs": 1, "patience": 0} | training),
    )


@cache
def taste_for_short_answers(votes: int) -> LearnedTaste:
    """Return the taste of a server that likes short answers and no long ones."""
    answers = [(SHORT, LONG)[i % 2][i // 2 % len(SHORT)] for i in range(votes)]
    opinions = [Opinion(i, i % 7, i % 2 == 0, 1.0, NOW) for i in range(votes)]
    return learn(arrange(opinions, {i: measure_style(answer) for i, answer in enumerate(answers)}))


NO_TASTE = taste_for_short_answers(0)


def survey(
    answers: Sequence[RatedReply],
    written_ones: Sequence[WrittenCorrection] = (),
    choices: Sequence[Preference] = (),
    *,
    taste: LearnedTaste = NO_TASTE,
    taste_weights: Mapping[int, float] | None = None,
    ranked: Sequence[RatedReply] = (),
    removed: dict[str, float] | None = None,
    start: StartingPoint = StartingPoint(None),  # noqa: B008 (frozen)
) -> Survey:
    """Return a survey without texts, which are read on demand."""
    no_text = partial(replace, answer=None)
    by_reply = {answer.id: answer.votes for answer in answers if answer.votes}
    lost = removed or {}
    given = sum(map(len, by_reply.values())) + round(sum(lost.values()))
    return Survey(
        feedback=RoundFeedback(
            tuple(map(no_text, answers)), tuple(replace(one, text=None) for one in written_ones), tuple(choices)
        ),
        votes=WeightedVotes(by_reply, given, lost, {rule: round(weight) for rule, weight in lost.items()}),
        start=start,
        taste=taste,
        taste_weights=taste_weights or {},
        read=reader([*answers, *ranked], written_ones),
        ranked=tuple(map(no_text, ranked)),
        measures={answer.id: np.array(measure_style(answer.answer or "")) for answer in ranked},
    )


def plan_of(
    found: Survey, configured: Settings | None = None, fits: Callable[[PreferencePair], bool] = lambda _pair: True
) -> TrainingPlan:
    return make_plan(found, configured or settings(), fits)


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


def fresh(count: int, first: int = 1_000) -> list[RatedReply]:
    """Return a short and a long answer to each of `count` prompts."""
    return [
        sample(first + 2 * i + is_long, (SHORT, LONG)[is_long][i % len(SHORT)], prompt=f"bank {i}")
        for i in range(count)
        for is_long in (0, 1)
    ]


def weight(pairs: Sequence[Pair]) -> float:
    return sum(pair.weight for pair in pairs)


# Sources


def test_every_source_is_tagged_and_weighted_in_the_manifest() -> None:
    answers = [
        *siblings(1),
        rated(10, "wrong", prompt="corrected"),
        sample(11, prompt="corrected"),
        rated(20, prompt="compared"),
        rated(21, prompt="compared"),
    ]
    choice = Preference((20, 21), 21, CAT, 1.0, NOW)
    found = survey(
        answers,
        [written(5, 10, "right", author_id=DAN)],
        [choice],
        taste=taste_for_short_answers(60),
        ranked=fresh(1),
    )
    plan = plan_of(found)
    weights = {
        (line.source, line.chosen_reply_id, line.rejected_reply_id, line.correction_id): round(line.weight, 3)
        for line in plan.manifest
    }
    ranked = weights.pop((PairSource.TASTE, 1000, 1001, None))
    assert 0.5 <= ranked < 1
    assert weights == {
        (PairSource.SIBLINGS, 2, 3, None): 0.363,  # 0.667 by its votes alone
        (PairSource.CORRECTION, None, 10, 5): 1.0,
        (PairSource.CORRECTED_SAMPLE, None, 11, 5): 0.5,
        (PairSource.CHOICE, 21, 20, None): 0.5,
    }
    assert plan.learned_from["pairs_by_source"] == {
        "siblings": 1,
        "correction": 1,
        "corrected sample": 1,
        "choice": 1,
        "taste": 1,
    }
    assert plan.pairs == 5


def test_a_taste_that_knows_too_little_ranks_nothing_and_the_round_says_why() -> None:
    plan = plan_of(survey(siblings(1), ranked=fresh(4)))
    assert plan.learned_from["pairs_by_source"] == {"siblings": 1}
    assert plan.learned_from["notes"] == [
        "training uses only members' own comparisons until there are 10 more votes or choices"
    ]
    assert plan_of(survey(siblings(1)), settings(pairs={"ranked_prompts": 0})).learned_from["notes"] == []


@pytest.mark.parametrize(
    ("judged", "why"),
    [
        (
            {"is_refuted": True},
            "I guess votes worse than always guessing the average, so training uses only members' own comparisons",
        ),
        (
            {"is_clear": False},
            "I can't tell yet what members like, so training uses only their own comparisons",
        ),
    ],
)
def test_a_taste_that_may_not_teach_ranks_nothing_and_the_round_says_why(judged: dict[str, bool], why: str) -> None:
    known = taste_for_short_answers(60)
    unsure = replace(known, bettor=replace(known.bettor, **judged))
    plan = plan_of(survey([], taste=unsure, ranked=fresh(4)))
    assert plan.manifest == []
    assert plan.learned_from["notes"] == [why]
    assert plan_of(survey([], taste=known, ranked=fresh(4))).manifest


def test_answers_that_the_taste_is_not_sure_of_teach_nothing() -> None:
    alike = [sample(1, "Tea.", prompt="p"), sample(2, "Sure.", prompt="p")]
    assert plan_of(survey([], taste=taste_for_short_answers(60), ranked=alike)).manifest == []


def test_broken_and_empty_answers_are_never_chosen() -> None:
    broken = sample(1, "🎉🔥✨🎉🔥✨", prompt="p")
    plan = plan_of(survey([], taste=taste_for_short_answers(60), ranked=[broken, sample(2, LONG[0], prompt="p")]))
    assert all(pair.chosen.reply_id != 1 for pair in plan.train)
    assert plan_of(survey([], taste=taste_for_short_answers(60), ranked=[broken])).manifest == []


def test_an_answer_that_has_nothing_to_do_with_its_message_is_not_chosen_and_no_much_better_one_is_rejected() -> None:
    answers = [sample(place, answer, prompt="p") for place, answer in enumerate(("Tea.", *LONG[:3]))]
    found = survey([], taste=taste_for_short_answers(60), ranked=answers)

    def pair(*relevance: float) -> list[tuple[int | None, int | None]]:
        known = dict(enumerate(relevance))
        return [(one.chosen.reply_id, one.rejected.reply_id) for one in plan_of(replace(found, relevance=known)).train]

    ((best, worst),) = pair(0.5, 0.5, 0.5, 0.5)
    assert best == 0
    assert all(chosen != 0 for chosen, _ in pair(0.0, 0.5, 0.5, 0.5))
    much_better = [0.4] * 4
    much_better[worst or 0] += 2 * NOISE
    assert all(rejected != worst for _, rejected in pair(*much_better))


def test_ten_thousand_identical_answers_make_no_pair() -> None:
    same = [sample(i, "Tea.", prompt="p") for i in range(10_000)]
    assert plan_of(survey([], taste=taste_for_short_answers(60), ranked=same)).manifest == []


# What the taste says of pairs that people voted on


def voted_siblings(liked: str, disliked: str, number: int) -> list[RatedReply]:
    prompt = f"prompt {number}"
    return [
        rated(2 * number, liked, up=[ANN], prompt=prompt),
        rated(2 * number + 1, disliked, down=[BEN], prompt=prompt),
    ]


def test_a_pair_that_votes_and_taste_agree_on_weighs_more_and_one_that_they_do_not_is_left_out() -> None:
    agreed, turned = voted_siblings(SHORT[0], LONG[0], 1), voted_siblings(LONG[1], SHORT[1], 2)
    unknown = voted_siblings(SHORT[2], SHORT[3], 3)
    answers = [*agreed, *turned, *unknown]
    plan = plan_of(survey(answers, taste=taste_for_short_answers(60)))
    weights = {pair.chosen.reply_id: pair.weight for pair in plan.train}
    assert weights.keys() == {2, 6}
    assert weights[2] > 0.9
    assert 0.3 < weights[6] < 2 / 3, "a taste that sees no difference leaves less to one vote"
    assert "1 pair from people's votes left out, because all other votes say the opposite" in plan.learned_from["notes"]
    alone = plan_of(survey(answers))
    assert [round(pair.weight, 3) for pair in alone.train] == [0.667] * 3


def test_the_votes_on_a_pair_count_once() -> None:
    """What the taste expects of two answers is learned from the votes on others."""

    def weight_with_taste_of(first: int) -> float:
        opinions = [Opinion(first + i % 2, i % 7, i % 2 == 0, 1.0, NOW) for i in range(60)]
        taste = learn(arrange(opinions, {first + i: measure_style(text[0]) for i, text in enumerate((SHORT, LONG))}))
        assert taste.may_teach
        answers = [rated(2, SHORT[0], up=[ANN]), rated(3, LONG[0], down=[BEN])]
        return weight(plan_of(survey(answers, taste=taste)).train)

    assert weight_with_taste_of(2) < 2 / 3, "two votes, next to eight that see no difference"
    assert weight_with_taste_of(102) > 0.9


def test_a_suggestion_or_a_choice_weighs_the_same_whatever_the_taste_says() -> None:
    answers = [rated(1, SHORT[0], prompt="p"), rated(2, SHORT[1], prompt="q"), rated(3, LONG[1], prompt="q")]
    choice = Preference((2, 3), 3, CAT, 1.0, NOW)
    plan = plan_of(survey(answers, [written(1, 1, LONG[0])], [choice], taste=taste_for_short_answers(60)))
    assert [(pair.source, pair.weight) for pair in plan.train] == [
        (PairSource.CORRECTION, 1.0),
        (PairSource.CHOICE, 0.5),
    ]


# Limits


def test_a_full_round_keeps_room_for_the_taste_and_the_surest_pairs_of_people() -> None:
    agreed = [answer for i in range(1, 5) for answer in voted_siblings(SHORT[i % 4], LONG[i % 4], i)]
    unknown = [answer for i in range(5, 9) for answer in voted_siblings(SHORT[i % 4], SHORT[(i + 1) % 4], i)]
    found = survey([*agreed, *unknown], taste=taste_for_short_answers(60), ranked=fresh(8))
    plan = plan_of(found, settings(max_pairs=8))
    assert plan.learned_from["pairs_by_source"] == {"siblings": 6, "taste": 2}
    assert {2, 4, 6, 8} < {pair.chosen.reply_id for pair in plan.train}


def test_the_newest_pairs_of_people_come_first_then_the_surest_of_the_taste() -> None:
    found = survey(siblings(3, first=50), taste=taste_for_short_answers(60), ranked=fresh(4))
    plan = plan_of(found, settings(max_pairs=5))
    assert [pair.chosen.reply_id for pair in plan.train[:3]] == [104, 102, 100]
    ranked = [pair for pair in plan_of(found).train if pair.source is PairSource.TASTE]
    assert [pair.weight for pair in plan.train[3:]] == sorted((pair.weight for pair in ranked), reverse=True)[:2]


def test_light_pairs_take_no_place_from_heavier_ones_however_new_they_are() -> None:
    """Or a few new accounts would push out all others by number."""
    answers = [rated(id_, prompt=f"p{id_}") for id_ in range(1, 30)]
    old = [written(id_, id_, weight=1.0) for id_ in range(1, 5)]
    new = [written(id_, id_, weight=0.1) for id_ in range(5, 30)]
    plan = plan_of(survey(answers, [*old, *new]), settings(max_pairs=6))
    assert sorted(pair.chosen.correction_id or 0 for pair in plan.train) == [1, 2, 3, 4, 28, 29]


def test_what_is_too_long_is_left_out_while_planning_and_others_take_its_place() -> None:
    plan = plan_of(survey(siblings(6)), settings(max_pairs=3), lambda pair: pair.prompt != "prompt 6")
    assert [pair.chosen.reply_id for pair in plan.train] == [10, 8, 6]
    assert "1 pair longer than training.max_tokens = 768 left out" in plan.learned_from["notes"]


def test_without_votes_there_is_an_empty_plan() -> None:
    plan = plan_of(survey([]))
    assert (plan.manifest, plan.pairs, plan.voters) == ([], 0, ())
    assert plan.learned_from["removed_shares"] == {"voter cap": 0.0}


# Validation


def test_a_quarter_of_peoples_prompts_is_watched_if_training_may_stop_early() -> None:
    plan = plan_of(survey(siblings(40), taste=taste_for_short_answers(60), ranked=fresh(4)), settings(patience=1))
    assert 4 <= len(plan.validation) <= 16
    assert {pair.source for pair in plan.validation} == {PairSource.SIBLINGS}
    assert not {pair.prompt for pair in plan.train} & {pair.prompt for pair in plan.validation}
    assert {line.split for line in plan.manifest[len(plan.train) :]} == {Split.VALIDATION}
    assert plan_of(survey(siblings(40))).validation == ()


def test_nothing_is_watched_if_nothing_would_be_left_to_train_on() -> None:
    for i in range(1, 20):
        plan = plan_of(survey(siblings(1, first=i)), settings(patience=1))
        assert (len(plan.train), len(plan.validation)) == (1, 0)


# More data never teaches less


@given(replies, corrections, st.sampled_from([0.1, 0.5, 1.0]))
def test_a_suggestion_never_lowers_what_a_round_trains_on(
    answers: list[RatedReply], written_ones: list[WrittenCorrection], max_voter_share: float
) -> None:
    configured = settings(max_voter_share=max_voter_share, patience=1)
    before = plan_of(survey([*siblings(9, first=50), *answers], written_ones), configured)
    more = [*written_ones, written(99, 100, "much better", author_id=CAT)]
    after = plan_of(survey([*siblings(9, first=50), *answers], more), configured)
    assert weight(after.train) >= weight(before.train) - 1e-9


@pytest.mark.parametrize("lone", [20, 100])
@pytest.mark.parametrize("others", [1, 7, 8, 9, 30])
def test_pairs_of_people_never_push_out_those_of_the_taste(lone: int, others: int) -> None:
    taste = taste_for_short_answers(60)
    alone = plan_of(survey([], taste=taste, ranked=fresh(lone)))
    both = plan_of(survey(siblings(others), taste=taste, ranked=fresh(lone)))
    assert len(both.train) == len(alone.train) + others
    assert weight(both.train) > weight(alone.train)


def test_a_newcomer_does_not_level_everybody() -> None:
    """Nine members with ten pairs each, then one with a single 👍: nobody weighs less."""
    answers = [
        answer
        for member in range(1, 10)
        for i in range(10)
        for answer in (
            rated(1000 * member + 2 * i, up=[member], prompt=f"{member} {i}"),
            rated(1000 * member + 2 * i + 1, down=[member], prompt=f"{member} {i}"),
        )
    ]
    newcomer = [rated(20_000, up=[10], prompt="new"), rated(20_001, prompt="new")]
    configured = settings(max_voter_share=0.1)
    before, after = plan_of(survey(answers), configured), plan_of(survey([*answers, *newcomer]), configured)
    assert weight(after.train) > weight(before.train)


# Voters and notes


def test_no_voter_of_a_large_round_carries_more_than_allowed() -> None:
    answers = siblings(100)  # Ann and Ben
    for i in range(200, 400):
        answers += [rated(2 * i, up=[i], prompt=f"p{i}"), rated(2 * i + 1, down=[i], prompt=f"p{i}")]
    plan = plan_of(survey(answers), settings(max_voter_share=0.1))
    assert max(voter.share for voter in plan.voters) <= 0.1 + 1e-9
    assert sum(voter.share for voter in plan.voters) == pytest.approx(1)
    assert plan.learned_from["removed_shares"]["voter cap"] == pytest.approx(1 - weight(plan.train) / (300 * 2 / 3))
    assert plan.learned_from["voters"] == 202


def test_everybody_behind_the_taste_is_a_voter_of_the_round() -> None:
    found = survey(siblings(1), taste=taste_for_short_answers(60), taste_weights={CAT: 3.0, DAN: 1.0}, ranked=fresh(4))
    plan = plan_of(found)
    shares = {voter.pseudonym: voter.share for voter in plan.voters}
    assert sum(shares.values()) == pytest.approx(1)
    assert shares[CAT] == pytest.approx(3 * shares[DAN])
    assert shares[ANN] == pytest.approx(shares[BEN])
    assert plan.learned_from["voters"] == 4


def test_everybody_behind_the_taste_that_weighed_votes_is_a_voter_of_the_round() -> None:
    found = survey(siblings(2), taste=taste_for_short_answers(60), taste_weights={CAT: 3.0, DAN: 1.0})
    plan = plan_of(found, settings(pairs={"ranked_prompts": 0}))
    voters = {voter.pseudonym: voter for voter in plan.voters}
    assert voters[CAT].influence == pytest.approx(3 * voters[DAN].influence)
    assert 0 < voters[DAN].influence < 0.25
    assert sum(voter.share for voter in plan.voters) == pytest.approx(voters[ANN].share + voters[BEN].share)
    assert plan.learned_from["voters"] == 4


def test_suggestions_of_new_accounts_teach_nothing_and_the_round_says_so() -> None:
    answers = [rated(1, prompt="p"), rated(2, prompt="q"), rated(3, prompt="r")]
    plan = plan_of(survey(answers, [written(1, 1, weight=0.0), written(2, 2, weight=0.0), written(3, 3)]))
    assert [pair.chosen.correction_id for pair in plan.train] == [3]
    assert "2 suggested answers by new accounts or new members not counted" in plan.learned_from["notes"]


def test_a_champion_that_learned_from_deleted_data_is_named() -> None:
    marked = Version(3, 1, 3, "d" * 64, "tiny", "0" * 16, None, 1, {}, GateVerdict.PASS, True, NOW)
    plan = plan_of(survey(siblings(1), start=StartingPoint(None, marked)))
    note = "v3 learned from data that was later deleted; this round learns without it"
    assert plan.learned_from["notes"][0] == note


def test_the_evidence_has_numbers_and_no_names() -> None:
    removed = {"account age": 2.0, "membership": 0.0, "quarantine": 4.0}
    answers = [rated(2, up=[987_654_321]), rated(3, down=[123_456_789])]
    plan = plan_of(survey(answers, removed=removed), settings(pairs={"ranked_prompts": 0}))
    assert plan.learned_from == {
        "votes": 8,
        "counts": {"votes": 2, "choices": 0, "others": 0, "people": 0},
        "removed_shares": {"account age": 0.25, "quarantine": 0.5, "voter cap": 0.0},
        "voters": 2,
        "pairs_by_source": {"siblings": 1},
        "notes": [],
    }
    told = json.dumps(plan.learned_from)
    assert "987654321" not in told
    assert "123456789" not in told


# Equal data, equal plans


@given(replies, corrections, st.randoms(use_true_random=False))
def test_the_manifest_tells_all_of_the_plan_in_any_order_of_the_rows(
    answers: list[RatedReply], written_ones: list[WrittenCorrection], rng: Any
) -> None:
    configured = settings(patience=1, max_voter_share=0.3)
    plan = plan_of(survey(answers, written_ones), configured)
    shuffled = survey(rng.sample(answers, len(answers)), rng.sample(written_ones, len(written_ones)))
    assert plan_of(shuffled, configured).manifest == plan.manifest
    by_id = {answer.id: answer for answer in answers}
    texts = {correction.id: correction.text for correction in written_ones}
    for pair, line in zip((*plan.train, *plan.validation), plan.manifest, strict=True):
        rejected = by_id[line.rejected_reply_id or 0]
        assert (rejected.prompt, rejected.answer) == (pair.prompt, pair.rejected.text)
        chosen = texts[line.correction_id] if line.correction_id else by_id[line.chosen_reply_id or 0].answer
        assert (chosen, line.source, line.weight) == (pair.chosen.text, pair.source, pair.weight)
        assert line.weight > 0
