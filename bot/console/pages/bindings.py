"""Binds the personality to places on Discord, and unbinds it."""

from __future__ import annotations

from aiohttp import web
from sqlalchemy.orm import Session

from bot.console.binding_places import find_place
from bot.console.page import Here, find_here, read_form
from bot.errors import UserFacingError
from bot.personalities.binding import post_greeting
from storage.database.enums import Scope
from storage.personalities.bindings import MAX_STRENGTH, Binding, BindingPlace, bind, find_binding, unbind

NOT_BOUND = "It is not bound there any more. Reload this page to see where it speaks."


async def bind_to_place(request: web.Request) -> web.Response:
    """Let the personality answer in a channel, thread, category or the whole server."""
    here, form = await find_here(request), await read_form(request)
    server = form.id("server")
    place, channel = find_place(here, server, form.id("place") if form.text("place") else None)
    strength = form.decimal("strength", 0.0, MAX_STRENGTH)
    await here.run_audited(
        here.action("bind", f"{place.scope} {place.id}, strength {strength:g}", guild_id=server),
        bind,
        place,
        here.personality,
        guild_id=server,
        strength=strength,
        by=here.visitor.name,
    )
    await post_greeting(here.services, here.personality, channel, place)
    return here.go(here.address("/personalities"))


async def unbind_from_place(request: web.Request) -> web.Response:
    here, form = await find_here(request), await read_form(request)
    place = BindingPlace(form.choice("scope", Scope), form.id("place"))
    binding = await here.services.database.read(_find_bound, here, place)
    action = here.action("unbind", f"{place.scope} {place.id}", guild_id=binding.guild_id)
    await here.run_audited(action, _unbind, here, place)
    return here.go(here.address("/personalities"))


def _unbind(session: Session, here: Here, place: BindingPlace) -> None:
    """Remove the binding, unless somebody bound another personality there since the page was shown."""
    _find_bound(session, here, place)
    unbind(session, place)


def _find_bound(session: Session, here: Here, place: BindingPlace) -> Binding:
    """Return the personality's binding there; raises UserFacingError."""
    binding = find_binding(session, place)
    if (
        binding is None
        or binding.personality_id != here.personality.id
        or not here.visitor.may_see_server(binding.guild_id)
    ):
        raise UserFacingError(NOT_BOUND)
    return binding


ROUTES = [web.post("/personalities/bind", bind_to_place), web.post("/personalities/unbind", unbind_from_place)]
