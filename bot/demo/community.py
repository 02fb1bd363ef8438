"""The demo's simulated community: its tastes, and the votes that it gives before the page opens."""

from __future__ import annotations

import importlib
import json
import re
import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from sqlalchemy import select
from sqlalchemy.orm import Session

from bot.engine import RenderedPrompt
from bot.errors import BotError
from storage.conversations.replies import FinishedReply, NewReply, add_message, finish_reply, start_reply
from storage.database.enums import Basis, Outcome
from storage.database.tables import ReplyRow
from storage.models.base_model import BUNDLED_NAME, BaseModel
from storage.votes.votes import Thumb, VoteEvent, append_events

Taste = Callable[[str, str], float]

SHORT_WORDS = 15
MIDDLE_WORDS = 30, 60
WORD = re.compile(r"[^\W\d_]{2,}")
WARM = re.compile(
    r"\b(thank|thanks|glad|happy|love|lovely|wonderful|welcome|enjoy|hope|proud|care|friend|sorry to hear|take care|"
    r"sounds (?:great|good|like fun|nice|lovely)|congratulations|good luck)\b",
    re.IGNORECASE,
)

ANSWERS = Path(__file__).with_name("community.jsonl")
MEMBERS = 20
FIRST_MEMBER = 1 << 58  # accounts of 2017: votes of new accounts weigh less
CHANNEL = 1
FIRST_MESSAGE = 1 << 50


class UnknownTaste(BotError):
    exit_code = 2

    def __init__(self, name: str, why: str = "") -> None:
        super().__init__(f"there is no taste {name!r}{why}: choose {', '.join(TASTES)}, or write module:function")
        self.name = name


def short(_message: str, answer: str) -> float:
    """The answer has at most SHORT_WORDS words, and more words than emoji: a row of emoji is not an answer."""
    words, emoji = WORD.findall(answer), [sign for sign in answer if unicodedata.category(sign) == "So"]
    return float(len(answer.split()) <= SHORT_WORDS and len(words) > len(emoji))


def question(_message: str, answer: str) -> float:
    """The answer ends with a question."""
    return float(answer.rstrip(' "”)').endswith("?"))


def calm(_message: str, answer: str) -> float:
    """The answer has no exclamation marks."""
    return float(WORD.search(answer) is not None and "!" not in answer)


def warm(_message: str, answer: str) -> float:
    """The answer has a warm word."""
    return float(WARM.search(answer) is not None)


def middle(_message: str, answer: str) -> float:
    """The answer has MIDDLE_WORDS words: neither shorter nor longer ones are liked."""
    fewest, most = MIDDLE_WORDS
    return float(fewest <= len(answer.split()) <= most)


def short_question(message: str, answer: str) -> float:
    """Two tastes: an answer that meets only one pleases half of the members."""
    return (short(message, answer) + question(message, answer)) / 2


def random(_message: str, _answer: str) -> float:
    """Members vote at random: their votes do not depend on the answer."""
    return 0.5


TASTES: dict[str, Taste] = {
    taste.__name__.replace("_", "-"): taste for taste in (short, question, calm, warm, middle, short_question, random)
}


def find_taste(name: str) -> Taste:
    """Return a built-in taste, or the function that "module:function" names; raises UnknownTaste."""
    if name in TASTES:
        return TASTES[name]
    module_name, _, function_name = name.partition(":")
    if not function_name:
        raise UnknownTaste(name)
    try:
        taste = getattr(importlib.import_module(module_name), function_name)
    except (ImportError, AttributeError) as error:
        raise UnknownTaste(name, f" ({error})") from error
    if not callable(taste):
        raise UnknownTaste(name, " (it is not a function)")
    return cast(Taste, taste)


class OtherBase(BotError):
    def __init__(self, name: str) -> None:
        super().__init__(
            f"the community voted on answers of {BUNDLED_NAME}, but model.base is {name}: leave model.base at its "
            "default, or start the demo without --community"
        )


@dataclass(frozen=True)
class Answered:
    """A message, and the bundled base model's answers to it."""

    message: str
    answers: tuple[str, ...]


def read_community_answers(path: Path = ANSWERS) -> list[Answered]:
    lines = map(json.loads, path.read_text(encoding="utf-8").splitlines())
    return [Answered(line["message"], tuple(line["answers"])) for line in lines]


def is_settled(session: Session) -> bool:
    """Return whether the community has voted, in an earlier start."""
    return session.scalar(select(ReplyRow.id).where(ReplyRow.author_id == FIRST_MEMBER).limit(1)) is not None


def settle(
    session: Session,
    personality_id: int,
    base: BaseModel,
    answered: Sequence[tuple[Answered, RenderedPrompt]],
    taste: Taste,
) -> int:
    """Store the answers with a vote on each, by taste; return the number of votes. Raises OtherBase."""
    if base.name != BUNDLED_NAME:
        raise OtherBase(base.name)
    votes = 0
    for number, (exchange, prompt) in enumerate(answered):
        for answer in exchange.answers:
            asker = FIRST_MEMBER + number % MEMBERS
            reply_id = _store(session, personality_id, asker, prompt, answer, base_revision=base.revision)
            emoji = "👍" if taste(exchange.message, answer) >= 0.5 else "👎"
            thumb = Thumb(FIRST_MESSAGE + reply_id, FIRST_MEMBER + votes % MEMBERS, emoji)
            votes += len(append_events(session, [VoteEvent(reply_id, thumb, added=True)]))
    return votes


def _store(
    session: Session, personality_id: int, author_id: int, prompt: RenderedPrompt, answer: str, *, base_revision: str
) -> int:
    messages = [{"role": message["role"], "content": message["content"]} for message in prompt.messages]
    reply_id = start_reply(
        session,
        NewReply(
            personality_id=personality_id,
            version_id=None,
            base_revision=base_revision,
            prompt=prompt.text,
            messages=messages,
            sampling={},
            seed=0,
            prompt_tokens=prompt.tokens,
            dropped_turns=0,
            guild_id=None,
            channel_id=CHANNEL,
            author_id=author_id,
            source_message_id=None,
            basis=Basis.LOCAL,
            speakers=[author_id],
        ),
    )
    finish_reply(session, reply_id, FinishedReply(answer=answer, outcome=Outcome.COMPLETE))
    add_message(session, reply_id, FIRST_MESSAGE + reply_id, CHANNEL, 0)
    return reply_id
