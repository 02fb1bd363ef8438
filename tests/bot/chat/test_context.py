"""What an answer is made from is read in one snapshot: an answered message costs four trips to the database."""

from __future__ import annotations

import pytest
from sqlalchemy import event

from tests.word_encoder import WordEncoder

ANSWERED = ["read", "write", "write", "write"]
"""Read the context; start the reply, record its message, finish the reply."""


@pytest.fixture
def fixed_basis():
    return None


@pytest.fixture
def encoder():
    return WordEncoder()


@pytest.fixture
def load_encoder(encoder):
    return lambda: encoder


@pytest.fixture
def trips(env):
    """Return a function that returns the bot's transactions since its last call, each "read" or "write"."""
    found: list[str] = []

    def note(connection) -> None:
        found.append("read" if connection.get_execution_options().get("read_only") else "write")

    def since_last() -> list[str]:
        taken = found.copy()
        found.clear()
        return taken

    event.listen(env.bot.services.database.engine, "begin", note)
    yield since_last
    event.remove(env.bot.services.database.engine, "begin", note)


class TestTrips:
    async def test_a_mention(self, place, trips):
        await place.ask("hi")
        assert trips() == ["read", "write", "write", "write", "write"]  # the privacy notice is recorded once
        await place.ask("hi again")
        assert trips() == ANSWERED

    async def test_a_chain_with_many_answers(self, place, trips):
        await place.ask("hi")
        for _ in range(4):
            await place.ada.send(place.channel, "go on", reply_to=place.last)
        trips()
        await place.ada.send(place.channel, "go on", reply_to=place.last)
        assert trips() == ANSWERED

    async def test_direct_messages(self, place, trips):
        for _ in range(3):
            await place.ada.send_dm("hi")
        trips()
        await place.ada.send_dm("hi")
        assert trips() == ANSWERED

    async def test_an_answer_that_quotes_a_document(self, place, trips):
        await place.ask("hi")
        await place.grace.slash(place.channel, "knowledge add", text="The pool opens at nine.", title="Rules")
        trips()
        answer = await place.ask("when does the pool open?")
        assert "-# Rules: “The pool opens at nine.”" in answer.content
        assert trips() == ANSWERED

    async def test_the_first_question_to_documents_that_another_process_added(self, place, trips):
        await place.ask("hi")
        await place.grace.slash(place.channel, "knowledge add", text="The pool opens at nine.", title="Rules")
        place.env.bot.services.library._encoder._encoder = None  # as in a process that has not loaded it
        trips()
        answer = await place.ask("when does the pool open?")
        assert "-# Rules: “The pool opens at nine.”" in answer.content
        assert trips().count("read") == 2
        await place.ask("when does the pool open?")
        assert trips() == ANSWERED

    async def test_another_answer(self, place, trips):
        answer = await place.ask("hi")
        trips()
        await place.bo.react(answer, "🔁")
        assert trips() == ["read", *ANSWERED]  # which answer the reaction is under

    async def test_a_thread(self, place, trips):
        started = await place.ada.send(place.channel, "let us talk")
        handle = await place.open_thread(started)
        await place.ada.send(handle, f"{place.mention} come in")
        trips()
        await place.ada.send(handle, "go on")
        assert trips() == ["read", *ANSWERED]  # whether the bot was called into the thread


async def test_a_message_for_nobody_costs_no_trip(place, trips):
    await place.ada.send(place.channel, "just talking")
    assert trips() == []
