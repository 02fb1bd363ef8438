"""Benches ask as members are served: with the card's examples, and with candidates once a taste may act."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import select

from storage.conversations.example_turns import SHOWN_AS, ShownAs
from storage.database.rows import count_rows
from storage.database.tables import ReplyChoiceRow, ReplyRow
from storage.members import note_members
from storage.taste.examples import NO_EXAMPLES
from storage.votes.votes import Thumb, VoteEvent, append_events
from storage.votes.weights import DISCORD_EPOCH
from tests.benchmarks.community import settings_of_bench
from tests.benchmarks.served import FIRST_MESSAGE, GUILD, Question, ServedBot, served_bot

ASKER, VOTES = 101, 15


@pytest.fixture
def bot(tmp_path: Path, tiny: None) -> Iterator[ServedBot]:
    with served_bot(settings_of_bench(tmp_path / "data", seed=0)) as bot:
        yield bot


def test_the_base_is_asked_with_its_card_and_chosen_for_once_there_are_votes(bot: ServedBot) -> None:
    answers = bot.ask([Question(f"Question {number}", ASKER) for number in range(VOTES)], None)
    with bot.services.database.transaction() as session:
        reply = session.get_one(ReplyRow, answers[0].reply_id)
        assert reply.answer == answers[0].text.replace("\0", "")
        assert ShownAs.CARD in {said.get(SHOWN_AS) for said in reply.messages}
        assert (reply.messages[-1]["content"], reply.basis) == ("Question 0", None)
        assert count_rows(session, select(ReplyChoiceRow)) == 0
        note_members(session, GUILD, {ASKER: DISCORD_EPOCH})
        for number, one in enumerate(answers):
            thumb = Thumb(FIRST_MESSAGE + one.reply_id, ASKER, "👍" if number % 2 else "👎")
            append_events(session, [VoteEvent(one.reply_id, thumb, added=True)])
    bot.note_votes([one.reply_id for one in answers])
    (chosen,) = bot.ask([Question("And now?", ASKER)], None)
    with bot.services.database.snapshot() as session:
        choice = session.get_one(ReplyChoiceRow, chosen.reply_id)
        assert 1 <= len(choice.utilities) <= bot.services.settings.generation.candidates  # but for empty ones


def test_answers_that_nobody_sees_leave_no_row(bot: ServedBot) -> None:
    said = bot.answer(["Tea?", "Coffee?"], None, shown=NO_EXAMPLES, candidates=1)
    assert [one.message for one in said] == ["Tea?", "Coffee?"]
    with bot.services.database.snapshot() as session:
        assert count_rows(session, select(ReplyRow)) == 0
