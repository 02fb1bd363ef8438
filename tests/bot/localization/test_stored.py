"""Admins read in their own language why something was decided, and what admins wrote as it was written."""

from __future__ import annotations

import pytest

from storage.database.enums import GateVerdict, RoundStatus
from storage.database.tables import RoundRow, VersionRow
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
            shares=Sentence("{share} ({rule})", share=Figure(0.3, ".0%"), rule=Sentence("suspicious votes")),
        ),
        "a note",
    ],
)


@pytest.fixture
def status(env, place):
    """Return what an admin reads of the model, in the language of their client."""

    async def read(locale: str) -> str:
        env.locales[place.grace.id] = locale
        return said((await place.grace.slash(place.channel, "version status")).response)

    return read


async def test_a_rounds_reason_is_said_in_the_admins_language(status, query, rows):
    query(lambda session: add_round(session, 1, status=RoundStatus.SKIPPED, reason=TOO_FEW))
    german = "7,5 Stimmen bisher, davon haben die Regeln 30\N{NO-BREAK SPACE}% (verdächtige Stimmen) abgezogen; a note."
    assert german in await status("de")
    english = "7.5 votes so far, of which the rules removed 30% (suspicious votes); a note"
    assert f"{english}." in await status("en-US")
    (row,) = rows(RoundRow)
    assert row.reason == english


BROKEN = Sentence(
    "{share} of answers are broken (base {base}; limit +{limit})",
    share=Figure(0.3, ".0%"),
    base=Figure(0.05, ".0%"),
    limit=Figure(0.15, ".0%"),
)
BROKEN_IN_GERMAN = "30 % der Antworten sind kaputt (Basismodell 5 %; Grenze +15 %)"


async def test_a_check_of_the_gate_is_said_in_the_admins_language(place, env, query, rows, add_version):
    version = add_version(1.0, GateVerdict.FAIL)
    checks = [
        {"name": Sentence("broken answers"), "outcome": "fail", "sentence": BROKEN},
        {"name": "divergence", "outcome": "fail", "sentence": "a sentence of an earlier release"},
    ]
    round_id = query(lambda session: add_round(session, 1, gate={"verdict": "fail", "checks": checks}))
    query(lambda session: setattr(session.get_one(VersionRow, version.id), "round_id", round_id))

    async def show(locale: str) -> str:
        env.locales[place.grace.id] = locale
        reply = await place.grace.slash(place.channel, "version show", version="v1")
        return said(reply.response).replace("\N{NO-BREAK SPACE}", " ")

    english, german = await show("en-US"), await show("de")
    assert f"✗ hat die Prüfungen nicht bestanden: {BROKEN_IN_GERMAN}; a sentence of an earlier release" in german
    assert f"✗ failed the checks: {BROKEN}; a sentence of an earlier release" in english
    refused = (await place.grace.slash(place.channel, "version promote", version="v1")).followups[-1].content
    refused = refused.replace("\N{NO-BREAK SPACE}", " ")
    assert f"(sie hat eine Prüfung nicht bestanden: {BROKEN_IN_GERMAN}; a sentence of an earlier release)" in refused
    (row,) = rows(RoundRow)
    assert row.gate["checks"][0]["sentence"] == "30% of answers are broken (base 5%; limit +15%)"


async def test_a_reason_of_an_earlier_release_stays_english(status, query):
    query(lambda session: add_round(session, 1, status=RoundStatus.SKIPPED, reason="3 pairs to learn from"))
    assert "3 pairs to learn from." in await status("de")
