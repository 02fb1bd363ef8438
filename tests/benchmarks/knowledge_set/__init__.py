"""Documents of an invented town, club and game server, and what people ask about them."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from tests.benchmarks.knowledge_servers import FOLLOW_UP, PARAPHRASE, Message

FOLDER = Path(__file__).parent
VALIDATION, TEST = "validation", "test"
"""Weights are fitted on the messages of the first split; the paraphrases of the second were written from the documents
alone, and judge the search."""


class Kind(StrEnum):
    """Each is a file in the folder of a split."""

    PARAPHRASES = "paraphrases"
    """Questions in other words than the documents'."""
    RARE_WORDS = "rare_words"
    """Short questions with a word that few documents have."""
    FOLLOW_UPS = "follow_ups"
    """Questions that are understood only with what was said before."""


@dataclass(frozen=True)
class SetQuestion(Message):
    """A message whose `line` is a regular expression of what the right passage, and a right answer, holds."""

    def is_answered_by(self, title: str, text: str) -> bool:
        return title == self.document and re.search(self.line, text) is not None


def read_documents() -> dict[str, str]:
    """Return the Markdown text of each document by its title."""
    text = (FOLDER / "documents.md").read_text(encoding="utf-8")
    parts = [part.partition("\n") for part in re.split(r"(?m)^# ", text)[1:]]
    return {title: body.strip() for title, _, body in parts}


def read_questions(split: str, kind: Kind = Kind.PARAPHRASES) -> list[SetQuestion]:
    lines = (FOLDER / split / f"{kind}.jsonl").read_text(encoding="utf-8").splitlines()
    name = FOLLOW_UP if kind is Kind.FOLLOW_UPS else PARAPHRASE
    return [
        SetQuestion(name, one["question"], tuple(one.get("earlier", ())), one["document"], one["answer"])
        for one in map(json.loads, lines)
    ]
