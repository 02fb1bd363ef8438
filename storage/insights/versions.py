"""A personality's versions as `/model list` and `/model show` present them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from sqlalchemy.orm import Session

from storage.database.enums import CHALLENGER
from storage.releases.versions import (
    Alias,
    AliasMove,
    Version,
    failed_checks,
    find_version,
    list_versions,
    moves_of,
    read_alias,
    version_named,
)
from storage.training.rounds import Round, find_round
from storage.votes.votes import Tally, tally_by_version


@dataclass(frozen=True)
class VersionList:
    versions: list[Version]
    """Newest first."""
    champion: Alias
    challenger: Alias
    tallies: Mapping[int | None, Tally]
    """Votes on each version's answers, by version id."""


@dataclass(frozen=True)
class VersionDetails:
    version: Version
    parent: Version | None
    round: Round | None
    """The round that made it; None if it was imported."""
    votes: Tally
    """On its answers."""
    moves: list[AliasMove]
    failed_checks: list[str]


def read_versions(session: Session, personality_id: int) -> VersionList:
    return VersionList(
        versions=list_versions(session, personality_id),
        champion=read_alias(session, personality_id),
        challenger=read_alias(session, personality_id, CHALLENGER),
        tallies=tally_by_version(session, personality_id),
    )


def read_version(session: Session, personality_id: int, name: str) -> VersionDetails | None:
    """Return None for the base model; raises VersionNotFound."""
    version = version_named(session, personality_id, name)
    if version is None:
        return None
    return VersionDetails(
        version=version,
        parent=find_version(session, version.parent_id),
        round=find_round(session, version.round_id) if version.round_id else None,
        votes=tally_by_version(session, personality_id).get(version.id, Tally()),
        moves=moves_of(session, version),
        failed_checks=failed_checks(session, version),
    )
