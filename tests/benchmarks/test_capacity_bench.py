from __future__ import annotations

import shutil
from pathlib import Path

from sqlalchemy import func, select

from storage.database.enums import Outcome
from storage.database.tables import ReplyRow, VoteEventRow
from storage.personalities.personalities import ensure_personality
from tests.benchmarks.capacity import events_per_s
from tests.benchmarks.capacity_load import ANSWER, VOTE, Load, run_load
from tests.benchmarks.databases import open_at


def test_a_load_is_stored_whole(tmp_path: Path, migrated_file: Path) -> None:
    url = f"sqlite:///{shutil.copy(migrated_file, tmp_path / 'capacity.db')}"
    database = open_at(url)
    database.call(ensure_personality)
    seen = run_load(url, Load(answers_per_s=20.0, votes_per_s=20.0, processes=1, seconds=0.5))
    with database.snapshot() as session:
        whole = select(func.count()).where(ReplyRow.outcome == Outcome.COMPLETE)
        assert session.scalar(whole) == len(seen.waits_ms[ANSWER]) + 1  # the first one is not measured
        assert session.scalar(select(func.count(VoteEventRow.id))) == len(seen.waits_ms[VOTE]) > 0
    assert seen.failed == 0
    database.close()


def test_a_load_keeps_its_mix() -> None:
    load = Load(answers_per_s=2.0, votes_per_s=1.0, processes=4, seconds=1.0).times(4)
    assert (load.rate(ANSWER), load.rate(VOTE), load.unpaced().is_paced) == (8.0, 4.0, False)


def test_messages_among_members_pass() -> None:
    assert events_per_s(events=200) > 0
