"""Chooses the pairs of a round by ids and votes, and reads only their texts. Pure except for the reading."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from itertools import chain
from typing import Any, Protocol

from storage.training.feedback import Texts
from trainer.data.pairs import Pair, RoundFeedback, Rows, example_of
from trainer.training.rows import PreferencePair

Fits = Callable[[PreferencePair], bool]
"""Returns whether a pair is short enough to train on."""


class ReadTexts(Protocol):
    """Reads the texts of answers, with their prompts, and of corrections.

    It reads the same state of the database that the ids come from.
    """

    def __call__(self, *, replies: Collection[int], corrections: Collection[int]) -> Texts: ...


@dataclass(frozen=True)
class ChosenPairs:
    """The highest-ranked pairs, with their texts."""

    pairs: list[Pair]
    prompts: dict[str, str]
    """Rendered prompts by digest, including those of pairs that their texts ruled out."""
    feedback: dict[str, RoundFeedback]
    """The feedback on each prompt, by digest. Texts that were not read are empty."""
    too_long: int
    """Number of pairs that were too long to train on."""


def choose_pairs(
    feedback: Mapping[str, RoundFeedback],
    make_pairs: Callable[[RoundFeedback], list[Pair]],
    rank: Callable[[Pair], Any],
    limit: int | None,
    *,
    fits: Fits,
    read: ReadTexts,
) -> ChosenPairs:
    """Return the first `limit` pairs that fit.

    A text can show that an answer is broken, equal to the other one or too long. Then other pairs take the place, and
    their texts are read in turn.
    """
    said = dict(feedback)
    made = {prompt: make_pairs(about) for prompt, about in said.items()}
    prompts: dict[str, str] = {}
    fitting, too_long = set[Rows](), set[Rows]()
    while True:
        left = (pair for pair in chain.from_iterable(made.values()) if pair.rows not in too_long)
        first = sorted(left, key=rank)[:limit]
        if unread := [pair for pair in first if not pair.is_read or pair.prompt not in prompts]:
            texts = _read(unread, read)
            prompts |= texts.prompts
            for prompt in {pair.prompt for pair in unread}:
                said[prompt] = said[prompt].with_texts(texts)
                made[prompt] = make_pairs(said[prompt])
            continue
        unmeasured = [pair for pair in first if pair.rows not in fitting]
        fitting |= {pair.rows for pair in unmeasured if fits(example_of(pair, prompts[pair.prompt]))}
        too_long |= {pair.rows for pair in unmeasured} - fitting
        if too_long.isdisjoint(pair.rows for pair in first):
            return ChosenPairs(first, prompts, said, len(too_long))


def _read(pairs: Collection[Pair], read: ReadTexts) -> Texts:
    rows = [pair.rows for pair in pairs]
    replies = {reply_id for *both, _ in rows for reply_id in both if reply_id is not None}
    corrections = {correction_id for *_, correction_id in rows if correction_id is not None}
    texts = read(replies=replies, corrections=corrections)
    assert texts.answers.keys() >= replies
    assert texts.corrections.keys() >= corrections
    return texts
