"""The small print of earlier starts."""

from __future__ import annotations

from sqlalchemy.orm import Session

from bot.chat.ask import small_print
from bot.engine import Finish, RenderedPrompt
from bot.knowledge.quoting import cite
from storage.conversations.replies import Reply
from storage.database.enums import Outcome
from storage.knowledge.documents import titles_of
from storage.personalities.personalities import read_personality
from storage.releases.versions import find_version, name_of


def small_print_again(session: Session, reply: Reply, label: str | None) -> str:
    """Return the line under the answer; `label` stands in place of the version where it is not to be known."""
    prompt = RenderedPrompt(reply.prompt, (), reply.prompt_tokens, reply.dropped_turns, shortened=False)
    finish = Finish.LENGTH if reply.outcome is Outcome.LENGTH else Finish.STOP
    personality, version = read_personality(session, reply.personality_id), find_version(session, reply.version_id)
    named = name_of(version) if personality.is_default else f"{personality.name} {name_of(version)}"
    lines = [small_print(label or named, prompt, finish)]
    if reply.retrieved:
        lines.append(cite(titles_of(session, [passage.document_id for passage in reply.retrieved])))
    return "\n".join(lines)
