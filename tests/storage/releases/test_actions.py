"""What an admin or the operator does about versions: checked, then done and recorded in one transaction, or refused."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from sqlalchemy import select, update
from sqlalchemy.orm import Session

from storage.database.columns import utc_now
from storage.database.database import Database
from storage.database.enums import GateVerdict
from storage.database.tables import AliasMoveRow, AuditRow, VersionRow
from storage.errors import (
    AdapterError,
    AliasConflict,
    GateNotPassed,
    NothingToRollBack,
    VersionNotFound,
    VersionWithdrawn,
)
from storage.operations.audit import AuditedAction
from storage.releases.promotion import ReleaseRequest, promote_version, roll_back_champion
from storage.releases.versions import Version, read_alias
from tests.past import add_version, lead

ACTION = AuditedAction("alice (7)", "version promote", "version: v1", "kinder")
OpenFiles = Callable[[Version | None], object]


@pytest.fixture
def version(database: Database, personality_id: int) -> Version:
    return database.call(add_version)


def request(personality_id: int, open_files: OpenFiles = lambda _: None, name: str = "v1") -> ReleaseRequest:
    return ReleaseRequest(personality_id, name, "kinder", override=False, open_files=open_files)


def recorded(database: Database) -> list[str]:
    with database.snapshot() as session:
        return [row.action for row in session.scalars(select(AuditRow))]


def test_a_promotion_is_done_and_recorded(database: Database, personality_id: int, version: Version) -> None:
    opened: list[Version | None] = []
    move = promote_version(database, ACTION, request(personality_id, opened.append))
    assert (move.before.target, move.after.target, opened) == ("base", "v1", [version])
    assert recorded(database) == ["version promote"]
    with database.snapshot() as session:
        row = session.scalars(select(AliasMoveRow)).first()
        assert (row.moved_by, row.reason) == ("alice (7)", "kinder")


def test_a_roll_back_is_done_and_recorded(database: Database, personality_id: int, version: Version) -> None:
    promote_version(database, ACTION, request(personality_id))
    move = roll_back_champion(database, ACTION, personality_id, "worse")
    assert (move.before.target, move.after.target) == ("v1", "base")
    assert len(recorded(database)) == 2
    with pytest.raises(NothingToRollBack):
        roll_back_champion(database, ACTION, personality_id, "worse still")
    assert len(recorded(database)) == 2


def test_an_unknown_version_and_one_that_did_not_pass_are_refused_before_files_are_opened(
    database: Database, personality_id: int
) -> None:
    def open_files(_: Version | None) -> None:
        pytest.fail("its files were opened")

    database.call(add_version, verdict=GateVerdict.FAIL)
    with pytest.raises(VersionNotFound):
        promote_version(database, ACTION, request(personality_id, open_files, "v9"))
    with pytest.raises(GateNotPassed):
        promote_version(database, ACTION, request(personality_id, open_files))
    assert recorded(database) == []


@pytest.mark.usefixtures("version")
def test_a_version_with_damaged_files_is_refused(database: Database, personality_id: int) -> None:
    def open_files(_: Version | None) -> None:
        raise AdapterError("damaged")

    with pytest.raises(AdapterError):
        promote_version(database, ACTION, request(personality_id, open_files))
    assert recorded(database) == []


def withdraw(session: Session) -> None:
    session.execute(update(VersionRow).values(withdrawn_at=utc_now(), withdrawn_because="it is old"))


def promote_another(session: Session) -> None:
    lead(session, add_version(session))


@pytest.mark.usefixtures("version")
@pytest.mark.parametrize(
    ("meanwhile", "error", "champion"), [(withdraw, VersionWithdrawn, "base"), (promote_another, AliasConflict, "v2")]
)
def test_changes_while_the_files_were_opened_are_found(
    database: Database,
    personality_id: int,
    meanwhile: Callable[[Session], None],
    error: type[Exception],
    champion: str,
) -> None:
    def open_files(_: Version | None) -> None:
        # SQLite has one writer at a time: an open transaction would let this one wait in vain.
        with database.transaction() as session:
            meanwhile(session)

    with pytest.raises(error):
        promote_version(database, ACTION, request(personality_id, open_files))
    assert recorded(database) == []
    assert database.fetch(read_alias, personality_id).target == champion
