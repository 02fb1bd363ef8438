"""Answers with votes on them, and corrections, as a round reads them; no database."""

from __future__ import annotations

from collections.abc import Collection

from hypothesis import strategies as st

from storage.training.evidence import RatedReply, WrittenCorrection
from storage.votes.votes import Vote
from storage.votes.weights import WeightedVote

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
    version_id: int | None = None,
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
        version_id=version_id,
        is_sample=is_sample,
    )


def sample(id_: int, answer: str = "", *, prompt: str = PROMPT, version_id: int | None = None) -> RatedReply:
    return rated(id_, answer, prompt=prompt, version_id=version_id, is_sample=True)


def crowd(votes: int, first: int = 100) -> range:
    """Return the ids of that many members."""
    return range(first, first + votes)


def written(
    id_: int, reply_id: int, text: str = "better", author_id: int = ANN, weight: float = 1.0
) -> WrittenCorrection:
    return WrittenCorrection(id_, reply_id, text, author_id, weight)


votes = st.dictionaries(
    st.integers(1, 9), st.tuples(st.sampled_from(list(Vote)), st.sampled_from([1.0, 0.5, 0.01])), max_size=4
).map(lambda votes: tuple(WeightedVote(user_id, vote, weight) for user_id, (vote, weight) in sorted(votes.items())))


def _numbered(made: list[RatedReply]) -> list[RatedReply]:
    return [
        RatedReply(id_, m.prompt, m.answer, m.votes, False, m.version_id, m.is_sample) for id_, m in enumerate(made, 1)
    ]


replies = st.lists(
    st.builds(RatedReply, st.just(0), st.sampled_from("pqé"), st.sampled_from("abcd"), votes)
    | st.builds(
        RatedReply,
        st.just(0),
        st.sampled_from("pqé"),
        st.sampled_from("abcd"),
        version_id=st.sampled_from([None, 1]),
        is_sample=st.just(True),
    ),
    max_size=12,
).map(_numbered)
"""Answers with ids from 1, samples among them."""
corrections = st.lists(st.tuples(st.integers(1, 14), st.sampled_from("abcxyz"), st.integers(1, 9)), max_size=5).map(
    lambda made: [written(id_, *rest) for id_, rest in enumerate(made, 1)]
)
"""Corrections of answers 1 to 14, of which some may be missing."""
