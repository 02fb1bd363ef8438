"""Every column that names a member is walked through deletion, departure and export: no table can be forgotten."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any

import pytest
from sqlalchemy import BigInteger, Column, select, update
from sqlalchemy.orm import Session

from storage.database.columns import MEMBER, PSEUDONYM, SERVER, Fate, utc_now
from storage.database.enums import QuarantineRule
from storage.database.tables import (
    Base,
    ConversationSpeakerRow,
    DocumentRow,
    MemberRow,
    QuarantineRow,
    ReplyRow,
    ReplySourceRow,
    ReplySpeakerRow,
    RoundVoterRow,
)
from storage.members import read_pseudonyms
from storage.privacy.erasure import delete_member, erase_guild, erase_member_in
from storage.privacy.member_data import export_member
from storage.privacy.ownership import (
    Naming,
    in_guild,
    is_known,
    known_guilds,
    known_members,
    naming_members,
    naming_pseudonyms,
    naming_servers,
)
from tests.random_rows import fill

MEMBER_ID, ANOTHER_ID, HOME, ELSEWHERE = 1, 99, 1, 2
"""The first ids that random rows of members and servers have, and another server."""
OF_PLACES_AND_MESSAGES = {
    "channel_id",
    "message_id",
    "source_message_id",
    "place_id",
    "progress_channel_id",
    "progress_message_id",
    "summary_from",
    "summary_to",
    "summarised_from",
    "summarised_to",
    "forgotten_to",
    "id",  # of webhooks
}
NOT_OF_DISCORD = {
    "replies.id",
    "replies.seed",
    "reply_ids.highest",
    "vote_events.id",
    "comparisons.better_id",
    "spend.prompt_tokens",
    "spend.answer_tokens",
}
KEPT_AFTER_DELETION = {"erasures.user_id", "opt_outs.user_id", "note_opt_outs.user_id", "audit.actor_id"}
"""A member who opted out stays opted out: their next reaction must not count again, and nobody asks them again."""
OF_NO_SERVER = {
    "consents.user_id",
    "greetings.user_id",
    "fact_questions.user_id",
    "sittings.user_id",
    "console_sessions.user_id",
    "round_voters.pseudonym",
}
"""What a member keeps who leaves one of two servers."""


OF_A_SERVER = [
    named
    for named in naming_members(Fate.GONE, Fate.SPEAKS, Fate.UNNAMED)
    if str(named) not in OF_NO_SERVER | {"quarantines.subject_id"}
]


class Full(Random):
    """Gives every table as many rows as there may be."""

    def randint(self, _least: int, most: int) -> int:
        return most


@pytest.fixture
def filled(session: Session) -> Session:
    """A row of one member in every table that names any, all in one server, as the bot writes them."""
    fill(session.connection(), list(Base.metadata.sorted_tables), Full(0))
    for table, column in (*naming_members(), *naming_servers()):
        if not column.property.columns[0].primary_key:
            session.execute(update(table).values({column.key: MEMBER_ID}))
    session.execute(update(DocumentRow).values(revision=1))  # the largest number cannot be counted up
    pseudonym = read_pseudonyms(session).of(MEMBER_ID)
    round_id, other = session.execute(select(RoundVoterRow.round_id, RoundVoterRow.pseudonym).limit(1)).one()
    voter = RoundVoterRow.round_id == round_id, RoundVoterRow.pseudonym == other
    session.execute(update(RoundVoterRow).where(*voter).values(pseudonym=pseudonym))
    # Authors of messages in a prompt are among its speakers, summaries are of channels with answers, removed documents
    # have no speakers.
    spoken = select(ReplySpeakerRow.reply_id).where(ReplySpeakerRow.user_id == MEMBER_ID).scalar_subquery()
    session.execute(update(ReplySourceRow).values(reply_id=spoken))
    summarised = select(ConversationSpeakerRow.channel_id).where(ConversationSpeakerRow.user_id == MEMBER_ID)
    session.execute(update(ReplyRow).values(channel_id=summarised.scalar_subquery()))
    session.execute(update(DocumentRow).values(removed_at=None))
    session.execute(update(QuarantineRow).values(rule=QuarantineRule.AUTHOR))
    assert naming(session) == set(map(str, (*naming_members(), *naming_pseudonyms())))
    return session


def naming(session: Session) -> set[str]:
    """Return the columns in which the member is found."""
    return {
        str(one)
        for one, id_ in names_of_member(session).items()
        if session.scalar(select(one.column).where(one.column == id_).limit(1))
    }


def names_of_member(session: Session) -> dict[Naming, int]:
    """Return the member's ID, or their pseudonym, for each column that may name them."""
    pseudonyms = dict.fromkeys(naming_pseudonyms(), read_pseudonyms(session).of(MEMBER_ID))
    return dict.fromkeys(naming_members(), MEMBER_ID) | pseudonyms


def ids() -> Iterator[Column[Any]]:
    """Yield every column that can hold an ID of Discord."""
    for table in Base.metadata.sorted_tables:
        for column in table.columns:
            if isinstance(column.type, BigInteger) and not column.foreign_keys and str(column) not in NOT_OF_DISCORD:
                yield column


def test_every_id_says_whether_it_names_a_member_or_a_server() -> None:
    """A new column fails here until it does."""
    silent = {
        str(column)
        for column in ids()
        if column.name not in OF_PLACES_AND_MESSAGES and not {MEMBER, PSEUDONYM, SERVER} & column.info.keys()
    }
    assert silent == set()


def test_after_a_deletion_only_its_record_opt_outs_and_the_audit_trail_name_the_member(filled: Session) -> None:
    delete_member(filled, MEMBER_ID)
    assert naming(filled) == KEPT_AFTER_DELETION
    assert set(map(str, naming_members(Fate.KEPT))) == KEPT_AFTER_DELETION


def test_after_a_departure_nothing_in_that_server_names_the_member(filled: Session) -> None:
    membership = update(MemberRow).where(MemberRow.user_id == MEMBER_ID)
    filled.execute(membership.values(guild_id=ELSEWHERE))
    erase_member_in(filled, HOME, MEMBER_ID, left_at=utc_now())
    assert naming(filled) == KEPT_AFTER_DELETION | OF_NO_SERVER | {"members.user_id"}
    assert MEMBER_ID not in known_members(filled, HOME)
    erase_member_in(filled, ELSEWHERE, MEMBER_ID, left_at=utc_now())
    assert naming(filled) == KEPT_AFTER_DELETION, "the last server"


def test_whoever_is_named_in_a_server_is_known_there(filled: Session) -> None:
    """By each kind of row alone, so that nobody who leaves is overlooked."""

    def is_known_by(alone: Naming) -> bool:
        with filled.begin_nested() as attempt:
            for table, column in OF_A_SERVER:
                if column is not alone.column:
                    filled.execute(update(table).where(column == MEMBER_ID).values({column.key: ANOTHER_ID}))
            known = MEMBER_ID in known_members(filled, HOME) and is_known(filled, MEMBER_ID, in_guild(HOME))
            attempt.rollback()
        return known

    assert [str(named) for named in OF_A_SERVER if not is_known_by(named)] == []


def test_after_a_server_is_deleted_only_its_personalities_and_the_audit_trail_name_it(filled: Session) -> None:
    erase_guild(filled, HOME)
    left = {
        str(named)
        for named in naming_servers()
        if filled.scalar(select(named.column).where(named.column == HOME).limit(1))
    }
    assert left == {"personalities.guild_id", "audit.guild_id"}
    assert HOME not in known_guilds(filled)


def test_an_export_tells_of_every_row_that_names_the_member(filled: Session) -> None:
    def export() -> dict[str, Any]:
        filled.expire_all()
        return export_member(filled, MEMBER_ID) | {"made_at": None}

    def is_told(named: Naming, whose: int) -> bool:
        table, column = named
        with filled.begin_nested() as attempt:
            if table is not ReplyRow:  # an answer that was for them is told also without their words in its prompt
                filled.execute(update(ReplyRow).values(author_id=ANOTHER_ID))
            before = export()
            filled.execute(update(table).where(column == whose).values({column.key: ANOTHER_ID}))
            changed = export() != before
            attempt.rollback()
        return changed

    assert [str(named) for named, whose in names_of_member(filled).items() if not is_told(named, whose)] == []


def test_docs_name_every_table_that_names_a_member() -> None:
    page = (Path(__file__).parents[3] / "docs" / "privacy.md").read_text(encoding="utf-8")
    tables = {naming.table.__tablename__ for naming in [*naming_members(), *naming_pseudonyms()]}
    assert {table for table in tables if f"`{table}`" not in page} == set()
