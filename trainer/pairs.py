"""From votes and corrections to preference pairs of one prompt each. Pure: no database, no files, no model."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from storage.evidence import RatedReply, WrittenCorrection
from storage.schema import PairSource

CORRECTION_WEIGHT = 1.0
MAX_RIVALS = 5
"""Most pairs from the siblings of one prompt, so that a greeting answered a hundred times does not fill a round."""


@dataclass(frozen=True)
class Pair:
    """Two answers to one rendered prompt, and the rows behind them: chosen is a reply's answer or a correction."""

    prompt: str
    chosen: str
    rejected: str
    source: PairSource
    weight: float
    rejected_reply_id: int
    chosen_reply_id: int | None = None
    correction_id: int | None = None
    chosen_is_cut: bool = False
    rejected_is_cut: bool = False

    @property
    def recency(self) -> tuple[int, int, int]:
        """Order pairs by their newest reply, then by the other rows; it is unique in a round."""
        newest = max(self.rejected_reply_id, self.chosen_reply_id or 0)
        return newest, self.rejected_reply_id, self.correction_id or 0


def build_pairs(replies: Iterable[RatedReply], corrections: Iterable[WrittenCorrection]) -> list[Pair]:
    """Return the pairs that replies and corrections support, oldest first, whatever the order of the input."""
    by_id = {reply.id: reply for reply in replies}
    pairs = [*_pair_corrections(by_id, corrections), *_pair_siblings(by_id.values())]
    return sorted(pairs, key=lambda pair: pair.recency)


def newest_pairs(pairs: list[Pair], limit: int) -> list[Pair]:
    return sorted(pairs, key=lambda pair: pair.recency)[-limit:]


def split_holdout(pairs: list[Pair], share: float, seed: int) -> tuple[list[Pair], list[Pair]]:
    """Return (train, holdout), split by prompt; at least one prompt stays in train.

    A prompt's rank depends on itself and the seed alone, so one that was held out tends to stay out in later rounds,
    whose parent then never saw it.
    """
    prompts = sorted({pair.prompt for pair in pairs}, key=lambda prompt: _rank(prompt, seed))
    held_out = set(prompts[: min(round(share * len(prompts)), len(prompts) - 1)])
    train = [pair for pair in pairs if pair.prompt not in held_out]
    return train, [pair for pair in pairs if pair.prompt in held_out]


def _pair_corrections(replies: dict[int, RatedReply], corrections: Iterable[WrittenCorrection]) -> Iterator[Pair]:
    for correction in corrections:
        reply = replies.get(correction.reply_id)
        if reply is None or reply.answer == correction.text:
            continue
        yield Pair(
            prompt=reply.prompt,
            chosen=correction.text,
            rejected=reply.answer,
            source=PairSource.CORRECTION,
            weight=CORRECTION_WEIGHT,
            rejected_reply_id=reply.id,
            correction_id=correction.id,
            rejected_is_cut=reply.is_cut,
        )


def _pair_siblings(replies: Iterable[RatedReply]) -> Iterator[Pair]:
    by_prompt = defaultdict(list)
    for reply in replies:
        by_prompt[reply.prompt].append(reply)
    for siblings in by_prompt.values():
        yield from _pair_best(siblings)


def _pair_best(siblings: list[RatedReply]) -> Iterator[Pair]:
    """Pair the best answer to a prompt with the worst of those below it; of equals, the newest counts as best."""
    best = max(siblings, key=lambda reply: (reply.net, reply.id))
    if best.net < 0:
        # The likelihood term would teach an answer that most members dislike, only because another is worse.
        return
    below = [reply for reply in siblings if reply.net < best.net and reply.answer != best.answer]
    for rival in sorted(below, key=lambda reply: (reply.net, -reply.id))[:MAX_RIVALS]:
        yield Pair(
            prompt=best.prompt,
            chosen=best.answer,
            rejected=rival.answer,
            source=PairSource.SIBLINGS,
            weight=_certainty(best.net - rival.net),
            rejected_reply_id=rival.id,
            chosen_reply_id=best.id,
            chosen_is_cut=best.is_cut,
            rejected_is_cut=rival.is_cut,
        )


def _certainty(margin: int) -> float:
    """Weigh a lead of `margin` votes: 1/2 for a single one, towards a correction's weight as it grows."""
    return CORRECTION_WEIGHT * margin / (margin + 1)


def _rank(prompt: str, seed: int) -> bytes:
    return hashlib.sha256(f"{seed} {prompt}".encode()).digest()
