"""The list of answers: found by what people said of them, by where and when they were given, and by their words."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date

from aiohttp import web

from bot.console.page import Here, find_here, read_before, without_nul
from bot.console.places import name_channels, source_of
from storage.database.enums import NOBODY, Cause
from storage.database.ids import LARGEST_ID
from storage.insights.answers import AnswerKind, AnswerQuery, list_answers, recent_channels

SHOWN = 20
KINDS = {
    AnswerKind.ALL: "All",
    AnswerKind.DISLIKED: "Disliked",
    AnswerKind.SUGGESTED: "With a better answer",
    AnswerKind.WRONG_FACT: "Wrong facts to settle",
}
FILTERS = ("kind", "cause", "channel", "from", "until", "version", "text")


async def show_answers(request: web.Request) -> web.Response:
    here = await find_here(request)
    channels = await _channels(here)
    asked = _query_of(here, channels)
    found = await here.services.database.read(list_answers, here.personality.id, asked, SHOWN + 1)
    filters = {name: request.query.get(name) for name in FILTERS}
    older = here.address("/answers", **filters, before=found[SHOWN - 1].id) if len(found) > SHOWN else ""
    return here.fill(
        "answers.html",
        found=[(one, source_of(here, one.guild_id, one.channel_id, one.link)) for one in found[:SHOWN]],
        asked=asked,
        kinds=KINDS,
        causes=Cause,
        channels=channels,
        is_filtered=asked != AnswerQuery(channels=asked.channels),
        older=older,
    )


async def _channels(here: Here) -> dict[int, str]:
    """Return the names of the channels that had answers most recently, by their ids."""
    named = name_channels(here, await here.services.database.read(recent_channels, here.visitor.channels))
    return named | {NOBODY: "none (console)"} if here.visitor.may_see_server(None) else named


def _query_of(here: Here, channels: Iterable[int]) -> AnswerQuery:
    asked = {name: without_nul(value).strip() for name, value in here.request.query.items()}
    return AnswerQuery(
        kind=next((kind for kind in AnswerKind if kind == asked.get("kind")), AnswerKind.ALL),
        version=asked.get("version", ""),
        text=asked.get("text", ""),
        cause=next((cause for cause in Cause if cause == asked.get("cause")), None),
        channel_id=next((id_ for id_ in channels if str(id_) == asked.get("channel")), None),
        since=_day(asked.get("from", "")),
        until=_day(asked.get("until", "")),
        channels=here.visitor.channels,
        before_id=read_before(here.request, LARGEST_ID),
    )


def _day(text: str) -> date | None:
    try:
        return date.fromisoformat(text)
    except ValueError:
        return None


ROUTES = [web.get("/answers", show_answers)]
