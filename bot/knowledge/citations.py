"""The lines that an earlier answer quoted, from its prompt."""

from __future__ import annotations

from collections.abc import Iterator

from sqlalchemy.orm import Session

from bot.knowledge.quoting import Citation, quoted_lines
from storage.conversations.replies import Reply
from storage.knowledge.documents import titles_of


def citations_of(session: Session, reply: Reply) -> Iterator[Citation]:
    """Yield what stands under the answer; a removed document is cited as long as the prompt that quotes it is kept."""
    asked = next((said["content"] for said in reversed(reply.messages) if said["role"] == "user"), "")
    lines = quoted_lines(asked)[: len(reply.retrieved)]
    lines += [""] * (len(reply.retrieved) - len(lines))
    for passage, line in zip(reply.retrieved, lines, strict=True):
        for title, link in titles_of(session, [passage.document_id]):
            yield Citation(title, link, line)
