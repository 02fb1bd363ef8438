"""The lines that an earlier answer quoted, from its prompt."""

from __future__ import annotations

from itertools import zip_longest

from sqlalchemy.orm import Session

from bot.knowledge.quoting import Citation, quoted_lines
from storage.conversations.replies import Reply
from storage.knowledge.documents import titles_of


def citations_of(session: Session, reply: Reply) -> list[Citation]:
    """Return what stands under the answer; a removed document is cited as long as the prompt that quotes it is kept."""
    if not reply.retrieved:
        return []
    asked = next((said["content"] for said in reversed(reply.messages) if said["role"] == "user"), "")
    lines = quoted_lines(asked)
    documents = [titles_of(session, [passage.document_id]) for passage in reply.retrieved]
    return [
        Citation(*found[0], line)
        for found, line in zip_longest(documents, lines[: len(documents)], fillvalue="")
        if found
    ]
