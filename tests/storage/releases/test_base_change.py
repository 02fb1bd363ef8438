"""A change of base moves every champion to its own version of that base; going back restores them."""

from __future__ import annotations

from dataclasses import replace

import pytest
from sqlalchemy.orm import Session

from storage.database.enums import CHAMPION, LAST_GOOD, GateVerdict
from storage.errors import NothingToRollBack, VersionOfOtherBase
from storage.models.withdrawal import choose_withdrawals
from storage.operations.audit import AuditQuery, read_trail
from storage.personalities.personalities import ensure_personality
from storage.releases.base_change import begin_base, describe_bases_used
from storage.releases.bases import ConfiguredBase, base_in_use, previous_base
from storage.releases.contests import find_rival
from storage.releases.promotion import release_passed
from storage.releases.versions import Version, moves_of, read_alias
from storage.settings.sections import ReleaseSettings, Settings, TrainingSettings, VoteSettings
from storage.votes.votes import Vote
from tests.past import add_version, go_back, lead
from tests.seeding import BOB, add_reply, vote

OLD = ConfiguredBase(setting="bundled", name="SmolLM2", revision="a" * 16)
NEW = ConfiguredBase(setting="org/new", name="org/new", revision="b" * 16)


@pytest.fixture
def personality_id(session: Session) -> int:
    id_ = ensure_personality(session)
    begin_base(session, OLD, by="start")
    return id_


def version_of(
    session: Session, personality_id: int, base: ConfiguredBase, verdict: GateVerdict = GateVerdict.PASS
) -> Version:
    digest = f"{len(describe_bases_used(session, VoteSettings()))}{personality_id}{base.revision}{verdict}"
    return add_version(
        session,
        personality_id=personality_id,
        digest=digest[:64],
        base_name=base.name,
        base_revision=base.revision,
        verdict=verdict,
    )


def champion(session: Session, personality_id: int, alias: str = CHAMPION) -> str:
    return read_alias(session, personality_id, alias).target


def test_the_champion_waits_for_its_base_and_comes_back_with_it(session: Session, personality_id: int) -> None:
    first = version_of(session, personality_id, OLD)
    lead(session, first)
    (moved,) = begin_base(session, NEW, by="ann")
    assert (moved.before, moved.after) == ("v1", "base")
    assert champion(session, personality_id) == "base"
    assert moves_of(session, first)[0].reason == "the base model is now org/new; it was SmolLM2"
    (audited, *_) = read_trail(session, AuditQuery(limit=5))
    assert (audited.actor, audited.action, audited.subject) == (
        "ann",
        "base use",
        f"org/new ({NEW.revision})",
    )

    lead(session, version_of(session, personality_id, NEW))
    begin_base(session, OLD, by="ann")
    assert (champion(session, personality_id), champion(session, personality_id, LAST_GOOD)) == ("v1", "base")
    begin_base(session, NEW, by="ann")
    assert champion(session, personality_id) == "v2"
    assert previous_base(session).setting == "bundled"


def test_a_bare_base_that_was_chosen_stays_chosen(session: Session, personality_id: int) -> None:
    lead(session, version_of(session, personality_id, OLD))
    go_back(session)
    begin_base(session, NEW, by="ann")
    begin_base(session, OLD, by="ann")
    assert champion(session, personality_id) == "base"


def test_where_the_bare_base_leads_on_both_there_is_nothing_to_roll_back(session: Session, personality_id: int) -> None:
    lead(session, version_of(session, personality_id, OLD))
    lead(session, None)
    begin_base(session, NEW, by="ann")
    assert champion(session, personality_id, LAST_GOOD) == "base"
    with pytest.raises(NothingToRollBack):
        go_back(session)


def test_an_edited_base_is_noticed_even_if_no_base_was_recorded(session: Session) -> None:
    personality_id = ensure_personality(session)
    lead(session, version_of(session, personality_id, OLD))
    assert begin_base(session, OLD, by="start") == []
    lead(session, version_of(session, personality_id, OLD, GateVerdict.PASS))
    assert [move.after for move in begin_base(session, NEW, by="start")] == ["base"]


def test_a_second_process_with_the_same_base_changes_nothing(session: Session, personality_id: int) -> None:
    begin_base(session, NEW, by="bot")
    assert begin_base(session, NEW, by="another bot") == []
    assert base_in_use(session).begun_by == "bot"
    begin_base(session, replace(NEW, setting="/models/new"), by="bot")  # the same files in another place
    assert previous_base(session).setting == "bundled"


def test_versions_of_another_base_cannot_lead_or_be_compared(session: Session, personality_id: int) -> None:
    first = version_of(session, personality_id, OLD)
    version_of(session, personality_id, OLD, GateVerdict.NOT_ENOUGH_EVIDENCE)
    begin_base(session, NEW, by="ann")
    assert find_rival(session, personality_id) is None
    with pytest.raises(
        VersionOfOtherBase, match=r"v1 was trained on the base SmolLM2 \(a+\), but org/new \(b+\) answers"
    ):
        lead(session, first)
    begin_base(session, OLD, by="ann")
    assert find_rival(session, personality_id).name == "v2"


@pytest.mark.parametrize("auto_promote", [True, False])
@pytest.mark.parametrize("verdict", [GateVerdict.PASS, GateVerdict.NOT_ENOUGH_EVIDENCE])
def test_a_version_whose_base_was_left_while_it_trained_waits_for_it(
    session: Session, personality_id: int, verdict: GateVerdict, auto_promote: bool
) -> None:
    begin_base(session, NEW, by="ann")
    trained = version_of(session, personality_id, OLD, verdict)
    said = release_passed(session, personality_id, trained, ReleaseSettings(auto_promote=auto_promote))
    assert said == "v1 waits until SmolLM2 answers again"
    assert champion(session, personality_id) == "base"


def test_old_champions_keep_their_files(session: Session, personality_id: int) -> None:
    first, *_ = (version_of(session, personality_id, OLD) for _ in range(3))
    lead(session, first)
    begin_base(session, NEW, by="ann")
    for _ in range(2):
        version_of(session, personality_id, NEW, GateVerdict.NOT_ENOUGH_EVIDENCE)
    settings = Settings(training=TrainingSettings(keep_versions=1))
    assert first.id not in {gone.version.id for gone in choose_withdrawals(session, settings)}


def test_each_base_is_listed_with_its_versions_and_votes(session: Session, personality_id: int) -> None:
    version_of(session, personality_id, OLD)
    begin_base(session, NEW, by="ann")
    for revision in (OLD.revision, OLD.revision, NEW.revision):
        vote(session, add_reply(session, base_revision=revision), BOB, Vote.UP)
    found = describe_bases_used(session, VoteSettings())
    assert [(used.use.name, used.versions, used.votes) for used in found] == [("org/new", 0, 1), ("SmolLM2", 1, 2)]
