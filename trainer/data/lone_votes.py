"""Pairs from lone votes: which samples to draw for them and for corrections, and which pairs they make. Pure."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from storage.database.enums import PairSource
from storage.settings.sections import PairSettings
from storage.training.evidence import RatedReply, WrittenCorrection
from storage.votes.votes import Vote
from trainer.data.pairs import Pair, backers, newest_pairs, side_of
from trainer.evaluation.measures import is_degenerate


@dataclass(frozen=True)
class SampleRequest:
    """The number of answers to draw to the prompt of a reply."""

    reply_id: int
    prompt: str
    count: int


def lone_replies(replies: Iterable[RatedReply], paired: Iterable[Pair]) -> list[RatedReply]:
    """Return the answers that members like or dislike on balance, oldest first.

    Only the newest answer to each prompt counts, and only if the prompt makes no pair.
    """
    prompts = {pair.prompt for pair in paired}
    lone = [reply for reply in replies if reply.net and not reply.is_sample and reply.prompt not in prompts]
    newest = {reply.prompt: reply for reply in sorted(lone, key=lambda reply: reply.id)}
    return sorted(newest.values(), key=lambda reply: reply.id)


def samples_wanted(
    lone: Iterable[RatedReply],
    corrections: Iterable[WrittenCorrection],
    replies: Iterable[RatedReply],
    *,
    drawn: Counter[str],
    settings: PairSettings,
) -> list[SampleRequest]:
    """Return how many answers to draw for each prompt, minus those `drawn` from this version before."""
    by_id = {reply.id: reply for reply in replies}
    corrected = [by_id[correction.reply_id] for correction in corrections if correction.reply_id in by_id]
    wanted = [(reply, settings.lone_vote_samples) for reply in lone]
    wanted += [(reply, settings.correction_samples) for reply in corrected]
    most = {reply.prompt: (count, reply.id) for reply, count in sorted(wanted, key=lambda want: (want[1], want[0].id))}
    requests = (SampleRequest(id_, prompt, count - drawn[prompt]) for prompt, (count, id_) in most.items())
    return sorted((request for request in requests if request.count > 0), key=lambda request: request.reply_id)


def pair_lone_votes(
    lone: Iterable[RatedReply],
    replies: Iterable[RatedReply],
    scores: Mapping[int, float],
    *,
    version_id: int | None,
    weight: float,
) -> list[Pair]:
    """Pair each lone reply with a sample of this version, as the preference model scores them.

    A disliked reply is rejected for the best sample; a liked one is chosen over the worst. `scores` gives P(liked) by
    reply id. A sample makes no pair if the model does not score it better than a disliked reply, or worse than a liked
    one.
    """
    samples = defaultdict(list)
    for reply in replies:
        if reply.is_sample and reply.version_id == version_id and reply.id in scores:
            samples[reply.prompt].append(reply)
    completed = (_complete(reply, samples[reply.prompt], scores, weight) for reply in lone)
    return [pair for pair in completed if pair is not None]


def _complete(
    reply: RatedReply, samples: Sequence[RatedReply], scores: Mapping[int, float], weight: float
) -> Pair | None:
    is_liked = reply.net > 0
    # A chosen answer must not be broken: the likelihood term teaches it as it is.
    others = [s for s in samples if s.answer != reply.answer and (is_liked or not is_degenerate(s.answer))]
    if not others or reply.id not in scores or (is_liked and is_degenerate(reply.answer)):
        return None
    pick = min if is_liked else max
    sample = pick(others, key=lambda sample: (scores[sample.id], sample.id))
    on_the_other_side = scores[sample.id] < scores[reply.id] if is_liked else scores[sample.id] > scores[reply.id]
    return complete(reply, sample, weight) if on_the_other_side else None


def complete(reply: RatedReply, sample: RatedReply, weight: float) -> Pair:
    """Return the pair of a liked answer and a worse sample, or of a better sample and a disliked answer."""
    chosen, rejected, said = (reply, sample, Vote.UP) if reply.net > 0 else (sample, reply, Vote.DOWN)
    return Pair(
        prompt=reply.prompt,
        chosen=side_of(chosen),
        rejected=side_of(rejected),
        source=PairSource.LONE_VOTE,
        weight=weight * min(1.0, abs(reply.net)),
        backers=backers((reply, said)),
    )


def limit_share(completed: Sequence[Pair], others: int, max_share: float, *, enough: int) -> list[Pair]:
    """Return the newest completed pairs, at most `max_share` of all pairs.

    If the others are not `enough` for a round, return all: the limit would prevent the round instead of improving it.
    """
    if others < enough or max_share == 1:
        return list(completed)
    most = int(others * max_share / (1 - max_share))
    return newest_pairs(completed, most)
