"""The list of answers, and the page of one: everything known about it, and actions on it.

The list can be filtered by people's feedback, by place and time, and by words.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from datetime import date

from aiohttp import web
from sqlalchemy import or_
from sqlalchemy.orm import Session

from bot.attachments.material import without_materials
from bot.console.access import ConsoleRefusal
from bot.console.page import Here, get, post, without_nul
from bot.console.places import name_channels, source_of
from bot.console.suggestions import Author, suggest_as_visitor
from bot.errors import UserFacingError
from bot.knowledge.gaps import question_of
from bot.knowledge.quoting import MAX_TITLE_CHARS, without_quotes
from bot.text.lineage import trace_lines
from storage.conversations.control_tokens import sanitize
from storage.database.columns import LARGEST_ID
from storage.database.enums import NOBODY, Basis, Cause, Origin
from storage.errors import CardError
from storage.insights.answers import (
    AnswerDetails,
    AnswerKind,
    AnswerQuery,
    ListedAnswer,
    in_channels,
    in_talks_of,
    list_answers,
    read_answer,
    recent_channels,
)
from storage.operations.audit import AuditedAction
from storage.personalities.cards import Example
from storage.personalities.personalities import add_example
from storage.privacy.erasure import erase_answers, exclude_answer
from storage.votes.corrections import check_correction
from storage.wording import shorten

log = logging.getLogger(__name__)

NO_SUCH_ANSWER = "That answer was deleted, or belongs to another personality."
NOT_YOURS_TO_DELETE = "Deleting an answer needs Manage Messages in its channel, as in Discord."
SHOWN = 20
KINDS = {
    AnswerKind.TALK: "In conversations",
    AnswerKind.ALL: "All, also those drawn to be compared",
    AnswerKind.DISLIKED: "Disliked",
    AnswerKind.SUGGESTED: "With a better answer",
    AnswerKind.WRONG_FACT: "Wrong facts to settle",
}
ORIGINS = {
    Origin.ARENA: "in an arena",
    Origin.ALTERNATIVE: "a second answer",
    Origin.FIXED: "a fixed sentence",
    Origin.SITTING: "to choose from",
    Origin.PLAYGROUND: "tried",
}
FILTERS = ("kind", "cause", "channel", "from", "until", "version", "text")


async def show_answers(here: Here) -> web.Response:
    channels = await _channels(here)
    asked = _query_of(here, channels)
    found = await here.services.database.read(list_answers, here.personality.id, asked, SHOWN + 1)
    filters = {name: here.request.query.get(name) for name in FILTERS}
    older = here.address("/answers", **filters, before=found[SHOWN - 1].id) if len(found) > SHOWN else ""
    return here.fill(
        "answers.html",
        found=[(one, source_of(here, one.guild_id, one.channel_id, one.link)) for one in found[:SHOWN]],
        asked_in=_asked_in,
        asked=asked,
        kinds=KINDS,
        origins=ORIGINS,
        causes=Cause,
        channels=channels,
        is_filtered=asked != AnswerQuery(AnswerKind.TALK, channels=asked.channels),
        older=older,
    )


async def _channels(here: Here) -> dict[int, str]:
    """Return the names of the channels that had answers most recently, by their ids."""
    named = name_channels(here, await here.services.database.read(recent_channels, here.visitor.channels))
    return named | {NOBODY: "none (console)"} if here.visitor.may_see_server(None) else named


def _query_of(here: Here, channels: Iterable[int]) -> AnswerQuery:
    asked = {name: without_nul(value).strip() for name, value in here.request.query.items()}
    return AnswerQuery(
        kind=next((kind for kind in AnswerKind if kind == asked.get("kind")), AnswerKind.TALK),
        version=asked.get("version", ""),
        text=asked.get("text", ""),
        cause=next((cause for cause in Cause if cause == asked.get("cause")), None),
        channel_id=next((id_ for id_ in channels if str(id_) == asked.get("channel")), None),
        since=_day(asked.get("from", "")),
        until=_day(asked.get("until", "")),
        channels=here.visitor.channels,
        before_id=here.number("before", LARGEST_ID),
    )


def _day(text: str) -> date | None:
    try:
        return date.fromisoformat(text)
    except ValueError:
        return None


async def show_answer(here: Here) -> web.Response:
    details = await _find(here)
    one = details.listed
    return here.fill(
        "answer.html",
        details=details,
        question=_asked_in(one),
        source=source_of(here, one.guild_id, one.channel_id, one.link),
        is_ours=_is_ours(details),
        may_delete=_may_delete(here, details),
        gap_title=shorten(question_of(details.messages), MAX_TITLE_CHARS) if _has_gap(here, details) else "",
        trace=trace_lines([details.trace]),
    )


def _asked_in(answer: ListedAnswer) -> str:
    """Return the question, without the documents and files that the prompt quotes."""
    return without_materials(without_quotes(answer.question))


def _has_gap(here: Here, details: AnswerDetails) -> bool:
    """Return whether a document can be written about the answer: documents belong to a server."""
    guild_id = details.listed.guild_id
    return details.is_gap and guild_id is not None and here.bot.get_guild(guild_id) is not None


async def improve(here: Here) -> web.Response:
    """Store a better answer that the visitor wrote."""
    details = await _find(here)
    text = check_correction(sanitize(here.form.text("text")), details.listed.answer)
    action = _action(here, "suggest", details)
    author = Author(here.visitor.user_id, here.visitor.member_in(details.listed.guild_id) or here.member)
    basis = details.basis if _is_ours(details) else None
    await here.run_audited(action, suggest_as_visitor, details.listed.id, author, text, basis)
    await here.services.tastes.refresh(here.personality.id)
    return here.go(here.address(f"/answers/{details.listed.id}"))


def _is_ours(details: AnswerDetails) -> bool:
    """Return whether the answer's prompt has no words that a member wrote on Discord."""
    return details.basis in (Basis.LOCAL, Basis.PROMPT_BANK)


async def make_example(here: Here) -> web.Response:
    """Add question and answer to the examples of the personality's card."""
    details = await _find(here)
    action = _action(here, "add example", details)
    await here.require_own(action)
    await here.run_audited(action, _add_example, here.personality.id, details, here.visitor.name)
    raise web.HTTPSeeOther(here.address(f"/answers/{details.listed.id}"))


def _add_example(session: Session, personality_id: int, details: AnswerDetails, by: str) -> Example:
    if not _is_ours(details):
        raise CardError("the question is a member's: write an example in your own words instead")
    return add_example(session, personality_id, details.listed.question, details.listed.answer, by=by)


async def exclude(here: Here) -> web.Response:
    """Leave the answer's text out of training from now on."""
    details = await _find(here)
    action = _action(here, "exclude answer", details)
    await here.require_administrator(action)
    await here.run_audited(action, exclude_answer, details.listed.id)
    raise web.HTTPSeeOther(here.address(f"/answers/{details.listed.id}"))


async def remove(here: Here) -> web.Response:
    """Delete the answer from the database; its message stays on Discord."""
    details = await _find(here)
    if not _may_delete(here, details):
        raise UserFacingError(NOT_YOURS_TO_DELETE)
    deletion = await here.run_audited(_action(here, "delete answer", details), erase_answers, [details.listed.id])
    if deletion.marked:
        log.warning("Versions trained on a deleted answer: %s.", ", ".join(deletion.marked))
    raise web.HTTPSeeOther(here.address("/answers"))


def _may_delete(here: Here, details: AnswerDetails) -> bool:
    """Return whether the visitor may delete the answer: it is of the playground, or they may delete it on Discord."""
    if here.visitor.servers is None or details.listed.origin is Origin.PLAYGROUND:
        return True
    member = here.visitor.member_in(details.listed.guild_id)
    channel = member and member.guild.get_channel_or_thread(details.listed.channel_id)
    return bool(member and channel and channel.permissions_for(member).manage_messages)


def _action(here: Here, what: str, details: AnswerDetails) -> AuditedAction:
    """Return a line for the audit trail of the server where the answer was given."""
    return here.action(what, f"answer {details.listed.id}", guild_id=details.listed.guild_id)


async def _find(here: Here) -> AnswerDetails:
    reply_id, visitor = here.number_in_path("reply", LARGEST_ID), here.visitor
    seen = None if visitor.channels is None else or_(in_channels(visitor.channels), in_talks_of(visitor.user_id))
    details = await here.services.database.read(read_answer, here.personality.id, reply_id, seen)
    if details is None:
        raise ConsoleRefusal(NO_SUCH_ANSWER, status=404)
    return details


ONE = r"/answers/{reply:\d+}"
ROUTES = [
    get("/answers", show_answers),
    get(ONE, show_answer),
    post(f"{ONE}/suggest", improve),
    post(f"{ONE}/example", make_example),
    post(f"{ONE}/exclude", exclude),
    post(f"{ONE}/delete", remove),
]
