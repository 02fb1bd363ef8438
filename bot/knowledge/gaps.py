"""Gaps in knowledge, grouped by what is asked; pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

from bot.knowledge.quoting import LABEL
from storage.knowledge.gaps import Gap

MAX_DISTANCE = 0.45
"""Cosine distance up to which questions ask the same, on average over a group; MiniLM's paraphrases lie below it."""
QUESTION_CHARS = 200


@dataclass(frozen=True)
class GapGroup:
    """Gaps whose questions ask the same, the newest first."""

    gaps: tuple[Gap, ...]

    @property
    def members(self) -> int:
        return sum(gap.members for gap in self.gaps)

    @property
    def key(self) -> int:
        """The id of the oldest answer: it stays while newer ones join."""
        return min(gap.reply_id for gap in self.gaps)

    @property
    def question(self) -> str:
        return question_of(self.gaps[0])


def question_of(gap: Gap) -> str:
    """Return what the member asked, on one line, without the documents that were quoted below it."""
    asked = next((m["content"] for m in reversed(gap.messages) if m["role"] == "user"), "")
    words = " ".join(asked.partition(LABEL)[0].split())
    # What several people said stands in one message, the question last.
    return words if len(words) <= QUESTION_CHARS else f"…{words[1 - QUESTION_CHARS :]}"


def group_gaps(gaps: Sequence[Gap], vectors: NDArray[Any] | None) -> list[GapGroup]:
    """Return the gaps in groups, those that most members noticed first.

    `vectors`, (N, D), are the questions' embeddings, of length 1; without them equal words make a group.
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
