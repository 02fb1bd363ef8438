"""A change of base: every personality's champion becomes the version that led on the new base before, or the bare base.

Nothing is deleted: versions of other bases keep their files and wait until their base is used again.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from sqlalchemy import select
from sqlalchemy.orm import Session

from storage.database.enums import CHAMPION, LAST_GOOD
from storage.database.tables import AliasMoveRow, ReplyRow, VersionRow, VoteEventRow
from storage.operations import audit
from storage.personalities.personalities import Personality, list_personalities, lock_personalities
from storage.releases.bases import BaseUse, ConfiguredBase, base_in_use, bases_used, left_at, record_base
from storage.releases.versions import (
    Alias,
    Version,
    find_version,
    id_of,
    move_alias,
    name_of,
    nearest_with_files,
    read_alias,
)
from storage.sentences import Sentence
from storage.settings.sections import VoteSettings
from storage.votes.weights import read_weighted_votes

CHANGE_BASE = "base use"
"""The action in the audit trail."""


@dataclass(frozen=True)
class MovedChampion:
    personality: str
    before: str
    after: str


@dataclass(frozen=True)
class UsedBase:
    """A base, and the numbers of stored versions and votes on it."""

    use: BaseUse
    versions: int
    """Number of versions with their files."""
    votes: int
    """Number of current votes on its answers, before any rule."""


def begin_base(session: Session, base: ConfiguredBase, *, by: str) -> list[MovedChampion]:
    """Record that this base answers from now on, and return the champions that moved; nothing if it answers already.

    Processes that start at the same time take turns.
    """
    lock_personalities(session)
    before = base_in_use(session)
    if before is not None and (before.revision, before.setting) == (base.revision, base.setting):
        return []
    record_base(session, base, by)
    reason = (
        Sentence("the base model is now {base}; it was {before}", base=base.name, before=before.name)
        if before
        else Sentence("the base model is now {base}", base=base.name)
    )
    if before is not None:
        audit.record_action(session, audit.AuditedAction(by, CHANGE_BASE, f"{base.setting} ({base.revision})", reason))
    is_first = before is None
    return [
        move
        for personality in list_personalities(session, archived=None)
        if (move := _change_champion(session, personality, base.revision, by, reason, is_first=is_first))
    ]


def _change_champion(
    session: Session, personality: Personality, revision: str, by: str, reason: str, *, is_first: bool
) -> MovedChampion | None:
    champion = read_alias(session, personality.id)
    to = _next_champion(session, champion, personality.id, revision, is_first=is_first)
    is_moved = id_of(to) != id_of(champion.version)
    if is_moved:
        move_alias(session, personality.id, champion, to, by=by, reason=reason)
    last_good = read_alias(session, personality.id, LAST_GOOD)
    if is_moved or (last_good.version and last_good.version.base_revision != revision):
        before_it = nearest_with_files(session, to.parent_id) if to else None
        move_alias(session, personality.id, last_good, before_it, by=by, reason=Sentence("follows the version in use"))
    return MovedChampion(personality.name, champion.target, name_of(to)) if is_moved else None


def _next_champion(
    session: Session, champion: Alias, personality_id: int, revision: str, *, is_first: bool
) -> Version | None:
    # Before the first record, a champion that is the bare base may have been chosen on this very base.
    if champion.version is None and is_first:
        return None
    if champion.version is not None and champion.version.base_revision == revision:
        return champion.version
    return former_champion(session, personality_id, revision)


def former_champion(session: Session, personality_id: int, revision: str) -> Version | None:
    """Return the version that led on this base when it was left; None is the bare base.

    If its files have been withdrawn since, it is the one before it.
    """
    moves = select(AliasMoveRow.to_version_id).where(
        AliasMoveRow.personality_id == personality_id, AliasMoveRow.alias == CHAMPION
    )
    end = left_at(session, revision)
    if end is not None:
        moves = moves.where(AliasMoveRow.moved_at < end)
    led = [find_version(session, id_) for id_ in session.scalars(moves.order_by(AliasMoveRow.id.desc()))]
    if end is not None and led and led[0] is None:
        return None
    return next((one for one in led if one and one.base_revision == revision and one.withdrawn_at is None), None)


def champions_elsewhere(session: Session) -> Iterator[Version]:
    """Yield the versions that become champions again when their base does."""
    for use in bases_used(session)[1:]:
        for personality in list_personalities(session, archived=None):
            if version := former_champion(session, personality.id, use.revision):
                yield version


def describe_bases_used(session: Session, settings: VoteSettings) -> list[UsedBase]:
    """Return the bases that have answered, the one in use first, with the numbers stored for each."""
    with_files = select(VersionRow.base_revision).where(VersionRow.withdrawn_at.is_(None))
    versions = Counter(session.scalars(with_files))
    given = select(ReplyRow.id, ReplyRow.base_revision).where(ReplyRow.id.in_(select(VoteEventRow.reply_id)))
    base_of = {row.id: row.base_revision for row in session.execute(given)}
    votes: Counter[str] = Counter()
    for personality in list_personalities(session, archived=None):
        for reply_id, some in read_weighted_votes(session, personality.id, settings).by_reply.items():
            if revision := base_of.get(reply_id):  # None: the first vote on it came after the query above
                votes[revision] += len(some)
    return [UsedBase(use, versions[use.revision], votes[use.revision]) for use in bases_used(session)]
