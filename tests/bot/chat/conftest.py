from __future__ import annotations

import pytest
from sqlalchemy import delete, update

from storage.database.enums import Outcome
from storage.database.tables import ReplyMessageRow, ReplyRow


@pytest.fixture
def kill(env, query, new_bot):
    """Return a function that leaves the answers as a killed bot does, without the rows of some messages."""

    async def kill_and_restart(*messages):
        def forget(session):
            session.execute(update(ReplyRow).values(outcome=Outcome.STREAMING))
            ids = [message.id for message in messages]
            session.execute(delete(ReplyMessageRow).where(ReplyMessageRow.message_id.in_(ids)))

        query(forget)
        old = env.bot
        await env.restart_bot(new_bot())
        await old.close()

    return kill_and_restart
