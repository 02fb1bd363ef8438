"""Checks that an answer keeps to its quoted lines and adds no number, name, date or address.

It errs on the side of the line: an answer that is refused is replaced by the line itself, which is right.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from bot.knowledge.matching import match_all, stem, words_of
from bot.text.addresses import addresses_in

LEAST_SHARED = 0.5
"""Share of an answer's words that say something and that the lines, the question or a synonym of them hold."""

_NUMBER = re.compile(r"\d+(?:[.,:]\d+)*")
_FACTS = """
two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen eighteen nineteen
twenty thirty forty fifty sixty seventy eighty ninety hundred thousand million half double twice dozen first second
third fourth fifth sixth seventh eighth ninth tenth
monday tuesday wednesday thursday friday saturday sunday mondays tuesdays wednesdays thursdays fridays saturdays sundays
january february march april may june july august september october november december noon midnight weekend weekends
weekday weekdays today tomorrow yesterday tonight daily weekly monthly yearly always free
more fewer several unlimited any anybody everybody
zwei drei vier fünf sechs sieben acht neun zehn elf zwölf zwanzig dreißig hundert tausend halb doppelt
montag dienstag mittwoch donnerstag freitag samstag sonntag januar februar märz mai juni juli oktober dezember
täglich wöchentlich monatlich immer kostenlos heute morgen mehr weniger mehrere unbegrenzt
"""
_FACT_WORDS = frozenset(_FACTS.split())
"""Words that are facts by themselves."""
_ADDRESS = re.compile(r"\S+@\S+\.\w+|#[\w-]+")
"""Addresses of mail, and names of channels."""
_NEGATION = re.compile(
    r"\b(?:no|not|never|nobody|none|without|forbidden|banned|cannot|unless|nicht|kein\w*|nie|niemand|ohne|verboten)\b|n['’]t\b",
    re.IGNORECASE,
)
_COUNTED = re.compile(r"(\d+(?:[.,:]\d+)*) ([^\W\d_]+)")
_AGREES = re.compile(r"\W*(?:yes|no|yep|nope|ja|nein)\b", re.IGNORECASE)
"""An answer that begins like this may consist of the question's words alone."""
_NAME = re.compile(r"(?<=[\w,;:] )[A-ZÄÖÜ][\w'’-]+")
_WORDS = re.compile(r"[^\W\d_]+")


def keeps_to(answer: str, sources: Iterable[str], *, asked: str, known: Iterable[str] = ()) -> bool:
    """Return whether an answer adds nothing to its sources, and repeats no number, day or name of the question.

    `sources` are the quoted lines with their headings; `known` are names that the bot may always say.
    """
    quoted = "\n".join(sources)
    given = f"{quoted}\n{' '.join(known)}"
    if not set(_facts(answer)) <= set(_facts(given)) | {word.lower() for word in _WORDS.findall(given)}:
        return False
    if not addresses_in([answer]) <= addresses_in([given]):
        return False
    if _NEGATION.search(answer) and not _NEGATION.search(quoted):
        return False
    if _NEGATION.search(quoted) and not _NEGATION.search(answer):
        return False
    counted = _counted(quoted)
    if any(not numbers <= counted.get(what, numbers) for what, numbers in _counted(answer).items()):
        return False
    said, told = words_of(answer), words_of(quoted)
    if not _AGREES.match(answer):
        in_question = match_all(told, [words_of(asked)])
        told = [word for word in told if in_question[word][0] < 1.0]
    matches = match_all(said, [words_of(f"{given}\n{asked}"), told])
    shared = sum(held > 0 for held, _ in matches.values())
    return any(of_line == 1.0 for _, of_line in matches.values()) and shared >= LEAST_SHARED * len(said)


def _counted(text: str) -> dict[str, set[str]]:
    """Return the numbers that stand before each word: "3 healers, 5 dps" is not "5 healers"."""
    found: dict[str, set[str]] = {}
    for number, word in _COUNTED.findall(text):
        found.setdefault(stem(word.lower()), set()).add(_plain(number))
    return found


def _facts(text: str) -> Iterator[str]:
    """Yield the numbers, names, days and addresses of mail in a text, spelled alike."""
    yield from (found.strip(".,!?").lower() for found in _ADDRESS.findall(text))
    yield from (_plain(number) for number in _NUMBER.findall(text))
    for word in _WORDS.findall(text.lower()):
        if word in _FACT_WORDS:
            yield stem(word)
    yield from (name.lower().removesuffix("'s").removesuffix("’s") for name in _NAME.findall(text) if name != "I")


def _plain(number: str) -> str:
    """Return a number as others write it too: 06:30 as 6:30, 2,80 as 2.80, 1,000 as 1000."""
    number = re.sub(r"[.,](?=\d{3}\b)", "", number).replace(",", ".")
    return number.lstrip("0") or "0"
