"""Small documents as servers have them, and what members write there.

The weights are fitted on FITTED; `unseen` was read when the rules were written. Nobody had read those of CLEAN then.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from bot.knowledge.chunking import cut_into_chunks
from bot.knowledge.extraction import MediaType, _read, media_type_of
from storage.knowledge.documents import NewChunk

FOLDER = Path(__file__).parent
MESSAGES = "messages.jsonl"
FITTED = ("tuning", "held_out", "later", "fresh", "club", "society", "verein")
UNSEEN = "unseen"
CLEAN = ("cafe", "speedruns")
EXACT, PARAPHRASE, FOLLOW_UP = "exact", "paraphrase", "follow-up"
UNANSWERABLE, SMALL_TALK, GENERAL = "unanswerable", "small talk", "general"
ANSWERABLE = (EXACT, PARAPHRASE, FOLLOW_UP)
ELSEWHERE = (SMALL_TALK, GENERAL)
"""What asks nothing of the server."""


@dataclass(frozen=True)
class Message:
    kind: str
    question: str
    earlier: tuple[str, ...] = ()
    """What the same person asked before, oldest first."""
    document: str = ""
    line: str = ""
    """A part of the right line."""

    def is_answered_by(self, title: str, text: str) -> bool:
        if not self.line or title != self.document:
            return False
        return self.line in text or self._is_row(text)

    def _is_row(self, text: str) -> bool:
        """Return whether the text is the row of a table whose cells begin like those of the line, as "column: cell"."""
        delimiter = next((one for one in ";|," if one in self.line), None)
        cells = [cell.strip() for cell in self.line.split(delimiter) if cell.strip()] if delimiter else []
        return bool(cells) and all(re.search(rf"(?:^|[:,] ){re.escape(cell)}", text) for cell in cells)


@dataclass(frozen=True)
class SmallServer:
    documents: dict[str, tuple[MediaType, str]]
    messages: list[Message] = field(default_factory=list)

    def chunks(self, count_tokens: Callable[[str], int]) -> dict[str, list[NewChunk]]:
        return {
            title: cut_into_chunks(title, list(_read(media_type, text.encode())), count_tokens)
            for title, (media_type, text) in self.documents.items()
        }


def read_server(part: str) -> SmallServer:
    folder = FOLDER / part
    files = [file for file in sorted(folder.iterdir()) if file.name != MESSAGES]
    documents = {file.name: (media_type_of(file.name), file.read_text(encoding="utf-8")) for file in files}
    rows = map(json.loads, (folder / MESSAGES).read_text(encoding="utf-8").splitlines())
    return SmallServer(documents, [Message(**{**row, "earlier": tuple(row.get("earlier", ()))}) for row in rows])
