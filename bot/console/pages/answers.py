"""The page of answers: what people disliked or improved, and what can be done about it."""

from __future__ import annotations

import logging

from aiohttp import web
from pydantic import ValidationError
from sqlalchemy.orm import Session

from bot.console.page import Here, find_here, read_before, read_form, without_nul
from bot.console.suggestions import Author, suggest_as_visitor
from bot.errors import UserFacingError
from bot.text.lineage import trace_lines
from storage.conversations.control_tokens import sanitize
from storage.database.enums import Basis
from storage.errors import CardError
from storage.insights.answers import AnswerDetails, AnswerKind, AnswerQuery, list_answers, read_answer
from storage.personalities.cards import MAX_EXAMPLES, Example
from storage.personalities.personalities import change_card, read_personality
from storage.privacy.erasure import erase_answer
from storage.votes.corrections import check_correction

log = logging.getLogger(__name__)

SHOWN = 20
KINDS = {
    AnswerKind.ALL: "All",
    AnswerKind.DISLIKED: "Disliked",
    AnswerKind.SUGGESTED: "With a better one",
    AnswerKind.WRONG_FACT: "Wrong facts",
}
GONE = "That answer was deleted, or belongs to another personality."
NOT_YOURS_TO_DELETE = "Deleting an answer needs Manage Messages in its channel, as in Discord."


async def show_answers(request: web.Request) -> web.Response:
    here = await find_here(request)
    asked = _query_of(here)
    found = await here.services.database.read(list_answers, here.personality.id, asked, SHOWN + 1)
    query = {"kind": asked.kind.value, "version": asked.version, "text": asked.text}
    older = here.address("/answers", **query, before=found[SHOWN - 1].id) if len(found) > SHOWN else ""
    return here.fill("answers.html", found=found[:SHOWN], asked=asked, kinds=KINDS, older=older)


def _query_of(here: Here) -> AnswerQuery:
    asked = {name: without_nul(value).strip() for name, value in here.request.query.items()}
    kind = next((kind for kind in AnswerKind if kind == asked.get("kind")), AnswerKind.ALL)
    before_id, channels = read_before(here.request), here.visitor.channels
    return AnswerQuery(kind, asked.get("version", ""), asked.get("text", ""), before_id, channels)


async def show_answer(request: web.Request) -> web.Response:
    here = await find_here(request)
    details = await _find(here)
    return here.fill(
        "answer.html",
        details=details,
        is_ours=_is_ours(details),
        may_delete=_may_delete(here, details),
        trace=trace_lines([details.trace]),
    )


async def improve(request: web.Request) -> web.Response:
    """Store a better answer that the visitor wrote."""
    here, form = await find_here(request), await read_form(request)
    details = await _find(here)
    text = check_correction(sanitize(form.text("text")), details.listed.answer, here.services.settings.corrections)
    action = here.action("suggest", f"answer {details.listed.id}")
    author = Author(here.visitor.user_id, here.visitor.member_in(details.guild_id))
    basis = details.basis if _is_ours(details) else None
    await here.run_audited(action, suggest_as_visitor, details.listed.id, author, text, basis)
    await here.services.tastes.refresh()
    return here.go(here.address(f"/answers/{details.listed.id}"))


def _is_ours(details: AnswerDetails) -> bool:
    """Return whether its prompt holds no words that a member wrote on Discord."""
    return details.basis in (Basis.LOCAL, Basis.PROMPT_BANK)


async def make_example(request: web.Request) -> web.Response:
    """Add question and answer to the examples of the personality's card."""
    here = await find_here(request)
    details = await _find(here)
    action = here.action("add example", f"answer {details.listed.id}")
    await here.require_own(action)
    await here.run_audited(action, _add_example, here.personality.id, details, here.visitor.name)
    raise web.HTTPSeeOther(here.address(f"/answers/{details.listed.id}"))


def _add_example(session: Session, personality_id: int, details: AnswerDetails, by: str) -> bool:
    personality = read_personality(session, personality_id)
    card = personality.card
    if len(card.examples) >= MAX_EXAMPLES:
        raise CardError(f"the card has {MAX_EXAMPLES} examples already: remove one first")
    if not _is_ours(details):
        raise CardError("the question is a member's: write an example in your own words instead")
    try:
        example = Example(dialogue=(details.listed.question, details.listed.answer))
    except ValidationError as error:
        raise CardError("that answer cannot be an example: it, or its question, is empty or too long") from error
    return change_card(session, personality, card.model_copy(update={"examples": (*card.examples, example)}), by=by)


async def remove(request: web.Request) -> web.Response:
    """Delete the answer here; what Discord shows stays there."""
    here = await find_here(request)
    details = await _find(here)
    if not _may_delete(here, details):
        raise UserFacingError(NOT_YOURS_TO_DELETE)
    deletion = await here.run_audited(
        here.action("delete answer", f"answer {details.listed.id}"), erase_answer, details.listed.id
    )
    if deletion.marked:
        log.warning("Versions trained on a deleted answer: %s.", ", ".join(deletion.marked))
    raise web.HTTPSeeOther(here.address("/answers"))


def _may_delete(here: Here, details: AnswerDetails) -> bool:
    """Return whether the visitor could delete its message in Discord."""
    member = here.visitor.member_in(details.guild_id)
    if member is None:
        return True
    channel = member.guild.get_channel_or_thread(details.channel_id)
    return channel is not None and channel.permissions_for(member).manage_messages


async def _find(here: Here) -> AnswerDetails:
    reply_id = int(here.request.match_info["reply"])
    details = await here.services.database.read(read_answer, here.personality.id, reply_id, here.visitor.channels)
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
