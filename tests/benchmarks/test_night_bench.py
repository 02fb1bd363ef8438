"""One person's choices, a round, and their blind judgements; what members are served before and after."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from bot.demo.community import Taste
from storage.database.enums import OPERATOR, GateVerdict, Label
from storage.releases.contests import Bet, Contest, Standing
from tests.benchmarks import few, night, unseen_tastes
from tests.benchmarks.night import pairs_until_ready
from tests.benchmarks.people import say
from tests.benchmarks.test_community_bench import FIRST


def even(_message: str, answer: str) -> float:
    """The answer has an even number of characters, as half of the answers of random weights have."""
    return float(len(answer) % 2 == 0)


@pytest.mark.bench
@pytest.mark.usefixtures("tiny")
def test_a_night_is_chosen_trained_and_judged() -> None:
    found = night.run(taste=f"{__name__}:even", choices=16, judged=3, noise=0.0)
    served, version, person = found["rows"]
    assert (served["answers"], version["answers"]) == ("served", "version")
    assert sum(person["choices"].values()) == 16
    assert version["pairs_by_source"]
    assert list(found["summary"]) == [
        "approval_served",
        "approval_version",
        "approval_version_low",
        "pairs_until_ready",
        "e_value",
        "fit_ratio",
        "coherence_ratio",
        "retention_loss_ratio",
        "degenerate_share",
        "degenerate_share_served",
        "seconds",
    ]


@pytest.mark.bench
@pytest.mark.usefixtures("tiny")
def test_few_votes_are_given_on_what_is_served() -> None:
    found = few.run(taste=f"{__name__}:even", votes=12, noise=0.0)
    *ways, round_ = found["rows"]
    names = [f"approval_{way}{end}" for end in ("", "_low") for way in ("base", "served", "told", "adapter", "both")]
    costs = ["fit_ratio", "coherence_ratio", "retention_loss_ratio", "degenerate_share"]
    rest = ["fit_ratio_served", "degenerate_share_base", "versions_made", "seconds"]
    assert list(found["summary"]) == [*names, *costs, *rest]
    assert [way["answers"] for way in ways] == ["base", "served", "told"], "twelve votes teach nothing"
    assert ways[2]["order"] == ""
    assert round_["version_made"] is None
    assert "training uses only members' own comparisons until" in round_["reason"]
    assert found["summary"]["versions_made"] == 0
    assert [found["summary"][name] for name in ("approval_adapter", "approval_both_low", *costs)] == [None] * 6


def brief(_message: str, answer: str) -> float:
    """The answer has at most twelve characters, as a third of the answers of random weights have."""
    return float(len(answer) <= 12)


@pytest.mark.bench
@pytest.mark.usefixtures("tiny")
def test_a_clear_taste_is_told_to_the_base_and_makes_a_version(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REACTUNE_PAIRS__RANKED_PROMPTS", "16")
    found = few.run(taste=f"{__name__}:brief", votes=80, noise=0.0)
    assert [row.get("answers") for row in found["rows"]] == ["base", "served", "told", "adapter", "both", None]
    assert found["rows"][2]["order"].endswith("."), "one line for the base"
    assert (found["rows"][-1]["version_made"], found["summary"]["versions_made"]) == ("v1", 1)
    assert None not in found["summary"].values()


def contest(*won: bool) -> Contest:
    bets = tuple(Bet(datetime.now(UTC), 1.0 if one else -1.0) for one in won)
    return Contest(FIRST, None, Standing(), {OPERATOR: Standing(bets, people=1)}, has_few_members=True)


def test_a_version_is_ready_at_the_first_pair_that_decides_for_it() -> None:
    looks = [contest(*[True] * number) for number in range(1, 10)]
    assert pairs_until_ready(looks, judged=60) == 7
    assert looks[6].decision is not None
    assert looks[6].decision.verdict is GateVerdict.PASS


def test_a_version_that_was_dropped_or_never_decided_is_never_ready() -> None:
    dropped = [contest(*[False] * number) for number in range(1, 9)] + [contest(*[False] * 8, *[True] * 40)]
    assert pairs_until_ready(dropped, judged=60) == 61
    assert pairs_until_ready([contest(True), contest(True, False)], judged=60) == 61
    assert pairs_until_ready([], judged=60) == 61


def test_somebody_says_which_of_two_answers_they_like() -> None:
    assert [say(True, False), say(False, True)] == [Label.FIRST, Label.SECOND]
    assert [say(True, True), say(False, False)] == [Label.BOTH_GOOD, Label.BOTH_BAD]


@pytest.mark.parametrize(
    ("taste", "liked", "not_liked"),
    [
        (unseen_tastes.own_word, "Rain in summer again?", "What a pity."),
        (unseen_tastes.counted, "I like apples, pears and plums.", "I like fruit."),
        (unseen_tastes.interjection, "Oh, that is late.", "That is late, oh."),
        (unseen_tastes.about_you, "If you like it, your friends will.", "If you like it, others will."),
        (unseen_tastes.unhedged, "The soup is warm and it is good.", "I think the soup is warm and good."),
        (unseen_tastes.offers_help, "That is hard. Let me know.", "Let me know. That is hard."),
    ],
)
def test_tastes_that_nobody_designed_for(taste: Taste, liked: str, not_liked: str) -> None:
    assert (taste("A summer of rain", liked), taste("A summer of rain", not_liked)) == (1.0, 0.0)
