"""Documents of an invented town, club and game server, and questions about them in other words than theirs."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path

FOLDER = Path(__file__).parent
VALIDATION, TEST = "validation", "test"
"""Settings were chosen by the questions of the first split; those of the second were written afterwards, from the
documents alone, and judge them."""


@dataclass(frozen=True)
class SetQuestion:
    question: str
    document: str
    """Title of the document that answers it."""
    answer: str
    """Regular expression of what the right passage, and a right answer, holds."""

    def is_answered_by(self, text: str) -> bool:
        return re.search(self.answer, text) is not None


def read_documents() -> dict[str, str]:
    """Return the Markdown text of each document by its title."""
    text = (FOLDER / "documents.md").read_text(encoding="utf-8")
    parts = [part.partition("\n") for part in re.split(r"(?m)^# ", text)[1:]]
    return {title: body.strip() for title, _, body in parts}


def read_questions(split: str) -> list[SetQuestion]:
    lines = (FOLDER / f"{split}.jsonl").read_text(encoding="utf-8").splitlines()
    return [SetQuestion(**json.loads(line)) for line in lines]
