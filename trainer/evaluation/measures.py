"""Measures answers independently of taste: broken ones, losses and divergence under a model, fit to their messages."""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from importlib.resources import files
from itertools import islice, pairwise, zip_longest
from math import exp
from statistics import fmean
from typing import TYPE_CHECKING, Any

from storage.conversations.degenerate import WORDS, is_degenerate
from storage.words import EAST_ASIAN_SIGNS, SCRIPTS
from trainer.progress import Advance, keep_quiet

if TYPE_CHECKING:
    from torch import Tensor

LEAST_WORDS = 4
"""Minimum number of words that are shuffled: fewer often come out in the same order."""
# In scripts without spaces between words, each character is a piece.
PIECES = re.compile(rf"([{SCRIPTS}{EAST_ASIAN_SIGNS}])|([^\s{SCRIPTS}{EAST_ASIAN_SIGNS}]+)")
MAX_LOGITS = 2**25
"""Maximum size of one batch's logits, 128 MiB in float32: a large vocabulary gets small batches."""
OTHER_MESSAGES = (
    "What is a good way to remember names?",
    "I have an exam tomorrow and I am nervous.",
    "My internet keeps dropping, any idea why?",
    "My neighbour plays loud music at night.",
    "Which is better for a small flat, a cat or a dog?",
    "Is it better to run in the morning or in the evening?",
)
"""Fixed, so that their prompts stay in a cache; far apart in subject, and none typical of a character: one in three of
a pirate's answers was likelier after "Tell me something interesting about the sea."."""
OTHERS = 5
"""Number of other messages that an answer is compared with."""

READ_TOKENS = 24
"""Only this many tokens at the beginning of an answer are read.

Share of cases in which a fitting answer has a larger fit than one of another message, under Gemma 3 270M (the bundled
model), for 24 messages, four styles by hand and the bundled base's own: 0.92 (0.89); with 12 tokens 0.90 (0.86); with
only the first of the other messages 0.91 (0.87), which takes a fifth of the time.
"""

Exchange = tuple[str, str]
"""(message, answer)"""
ReadAnswers = Callable[[Sequence[Exchange]], Sequence[float]]
"""Returns log p(answer | message), in nats, for each exchange in order; an empty answer has 0."""


def degenerate_share(answers: Sequence[str]) -> float:
    """Return the share of broken answers; raises ZeroDivisionError without answers."""
    return sum(map(is_degenerate, answers)) / len(answers)


def alike_share(answers: Sequence[str]) -> float:
    """Return the share of answers that share at least half of their word pairs with another one."""
    pairs = [_word_pairs(answer) for answer in answers]
    alike = sum(
        any(2 * len(own & other) >= len(own) for place, other in enumerate(pairs) if place != number)
        for number, own in enumerate(pairs)
        if own
    )
    return alike / len(answers)


def _word_pairs(answer: str) -> set[tuple[str, ...]]:
    words = [word.lower() for word in WORDS.findall(answer)]
    return set(pairwise(words)) or {tuple(words)} - {()}


@dataclass(frozen=True)
class ScoredPassage:
    """Tokens to score, and the context before them."""

    context_ids: Sequence[int]
    """The tokens before the target; at least one."""
    target_ids: Sequence[int]

    @property
    def length(self) -> int:
        return len(self.context_ids) + len(self.target_ids)


def mean_loss(model: Any, passages: Sequence[ScoredPassage]) -> float:
    """Return the mean negative log-probability over all target tokens, in nats; NaN if there are none."""
    losses = [loss for of_passage in token_losses(model, passages) for loss in of_passage]
    return fmean(losses) if losses else float("nan")


def token_losses(model: Any, passages: Sequence[ScoredPassage], advance: Advance = keep_quiet) -> list[list[float]]:
    """Return the negative log-probability of every target token, in nats, for each passage in order."""
    losses: dict[int, list[float]] = {}
    for batch in batches(model, passages):
        targets = _targets(model, batch)
        found = iter((-_target_logps(model, batch).gather(-1, targets[:, None])[:, 0]).tolist())
        losses |= {id(passage): list(islice(found, len(passage.target_ids))) for passage in batch}
        advance(len(losses))
    return [losses[id(passage)] for passage in passages]


def answer_losses(
    model: Any, tokenizer: Any, exchanges: Sequence[Exchange], advance: Advance = keep_quiet
) -> list[list[float]]:
    """Return the loss of each answer's tokens, in nats and in order.

    The model reads each exchange as plain dialogue, so it needs no chat tuning. The end token is not included. Empty
    answers are skipped.
    """
    passages = [_dialogue(message, answer, tokenizer) for message, answer in exchanges if answer.strip()]
    return token_losses(model, passages, advance)


def answer_log_probabilities(
    model: Any, tokenizer: Any, exchanges: Sequence[tuple[str, str]], advance: Advance = keep_quiet
) -> list[float]:
    """Return log p(answer | message), in nats, of each answer's first READ_TOKENS tokens; 0 for an empty answer.

    The model reads the exchanges as in `answer_losses`.
    """
    passages = (_dialogue(message, answer, tokenizer) for message, answer in exchanges)
    begun = [ScoredPassage(one.context_ids, one.target_ids[:READ_TOKENS]) for one in passages]
    return [-sum(losses) for losses in token_losses(model, begun, advance)]


def _dialogue(message: str, answer: str, tokenizer: Any) -> ScoredPassage:
    # With the tokenizer's own first token: Gemma's loss more than doubles without it.
    context = tokenizer(f"User: {message.strip()}\nBot:")["input_ids"]
    said = f" {answer.strip()}".rstrip()
    return ScoredPassage(context, tokenizer(said, add_special_tokens=False)["input_ids"])


def losses_by_position(losses: Sequence[Sequence[float]]) -> tuple[float, ...]:
    """Return the mean loss of all answers' first tokens, of their second tokens, and so on.

    From the last position that half of the answers reach, all tokens share one mean: beyond it there are so few that a
    single token would stand for the rest of all longer answers.
    """
    by_position = [[loss for loss in tokens if loss is not None] for tokens in zip_longest(*losses)]
    usual = sum(2 * len(tokens) >= sum(map(bool, losses)) for tokens in by_position)
    pooled = [*by_position[: usual - 1], [loss for tokens in by_position[usual - 1 :] for loss in tokens]]
    return tuple(map(fmean, pooled)) if by_position else ()


def surprise_ratio(losses: Sequence[Sequence[float]], baseline: Sequence[float]) -> float:
    """Return the loss of all answers over the baseline's loss at the same positions.

    The first words of any answer are the least predictable: the base's own answers, cut after ten words, have 1.13
    times the loss per token of whole ones. Comparing equal positions (indirect standardisation) keeps short answers
    from seeming incoherent. Beyond the baseline's last position its last mean counts. NaN without answers or baseline.
    """
    tokens = [(position, loss) for answer in losses for position, loss in enumerate(answer)]
    if not tokens or not baseline:
        return float("nan")
    last = len(baseline) - 1
    expected = sum(baseline[min(position, last)] for position, _ in tokens)
    return sum(loss for _, loss in tokens) / expected


def highest(baselines: Sequence[Sequence[float]]) -> tuple[float, ...]:
    """Return the highest loss at each position; beyond the last one of a baseline, its last mean counts."""
    found = [losses for losses in baselines if losses]
    positions = range(max(map(len, found), default=0))
    return tuple(max(losses[min(position, len(losses) - 1)] for losses in found) for position in positions)


def shuffle_words(answer: str, order: random.Random) -> str:
    """Return the answer's words in random order, like a broken version's; "" if there are too few words."""
    pieces = PIECES.findall(answer)
    if len(pieces) < LEAST_WORDS:
        return ""
    return "".join(character or f"{word} " for character, word in order.sample(pieces, len(pieces))).strip()


def mean_divergence(model: Any, answers: Sequence[ScoredPassage], advance: Advance = keep_quiet) -> float:
    """Return the mean KL(adapter

    base) over all answer tokens, in nats, of the distributions at temperature 1.

    `model` is the base under its adapter (a PeftModel); the answers are the adapter's own.
    """
    total, tokens, done = 0.0, 0, 0
    for batch in batches(model, answers):
        with_adapter = _target_logps(model, batch)
        with model.disable_adapter():
            without = _target_logps(model, batch)
        divergences = (with_adapter.exp() * (with_adapter - without)).sum(dim=-1)
        total += float(divergences.double().sum())
        tokens += len(divergences)
        done += len(batch)
        advance(done)
    return total / tokens if tokens else float("nan")


def retention_text() -> str:
    """Return passages of varied everyday text, separated by lines of "---"; written for this project."""
    return files("trainer.evaluation").joinpath("retention.txt").read_text(encoding="utf-8")


def human_exchanges() -> list[Exchange]:
    """Return plain answers to the neutral messages, as people would write them; written for this project."""
    text = files("trainer.evaluation").joinpath("human_answers.txt").read_text(encoding="utf-8")
    exchanges = (passage.strip().split("\n") for passage in text.split("\n---\n"))
    return [(message, answer) for message, answer in exchanges]


def retention_loss(model: Any, tokenizer: Any) -> float:
    """Return the mean loss per token of the retention text, in nats, except the first token of each passage."""
    ids = (tokenizer(text.strip())["input_ids"] for text in retention_text().split("\n---\n"))
    return mean_loss(model, [ScoredPassage(passage[:1], passage[1:]) for passage in ids])


def batches(model: Any, passages: Sequence[ScoredPassage]) -> Iterator[list[ScoredPassage]]:
    """Yield all passages, shortest first, in batches whose logits fit into MAX_LOGITS (or of one passage)."""
    most_positions = MAX_LOGITS // model.config.get_text_config().vocab_size
    batch: list[ScoredPassage] = []
    for passage in sorted(passages, key=lambda passage: passage.length):
        if batch and (len(batch) + 1) * passage.length > most_positions:
            yield batch
            batch = []
        batch.append(passage)
    if batch:
        yield batch


def _target_logps(model: Any, batch: Sequence[ScoredPassage]) -> Tensor:
    """Return log-probabilities of the whole vocabulary at each target token, (tokens, V) in float32.

    The passages' tokens follow one another, in the order of the batch.
    """
    import torch

    width = max(passage.length for passage in batch)
    first = min(len(passage.context_ids) for passage in batch) - 1
    ids = torch.zeros(len(batch), width, dtype=torch.long)
    is_text, predicts_target = torch.zeros_like(ids), torch.zeros_like(ids, dtype=torch.bool)
    for row, passage in enumerate(batch):
        # Padding follows the text, where it does not change any result.
        ids[row, : passage.length] = torch.tensor([*passage.context_ids, *passage.target_ids])
        is_text[row, : passage.length] = 1
        predicts_target[row, len(passage.context_ids) - 1 : passage.length - 1] = True
    kept = torch.arange(first, width - 1)
    with torch.inference_mode():
        logits = model(
            input_ids=ids.to(model.device),
            attention_mask=is_text.to(model.device),
            logits_to_keep=kept.to(model.device),
            use_cache=False,
        ).logits
        return torch.log_softmax(logits[predicts_target[:, kept].to(model.device)].float(), dim=-1)


def _targets(model: Any, batch: Sequence[ScoredPassage]) -> Tensor:
    import torch

    return torch.tensor([token for passage in batch for token in passage.target_ids], device=model.device)


@dataclass(frozen=True)
class Fit:
    """An answer's fit to its message: its extra likelihood there compared with other messages, under one model.

    log p(answer | its message) - mean of log p(answer | other message), in nats, under a model without any adapter.
    Style cancels out: a pirate's words, or German ones, are as unlikely after one message as after another. The rest is
    the answer's debt to its message; "Yay. That's amazing." owes it nothing.
    """

    own: float
    """The answer's log-probability after its own message."""
    others: tuple[float, ...]
    """Its log-probabilities after OTHERS other messages."""

    @property
    def nats(self) -> float:
        return self.own - fmean(self.others)

    @property
    def probability(self) -> float:
        """The probability that the answer belongs to its own message, if all messages are equally frequent."""
        best = max(self.own, *self.others)
        return exp(self.own - best) / sum(exp(one - best) for one in (self.own, *self.others))


def measure_fits(exchanges: Sequence[Exchange], read: ReadAnswers) -> list[Fit]:
    """Return the fit of each answer to its message, in order."""
    asked = [(message, answer) for own, answer in exchanges for message in (own, *_others(own))]
    found = list(read(asked))
    each = 1 + OTHERS
    rows = [found[start : start + each] for start in range(0, len(found), each)]
    return [Fit(own, tuple(others)) for own, *others in rows]


def _others(message: str) -> Sequence[str]:
    return [other for other in OTHER_MESSAGES if other != message][:OTHERS]
