"""Answers with votes on them, and corrections, as a round reads them; no database."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import replace

from hypothesis import strategies as st

from storage.training.feedback import RatedReply, Texts, WrittenCorrection
from storage.votes.votes import Vote
from storage.votes.weights import WeightedVote
from trainer.data.survey import ReadTexts

PROMPT = "<|user|>hi<|bot|>"
ANN, BEN, CAT, DAN, EVE = 1, 2, 3, 4, 5


def rated(
    id_: int,
    answer: str = "",
    *,
    up: Collection[int] = (),
    down: Collection[int] = (),
    prompt: str = PROMPT,
    weight: float = 1.0,
    is_sample: bool = False,
) -> RatedReply:
    """Return an answer that the users in `up` like and those in `down` do not; "answer {id}" where it has no text."""
    votes = [WeightedVote(user_id, Vote.UP, weight) for user_id in up]
    votes += [WeightedVote(user_id, Vote.DOWN, weight) for user_id in down]
    return RatedReply(
        id_,
        prompt,
        answer or f"answer {id_}",
        tuple(sorted(votes, key=lambda ballot: ballot.voter)),
        is_sample=is_sample,
    )


def sample(id_: int, answer: str = "", *, prompt: str = PROMPT) -> RatedReply:
    return rated(id_, answer, prompt=prompt, is_sample=True)


def crowd(votes: int, first: int = 100) -> range:
    """Return the ids of that many members."""
    return range(first, first + votes)


def written(
    id_: int, reply_id: int, text: str = "better", author_id: int = ANN, weight: float = 1.0
) -> WrittenCorrection:
    return WrittenCorrection(id_, reply_id, text, author_id, weight)


def reader(answers: Iterable[RatedReply], written_ones: Iterable[WrittenCorrection] = ()) -> ReadTexts:
    """Return what reads the texts of these, in place of a database; the text of a prompt is its digest."""
    by_id, texts = {one.id: one for one in answers}, {one.id: one.text or "" for one in written_ones}

    def read(*, replies: Collection[int], corrections: Collection[int]) -> Texts:
        return Texts(
            {by_id[id_].prompt: by_id[id_].prompt for id_ in replies},
            {id_: by_id[id_].answer or "" for id_ in replies},
            {id_: texts[id_] for id_ in corrections},
        )

    return read


votes = st.dictionaries(
    st.integers(1, 9), st.tuples(st.sampled_from(list(Vote)), st.sampled_from([1.0, 0.5, 0.01])), max_size=4
).map(lambda votes: tuple(WeightedVote(user_id, vote, weight) for user_id, (vote, weight) in sorted(votes.items())))


def _numbered(made: list[RatedReply]) -> list[RatedReply]:
    return [replace(reply, id=id_) for id_, reply in enumerate(made, 1)]


replies = st.lists(
    st.builds(RatedReply, st.just(0), st.sampled_from("pqé"), st.sampled_from("abcd"), votes)
    | st.builds(
        RatedReply,
        st.just(0),
        st.sampled_from("pqé"),
        st.sampled_from("abcd"),
        is_sample=st.just(True),
    ),
    max_size=12,
).map(_numbered)
"""Answers with ids from 1, samples among them."""
corrections = st.lists(st.tuples(st.integers(1, 14), st.sampled_from("abcxyz"), st.integers(1, 9)), max_size=5).map(
    lambda made: [written(id_, *rest) for id_, rest in enumerate(made, 1)]
)
"""Corrections of answers 1 to 14, of which some may be missing."""
