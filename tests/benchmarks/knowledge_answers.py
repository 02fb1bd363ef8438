"""What members get who ask a small server's documents: the decision for each message, and answers of a real base.

`python -m tests.benchmarks.knowledge_answers` prints what each server's messages get by weights fitted on the others.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from bot.chat.answering import QUOTING_TEMPERATURE
from bot.chat.ask import request_answer
from bot.chat.prompting import Turn, to_messages
from bot.engine import Engine
from bot.knowledge.decision import ReplyDecision, ReplyKind, decide_ranked, decide_reply
from bot.knowledge.question_vectors import read_background
from bot.knowledge.quoting import render_with_quotes
from bot.knowledge.support import keeps_to
from bot.releases.resolver import BASE_RELEASE
from storage.models.bundled import BundledEncoder, Encoder
from storage.models.english import InEnglish
from storage.settings.sections import ChatSettings, GenerationSettings, KnowledgeSettings
from tests.benchmarks.knowledge_servers import (
    ANSWERABLE,
    CLEAN,
    ELSEWHERE,
    FITTED,
    UNANSWERABLE,
    UNSEEN,
    Message,
    read_server,
)
from tests.benchmarks.knowledge_weights import Shelf, collect, fit_all
from tests.benchmarks.report import Row
from tests.benchmarks.serving_load import completed


@dataclass(frozen=True)
class Decided:
    message: Message
    decision: ReplyDecision

    @property
    def shows_right_line(self) -> bool:
        return any(self.message.is_answered_by(line.title, line.text) for line in self.decision.lines)

    @property
    def is_quoted(self) -> bool:
        return self.decision.outcome is ReplyKind.QUOTED

    @property
    def says_unknown(self) -> bool:
        return self.decision.outcome in (ReplyKind.NEAREST, ReplyKind.UNKNOWN)


def decide_all(encoder: Encoder, parts: Sequence[str] = CLEAN) -> list[Decided]:
    """Return what each message of the parts gets."""
    background, found = read_background(encoder), []
    for part in parts:
        server = read_server(part)
        shelf = Shelf(server, encoder)
        found += [Decided(message, decide_reply(*shelf.ask(message, background))) for message in server.messages]
    return found


def leave_one_out(encoder: Encoder) -> dict[str, list[Decided]]:
    """Return what the messages of each server get by weights that were fitted on the others."""
    examples, found = list(collect(encoder)), {}
    for part in (*FITTED, UNSEEN):
        fit_all([one for one in examples if one.server != part])
        asked = [one for one in examples if one.server == part and not one.is_taken_out]
        found[part] = [Decided(one.message, decide_ranked(one.asked, one.ranked)) for one in asked]
    return found


def shares_of(decided: Sequence[Decided]) -> dict[str, float]:
    answerable = [one for one in decided if one.message.kind in ANSWERABLE]
    unanswerable = [one for one in decided if one.message.kind == UNANSWERABLE]
    elsewhere = [one for one in decided if one.message.kind in ELSEWHERE]
    return {
        "right_line_shown": share([one.shows_right_line for one in answerable]),
        "right_line_quoted": share([one.shows_right_line and one.is_quoted for one in answerable]),
        "unknown_said": share([one.says_unknown for one in unanswerable]),
        "elsewhere_quoted": share([one.is_quoted for one in elsewhere]),
        "elsewhere_refused": share([one.says_unknown for one in elsewhere]),
    }


def share(flags: Sequence[bool]) -> float:
    return round(sum(flags) / len(flags), 3)


async def answer_quoted(engine: Engine, decided: Sequence[Decided], settings: GenerationSettings) -> list[Row]:
    """Return a row for each message that a line answers: what the base says, and whether it keeps to the line."""
    plain = settings.model_copy(update={"temperature": min(settings.temperature, QUOTING_TEMPERATURE)})
    return await asyncio.gather(*(_answer(engine, one, plain) for one in decided if one.is_quoted))


async def _answer(engine: Engine, one: Decided, settings: GenerationSettings) -> Row:
    messages = to_messages(ChatSettings().system_prompt, [Turn("ada", one.message.question)])
    lines = one.decision.lines
    informed = await render_with_quotes(engine, messages, lines, KnowledgeSettings().budget_tokens)
    answer = (await completed(engine.submit(request_answer(informed.prompt, BASE_RELEASE, settings)))).text
    sources = [f"{line.title} {line.text}" for line in lines]
    return {
        "what": "answer",
        "question": one.message.question,
        "line": lines[0].text,
        "answer": answer.strip(),
        "keeps_to_line": keeps_to(answer, sources, asked=one.message.question),
    }


if __name__ == "__main__":
    servers = leave_one_out(InEnglish(BundledEncoder()))
    for server, messages in servers.items():
        print(server, shares_of(messages))
    print("all", shares_of([one for messages in servers.values() for one in messages]))
