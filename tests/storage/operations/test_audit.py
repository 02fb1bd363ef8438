from __future__ import annotations

import pytest
from sqlalchemy.orm import Session

from storage.database.enums import AuditOutcome
from storage.operations.audit import AuditedAction, AuditQuery, read_trail, record_action
from storage.personalities.cards import Card
from storage.personalities.personalities import create_personality, ensure_personality
from storage.privacy.erasure import delete_member

HERE, THERE = 11, 12


def actions(session: Session, **wanted: object) -> list[str]:
    return [entry.action for entry in read_trail(session, AuditQuery(50, **wanted))]  # type: ignore[arg-type]


def test_lines_come_back_whole_and_newest_first(database):
    with database.transaction() as session:
        record_action(session, AuditedAction("grace (7)", "version promote", "v1", "why not", 7, HERE))
        record_action(session, AuditedAction("x" * 99, "votes decide", "\0" + "y" * 999), AuditOutcome.REFUSED, "no")
    newest, oldest = database.fetch(read_trail, AuditQuery(9))
    assert (newest.outcome, newest.note, newest.actor, newest.subject) == (
        AuditOutcome.REFUSED,
        "no",
        "x" * 64,
        "y" * 500,
    )
    assert (oldest.actor, oldest.subject, oldest.reason, oldest.guild_id) == ("grace (7)", "v1", "why not", HERE)


@pytest.mark.threat("T76")
def test_a_server_sees_its_own_lines_and_the_operators_on_what_it_shares(database):
    with database.transaction() as session:
        shared = ensure_personality(session)
        foreign = create_personality(session, "owl", Card(), by="eve", guild_id=THERE).id
        for action, guild, personality in (
            ("own", HERE, None),
            ("foreign", THERE, None),
            ("operator shared", None, shared),
            ("operator foreign", None, foreign),
            ("operator alone", None, None),
        ):
            record_action(session, AuditedAction("a", action, guild_id=guild, personality_id=personality))
        assert actions(session, guild_ids=[HERE]) == ["operator shared", "own"]
        assert actions(session, guild_ids=[]) == ["operator shared"]
        assert len(actions(session)) == 5


def test_an_action_includes_its_subcommands_but_not_longer_words(database):
    with database.transaction() as session:
        for action in ("version", "version promote", "versions", "version_x"):
            record_action(session, AuditedAction("a", action, actor_id=5))
        assert actions(session, action="version") == ["version promote", "version"]
        assert actions(session, actor_id=6) == []


@pytest.mark.threat("T75")
def test_a_members_deletion_leaves_the_trail(database):
    with database.transaction() as session:
        ensure_personality(session)
        record_action(session, AuditedAction("grace (7)", "version promote", actor_id=7, guild_id=HERE))
        delete_member(session, 7)
        assert actions(session) == ["version promote"]
