"""Groups gaps in knowledge by their questions, and describes a group to admins."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray
from sqlalchemy.orm import Session

from bot.knowledge.quoting import LABEL
from bot.text.sanitize import escape_inline
from bot.text.splitting import shorten
from storage.knowledge.documents import titles_of
from storage.knowledge.gaps import Gap
from storage.wording import count

MAX_DISTANCE = 0.45
"""Largest cosine distance, on average over a group, between questions that mean the same; with MiniLM, paraphrases are
closer."""
QUESTION_CHARS = 200
SHOWN_QUESTIONS = 5
ANSWER_CHARS = 200


@dataclass(frozen=True)
class GapGroup:
    """Gaps whose questions mean the same, newest first."""

    gaps: tuple[Gap, ...]

    @property
    def members(self) -> int:
        return sum(gap.members for gap in self.gaps)

    @property
    def key(self) -> int:
        """The id of the oldest answer, which does not change when newer ones join."""
        return min(gap.reply_id for gap in self.gaps)

    @property
    def question(self) -> str:
        return question_of(self.gaps[0])


def question_of(gap: Gap) -> str:
    """Return the member's question on one line, without the quoted documents below it."""
    asked = next((m["content"] for m in reversed(gap.messages) if m["role"] == "user"), "")
    words = " ".join(asked.partition(LABEL)[0].split())
    # A message can hold what several people said; the question comes last.
    return words if len(words) <= QUESTION_CHARS else f"…{words[1 - QUESTION_CHARS :]}"


def group_gaps(gaps: Sequence[Gap], vectors: NDArray[Any] | None) -> list[GapGroup]:
    """Return the gaps in groups, those reported by most members first.

    `vectors`, (N, D), are the questions' embeddings, of length 1; without them, equal words make a group.
    """
    labels = _labels_by_meaning(vectors) if vectors is not None else [question_of(gap).casefold() for gap in gaps]
    groups: dict[Any, list[Gap]] = defaultdict(list)
    for gap, label in zip(gaps, labels, strict=True):
        groups[label].append(gap)
    found = [GapGroup(tuple(members)) for members in groups.values()]
    return sorted(found, key=lambda group: (-group.members, -group.gaps[0].reply_id))


def _labels_by_meaning(vectors: NDArray[Any]) -> list[int]:
    if len(vectors) < 2:
        return [0] * len(vectors)
    from sklearn.cluster import AgglomerativeClustering

    clusters = AgglomerativeClustering(
        n_clusters=None, distance_threshold=MAX_DISTANCE, metric="cosine", linkage="average"
    )
    return [int(label) for label in clusters.fit_predict(vectors)]


def describe_group(session: Session, group: GapGroup, number: int, total: int) -> str:
    """Return how many members reported the group, its questions and answers, and what the answers quoted."""
    where = "this answer" if len(group.gaps) == 1 else "these answers"
    which = f" (gap {number} of {total})" if total > 1 else ""
    lines = [f"**{count(group.members, 'member')}** reported wrong facts in {where}{which}:"]
    for gap in group.gaps[:SHOWN_QUESTIONS]:
        answer = escape_inline(shorten(" ".join(gap.answer.split()), ANSWER_CHARS))
        link = f" · [answer](<{gap.link}>)" if gap.link else ""
        lines.append(f"- “{escape_inline(question_of(gap))}”{link}\n  → {answer}\n  -# {_sources(session, gap)}")
    rest = len(group.gaps) - SHOWN_QUESTIONS
    return "\n".join([*lines, *([f"- and {rest} more"] if rest > 0 else [])])


def _sources(session: Session, gap: Gap) -> str:
    titles = ", ".join(escape_inline(title) for title, _ in titles_of(session, gap.document_ids))
    return f"It quoted {titles}." if titles else "It quoted no document."
