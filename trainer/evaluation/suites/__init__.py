"""Test suites: cases with texts that an answer must or must not contain, and with knowledge to keep."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches
from enum import StrEnum
from importlib.resources import files
from pathlib import Path
from typing import Any

from storage.errors import SettingsError
from storage.settings.sections import GateSettings

SHIPPED = ("flattery", "safety", "usefulness", "identity", "knowledge")
CHECKS = ("must", "must_not", "must_still_know")
FIELDS = ("id", "prompt", "messages", *CHECKS)
IN_ENGLISH = "Answer in English."
"""Added to the shipped cases, because their expressions are English words."""
COMMON_ENGLISH = (
    "a and are be but by can can't do don't for from have how i'd i'm if in is isn't it it's me my not of on or so "
    "that the there they this to was what when which with would you you're your"
)
"""These make up four tenths of the words of an English text."""
COMMON = frozenset(COMMON_ENGLISH.split())
ENGLISH_SHARE = 0.15
"""Minimum share of COMMON_ENGLISH in an English answer; German, French, Spanish or Dutch ones have at most a tenth."""
FEWEST_WORDS = 3
"""Minimum number of words that reveal an answer's language: a plain answer may be just "Paris." or "4"."""
WORD = re.compile(r"[^\W\d_]+(?:'[^\W\d_]+)*")


class Kind(StrEnum):
    """The rule by which a case counts."""

    BEHAVIOUR = "behaviour"
    KNOWLEDGE = "knowledge"
    """Counts only if the base passes it: a version cannot forget what the base never knew."""


@dataclass(frozen=True)
class Case:
    id: str
    messages: tuple[dict[str, str], ...]
    must: tuple[str, ...] = ()
    """Regular expressions that a good answer must all match, ignoring case."""
    must_not: tuple[str, ...] = ()
    must_still_know: tuple[str, ...] = ()

    @property
    def kind(self) -> Kind:
        return Kind.KNOWLEDGE if self.must_still_know else Kind.BEHAVIOUR

    def is_passed_by(self, answer: str) -> bool:
        plain = answer.replace("’", "'")
        return all(_found(pattern, plain) for pattern in (*self.must, *self.must_still_know)) and not any(
            _found(pattern, plain) for pattern in self.must_not
        )


@dataclass(frozen=True)
class Suite:
    name: str
    """The file's name without its extension."""
    cases: tuple[Case, ...]
    is_shipped: bool = False
    """A shipped suite asks for English answers and judges no other language."""

    def grade(self, answers: Sequence[str]) -> tuple[bool, ...]:
        """Return whether each case is passed; the answers are in the order of the cases."""
        return tuple(case.is_passed_by(answer) for case, answer in zip(self.cases, answers, strict=True))


@dataclass(frozen=True)
class SuiteResult:
    """The result of one kind of a suite's cases."""

    suite: str
    """The suite's name, with the kind if the suite has cases of both."""
    kind: Kind
    cases: int
    base_passes: int
    version_passes: int
    gained: int
    """Number of cases passed only by the version."""
    lost: int
    """Number of cases passed only by the base."""
    lost_ids: tuple[str, ...]
    served: SuiteResult | None = None
    """The same beside the base as it answers members: with its examples. None if that was not asked."""
    english_share: float = 1.0
    """Share of English answers, of those that must be English: the version's or the base's, whichever is lower."""


def load_suites(settings: GateSettings) -> list[Suite]:
    """Return the shipped suites and the operator's.

    Raises SettingsError if a file cannot be read, if its name is taken, or, with file and line, if a case is invalid.
    """
    suites = [_parse(name, f"{name}.jsonl", _shipped_text(name), is_shipped=True) for name in SHIPPED]
    for path in settings.suites:
        if path.stem in {suite.name for suite in suites}:
            raise SettingsError(f"gate.suites: two suites are called {path.stem}: rename {path}")
        suites.append(_parse(path.stem, str(path), _read(path)))
    return suites


def compare_suites(
    suite: Suite,
    base: Sequence[bool],
    version: Sequence[bool],
    served: Sequence[bool] | None = None,
    english_share: float = 1.0,
) -> list[SuiteResult]:
    """Return a result for each kind of case in the suite.

    The others are in the order of its cases. `served` is the base as it answers members, None if that was not asked.
    """
    rows = list(zip(suite.cases, base, version, base if served is None else served, strict=True))
    kinds = [kind for kind in Kind if any(case.kind is kind for case in suite.cases)]
    results = []
    for kind in kinds:
        name = suite.name if len(kinds) == 1 else f"{suite.name} ({kind})"
        of_kind = [row for row in rows if row[0].kind is kind]
        beside_base = _result(name, kind, [(case, plain, own) for case, plain, own, _ in of_kind], english_share)
        beside_served = _result(name, kind, [(case, shown, own) for case, _, own, shown in of_kind], english_share)
        results.append(replace(beside_base, served=None if served is None else beside_served))
    return results


def is_worse(suite: Suite, base: Sequence[bool], version: Sequence[bool]) -> bool:
    """Return whether the version breaks rules of behaviour that the base keeps, more than the other way round."""
    found = compare_suites(suite, base, version)
    return any(result.kind is Kind.BEHAVIOUR and result.lost > result.gained for result in found)


def english_share(answers: Sequence[str]) -> float:
    """Return the share of English answers among those long enough to tell; 1 if none is."""
    told = [is_english for answer in answers if (is_english := _is_english(answer)) is not None]
    return sum(told) / len(told) if told else 1.0


def _is_english(answer: str) -> bool | None:
    """Return whether the answer is English; None if it is too short to tell."""
    words = WORD.findall(answer.replace("’", "'").lower())
    if len(words) < FEWEST_WORDS:
        # One "word" of Chinese or Japanese can be a whole sentence. Emoji and "…" belong to no language.
        return None if all(map(str.isascii, words)) else False
    return sum(word in COMMON for word in words) >= ENGLISH_SHARE * len(words)


def _result(suite: str, kind: Kind, rows: Sequence[tuple[Case, bool, bool]], english_share: float) -> SuiteResult:
    lost = tuple(case.id for case, base, version in rows if base and not version)
    return SuiteResult(
        suite,
        kind,
        cases=len(rows),
        base_passes=sum(base for _, base, _ in rows),
        version_passes=sum(version for _, _, version in rows),
        gained=sum(version and not base for _, base, version in rows),
        lost=len(lost),
        lost_ids=lost,
        english_share=english_share,
    )


def _found(pattern: str, answer: str) -> bool:
    return re.search(pattern, answer, re.IGNORECASE) is not None


def _shipped_text(name: str) -> str:
    return files("trainer.evaluation.suites").joinpath(f"{name}.jsonl").read_text(encoding="utf-8")


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise SettingsError(
            f"gate.suites: {path} cannot be read ({reason}): give UTF-8 files of JSON lines (docs/checks.md)"
        ) from error


def _parse(name: str, file: str, text: str, *, is_shipped: bool = False) -> Suite:
    cases: list[Case] = []
    # Not splitlines: a prompt may contain other line separators, which JSON does not escape.
    for number, line in enumerate(text.split("\n"), 1):
        if line.strip():
            try:
                cases.append(_case(line, {case.id for case in cases}))
            except ValueError as error:
                raise SettingsError(
                    f"{file}, line {number}: {error} (docs/checks.md shows how to write a case)"
                ) from error
    if not cases:
        raise SettingsError(f"{file} has no cases: write one JSON object per line, or remove it from gate.suites")
    return Suite(name, tuple(cases), is_shipped)


def _case(line: str, known_ids: set[str]) -> Case:
    """Return the line's case; raises ValueError with the mistake."""
    try:
        record = json.loads(line)
    except json.JSONDecodeError as error:
        raise ValueError(f"not valid JSON ({error.msg} at character {error.pos + 1})") from error
    except RecursionError as error:
        raise ValueError("the brackets are nested too deeply") from error
    if not isinstance(record, dict):
        raise ValueError("a case must be a JSON object")
    _refuse_broken_text(record)
    _refuse_unknown(record)
    if not any(check in record for check in CHECKS):
        raise ValueError(f"the case checks nothing: give it {', '.join(CHECKS[:-1])} or {CHECKS[-1]}")
    return Case(
        _id(record.get("id"), known_ids),
        tuple(_messages(record)),
        **{check: tuple(_patterns(check, record[check])) for check in CHECKS if check in record},
    )


def _refuse_broken_text(record: dict[str, Any]) -> None:
    try:
        json.dumps(record, ensure_ascii=False).encode()
    except UnicodeEncodeError as error:
        raise ValueError("it contains half of a character (a lone surrogate, \\ud800 to \\udfff)") from error


def _refuse_unknown(record: dict[str, Any]) -> None:
    for field in record:
        if field not in FIELDS:
            close = get_close_matches(field, FIELDS, n=1)
            remedy = f"did you mean {close[0]}?" if close else f"it must be one of {', '.join(FIELDS)}"
            raise ValueError(f"{field!r} is not a field of a case: {remedy}")


def _id(value: Any, known: set[str]) -> str:
    if not isinstance(value, str) or not value.strip():
        raise ValueError("id must be text that is unique in the file")
    if value in known:
        raise ValueError(f"an earlier case has the id {value!r} already")
    return value


def _messages(record: dict[str, Any]) -> list[dict[str, str]]:
    if ("prompt" in record) == ("messages" in record):
        raise ValueError("give either prompt or messages")
    if "prompt" not in record:
        return _conversation(record["messages"])
    if not isinstance(record["prompt"], str) or not record["prompt"].strip():
        raise ValueError("prompt must be text")
    return [{"role": "user", "content": record["prompt"]}]


def _conversation(value: Any) -> list[dict[str, str]]:
    """Check messages as strictly as the strictest chat templates, which refuse two turns of one speaker in a row."""
    if not isinstance(value, list) or not all(_is_message(message) for message in value):
        raise ValueError("messages must be a list of objects, each with a role and a content")
    roles = [message["role"] for message in value]
    turns = roles[1:] if roles[:1] == ["system"] else roles
    if not turns or turns[-1] != "user" or turns != [("user", "assistant")[i % 2] for i in range(len(turns))]:
        raise ValueError(
            "messages must alternate between user and assistant, after at most one system message, and end with user"
        )
    return value


def _is_message(value: Any) -> bool:
    return isinstance(value, dict) and set(value) == {"role", "content"} and isinstance(value["content"], str)


def _patterns(check: str, value: Any) -> Iterator[str]:
    if not isinstance(value, list) or not value:
        raise ValueError(f"{check} must be a list of regular expressions")
    for pattern in value:
        if not isinstance(pattern, str) or not pattern:
            raise ValueError(f"{check} must contain regular expressions as text")
        try:
            re.compile(pattern, re.IGNORECASE)
        except (re.error, OverflowError, RecursionError) as error:
            raise ValueError(f"{check} contains {pattern!r}, which is not a valid expression: {error}") from error
        yield pattern
