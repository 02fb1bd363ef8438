from __future__ import annotations

import pytest
from sqlalchemy import delete, update

from storage.database.enums import Outcome
from storage.database.tables import ReplyMessageRow, ReplyRow
from storage.taste.learning import FEWEST
from storage.votes.votes import Vote
from tests.seeding import add_reply, vote

CALM, LOUD = "That sounds fine to me.", "Wow! That is great! So great!"


@pytest.fixture
def like_calm_answers(place, env, query):
    """Store votes of bo, who likes calm answers and no loud ones, and let the bot learn from them."""

    async def seed(votes: int = FEWEST) -> None:
        def store(session):
            for number in range(votes):
                answer, value = (LOUD, Vote.DOWN) if number % 2 else (CALM, Vote.UP)
                said = [{"role": "user", "content": "hi"}]
                reply_id = add_reply(session, answer=f"{answer} {number}", messages=said, channel_id=place.channel.id)
                vote(session, reply_id, place.bo.id, value)

        query(store)
        await env.bot.services.tastes.refresh(1)
        await env.bot.services.tastes.settle()

    return seed


@pytest.fixture
def kill(query, restart):
    """Return a function that leaves the answers as a killed bot does, without the rows of some messages."""

    async def kill_and_restart(*messages, **changes):
        def forget(session):
            session.execute(update(ReplyRow).values(outcome=Outcome.STREAMING, **changes))
            ids = [message.id for message in messages]
            session.execute(delete(ReplyMessageRow).where(ReplyMessageRow.message_id.in_(ids)))

        query(forget)
        await restart()

    return kill_and_restart
