"""The personalities page: edit a card and try the draft, choose where it speaks, archive it."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace
from functools import partial

from aiohttp import web
from sqlalchemy.orm import Session

from bot.console.card_drafts import CardDraft, read_draft, turn_field
from bot.console.page import Here, get, post
from bot.console.pages.versions import show_answers_of
from bot.console.places import find_place, group_places, home_server, name_of_place, servers_of, visible_servers
from bot.errors import UserFacingError
from bot.personalities.binding import post_greeting
from bot.releases.comparison import contestant_of
from storage.database.enums import Scope
from storage.insights.taste_report import read_answering_now
from storage.personalities import personalities
from storage.personalities.bindings import (
    MAX_STRENGTH,
    Binding,
    BindingPlace,
    bind,
    find_binding,
    list_bindings,
    unbind,
)
from storage.personalities.cards import Card, tuned
from storage.personalities.personalities import Personality
from storage.releases.versions import list_versions

PAGE = "/personalities"
DRAFT = "the draft"
CHANGED = "Someone else changed the card since you opened it. Copy what you need, then reload this page."
NOT_BOUND = "It is not bound there any more. Reload this page to see where it speaks."


@dataclass(frozen=True)
class ListedPersonality:
    personality: Personality
    version: str
    bindings: list[Binding]
    """The personality's bindings in servers that the visitor may see."""


@dataclass(frozen=True)
class PersonalityFacts:
    listed: list[ListedPersonality]
    archived: list[Personality]
    versions: list[str]
    """Versions of the chosen personality that still have their files."""

    def bindings_of(self, personality: Personality) -> list[Binding]:
        return next((one.bindings for one in self.listed if one.personality.id == personality.id), [])

    @property
    def bound(self) -> dict[BindingPlace, str]:
        """The name of the personality in each place."""
        bindings = ((one.personality.name, binding) for one in self.listed for binding in one.bindings)
        return {BindingPlace(binding.scope, binding.place_id): name for name, binding in bindings}


async def show_personalities(here: Here) -> web.Response:
    return await _show(here, CardDraft.of(here.personality.card))


async def _show(here: Here, draft: CardDraft) -> web.Response:
    """Return the page with a card as somebody typed it."""
    facts = await here.services.database.read(_read, here)
    servers = {str(guild.id): guild for guild in servers_of(here)}
    server = servers.get(here.request.query.get("server", "")) or next(iter(servers.values()), None)
    return here.fill(
        "personalities.html",
        draft=draft,
        turn_field=turn_field,
        usual=here.services.settings.generation,
        saved="saved" in here.request.query,
        facts=facts,
        name_of_place=partial(name_of_place, here),
        servers=list(servers.values()),
        server=server,
        places=list(group_places(here, server, facts.bound)) if server else [],
        most_strength=MAX_STRENGTH,
        homes=visible_servers(here),
    )


def _read(session: Session, here: Here) -> PersonalityFacts:
    bindings = [one for one in list_bindings(session) if here.visitor.may_see_server(one.guild_id)]
    archived = personalities.list_personalities(session, archived=True)
    return PersonalityFacts(
        listed=[
            ListedPersonality(
                personality=one,
                version=read_answering_now(session, one.id, here.services.settings).in_short,
                bindings=[binding for binding in bindings if binding.personality_id == one.id],
            )
            for one in here.personalities
        ],
        archived=[one for one in archived if here.visitor.may_use(one)],
        versions=[one.name for one in list_versions(session, here.personality.id) if one.withdrawn_at is None],
    )


# Cards


async def save_card(here: Here) -> web.Response:
    action = here.action("edit card")
    await here.require_own(action)
    draft, card = await asyncio.to_thread(read_draft, here.form, here.personality.card)
    if card and draft.before != here.personality.card.digest:
        draft, card = replace(draft, mistakes={"card": CHANGED}), None
    if card is None:
        return await _show_again(here, draft)
    await here.run_audited(action, personalities.change_card, here.personality, card, by=here.visitor.name)
    return here.go(here.address(PAGE, saved="yes"))


async def try_card(here: Here) -> web.Response:
    """Answer with the card as it is and with the draft, side by side; nothing is stored."""
    services, own = here.services, here.personality
    draft, card = await asyncio.to_thread(read_draft, here.form, own.card)
    if card is None:
        return await _show_again(here, draft)
    release = await services.releases.current(own.id)
    contestants = [
        contestant_of(services, replace(own, card=one), release, name)
        for name, one in (("now", own.card), (DRAFT, card))
    ]
    generation = tuned(services.settings.generation, card)
    return await show_answers_of(here, contestants, here.form.text("prompt", ""), generation)


async def _show_again(here: Here, draft: CardDraft) -> web.Response:
    """Return the card as it was typed, with its mistakes: alone to htmx, or the whole page."""
    if not here.is_partial:
        return await _show(here, draft)
    usual = here.services.settings.generation
    editor = here.fill("card.html", draft=draft, turn_field=turn_field, usual=usual)
    editor.headers.update({"HX-Retarget": "#card", "HX-Reswap": "outerHTML"})
    return editor


# Personalities


async def add_personality(here: Here) -> web.Response:
    name, guild_id = here.form.text("name"), home_server(here)
    await here.run_audited(
        here.action("create personality", name, personality_id=None, guild_id=guild_id),
        personalities.create_personality,
        name,
        Card(),
        by=here.visitor.name,
        guild_id=guild_id,
    )
    return here.go(f"{PAGE}?personality={name}")


async def archive_chosen(here: Here) -> web.Response:
    action = here.action("archive")
    await here.require_own(action)
    await here.run_audited(action, personalities.archive_personality, here.personality)
    return here.go(PAGE)


async def restore_chosen(here: Here) -> web.Response:
    action = here.action("restore")
    await here.require_own(action)
    await here.run_audited(action, personalities.restore_personality, here.personality)
    return here.go(here.address(PAGE))


async def bind_to_place(here: Here) -> web.Response:
    """Let the personality answer in a channel, thread, category or the whole server."""
    form = here.form
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


async def unbind_from_place(here: Here) -> web.Response:
    place = BindingPlace(here.form.choice("scope", Scope), here.form.id("place"))
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


ROUTES = [
    get(PAGE, show_personalities),
    post(PAGE, add_personality),
    post(f"{PAGE}/card", save_card),
    post(f"{PAGE}/card/try", try_card),
    post(f"{PAGE}/archive", archive_chosen),
    post(f"{PAGE}/restore", restore_chosen),
    post("/personalities/bind", bind_to_place),
    post("/personalities/unbind", unbind_from_place),
]
