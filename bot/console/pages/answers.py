"""The page of answers: what people disliked or improved, and what can be done about it."""

from __future__ import annotations

import logging
from urllib.parse import urlencode

from aiohttp import web
from pydantic import ValidationError
from sqlalchemy.orm import Session

from bot.console.page import Here, find_here, read_form
from bot.errors import UserFacingError
from bot.text.lineage import trace_lines
from storage.database.enums import Basis
from storage.errors import CardError
from storage.insights.answers import AnswerDetails, AnswerKind, AnswerQuery, list_answers, read_answer
from storage.members import DIRECT, note_members
from storage.personalities.cards import MAX_EXAMPLES, Example
from storage.personalities.personalities import change_card, read_personality
from storage.privacy.erasure import erase_answer
from storage.votes.corrections import check_correction, suggest
from storage.votes.weights import DISCORD_EPOCH

log = logging.getLogger(__name__)

SHOWN = 20
KINDS = {
    AnswerKind.ALL: "All",
    AnswerKind.DISLIKED: "Disliked",
    AnswerKind.SUGGESTED: "With a better one",
    AnswerKind.WRONG_FACT: "Wrong facts",
}
GONE = "That answer was deleted, or belongs to another personality."


async def show_answers(request: web.Request) -> web.Response:
    here = await find_here(request)
    asked = _query_of(request)
    found = await here.services.database.read(list_answers, here.personality.id, asked, SHOWN)
    older = _older(here, asked, found[-1].id) if len(found) == SHOWN else ""
    return here.fill("answers.html", found=found, asked=asked, kinds=KINDS, older=older)


def _older(here: Here, asked: AnswerQuery, before_id: int) -> str:
    """Return the query of the page with the answers before that one."""
    fields = {"kind": asked.kind.value, "version": asked.version, "text": asked.text, "before": str(before_id)}
    return urlencode(fields | ({} if here.personality.is_default else {"personality": here.personality.name}))


def _query_of(request: web.Request) -> AnswerQuery:
    asked, before = request.query, request.query.get("before", "")
    try:
        kind = AnswerKind(asked.get("kind", AnswerKind.ALL))
    except ValueError:
        kind = AnswerKind.ALL
    before_id = int(before) if before.isdecimal() and len(before) <= 18 else None
    return AnswerQuery(kind, asked.get("version", "").strip(), asked.get("text", "").strip(), before_id)


async def show_answer(request: web.Request) -> web.Response:
    here = await find_here(request)
    details = await _find(here)
    return here.fill("answer.html", details=details, trace=trace_lines([details.trace]))


async def improve(request: web.Request) -> web.Response:
    """Store a better answer that the visitor wrote."""
    here, form = await find_here(request), await read_form(request)
    details = await _find(here)
    text = check_correction(form.text("text"), details.listed.answer, here.services.settings.corrections)
    action = here.action("suggest", f"answer {details.listed.id}")
    await here.run_audited(action, _suggest, details, here.visitor.user_id, text)
    await here.services.tastes.refresh()
    return here.go(here.address(f"/answers/{details.listed.id}"))


def _suggest(session: Session, details: AnswerDetails, user_id: int, text: str) -> int:
    """The operator's own words may be trained on where the prompt may."""
    note_members(session, DIRECT, {user_id: DISCORD_EPOCH})
    basis = details.basis if details.basis in (Basis.LOCAL, Basis.PROMPT_BANK) else None
    return suggest(session, details.listed.id, user_id, text, basis)


async def make_example(request: web.Request) -> web.Response:
    """Add question and answer to the examples of the personality's card."""
    here = await find_here(request)
    details = await _find(here)
    action = here.action("add example", f"answer {details.listed.id}")
    await here.run_audited(action, _add_example, here.personality.id, details, here.visitor.name)
    raise web.HTTPSeeOther(here.address(f"/answers/{details.listed.id}"))


def _add_example(session: Session, personality_id: int, details: AnswerDetails, by: str) -> bool:
    personality = read_personality(session, personality_id)
    card = personality.card
    if len(card.examples) >= MAX_EXAMPLES:
        raise CardError(f"the card has {MAX_EXAMPLES} examples already: remove one first")
    try:
        example = Example(dialogue=(details.listed.question, details.listed.answer))
    except ValidationError as error:
        raise CardError("that answer cannot be an example: it, or its question, is empty or too long") from error
    return change_card(session, personality, card.model_copy(update={"examples": (*card.examples, example)}), by=by)


async def remove(request: web.Request) -> web.Response:
    """Delete the answer here; what Discord shows stays there."""
    here = await find_here(request)
    details = await _find(here)
    deletion = await here.run_audited(
        here.action("delete answer", f"answer {details.listed.id}"), erase_answer, details.listed.id
    )
    if deletion.marked:
        log.warning("Versions trained on a deleted answer: %s.", ", ".join(deletion.marked))
    raise web.HTTPSeeOther(here.address("/answers"))


async def _find(here: Here) -> AnswerDetails:
    reply_id = int(here.request.match_info["reply"])
    details = await here.services.database.read(read_answer, here.personality.id, reply_id)
    if details is None:
        raise UserFacingError(GONE)
    return details


ONE = r"/answers/{reply:\d{1,18}}"
ROUTES = [
    web.get("/answers", show_answers),
    web.get(ONE, show_answer),
    web.post(f"{ONE}/suggest", improve),
    web.post(f"{ONE}/example", make_example),
    web.post(f"{ONE}/delete", remove),
]
