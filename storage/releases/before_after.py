"""The same everyday messages, answered before a version and by it: they show people the change by a round or promotion.

Nobody chooses the messages: they are always the first ones that the gate asks every version, and no member wrote them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy.orm import Session

from storage.releases.versions import Version, find_version, id_of, list_versions, name_of, version_of_round

EVERYDAY = "everyday"
"""The measurement of a version with these messages and its answers."""
BEFORE = "before"
"""The measurement with the model in use when the round ended, and its answers to the same messages."""


@dataclass(frozen=True)
class TwoAnswers:
    message: str
    before: str
    after: str


@dataclass(frozen=True)
class BeforeAfter:
    before: str
    """The name of the version, or of the base."""
    after: str
    answers: tuple[TwoAnswers, ...]


def measured_before(version: Version | None, answers: Sequence[str]) -> dict[str, Any]:
    """Return the measurement BEFORE; `answers` are those of the model in use."""
    return {BEFORE: {"version_id": id_of(version), "answers": list(answers)}}


def compare_with_before(session: Session, version: Version) -> BeforeAfter | None:
    """Compare the version with the model in use when it was made; None if that is unknown."""
    told = version.metrics.get(BEFORE)
    return compare_answers(session, find_version(session, told["version_id"]), version) if told else None


def compare_round(session: Session, round_id: int) -> BeforeAfter | None:
    """Compare the version that the round made with the model in use before."""
    version = version_of_round(session, round_id)
    return compare_with_before(session, version) if version else None


def compare_answers(session: Session, before: Version | None, after: Version | None) -> BeforeAfter | None:
    """Compare a version with another one or the base; None if the answers of one are unknown.

    A version that learned from since-deleted data is not quoted.
    """
    if after is None or any(version and version.trained_on_deleted_data for version in (before, after)):
        return None
    said = _answers_to_compare(session, before, after)
    answers = (TwoAnswers(message, said[message], answer) for message, answer in _own(after) if message in said)
    found = BeforeAfter(name_of(before), after.name, tuple(answers))
    return found if found.answers else None


def _answers_to_compare(session: Session, before: Version | None, after: Version) -> dict[str, str]:
    """Return the answers of `before` to each message when `after` was made, or else when it was last asked."""
    if _was_asked(before, after):
        return _before(after)
    if before is not None:
        return dict(_own(before))
    others = (
        other
        for other in list_versions(session, after.personality_id)
        if other.base_revision == after.base_revision and _was_asked(None, other)
    )
    return next(map(_before, others), {})


def _own(version: Version) -> list[tuple[str, str]]:
    return [(message, answer) for message, answer in version.metrics.get(EVERYDAY, ())]


def _was_asked(before: Version | None, version: Version) -> bool:
    """Return whether `before` was in use when the version's round ended."""
    return BEFORE in version.metrics and version.metrics[BEFORE]["version_id"] == id_of(before)


def _before(version: Version) -> dict[str, str]:
    answers = version.metrics[BEFORE]["answers"]
    return {message: answer for (message, _), answer in zip(_own(version), answers, strict=False)}
