"""The page of a personality's card: edit it as TOML, try a draft beside it, make another personality."""

from __future__ import annotations

import asyncio
from dataclasses import replace

from aiohttp import web

from bot.console.page import Here, find_here, read_form
from bot.console.pages.versions import chosen_prompts, report_nothing
from bot.errors import UserFacingError
from bot.releases.comparison import Contestant, compare_versions
from storage.errors import PersonalityConflict
from storage.personalities.cards import Card, format_card, parse_card, settings_of
from storage.personalities.personalities import change_card, create_personality

DRAFT = "the draft"


async def show_card(request: web.Request) -> web.Response:
    here = await find_here(request)
    return here.fill("card.html", toml=format_card(here.personality.card), saved="saved" in request.query)


async def download_card(request: web.Request) -> web.Response:
    here = await find_here(request)
    name = f"{here.personality.name}.toml"
    headers = {"Content-Disposition": f'attachment; filename="{name}"'}
    return web.Response(text=format_card(here.personality.card), content_type="application/toml", headers=headers)


async def save_card(request: web.Request) -> web.Response:
    here, form = await find_here(request), await read_form(request)
    card = _parse(form.text("toml"))
    if form.text("before") != here.personality.card.digest:
        raise PersonalityConflict("someone else changed the card since you opened it: copy your text, then reload")
    action = here.action("edit card")
    await here.require_own(action)
    await here.run_audited(action, change_card, here.personality, card, by=here.visitor.name)
    return here.go(here.address("/card", saved="yes"))


async def try_card(request: web.Request) -> web.Response:
    """Answer with the card as it is and with the draft, side by side; nothing is stored."""
    here, form = await find_here(request), await read_form(request)
    services = here.services
    release = await services.releases.current(here.personality.id)
    cards = {"now": here.personality.card, DRAFT: _parse(form.text("toml"))}
    prompts = await asyncio.to_thread(chosen_prompts, form.text("prompt", ""), services.settings.arena.prompts)
    with here.asking():
        compared = await compare_versions(
            services.engine,
            [Contestant(name, _system_prompt(here, card), release) for name, card in cards.items()],
            prompts,
            generation=settings_of(services.settings, cards[DRAFT]).generation,
            report=report_nothing,
        )
    template = "compared.html" if here.is_partial else "comparison.html"
    return here.fill(template, names=list(cards), compared=compared)


def _parse(text: str) -> Card:
    """Return the card; raises CardError, which names the mistake and its line."""
    return parse_card(text.encode(), "what you wrote")


def _system_prompt(here: Here, card: Card) -> str:
    return settings_of(here.services.settings, card).chat.system_prompt


async def add_personality(request: web.Request) -> web.Response:
    here, form = await find_here(request), await read_form(request)
    name = form.text("name")
    guild_id = _server_of(here, form.text("server", ""))
    action = replace(here.action("create personality", name), guild_id=guild_id)
    await here.run_audited(action, create_personality, name, Card(), by=here.visitor.name, guild_id=guild_id)
    raise web.HTTPSeeOther(f"/card?personality={name}")


def _server_of(here: Here, chosen: str) -> int | None:
    """Return the server that a new personality belongs to; None for the operator's, which all servers can use."""
    if here.visitor.servers is None:
        return None
    for guild_id in here.visitor.servers:
        if str(guild_id) == chosen:
            return guild_id
    raise UserFacingError("Choose the server that the personality is for.")


ROUTES = [
    web.get("/card", show_card),
    web.get("/card.toml", download_card),
    web.post("/card", save_card),
    web.post("/card/try", try_card),
    web.post("/personalities", add_personality),
]
