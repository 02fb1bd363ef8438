"""Opens the base model, and chooses the version that answers: sound, and not refused by the engine."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy.orm import Session

from bot.engine import Engine
from bot.engine.refusals import Refusal
from storage.adapters.folder_store import AS_TRAINED, AdapterRef, AdapterStore
from storage.database.database import Database
from storage.database.enums import CHAMPION, LAST_GOOD
from storage.errors import AdapterError
from storage.models.adapter_checks import require_base
from storage.models.base_model import BaseModel, resolve_base_model
from storage.releases.base_change import begin_base
from storage.releases.bases import ConfiguredBase
from storage.releases.contests import find_rival
from storage.releases.versions import Version, name_of, read_alias, require_files
from storage.runtime.shards import shards_of
from storage.sentences import Sentence
from storage.settings.sections import Settings

log = logging.getLogger(__name__)
START = "the bot, at its start"
"""Recorded as the author of a change of the base."""


@dataclass(frozen=True)
class Release:
    """A version that is ready to answer; None is the base model without an adapter."""

    version: Version | None
    adapter: AdapterRef | None

    @property
    def name(self) -> str:
        return name_of(self.version)

    @property
    def is_base(self) -> bool:
        return self.version is None

    @property
    def strength(self) -> float:
        """Factor of the adapter's effect."""
        return self.adapter.strength if self.adapter else AS_TRAINED


BASE_RELEASE = Release(version=None, adapter=None)


def open_release(
    store: AdapterStore, base: BaseModel, version: Version | None, strength: float = AS_TRAINED
) -> Release:
    """Check the version's files and return it; raises AdapterError."""
    if version is None:
        return BASE_RELEASE
    require_files(version)
    path = store.path(version.digest)
    require_base(path, base)
    return Release(version, AdapterRef(digest=version.digest, path=path, strength=strength))


class NotServed(AdapterError):
    """The engine has just refused to answer with the version; it is not asked again for some minutes."""

    def __init__(self, refusal: Refusal) -> None:
        super().__init__(refusal.reason)
        self.may_pass = refusal.may_pass


@dataclass(frozen=True)
class ChampionProblem:
    """The reason why a champion could not answer last time."""

    text: Sentence
    is_refusal: bool
    """Whether the engine refused the version; otherwise its files are damaged."""


@dataclass(frozen=True)
class ReleaseCandidates:
    """The versions that may answer, in order."""

    personality_id: int
    versions: tuple[Version | None, ...]
    rival: Version | None
    """The version that people compare with the champion."""


class ReleaseResolver:
    """Reads the aliases for every answer, so that a move takes effect with the next one."""

    def __init__(self, database: Database, store: AdapterStore, base: BaseModel, engine: Engine) -> None:
        self._database = database
        self._store = store
        self._base = base
        self._engine = engine
        self._problems: dict[int, ChampionProblem] = {}
        """{personality id: the problem of its champion}"""

    async def current(self, personality_id: int, *, strength: float = AS_TRAINED) -> Release:
        """Return the champion; if it cannot answer, last-good or the base."""
        candidates = await self._database.read(read_candidates, personality_id)
        return await self.choose(candidates, strength=strength)

    async def choose(self, candidates: ReleaseCandidates, *, strength: float = AS_TRAINED) -> Release:
        """Do what `current` does, with candidates that were read already."""
        return await asyncio.to_thread(self._first_usable, candidates.personality_id, candidates.versions, strength)

    def problem_of(self, personality_id: int) -> Sentence | None:
        """Return the reason why the champion could not answer last time."""
        problem = self._problems.get(personality_id)
        return problem.text if problem else None

    def damage_of(self, personality_id: int) -> Sentence | None:
        """Return the champion's problem if its files are damaged; about refusals the engine itself alerts admins."""
        problem = self._problems.get(personality_id)
        return problem.text if problem and not problem.is_refusal else None

    def open(self, version: Version | None, strength: float = AS_TRAINED) -> Release:
        """Return the version; raises AdapterError if its files are damaged, NotServed if the engine refuses it."""
        release = open_release(self._store, self._base, version, strength)
        if refusal := self._engine.refusal_of(release.adapter):
            raise NotServed(refusal)
        return release

    def _first_usable(self, personality_id: int, candidates: Sequence[Version | None], strength: float) -> Release:
        """Open the first version that can answer, else the base; remember and log the champion's problem."""
        problems: list[ChampionProblem] = []
        release = self._open_first(candidates, strength, problems)
        before = self._problems.pop(personality_id, None)
        if problems:
            self._problems[personality_id] = problems[0]
            if problems[0] != before:
                log.error("%s answers instead of the version in use: %s", release.name, problems[0].text)
        return release

    def _open_first(
        self, versions: Sequence[Version | None], strength: float, problems: list[ChampionProblem]
    ) -> Release:
        """Open the first version that can answer, else the base; add the reasons why others cannot to `problems`."""
        for version in versions:
            try:
                return self.open(version, strength)
            except AdapterError as error:
                said = Sentence("{version} cannot answer: {reason}", version=name_of(version), reason=error.sentence)
                problems.append(ChampionProblem(said, isinstance(error, NotServed)))
        return self.open(None, strength)


def read_candidates(session: Session, personality_id: int) -> ReleaseCandidates:
    """Return the champion, the last-good version, and the champion's rival."""
    versions = tuple(read_alias(session, personality_id, name).version for name in (CHAMPION, LAST_GOOD))
    return ReleaseCandidates(personality_id, versions, find_rival(session, personality_id))


async def open_base(database: Database, settings: Settings, given: BaseModel | None = None) -> BaseModel:
    """Return the base of `model.base`, or the given one, after its versions became the champions.

    They may be another base's if somebody edited model.base. Of several bot processes, only the one with the first
    shard moves them.
    """
    where = settings.model.base, settings.data.directory
    base = given or await asyncio.to_thread(resolve_base_model, *where, log.info)
    if shards_of(settings.discord).lead:
        used = ConfiguredBase(setting=settings.model.base, name=base.name, revision=base.revision)
        for moved in await database.run(begin_base, used, by=START):
            changed = f"{moved.after} answers as {moved.personality} (before: {moved.before})"
            log.warning("The base model is now %s: %s.", base.name, changed)
    return base
