"""Adapter files that go by policy: never those of a version that is used, and their rows stay."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file
from sqlalchemy import update
from sqlalchemy.orm import Session

from storage.adapters.folder_store import CONFIG_FILE, WEIGHTS_FILE, AdapterRef, AdapterStore
from storage.adapters.shared_store import open_served_copies
from storage.database.database import Database
from storage.database.enums import CHAMPION, LAST_GOOD, GateVerdict, RoundStatus
from storage.database.tables import VersionRow
from storage.errors import AdapterError, VersionWithdrawn
from storage.models.base_model import BaseModel
from storage.models.personality_files import read_provenance
from storage.models.personality_imports import ImportRequest, register_import
from storage.models.withdrawal import choose_withdrawals, remove_withdrawn, withdraw_adapters
from storage.personalities.cards import Card
from storage.personalities.personalities import ensure_personality, read_personality
from storage.releases.versions import (
    Version,
    all_digests,
    ask_gate,
    find_version,
    list_versions,
    move_alias,
    moves_of,
    read_alias,
    starting_point,
)
from storage.settings.sections import DataSettings, PrivacySettings, Settings, TrainingSettings
from tests.past import add_round, add_version, go_back, lead
from tests.storage.together import together


def settings_with(tmp_path: Path, *, keep: int = 0, when_replaced: bool = True) -> Settings:
    return Settings(
        data=DataSettings(directory=tmp_path),
        training=TrainingSettings(keep_versions=keep),
        privacy=PrivacySettings(withdraw_adapters="when_replaced" if when_replaced else "keep"),
    )


class AskedStore(AdapterStore):
    """Remembers the adapters that it was asked to remove."""

    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        self.about: list[str] = []

    def remove(self, digest: str) -> bool:
        self.about.append(digest)
        return super().remove(digest)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return settings_with(tmp_path)


@pytest.fixture
def add(store: AdapterStore) -> Callable[..., Version]:
    """Publish an adapter with unique content and register its version; `like` shares the files of another one."""

    def add(
        session: Session,
        parent: Version | None = None,
        *,
        like: Version | None = None,
        personality: str = "default",
        verdict: GateVerdict | None = None,
    ) -> Version:
        personality_id = ensure_personality(session, personality)
        number = len(list_versions(session, personality_id))
        round_id = add_round(session, 0, personality_id=personality_id) if verdict else None
        digest = like.digest if like else publish(store, f"{personality} {number}")
        return add_version(
            session,
            round_id,
            parent,
            personality_id=personality_id,
            digest=digest,
            base_revision="r",
            verdict=verdict or GateVerdict.PASS,
        )

    return add


def publish(store: AdapterStore, name: str) -> str:
    with store.stage() as staging:
        (staging / CONFIG_FILE).write_text(json.dumps({"name": name}), encoding="utf-8")
        save_file({"weight": np.zeros(1)}, staging / WEIGHTS_FILE)
        digest = store.publish(staging)
    store.sweep(lambda: {digest})
    return digest


def mark(session: Session, *versions: Version) -> None:
    ids = [version.id for version in versions]
    session.execute(update(VersionRow).where(VersionRow.id.in_(ids)).values(trained_on_deleted_data=True))
    session.expire_all()


def names(withdrawals) -> list[str]:
    return [withdrawal.version.name for withdrawal in withdrawals]


def has_files(store: AdapterStore, version: Version) -> bool:
    try:
        return store.path(version.digest).is_dir()
    except AdapterError:
        return False


WAITS, VETOED, READY = GateVerdict.NOT_ENOUGH_EVIDENCE, GateVerdict.FAIL, GateVerdict.PASS


class TestReplacedVersions:
    """Rounds every night would otherwise fill the disk with versions that nobody decided for."""

    @pytest.mark.parametrize(
        ("older", "newer", "is_replaced"),
        [
            (WAITS, WAITS, True),
            (WAITS, READY, True),
            (WAITS, VETOED, False),
            (VETOED, WAITS, True),
            (VETOED, VETOED, True),
            (READY, WAITS, False),
        ],
    )
    def test_an_unpromoted_version_makes_room_for_the_next(
        self, database: Database, store, settings, add, older: GateVerdict, newer: GateVerdict, is_replaced: bool
    ) -> None:
        with database.transaction() as session:
            first, second = add(session, verdict=older), add(session, verdict=newer)
        gone = withdraw_adapters(database, store, settings)
        assert names(gone) == (["v1"] if is_replaced else [])
        assert (has_files(store, first), has_files(store, second)) == (not is_replaced, True)

    def test_a_version_that_answered_once_stays(self, database: Database, store, settings, add) -> None:
        with database.transaction() as session:
            first = add(session, verdict=WAITS)
            lead(session, first, reason="nice", override=True)
            lead(session, None)
            add(session, verdict=WAITS)
            add(session, verdict=WAITS)
        assert names(withdraw_adapters(database, store, settings)) == ["v2"]


class TestMarkedVersions:
    def test_lose_their_files_once_no_alias_names_them(self, database: Database, store, settings, add) -> None:
        with database.transaction() as session:
            first = add(session)
            second = add(session, first)
            third = add(session, second)
            rebuilt = add(session, first)
            lead(session, second, third)
            mark(session, second, third)
        copies = open_served_copies(settings.data.directory)
        served = [copies.put(AdapterRef(v.digest, store.path(v.digest), strength=0.5)) for v in (second, third)]
        assert withdraw_adapters(database, store, settings) == []  # v3 answers, v2 is last-good
        database.call(lead, rebuilt)
        gone = withdraw_adapters(database, store, settings)
        assert names(gone) == ["v2"]  # v3 is last-good now
        assert [has_files(store, v) for v in (first, second, third, rebuilt)] == [True, False, True, True]
        assert [copy.exists() for copy in served] == [False, True]
        with database.snapshot() as session:
            row = find_version(session, second.id)
            assert (row.withdrawn_at is not None, row.withdrawn_because) == (
                True,
                "it learned from data that was later deleted",
            )
            assert second.digest not in all_digests(session)
        assert withdraw_adapters(database, store, settings) == []

    def test_keep_their_files_where_the_policy_says_so(self, database: Database, store, tmp_path, add) -> None:
        with database.transaction() as session:
            mark(session, add(session))
        assert withdraw_adapters(database, store, settings_with(tmp_path, when_replaced=False)) == []

    def test_keep_their_files_while_a_round_needs_them(self, database, store, settings, add) -> None:
        with database.transaction() as session:
            parent, idle = add(session), add(session)
            mark(session, parent, idle)
            add_round(session, 0, status=RoundStatus.RUNNING, parent_version_id=parent.id)
        assert names(withdraw_adapters(database, store, settings)) == ["v2"]

    def test_share_files_with_versions_that_stay(self, database: Database, store, settings, add) -> None:
        with database.transaction() as session:
            mine = add(session)
            theirs = add(session, like=mine, personality="pirate")
            mark(session, mine)
        assert withdraw_adapters(database, store, settings) == []
        database.call(mark, theirs)
        assert names(withdraw_adapters(database, store, settings)) == ["v1", "v1"]
        assert not has_files(store, mine)

    def test_files_left_by_a_previous_run_are_removed(self, database: Database, store, settings, add) -> None:
        with database.transaction() as session:
            version = add(session)
            mark(session, version)
        withdraw_adapters(database, store, settings)
        assert publish(store, "default 0") == version.digest
        remove_withdrawn(database, store, settings.data.directory)
        assert not has_files(store, version)

    def test_a_store_is_not_asked_again_about_versions_whose_files_are_gone(
        self, database: Database, store, settings, add, tmp_path
    ) -> None:
        with database.transaction() as session:
            mark(session, add(session))
        withdraw_adapters(database, store, settings)
        asked = AskedStore(tmp_path / "adapters")
        remove_withdrawn(database, asked, settings.data.directory)
        assert asked.about == []

    def test_leave_no_graph_behind(self, database: Database, store, settings, add, tmp_path) -> None:
        with database.transaction() as session:
            version, other = add(session), add(session)
            mark(session, version)
        graphs = tmp_path / "engine" / "tiny-int8"
        for digest in (version.digest, other.digest):
            for strength in ("1", "0.5"):
                (graphs / f"{digest[:16]}_{strength}").mkdir(parents=True)
        withdraw_adapters(database, store, settings)
        left = sorted(path.name for path in graphs.iterdir() if not path.name.startswith("."))
        assert left == [f"{other.digest[:16]}_{strength}" for strength in ("0.5", "1")]


class TestWithdrawnVersions:
    @pytest.fixture
    def withdrawn(self, database: Database, store, settings, add) -> Version:
        with database.transaction() as session:
            first = add(session)
            second = add(session, first)
            mark(session, second)
        withdraw_adapters(database, store, settings)
        return database.fetch(find_version, second.id)

    REFUSED = r"the files of v2 were withdrawn on \d{4}-\d\d-\d\d \(it learned from data that was later deleted\)"

    def test_are_neither_promoted_nor_exported(self, database: Database, withdrawn: Version) -> None:
        refused: list[Callable[[Session], object]] = [
            lambda session: ask_gate(session, withdrawn, override=True, reason="why not"),
            lambda session: lead(session, withdrawn),
            lambda session: read_provenance(session, read_personality(session, 1), withdrawn, Settings()),
        ]
        for attempt in refused:
            with pytest.raises(VersionWithdrawn, match=self.REFUSED), database.transaction() as session:
                attempt(session)
        assert database.fetch(read_alias, 1).version is None

    def test_are_not_promoted_by_who_looked_before(self, database: Database, withdrawn: Version, add) -> None:
        """The check that counts is made under the alias, not on what an admin has read."""
        stale = replace(withdrawn, withdrawn_at=None)
        with pytest.raises(VersionWithdrawn), database.transaction() as session:
            lead(session, stale)
        assert database.fetch(read_alias, 1).generation == 0

    def test_are_not_imported_again(self, database: Database, withdrawn: Version) -> None:
        base = BaseModel("tiny", Path("unused"), "r", "LlamaForCausalLM")
        refusal = pytest.raises(AdapterError, match="withdrawn here because it was trained on since-deleted data")
        with refusal, database.transaction() as session:
            register_import(session, Card(), withdrawn.digest, base, ImportRequest("grace", "bundled", "fresh"))

    def test_are_no_starters(self, database: Database, store, settings, add) -> None:
        with database.transaction() as session:
            first = add(session)
            second = add(session, first)
            third = add(session, second)
            lead(session, third)
            mark(session, second, third)
        withdraw_adapters(database, store, settings)
        with database.snapshot() as session:
            assert starting_point(session, 1).starter == find_version(session, first.id)

    def test_are_passed_over_by_a_roll_back_that_says_so(self, database: Database, store, settings, add) -> None:
        with database.transaction() as session:
            first = add(session)
            second = add(session, first)
            third = add(session, second)
            lead(session, first, third)
            mark(session, second, third)
        assert names(withdraw_adapters(database, store, settings)) == ["v2"]
        with database.transaction() as session:
            # The version that a roll back arrives at makes its parent last-good, were it not for the files.
            lead(session, None, third)
            lead(session, None)
            go_back(session)
            assert read_alias(session, 1).target == "v3"
            assert read_alias(session, 1, LAST_GOOD).target == "v1"
            assert go_back(session) == "v1"

    def test_a_roll_back_to_the_parent_names_the_one_it_passes_over(self, database: Database, store, settings, add):
        with database.transaction() as session:
            first = add(session)
            second = add(session, first)
            third = add(session, second)
            lead(session, third)
            move_alias(session, 1, read_alias(session, 1, LAST_GOOD), third, by="grace", reason="")
            mark(session, second, third)
        withdraw_adapters(database, store, settings)
        with database.transaction() as session:
            assert go_back(session) == "v1"
            assert moves_of(session, first)[0].reason == (
                "worse (skipped v2, whose files were withdrawn: it learned from data that was later deleted)"
            )


class TestOldVersions:
    def test_beyond_the_newest_go_but_for_lines_that_are_used(self, database: Database, store, tmp_path, add) -> None:
        """v1 <- v2 <- v4 answers; v3, v5, v6 and v7 are tries from v1; the newest two are v6 and v7."""
        with database.transaction() as session:
            first = add(session)
            second = add(session, first)
            add(session, first)
            fourth = add(session, second)
            for _ in range(3):
                add(session, first)
            lead(session, fourth)
            others = [add(session, personality="pirate") for _ in range(2)]
        pruning = settings_with(tmp_path, keep=2, when_replaced=False)
        assert names(database.fetch(choose_withdrawals, pruning)) == ["v3", "v5"]
        gone = withdraw_adapters(database, store, pruning)
        assert [(g.version.name, g.because) for g in gone] == [
            ("v3", "it is older than the newest 2"),
            ("v5", "it is older than the newest 2"),
        ]
        with database.snapshot() as session:
            kept = {v.name: has_files(store, v) for v in list_versions(session, 1)}
        assert kept == {"v1": True, "v2": True, "v3": False, "v4": True, "v5": False, "v6": True, "v7": True}
        assert all(has_files(store, version) for version in others)

    def test_all_stay_by_default(self, database: Database, store, tmp_path, add) -> None:
        with database.transaction() as session:
            for _ in range(4):
                add(session)
        assert withdraw_adapters(database, store, Settings(data=DataSettings(directory=tmp_path))) == []


@pytest.mark.both_databases
def test_a_promotion_at_the_same_moment_wins_or_is_refused(database: Database, store, settings, add) -> None:
    with database.transaction() as session:
        version = add(session)
        mark(session, version)

    def act(which: int) -> None:
        if which:
            withdraw_adapters(database, store, settings)
            return
        with database.transaction() as session:
            lead(session, version)

    together(2, act, VersionWithdrawn)
    with database.snapshot() as session:
        answers = read_alias(session, 1, CHAMPION).version
        row = find_version(session, version.id)
    assert (answers is None) == (row.withdrawn_at is not None)
    assert has_files(store, version) == (answers is not None)
