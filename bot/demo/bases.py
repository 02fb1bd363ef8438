"""The demo's page of base models: those that fit this machine, a download with its progress, and the way back."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median

from aiohttp import web
from sqlalchemy import select
from sqlalchemy.orm import Session

from bot.console.page import Here, get, post
from bot.errors import UserFacingError
from bot.guards.error_handler import member_message
from bot.localization.sentences import sentence
from storage.database.tables import ReplyRow
from storage.errors import BaseModelError, SettingsError
from storage.models.base_model import Advance

PAGE = "/bases"
FEWEST = 3
"""Minimum number of answers that show how long one takes: the first after a start takes longest."""
NEWEST = 20
"""Number of the newest answers whose times count."""
TOLD_S = 5.0
"""How long the demo waits, before it ends, for a page to say that it starts again. Pages ask every two seconds."""
NOT_LISTED = "That base model is not in the list. Reload this page."
ALREADY = "Another base model is being prepared."


@dataclass(frozen=True)
class OfferedBase:
    """A base model that fits this machine."""

    setting: str
    """The value for model.base."""
    name: str
    licence: str
    parameters: int
    download: int
    """Bytes to download; 0 if the model is already on this machine."""
    fits: str
    """"yes", or what does not fit."""
    is_in_use: bool


@dataclass(frozen=True)
class BaseSource:
    find: Callable[[], list[OfferedBase]]
    """Returns the bases that fit this machine."""
    fetch: Callable[[str, Advance], None]
    """Checks a base and downloads what is missing; raises SettingsError and BaseModelError."""


class BaseChoice:
    """Prepares another base while the demo goes on, then ends the demo so that it starts again with that base."""

    def __init__(self, source: BaseSource, ends: asyncio.Event) -> None:
        """`ends` is set to end the demo."""
        self._source = source
        self._offered: list[OfferedBase] = []
        self.chosen: str | None = None
        """The base to start again with, once it is ready."""
        self._ends = ends
        self._is_told = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self.preparing = ""
        self.done = self.total = 0
        """Bytes of the download."""
        self.problem = ""

    @property
    def routes(self) -> list[web.RouteDef]:
        return [get(PAGE, self.show), get(f"{PAGE}/progress", self.show_progress), post(PAGE, self.use)]

    async def show(self, here: Here) -> web.Response:
        offered = await self._find()
        seconds = await here.services.database.read(read_seconds, here.services.base.revision)
        return here.fill("channel/bases.html", choice=self, offered=offered, seconds_of=_seconds_of(offered, seconds))

    async def show_progress(self, here: Here) -> web.Response:
        shown = here.fill("channel/preparing.html", choice=self)
        if self.chosen:
            self._is_told.set()
        if not self.preparing:  # it failed, or the demo has started again
            shown.headers["HX-Refresh"] = "true"
        return shown

    async def use(self, here: Here) -> web.Response:
        setting = here.form.text("base")
        if setting not in {base.setting for base in await self._find()}:
            raise UserFacingError(NOT_LISTED)
        if self.preparing:
            raise UserFacingError(ALREADY)
        self.preparing, self.done, self.total, self.problem = setting, 0, 0, ""
        self._task = asyncio.create_task(self._prepare(setting))
        return here.go(here.address(PAGE))

    async def _prepare(self, setting: str) -> None:
        try:
            await asyncio.to_thread(self._source.fetch, setting, self._advance)
        except (SettingsError, BaseModelError) as error:  # for operators, and here is one
            self.preparing, self.problem = "", sentence(str(error))
            return
        except Exception as error:
            self.preparing, self.problem = "", member_message(error)
            return
        self.chosen = setting
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._is_told.wait(), TOLD_S)
        self._ends.set()

    def _advance(self, done: int, total: int) -> None:
        self.done, self.total = done, total

    async def _find(self) -> list[OfferedBase]:
        self._offered = self._offered or await asyncio.to_thread(self._source.find)
        return self._offered


def _seconds_of(offered: Sequence[OfferedBase], seconds: float) -> Callable[[OfferedBase], float]:
    """Return a function that estimates a base's seconds per answer: an answer's time grows with the parameters."""
    own = next((base.parameters for base in offered if base.is_in_use), 0)
    return lambda base: seconds * base.parameters / own if own else 0.0


def read_seconds(session: Session, revision: str) -> float:
    """Return the typical time of an answer of the base; 0 if it has not answered often enough to tell."""
    newest = (
        select(ReplyRow.total_s)
        .where(ReplyRow.base_revision == revision, ReplyRow.total_s.is_not(None))
        .order_by(ReplyRow.id.desc())
        .limit(NEWEST)
    )
    seconds = [took for took in session.scalars(newest) if took is not None]
    return median(seconds) if len(seconds) >= FEWEST else 0.0
