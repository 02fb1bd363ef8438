"""Versions are registered once; aliases move between them by compare-and-swap."""

from __future__ import annotations

import pytest
from sqlalchemy.orm import Session

from storage.database.database import Database
from storage.database.enums import ALIASES, CHAMPION, LAST_GOOD
from storage.errors import AliasConflict, VersionNotFound
from storage.personalities.personalities import ensure_personality
from storage.releases.versions import (
    Alias,
    Version,
    find_version,
    list_versions,
    move_alias,
    moves_of,
    read_alias,
    version_named,
)
from tests.past import add_version
from tests.storage.together import at_once


def add_chain(session: Session, length: int) -> list[Version]:
    """Add versions of which each one continues the one before."""
    chain: list[Version] = []
    for _ in range(length):
        chain.append(add_version(session, parent=chain[-1] if chain else None))
    return chain


def test_versions_are_numbered_per_personality(session: Session, personality_id: int) -> None:
    first, second = add_chain(session, 2)
    other = add_version(session, personality_id=ensure_personality(session, "pirate"))
    assert [first.name, second.name, other.name] == ["v1", "v2", "v1"]
    assert list_versions(session, personality_id) == [second, first]
    assert find_version(session, second.id) == second
    assert second.parent_id == first.id


def test_versions_registered_together_get_numbers_of_their_own(database: Database, personality_id: int) -> None:
    at_once(database, 4, lambda session, _: add_version(session))
    with database.snapshot() as session:
        assert [v.number for v in list_versions(session, personality_id)] == [4, 3, 2, 1]


@pytest.mark.parametrize("name", ["v2", "2", " V2 "])
def test_a_version_is_found_by_name(session: Session, personality_id: int, name: str) -> None:
    _first, second = add_chain(session, 2)
    assert version_named(session, personality_id, name) == second


@pytest.mark.parametrize("name", ["base", " Base"])
def test_the_base_has_a_name_too(session: Session, personality_id: int, name: str) -> None:
    assert version_named(session, personality_id, name) is None


@pytest.mark.parametrize("name", ["v3", "v0", "-1", "vv1", "", "latest", "²", "9" * 40])
def test_unknown_names_get_a_sentence(session: Session, personality_id: int, name: str) -> None:
    add_version(session)
    with pytest.raises(VersionNotFound) as unknown:
        version_named(session, personality_id, name)
    assert str(unknown.value) == f"there is no version {name}: list the versions to see which exist"


def test_an_unknown_id_gets_a_sentence(session: Session) -> None:
    with pytest.raises(VersionNotFound, match="there is no version with id 7: "):
        find_version(session, 7)


# Aliases


def point(session: Session, personality_id: int, alias: str, to: Version | None) -> Alias:
    return move_alias(session, personality_id, read_alias(session, personality_id, alias), to, by="alice", reason="")


def test_a_new_personality_answers_with_the_base(session: Session, personality_id: int) -> None:
    for alias in ALIASES:
        found = read_alias(session, personality_id, alias)
        assert (found.target, found.generation) == ("base", 0)


def test_an_alias_moves_alone(session: Session, personality_id: int) -> None:
    moved = point(session, personality_id, LAST_GOOD, add_version(session))
    assert (moved.target, moved.generation) == ("v1", 1)
    assert read_alias(session, personality_id, LAST_GOOD) == moved
    assert read_alias(session, personality_id).target == "base"


def test_an_alias_that_was_moved_since_it_was_read_stays(session: Session, personality_id: int) -> None:
    first, second = add_chain(session, 2)
    before = read_alias(session, personality_id)
    point(session, personality_id, CHAMPION, first)
    with pytest.raises(AliasConflict) as conflict:
        move_alias(session, personality_id, before, second, by="bob", reason="")
    assert (conflict.value.expected, conflict.value.found) == (0, 1)
    assert read_alias(session, personality_id).version == first


def test_the_moves_of_a_version_are_those_to_it_and_from_it(session: Session, personality_id: int) -> None:
    first, second = add_chain(session, 2)
    for alias, to in ((CHAMPION, first), (LAST_GOOD, first), (CHAMPION, second)):
        point(session, personality_id, alias, to)
    assert [(m.alias, m.to_version_id) for m in moves_of(session, first)] == [
        (CHAMPION, second.id),
        (CHAMPION, first.id),
    ]
