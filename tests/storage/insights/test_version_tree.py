"""The tree of versions: its order, its columns, and what became of each version."""

from __future__ import annotations

from storage.database.columns import utc_now
from storage.database.enums import GateVerdict
from storage.database.tables import VersionRow
from storage.insights.model_status import VersionMark, newest_after, read_version_tree
from storage.releases.base_change import begin_base
from storage.releases.bases import ConfiguredBase
from storage.releases.versions import read_alias
from tests.past import add_version, go_back, lead
from tests.seeding import BASE_REVISION, OTHER_REVISION


def drawn(session):
    return [(node.name, node.parent, node.column) for node in read_version_tree(session, 1)]


def marks(session):
    return {node.name: list(node.marks) for node in read_version_tree(session, 1) if node.marks}


def test_siblings_stand_below_their_parent_the_newest_first_and_a_chain_stays_in_its_column(session, personality_id):
    assert drawn(session) == [("base", None, 0)]
    v1 = add_version(session, None)
    v2 = add_version(session, None, v1)
    add_version(session, None, v2)
    add_version(session, None)
    assert drawn(session) == [("base", None, 0), ("v4", 0, 1), ("v1", 0, 1), ("v2", 2, 1), ("v3", 3, 1)]


def test_it_says_who_answers_what_is_compared_and_what_was_taken_back(session, personality_id):
    v1, v2 = (add_version(session, None) for _ in range(2))
    assert marks(session) == {"base": [VersionMark.CHAMPION]}
    lead(session, v1, v2)
    go_back(session)
    assert marks(session) == {"v1": [VersionMark.CHAMPION], "v2": [VersionMark.ROLLED_BACK]}
    v3 = add_version(session, None)
    waits = session.get_one(VersionRow, v3.id)
    waits.verdict = GateVerdict.NOT_ENOUGH_EVIDENCE
    session.flush()
    assert marks(session)["v3"] == [VersionMark.COMPARED]
    waits.withdrawn_at = utc_now()
    lead(session, v2)
    assert marks(session) == {
        "v2": [VersionMark.CHAMPION],
        "v3": [VersionMark.WITHDRAWN],
    }, "v1 was replaced, and not taken back"


def test_a_champion_whose_base_was_left_was_not_rolled_back(session, personality_id):
    old = ConfiguredBase(setting="old", name="old", revision=BASE_REVISION)
    new = ConfiguredBase(setting="new", name="new", revision=OTHER_REVISION)
    begin_base(session, old, by="grace")
    lead(session, add_version(session, None))
    begin_base(session, new, by="grace")
    assert marks(session) == {"base": [VersionMark.CHAMPION]}
    v2, v3 = (add_version(session, None, digest=digest * 64) for digest in "ab")
    lead(session, v2, v3)
    go_back(session)
    begin_base(session, old, by="grace")
    assert marks(session) == {"v1": [VersionMark.CHAMPION], "v3": [VersionMark.ROLLED_BACK]}


def test_a_version_is_no_longer_decided_on_once_it_was_rolled_back_withdrawn_or_its_base_left(session, personality_id):
    def newest():
        return newest_after(session, 1, read_alias(session, 1).version)

    v1 = add_version(session, None)
    assert newest() == v1
    lead(session, v1)
    go_back(session)
    assert newest() is None, "v1 was rolled back"
    v2 = add_version(session, None)
    assert newest() == v2
    begin_base(session, ConfiguredBase(setting="another", name="another", revision=OTHER_REVISION), by="grace")
    assert newest() is None, "v2 is of another base"
    v3 = add_version(session, None)
    assert newest() == v3
    session.get_one(VersionRow, v3.id).withdrawn_at = utc_now()
    assert newest() is None
