"""Named measures of an answer's style, and their scales. They depend only on the bot's own answer."""

from __future__ import annotations

import json
import math
import re
import struct
import unicodedata
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import cache, cached_property
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from storage.wording import gettext_noop
from storage.words import LETTERS, count_words

BANDS = (31, 60), (61, 120)
"""Lengths in the middle, in words: members who like one band like neither longer nor shorter answers."""
FARTHEST = 4.0
"""Largest distance, in standard deviations, that a measure counts."""
EAST_ASIAN = str.maketrans({"。": ". ", "！": "! ", "？": "? ", "，": ", ", "、": ", "})
EAST_ASIAN |= str.maketrans("「」『』（）", "“”“”()")
"""Chinese and Japanese signs, and the English ones with the same meaning."""


class Group(StrEnum):
    """Groups of measures; each group shares a prior."""

    LENGTH = "length"
    FORM = "form"
    PUNCTUATION = "punctuation"
    REGISTER = "register"
    BAND = "band"


class Text:
    """An answer, and its parts that several measures need."""

    def __init__(self, answer: str) -> None:
        self.whole = answer.translate(EAST_ASIAN).strip()
        self.lower = self.whole.lower().replace("’", "'")
        self.length = count_words(self.whole)
        self.words = LETTERS.findall(self.lower)

    @cached_property
    def emoji(self) -> int:
        return sum(unicodedata.category(character) == "So" for character in self.whole)

    @cached_property
    def sentences(self) -> int:
        return max(1, len(re.findall(r"[.!?…]+(?=\s|$|[\"')\]])", self.whole)))

    def count(self, pattern: re.Pattern[str]) -> int:
        return len(pattern.findall(self.lower))

    def has(self, pattern: re.Pattern[str]) -> bool:
        return pattern.search(self.lower) is not None

    def share(self, pattern: re.Pattern[str]) -> float:
        """Return the share of its words that match."""
        return self.count(pattern) / max(1, len(self.words))


@dataclass(frozen=True)
class Measure:
    """A number about an answer, and people's words for more and less of it."""

    name: str
    group: Group
    more: str
    less: str
    of: Callable[[Text], float]
    """Returns the number, or a truth value for a yes or no, whose mean is a share of answers."""

    @property
    def is_yes_or_no(self) -> bool:
        return isinstance(self.of(Text("")), bool)


def _any_of(*words: str) -> re.Pattern[str]:
    return re.compile(rf"\b(?:{'|'.join(words)})\b")


FIRST_PERSON = _any_of("i", "i'm", "i've", "i'll", "i'd", "me", "my", "mine", "myself")
SECOND_PERSON = _any_of("you", "you're", "you've", "you'll", "you'd", "your", "yours", "yourself")
FIRST_PERSON_PLURAL = _any_of("we", "we're", "we've", "we'll", "let's", "us", "our", "ours", "together")
HEDGES = _any_of(
    "maybe", "perhaps", "might", "could", "possibly", "probably", "seems?", "i think", "i guess", "sort of"
)
WARM = _any_of(
    "thanks?", "thank you", "glad", "happy", "love", "lovely", "wonderful", "welcome", "enjoy", "hope", "proud", "care",
    "friends?", "great", "good luck", "congratulations", "congrats", "take care", "nice", "sweet", "dear",
)  # fmt: skip
APOLOGIES = _any_of("sorry", "apologi[sz]e", "apologies", "unfortunately", "regret", "i can't", "i cannot")
REFUSALS = _any_of(
    "i can't", "i cannot", "i'm not able", "i am not able", "i don't have", "unable", "not sure", "don't know",
    "as an ai", "language model",
)  # fmt: skip
THANKS = _any_of("thanks", "thank you", "thank", "appreciate", "grateful")
GREETINGS = _any_of("hi", "hello", "hey", "good morning", "good evening", "welcome", "greetings")
INTENSIFIERS = _any_of(
    "very", "really", "so", "absolutely", "totally", "incredibly", "super", "extremely", "definitely"
)
NEGATIONS = re.compile(r"\b(?:no|not|never|none|nothing|cannot)\b|n't\b")
CONTRACTIONS = re.compile(r"\w'(?:s|t|re|ve|ll|d|m)\b")
LAUGHS = re.compile(r"\b(?:haha+|lol|lmao|hehe+|rofl)\b|[:;]-?[)d]|xd\b")
SLANG = _any_of(
    "yeah", "yep", "nope", "gonna", "wanna", "kinda", "cool", "awesome", "dude", "guys?", "stuff", "ok", "okay"
)
EXAMPLES = _any_of("for example", "for instance", "such as", "like", "e\\.g", "imagine", "instance")
ADVICE = _any_of(
    "should", "try", "start", "make sure", "need to", "have to", "must", "recommend", "consider", "don't forget"
)
REASONS = _any_of("because", "since", "therefore", "so that", "due to", "that's why", "means", "reason")
PLEASE = _any_of("please", "kindly", "could you", "would you")
CERTAINTY = _any_of("always", "never", "certainly", "of course", "definitely", "sure", "surely", "clearly", "must")
TIME_AND_NUMBERS = re.compile(r"\d+")
LIST_ITEM = re.compile(r"^\s*(?:[-*•]|\d+[.)])\s", re.MULTILINE)
BOLD = re.compile(r"\*\*|__")
CODE = re.compile(r"`")
WHOLE_ENDINGS = tuple(".!?…\"')”")


def _variety(text: Text) -> float:
    return len(set(text.words)) / max(1, len(text.words))


def _repetition(text: Text) -> float:
    """Return the share of runs of three words that occurred before."""
    runs = [tuple(text.words[at : at + 3]) for at in range(len(text.words) - 2)]
    return 1 - len(set(runs)) / len(runs) if runs else 0.0


def _band(band: tuple[int, int], words: str) -> Measure:
    low, high = band
    return Measure(words, Group.BAND, words, f"not {words}", lambda t: low <= t.length <= high)


MEASURES: tuple[Measure, ...] = (
    Measure("words", Group.LENGTH, "longer answers", "shorter answers", lambda t: math.log1p(t.length)),
    Measure("sentences", Group.LENGTH, "several sentences", "a single sentence", lambda t: math.log1p(t.sentences)),
    Measure(
        "sentence length",
        Group.LENGTH,
        "long sentences",
        "short sentences",
        lambda t: math.log1p(t.length / t.sentences),
    ),
    Measure(
        "word length",
        Group.LENGTH,
        "long words",
        "short words",
        lambda t: sum(map(len, t.words)) / max(1, len(t.words)),
    ),
    Measure("variety", Group.LENGTH, "many different words", "few different words", _variety),
    Measure("repetition", Group.LENGTH, "repetition", "no repetition", _repetition),
    Measure("line breaks", Group.FORM, "paragraphs", "one paragraph", lambda t: math.log1p(t.whole.count("\n"))),
    Measure("lists", Group.FORM, "lists", "no lists", lambda t: LIST_ITEM.search(t.whole) is not None),
    Measure("bold", Group.FORM, "bold words", "no bold words", lambda t: BOLD.search(t.whole) is not None),
    Measure("code", Group.FORM, "code", "no code", lambda t: CODE.search(t.whole) is not None),
    Measure("numbers", Group.FORM, "numbers", "no numbers", lambda t: math.log1p(t.count(TIME_AND_NUMBERS))),
    Measure(
        "capitals",
        Group.FORM,
        "capital letters",
        "few capital letters",
        lambda t: sum(map(str.isupper, t.whole)) / max(1, len(t.whole)),
    ),
    Measure(
        "capital start",
        Group.FORM,
        "a capital letter at the start",
        "a small letter at the start",
        lambda t: t.whole[:1].isupper(),
    ),
    Measure(
        "whole ending", Group.FORM, "a finished last sentence", "an open end", lambda t: t.whole.endswith(WHOLE_ENDINGS)
    ),
    Measure(
        "exclamation marks",
        Group.PUNCTUATION,
        "many exclamation marks",
        "few exclamation marks",
        lambda t: math.log1p(t.whole.count("!")),
    ),
    Measure(
        "any exclamation mark", Group.PUNCTUATION, "exclamation marks", "no exclamation marks", lambda t: "!" in t.whole
    ),
    Measure("question marks", Group.PUNCTUATION, "questions", "no questions", lambda t: math.log1p(t.whole.count("?"))),
    Measure(
        "question at the end",
        Group.PUNCTUATION,
        "a question at the end",
        "no question at the end",
        lambda t: t.whole.rstrip("\"')”* ").endswith("?"),
    ),
    Measure("emoji", Group.PUNCTUATION, "many emoji", "few emoji", lambda t: math.log1p(t.emoji)),
    Measure("any emoji", Group.PUNCTUATION, "emoji", "no emoji", lambda t: t.emoji > 0),
    Measure("commas", Group.PUNCTUATION, "many commas", "few commas", lambda t: t.whole.count(",") / max(1, t.length)),
    Measure("ellipses", Group.PUNCTUATION, "dots…", "no dots…", lambda t: "..." in t.whole or "…" in t.whole),
    Measure(
        "quotation marks",
        Group.PUNCTUATION,
        "quotation marks",
        "no quotation marks",
        lambda t: '"' in t.whole or "“" in t.whole,
    ),
    Measure("brackets", Group.PUNCTUATION, "words in brackets", "no brackets", lambda t: "(" in t.whole),
    Measure(
        "starts with I",
        Group.REGISTER,
        "a start with “I”",
        "another start than “I”",
        lambda t: t.lower.startswith(("i ", "i'")),
    ),
    Measure("first person", Group.REGISTER, "“I” and “my”", "little “I” and “my”", lambda t: t.share(FIRST_PERSON)),
    Measure("second person", Group.REGISTER, "saying “you” often", "little “you”", lambda t: t.share(SECOND_PERSON)),
    Measure("speaks to you", Group.REGISTER, "speaking to you", "not speaking to you", lambda t: t.has(SECOND_PERSON)),
    Measure("we", Group.REGISTER, "“we” and “let's”", "no “we”", lambda t: t.has(FIRST_PERSON_PLURAL)),
    Measure("hedging", Group.REGISTER, "“maybe” and “perhaps”", "no “maybe”", lambda t: t.has(HEDGES)),
    Measure("warmth", Group.REGISTER, "warm words", "no warm words", lambda t: t.has(WARM)),
    Measure("much warmth", Group.REGISTER, "many warm words", "few warm words", lambda t: t.share(WARM)),
    Measure("apologies", Group.REGISTER, "apologies", "no apologies", lambda t: t.has(APOLOGIES)),
    Measure("refusals", Group.REGISTER, "“I can't” and “I don't know”", "no “I can't”", lambda t: t.has(REFUSALS)),
    Measure("thanks", Group.REGISTER, "thanks", "no thanks", lambda t: t.has(THANKS)),
    Measure("greetings", Group.REGISTER, "greetings", "no greetings", lambda t: t.has(GREETINGS)),
    Measure("intensifiers", Group.REGISTER, "“very” and “really”", "no “very”", lambda t: t.share(INTENSIFIERS)),
    Measure("negations", Group.REGISTER, "“not” and “never”", "little “not”", lambda t: t.share(NEGATIONS)),
    Measure("contractions", Group.REGISTER, "“it's” and “don't”", "no “it's”", lambda t: t.share(CONTRACTIONS)),
    Measure("laughs", Group.REGISTER, "laughs", "no laughs", lambda t: t.has(LAUGHS)),
    Measure("slang", Group.REGISTER, "slang", "no slang", lambda t: t.has(SLANG)),
    Measure("examples", Group.REGISTER, "examples", "no examples", lambda t: t.has(EXAMPLES)),
    Measure("advice", Group.REGISTER, "advice", "no advice", lambda t: t.share(ADVICE)),
    Measure("reasons", Group.REGISTER, "reasons", "no reasons", lambda t: t.share(REASONS)),
    Measure("certainty", Group.REGISTER, "“always” and “of course”", "no “always”", lambda t: t.share(CERTAINTY)),
    Measure("requests", Group.REGISTER, "“please”", "no “please”", lambda t: t.has(PLEASE)),
    *map(_band, BANDS, (gettext_noop("31 to 60 words"), gettext_noop("61 to 120 words"))),
)


def measure_named(name: str) -> Measure:
    return next(measure for measure in MEASURES if measure.name == name)


def dodges(answer: str) -> bool:
    """Return whether the answer apologises, refuses or says that it does not know."""
    text = Text(answer)
    return text.has(APOLOGIES) or text.has(REFUSALS)


def measure_style(answer: str) -> list[float]:
    """Return the answer's measures, in the order of MEASURES."""
    text = Text(answer)
    return [float(measure.of(text)) for measure in MEASURES]


SAMPLES = (
    "Hi! I'm so glad you're here, haha. Maybe we could try **tea** because it's (really) nice... Thanks, dude! 🎉",
    "Sorry, I can't:\n- don't wait\n- `run` 3 TESTS, please\nFor example: \"of course\". Isn't that what we always do?",
    "今日はラーメンを食べました。すごくおいしかったよ！君は？ วันนี้เรากินราเมนมา อร่อยมาก",
)


def revision_of(measures: Sequence[Measure], patterns: Iterable[str]) -> str:
    """Return a digest of the measures' names and words, and of their numbers for some answers."""
    found = [round(float(measure.of(Text(answer))), 4) for answer in SAMPLES for measure in measures]
    said = [measure.name for measure in measures], list(patterns), found
    return sha256(repr(said).encode()).hexdigest()[:12]


REVISION = revision_of(MEASURES, [known.pattern for known in list(globals().values()) if isinstance(known, re.Pattern)])
"""Numbers of different revisions are never mixed."""


def scaled(numbers: NDArray[Any]) -> NDArray[Any]:
    """Return measures, (N, D), in standard deviations from the mean of everyday answers."""
    mean, spread = _scales()
    return np.asarray(np.clip((numbers - mean) / spread, -FARTHEST, FARTHEST))


@cache
def _scales() -> tuple[NDArray[Any], NDArray[Any]]:
    """Return mean and standard deviation of each measure of everyday answers."""
    scales = _everyday()["mean and standard deviation"]
    mean, spread = np.array([scales[measure.name] for measure in MEASURES]).T
    return mean, spread


@cache
def everyday_correlation() -> NDArray[Any]:
    """Return the correlation of the measures in everyday answers, (D, D)."""
    found = np.eye(len(MEASURES))
    for place, before in enumerate(_everyday()["correlation with the measures before"]):
        found[place, :place] = found[:place, place] = before
    return found


def _everyday() -> Any:
    """Return the measurements of 2,112 answers of the bundled model to messages of a public chat corpus.

    The answers were cut at 64 tokens. Means and spreads of the bands of length are those of 480 answers cut at 192, and
    their correlations those of 1,280 cut at 64.
    """
    return json.loads(Path(__file__).with_name("style.json").read_text(encoding="utf-8"))


def unpack_numbers(stored: bytes) -> NDArray[Any]:
    return np.frombuffer(stored, dtype="<f4").astype(float)


def pack_numbers(numbers: Sequence[float]) -> bytes:
    """Return the numbers in their stored form, little-endian float32."""
    return struct.pack(f"<{len(numbers)}f", *numbers)
