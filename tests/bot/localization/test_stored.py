"""Admins read in their own language why something was decided, and what admins wrote as it was written."""

from __future__ import annotations

import pytest

from storage.database.enums import RoundStatus
from storage.database.tables import RoundRow
from storage.sentences import Figure, Sentence, counted, joined
from tests.bot.panels import said
from tests.past import add_round

TOO_FEW = joined(
    "; ",
    [
        counted(
            "{count} vote so far, of which the rules removed {shares}",
            "{count} votes so far, of which the rules removed {shares}",
            7.5,
            shares=Sentence("{share} ({rule})", share=Figure(0.3, ".0%"), rule=Sentence("quarantine")),
        ),
        "a note",
    ],
)


@pytest.fixture
def status(env, place):
    """Return what an admin reads of the model, in the language of their client."""

    async def read(locale: str) -> str:
        env.locales[place.grace.id] = locale
        return said((await place.grace.slash(place.channel, "model status")).response)

    return read


async def test_a_rounds_reason_is_said_in_the_admins_language(status, query, rows):
    query(lambda session: add_round(session, 1, status=RoundStatus.SKIPPED, reason=TOO_FEW))
    german = "7,5 Stimmen bisher, davon haben die Regeln 30\N{NO-BREAK SPACE}% (Quarantäne) abgezogen; a note."
    assert german in await status("de")
    english = "7.5 votes so far, of which the rules removed 30% (quarantine); a note"
    assert f"{english}." in await status("en-US")
    (row,) = rows(RoundRow)
    assert row.reason == english


async def test_a_reason_of_an_earlier_release_stays_english(status, query):
    query(lambda session: add_round(session, 1, status=RoundStatus.SKIPPED, reason="3 pairs to learn from"))
    assert "3 pairs to learn from." in await status("de")
