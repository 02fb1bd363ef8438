"""The tree of versions: each version's parent and its fate."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from enum import StrEnum

from sqlalchemy import select
from sqlalchemy.orm import Session

from storage.database.enums import CHAMPION
from storage.database.tables import AliasMoveRow
from storage.releases.contests import find_rival
from storage.releases.versions import Version, id_of, list_versions, name_of, read_alias


class VersionMark(StrEnum):
    """A version's fate, in words that people read."""

    CHAMPION = "answers now"
    COMPARED = "compared with what answers now"
    ROLLED_BACK = "was rolled back"
    WITHDRAWN = "files withdrawn"


@dataclass(frozen=True)
class TreeNode:
    """A version, or the base, with the position of its parent."""

    version: Version | None
    parent: int | None
    """Position of the parent; None for the base."""
    column: int
    """The node's column: one more than the parent's where the tree branches."""
    marks: tuple[VersionMark, ...]

    @property
    def is_champion(self) -> bool:
        return VersionMark.CHAMPION in self.marks

    @property
    def name(self) -> str:
        return name_of(self.version)


def read_version_tree(session: Session, personality_id: int) -> list[TreeNode]:
    """Return the base and all versions: each parent before its children, the newest child first."""
    children: dict[int | None, list[Version]] = defaultdict(list)
    for version in list_versions(session, personality_id):
        children[version.parent_id].append(version)
    marked = _read_marks(session, personality_id)
    nodes: list[TreeNode] = []
    waiting: list[tuple[Version | None, int | None, int]] = [(None, None, 0)]
    while waiting:
        version, parent, column = waiting.pop()
        own = children[id_of(version)]
        waiting += [(child, len(nodes), column + (len(own) > 1)) for child in reversed(own)]
        nodes.append(TreeNode(version, parent, column, tuple(_marks_of(version, marked))))
    return nodes


def _marks_of(version: Version | None, marked: dict[int | None, VersionMark]) -> list[VersionMark]:
    marks = [marked[id_of(version)]] if id_of(version) in marked else []
    return [*marks, VersionMark.WITHDRAWN] if version and version.withdrawn_at else marks


def _read_marks(session: Session, personality_id: int) -> dict[int | None, VersionMark]:
    """Return {version id: mark}; a version's present role takes precedence over its past."""
    marked: dict[int | None, VersionMark] = dict.fromkeys(
        _rolled_back(session, personality_id), VersionMark.ROLLED_BACK
    )
    if (rival := find_rival(session, personality_id)) is not None:
        marked[rival.id] = VersionMark.COMPARED
    return marked | {id_of(read_alias(session, personality_id).version): VersionMark.CHAMPION}


def _rolled_back(session: Session, personality_id: int) -> set[int]:
    """Return former champions that an older version or the base replaced."""
    moves = (
        select(AliasMoveRow.from_version_id, AliasMoveRow.to_version_id)
        .where(AliasMoveRow.personality_id == personality_id, AliasMoveRow.alias == CHAMPION)
        .order_by(AliasMoveRow.id)
    )
    found: set[int] = set()
    for before, after in session.execute(moves):
        found.discard(after)  # it got another chance
        if before is not None and (after or 0) < before:
            found.add(before)
    return found
