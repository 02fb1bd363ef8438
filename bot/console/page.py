"""The context of every page of the console: its visitor and its personality."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, nullcontext
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import cached_property
from typing import TYPE_CHECKING, Any, Concatenate, Final, ParamSpec, TypedDict, TypeVar, Unpack
from urllib.parse import urlencode

import discord
from aiohttp import web
from discord.ext import commands
from sqlalchemy.orm import Session

from bot.console.access import (
    BOT,
    LIMITS,
    SAFE_METHODS,
    SERVICES,
    START,
    VISITOR,
    Handler,
    Visitor,
    is_partial,
    read_post,
)
from bot.console.rendering import fill
from bot.console.suggestions import Author
from bot.console.talks import Talks
from bot.errors import UserFacingError
from bot.guards.error_handler import is_expected
from bot.personalities import selection
from bot.services import Services
from bot.sittings.drawer import PairDrawer
from storage.database.columns import LARGEST_ID, LARGEST_NUMBER, parse_id
from storage.database.database import Database
from storage.database.enums import AuditOutcome
from storage.errors import PersonalityNotFound
from storage.operations.audit import AuditedAction, audited, record_action
from storage.personalities.personalities import DEFAULT_PERSONALITY, Personality, list_personalities

if TYPE_CHECKING:
    from multidict import MultiMapping

P = ParamSpec("P")
T = TypeVar("T")
Choice = TypeVar("Choice", bound=StrEnum)

INCOMPLETE = "That form is incomplete. Reload the page, then try again."
MAX_FIELD_CHARS = 10_000
"""Maximum characters of a form's field, unless its page allows more."""
OVERVIEW = "/"
"""The page that people enter, unless a demo opens the console."""


@dataclass(frozen=True)
class Place:
    """Pages with one purpose; they share a link."""

    name: str
    pages: tuple[tuple[str, str], ...]
    """(address, name) of each page; the link leads to the first one."""

    @property
    def address(self) -> str:
        return self.pages[0][0]


TALK = Place("Talk", (("/playground", "Try versions"), ("/answers", "Answers")))
PLACES = (
    TALK,
    Place("Teach", (("/label", "Choose"), ("/knowledge", "Knowledge"))),
    Place("Versions", (("/versions", "Versions"), ("/rounds", "Rounds"))),
    Place("More", (("/personalities", "Personalities"), ("/trust", "Trust"))),
)
NAVIGATION: Final = web.AppKey("navigation", tuple)
"""The places, in the order of their links."""
THEMES = ("light", "dark")
DRAWER: Final = web.AppKey("drawer", PairDrawer)
TALKS: Final = web.AppKey("talks", Talks)


class Concerned(TypedDict, total=False):
    """The personality and server of an action, where they differ from the page's and the visitor's."""

    personality_id: int | None
    guild_id: int | None


@dataclass(frozen=True)
class Here:
    """A request with its visitor and its page's personality."""

    request: web.Request
    services: Services
    visitor: Visitor
    personality: Personality
    personalities: list[Personality]
    form: SentForm
    """The fields of the form that was sent, or else of the page's address."""

    @property
    def bot(self) -> commands.AutoShardedBot:
        """The bot, for the names of servers, channels and people."""
        return self.request.app[BOT]

    @property
    def drawer(self) -> PairDrawer:
        return self.request.app[DRAWER]

    @property
    def places(self) -> tuple[Place, ...]:
        return self.request.app[NAVIGATION]

    @property
    def section(self) -> str:
        """The address of the page, or of the one that this page belongs to."""
        return f"/{self.request.path.split('/')[1]}"

    @property
    def place(self) -> Place | None:
        """The place of this page; None for the overview."""
        return next((place for place in self.places if self.section in dict(place.pages)), None)

    @property
    def theme(self) -> str:
        """The colours that the visitor chose; else dark in the demo, as in Discord, and elsewhere the browser's."""
        chosen = self.request.cookies.get("theme", "")
        return chosen if chosen in THEMES else "" if self.request.app[START] == OVERVIEW else "dark"

    @property
    def is_partial(self) -> bool:
        """Whether htmx asks for a part of the page."""
        return is_partial(self.request)

    def number(self, name: str, largest: int = LARGEST_NUMBER) -> int | None:
        """Return a number from the query of the page's address; None if there is none."""
        return parse_id(self.request.query.get(name, ""), largest)

    def number_in_path(self, name: str, largest: int = LARGEST_NUMBER) -> int:
        """Return a number from the path of the page's address; raises HTTPNotFound if it is too large."""
        value = parse_id(self.request.match_info[name], largest)
        if value is None:
            raise web.HTTPNotFound
        return value

    def address(self, path: str, **query: object) -> str:
        """Return the address of a page about the same personality."""
        whose = {} if self.personality.is_default else {"personality": self.personality.name}
        fields = {name: value for name, value in (query | whose).items() if value not in (None, "")}
        return f"{path}?{urlencode(fields)}" if fields else path

    def fill(self, template: str, **facts: Any) -> web.Response:
        """Return the page, or a part of one."""
        return fill(template, {"here": self, **facts})

    def go(self, address: str) -> web.Response:
        """Lead to another page; a form that htmx sent keeps its contents if something is wrong with them."""
        if not self.is_partial:
            raise web.HTTPSeeOther(address)
        return web.Response(headers={"HX-Redirect": address})

    @cached_property
    def member(self) -> discord.Member | None:
        """Membership with which a visitor who signed in with Discord acts on the personality; None for the operator.

        That is in one of the servers that know the personality, where they may administer it if there is one.
        """
        if self.visitor.servers is None:
            return None
        known = [one for one in self.visitor.members if self.personality.guild_id in (None, one.guild.id)]
        return max(known, key=lambda one: selection.may_administer(self.services, one, self.personality))

    @property
    def author(self) -> Author:
        """The visitor as somebody who judges answers."""
        return Author(self.visitor.user_id, self.member)

    @property
    def may_administer(self) -> bool:
        """Whether the visitor may train, promote and decide on votes, as in Discord."""
        return not self.why_not_administrator

    @property
    def why_not_administrator(self) -> str:
        """The reason why the visitor may not decide about the personality; empty if they may."""
        refusal = self.member and selection.why_not_administrator(self.services, self.member, self.personality)
        return str(refusal or "")

    def about(self, personality: Personality) -> Here:
        """Return this request for another personality."""
        return replace(self, personality=personality)

    async def require_administrator(self, action: AuditedAction) -> None:
        """Raise UserFacingError unless the visitor may administer the personality; a refusal is recorded."""
        async with self._refusals_recorded(action):
            if self.member is not None:
                selection.require_administrator(self.services, self.member, self.personality)

    @property
    def why_not_own(self) -> str:
        """The reason why the visitor may not change the personality's card; empty if they may."""
        return str(selection.why_not_own(self.services, self.personality, self.visitor.servers) or "")

    async def require_own(self, action: AuditedAction) -> None:
        """Raise UserFacingError unless the visitor may change the personality's card; a refusal is recorded."""
        async with self._refusals_recorded(action):
            selection.require_own(self.services, self.personality, self.visitor.servers)

    def count_question(self) -> None:
        """Count a request for the model: visitors from Discord have the same limits as there. Raises RateLimited."""
        if self.member is not None:
            server_id = self.member.guild.id
            # In place of a channel: no channel has this ID, and each server has its own.
            self.services.rate_limiter.require(self.member.id, -server_id, server_id)

    @contextmanager
    def asking(self) -> Iterator[None]:
        """Let the visitor use the model; members who signed in with Discord do one thing at a time.

        Raises UserFacingError.
        """
        self.count_question()
        with self.request.app[LIMITS].one_at_a_time(self.member.id) if self.member else nullcontext():
            yield

    def action(self, what: str, subject: str = "", reason: str = "", **concerned: Unpack[Concerned]) -> AuditedAction:
        """Return a line for the audit trail: the operator's, or of the server where the visitor acts."""
        home = self.member.guild.id if self.member else None
        return self.visitor.action(
            what,
            subject,
            reason,
            personality_id=concerned.get("personality_id", self.personality.id),
            guild_id=concerned.get("guild_id", home),
        )

    async def run_audited(
        self,
        action: AuditedAction,
        work: Callable[Concatenate[Session, P], T],
        /,
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> T:
        """Run `work` in a transaction, with a line of the audit trail; a refusal is recorded too."""
        async with self._refusals_recorded(action):
            return await self.services.database.run(audited(action, work), *args, **kwargs)

    async def act(
        self,
        action: AuditedAction,
        work: Callable[Concatenate[Database, AuditedAction, P], T],
        /,
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> T:
        """Run a use case on a thread; it records itself, and a refusal is recorded too."""
        async with self._refusals_recorded(action):
            return await asyncio.to_thread(work, self.services.database, action, *args, **kwargs)

    @asynccontextmanager
    async def recorded(self, action: AuditedAction) -> AsyncIterator[None]:
        """Record the work inside, which takes more than one transaction; a refusal is recorded too."""
        async with self._refusals_recorded(action):
            yield
        await self.services.database.run(record_action, action)

    @asynccontextmanager
    async def _refusals_recorded(self, action: AuditedAction) -> AsyncIterator[None]:
        try:
            yield
        except Exception as error:
            refused = is_expected(error)
            outcome, note = (AuditOutcome.REFUSED, str(error)) if refused else (AuditOutcome.FAILED, "")
            await self.services.database.run(record_action, action, outcome, note)
            raise


def without_nul(text: str) -> str:
    """Return the text as PostgreSQL can read it."""
    return text.replace("\0", "")


class SentForm:
    """The fields that a form sent; raises UserFacingError if one is missing or has no valid value."""

    def __init__(self, fields: MultiMapping[Any]) -> None:
        self._fields = fields

    def text(self, name: str, default: str | None = None, *, limit: int | None = MAX_FIELD_CHARS) -> str:
        """Return the field's text; without a limit, the caller must check its length."""
        value = self._fields.get(name, default)
        if not isinstance(value, str):
            raise UserFacingError(INCOMPLETE)
        if limit is not None and len(value) > limit:
            raise UserFacingError(f"The field “{name}” has more than {limit:,} characters. Please shorten it.")
        return without_nul(value).strip()

    def texts(self, name: str) -> list[str]:
        """Return the choices in a field that allows several or none."""
        return [without_nul(value) for value in self._fields.getall(name, ()) if isinstance(value, str) and value]

    def values(self, prefix: str) -> Iterator[tuple[str, str | web.FileField]]:
        """Yield (rest of the name, value) for each field whose name begins with the prefix."""
        for name, value in self._fields.items():
            if name.startswith(prefix) and isinstance(value, str | web.FileField):
                yield name.removeprefix(prefix), without_nul(value) if isinstance(value, str) else value

    def choice(self, name: str, kind: type[Choice]) -> Choice:
        try:
            return kind(self.text(name))
        except ValueError as error:
            raise UserFacingError(INCOMPLETE) from error

    def id(self, name: str) -> int:
        """Return the ID of an answer, or of anything on Discord."""
        return self.number(name, LARGEST_ID)

    def number(self, name: str, largest: int = LARGEST_NUMBER) -> int:
        value = parse_id(self.text(name), largest)
        if value is None:
            raise UserFacingError(INCOMPLETE)
        return value

    def has(self, name: str) -> bool:
        """Return whether the form sent the field: a box that is not ticked is not sent."""
        return name in self._fields

    def decimal(self, name: str, least: float, most: float) -> float:
        try:
            value = float(self.text(name))
        except ValueError as error:
            raise UserFacingError(INCOMPLETE) from error
        if not least <= value <= most:
            raise UserFacingError(INCOMPLETE)
        return value

    def file(self, name: str) -> tuple[str, bytes]:
        """Return the name and the content of the uploaded file; both are empty if there is none."""
        return next(((file.filename, file.file.read()) for file in self.files(name)), ("", b""))

    def files(self, name: str) -> list[web.FileField]:
        """Return the uploaded files, with names that PostgreSQL can read."""
        files = (value for value in self._fields.getall(name, ()) if isinstance(value, web.FileField))
        return [
            web.FileField(one.name, without_nul(one.filename), one.file, one.content_type, one.headers) for one in files
        ]


async def _find_here(request: web.Request) -> Here:
    """Return the request with its page's personality; raises PersonalityNotFound."""
    services = request.app[SERVICES]
    name = without_nul(request.query.get("personality", DEFAULT_PERSONALITY))
    personality, personalities = await services.database.read(_read, name, request[VISITOR])
    fields = request.query if request.method in SAFE_METHODS else await read_post(request)
    return Here(request, services, request[VISITOR], personality, personalities, SentForm(fields))


def _read(session: Session, name: str, visitor: Visitor) -> tuple[Personality, list[Personality]]:
    """Return the personality, and all that are not archived, as far as the visitor may know them."""
    known = [one for one in list_personalities(session, archived=None) if visitor.may_use(one)]
    active = [one for one in known if one.archived_at is None]
    for one in known:
        if one.name == name.strip().lower():
            return one, active
    raise PersonalityNotFound(name, [one.name for one in active])


Page = Callable[[Here], Awaitable[web.StreamResponse]]


def get(path: str, page: Page) -> web.RouteDef:
    return web.get(path, _with_here(page))


def post(path: str, page: Page) -> web.RouteDef:
    return web.post(path, _with_here(page))


def _with_here(page: Page) -> Handler:
    async def handle(request: web.Request) -> web.StreamResponse:
        return await page(await _find_here(request))

    return handle
