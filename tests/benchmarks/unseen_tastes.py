"""Tastes that nobody designed the taste's measures, priors or examples for. They judge, and nothing is tuned by them.

Use them as `--taste tests.benchmarks.unseen_tastes:own_word`.
"""

from __future__ import annotations

import re

WORD = re.compile(r"[a-z][a-z'’]+")
FEWEST_LETTERS = 5
"""Shorter words are mostly grammar."""
NUMBER = re.compile(
    r"\d|\b(two|three|four|five|six|seven|eight|nine|ten|dozen|hundred|thousand|first|second|third)\b", re.IGNORECASE
)
LIST = re.compile(r"^\s*(?:[-*•]|\d+[.)])\s|\w+, \w+,? and \w+", re.MULTILINE)
INTERJECTION = re.compile(
    r"(oh|ah|aw|wow|yay|hey|hmm+|well|ooh|oops|phew|haha|ugh|yes|no|nice|great)\b[,.! ]", re.IGNORECASE
)
YOU = re.compile(r"\b(you|your|yours|yourself|you['’]\w+)\b", re.IGNORECASE)
HEDGE = re.compile(
    r"\b(maybe|perhaps|probably|possibly|might|may|could|seems?|i think|i guess|i suppose|not sure|sort of|kind of)\b",
    re.IGNORECASE,
)
OFFER = re.compile(
    r"\b(let me know|i can help|can i help|how can i help|happy to help|here to help|if you need|want me to|"
    r"would you like me|shall i|feel free|just ask|i['’]m here)\b",
    re.IGNORECASE,
)
SENTENCE_END = re.compile(r"(?<=[.!?])\s+")


def own_word(message: str, answer: str) -> float:
    """The answer takes up a longer word of the message."""
    said, answered = (
        {word for word in WORD.findall(text.lower()) if len(word) >= FEWEST_LETTERS} for text in (message, answer)
    )
    return float(bool(said & answered))


def counted(_message: str, answer: str) -> float:
    """The answer has a number or a list."""
    return float(bool(NUMBER.search(answer) or LIST.search(answer)))


def interjection(_message: str, answer: str) -> float:
    """The answer begins with an interjection."""
    return float(INTERJECTION.match(answer.lstrip()) is not None)


def about_you(_message: str, answer: str) -> float:
    """The answer speaks to its reader at least twice."""
    return float(len(YOU.findall(answer)) >= 2)


def unhedged(_message: str, answer: str) -> float:
    """The answer says what it says, without perhaps or I think, in at least six words."""
    return float(len(answer.split()) >= 6 and HEDGE.search(answer) is None)


def offers_help(_message: str, answer: str) -> float:
    """The last sentence of the answer offers help."""
    return float(OFFER.search(SENTENCE_END.split(answer.strip())[-1]) is not None)
