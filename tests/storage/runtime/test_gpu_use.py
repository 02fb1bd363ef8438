"""Bots and trainers on one GPU see each other, and nobody waits for one that died."""

from __future__ import annotations

from datetime import timedelta

import pytest
from sqlalchemy import update
from sqlalchemy.orm import Session

from storage.database.columns import utc_now
from storage.database.tables import HeartbeatRow
from storage.runtime.processes import SILENT_AFTER_S, GpuUse, leave_gpus, renew_gpus, take_gpus, users_of_gpu

pytestmark = pytest.mark.both_databases


def users(session: Session, use: GpuUse, gpu: str) -> list[str]:
    return [user.worker for user in users_of_gpu(session, use, gpu)]


def fall_silent(session: Session) -> None:
    session.execute(update(HeartbeatRow).values(beat_at=utc_now() - timedelta(seconds=SILENT_AFTER_S + 1)))


def test_a_gpu_has_users_of_two_kinds(session: Session) -> None:
    take_gpus(session, GpuUse.ENGINE, ["a"], "bot")
    take_gpus(session, GpuUse.ROUND, ["a", "b"], "trainer")
    assert (users(session, GpuUse.ENGINE, "a"), users(session, GpuUse.ENGINE, "b")) == (["bot"], [])
    assert users(session, GpuUse.ROUND, "a") == users(session, GpuUse.ROUND, "b") == ["trainer"]
    leave_gpus(session, GpuUse.ROUND, "another trainer")
    leave_gpus(session, GpuUse.ENGINE, "trainer")
    assert users(session, GpuUse.ROUND, "a") == ["trainer"]
    leave_gpus(session, GpuUse.ROUND, "trainer")
    assert users(session, GpuUse.ROUND, "a") == users(session, GpuUse.ROUND, "b") == []


def test_only_who_renews_it_keeps_it(session: Session) -> None:
    for worker in ("alive", "dead"):
        take_gpus(session, GpuUse.ROUND, ["a"], worker)
    fall_silent(session)
    assert users(session, GpuUse.ROUND, "a") == []
    renew_gpus(session, GpuUse.ROUND, "alive")
    renew_gpus(session, GpuUse.ROUND, "who took nothing")
    assert users(session, GpuUse.ROUND, "a") == ["alive"]
