"""A stored sentence is English, and can be said in another language when it is read again."""

from __future__ import annotations

import copy
import pickle
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import text
from sqlalchemy.orm import Session

from bot.localization.languages import read_catalogues
from bot.localization.sentences import Language, gettext, speaking, translated
from storage.database.database import Database
from storage.database.tables import RoundRow
from storage.sentences import MARK, Figure, Sentence, counted, from_stored, joined, to_stored
from storage.wording import Duration
from tests.past import add_round

GERMAN = Language("de", read_catalogues(Path())["de"])
FORMS = st.sampled_from([".0%", ".1f", ".2f", ".0f", ",", "g"])
FIGURES = st.builds(Figure, st.floats(), FORMS)
DURATIONS = st.builds(Duration, st.floats(0, 1e6))
VALUES = st.recursive(
    st.text(max_size=20) | st.integers(-(10**15), 10**15) | FIGURES | DURATIONS,
    lambda value: (
        st.builds(lambda first, second: Sentence("{first} and {second}", first=first, second=second), value, value)
        | st.builds(
            lambda number, shares: counted(
                "{count} vote so far, of which the rules removed {shares}",
                "{count} votes so far, of which the rules removed {shares}",
                number,
                shares=shares,
            ),
            st.floats(0, 1e9),
            value,
        )
        | st.builds(lambda parts: joined("; ", [str(part) for part in parts]), st.lists(value, max_size=3))
    ),
    max_leaves=6,
)
SENTENCES = st.builds(lambda value: Sentence("the model cannot answer: {reason}", reason=value), VALUES)
TOO_FEW = counted(
    "{count} vote so far, of which the rules removed {shares}",
    "{count} votes so far, of which the rules removed {shares}",
    7.5,
    shares=Sentence("{share} ({rule})", share=Figure(0.125, ".0%"), rule=Sentence("suspicious votes")),
)
TOO_FEW_IN_GERMAN = "7,5 Stimmen bisher, davon haben die Regeln 12\N{NO-BREAK SPACE}% (verdächtige Stimmen) abgezogen"


def in_german(sentence: str) -> str:
    with speaking(GERMAN):
        return translated(sentence)


@given(SENTENCES)
def test_a_sentence_is_the_same_in_both_languages_after_it_was_stored(sentence: Sentence) -> None:
    for again in (from_stored(to_stored(sentence)), copy.deepcopy(sentence), pickle.loads(pickle.dumps(sentence))):
        assert again == sentence == translated(sentence)
        assert in_german(again) == in_german(sentence)


@given(
    st.text() | st.builds(lambda *parts: MARK.join(parts), st.text(), st.text(), st.text()) | SENTENCES.map(to_stored)
)
def test_what_people_write_is_stored_as_they_wrote_it_and_never_translated(written: str) -> None:
    again = from_stored(to_stored(written))
    assert again == in_german(again) == written
    assert not isinstance(again, Sentence)


@given(st.text() | st.builds(lambda *parts: MARK.join(parts), st.text(), st.text()))
def test_any_old_row_can_be_read(stored: str) -> None:
    assert in_german(from_stored(stored)) in (stored, stored.rpartition(MARK)[0])


def test_numbers_and_plurals_are_written_as_in_each_language() -> None:
    assert TOO_FEW == "7.5 votes so far, of which the rules removed 12% (suspicious votes)"
    assert in_german(TOO_FEW) == TOO_FEW_IN_GERMAN


def test_a_sentence_within_a_message_is_translated_too() -> None:
    with speaking(GERMAN):
        assert gettext("What to do: {remedy}", remedy=Sentence("memory")) == "Was du tun kannst: Arbeitsspeicher"


@pytest.mark.parametrize("written", ["memory", "{count} votes", "suspicious votes"])
def test_a_word_of_ours_that_somebody_typed_stays(written: str) -> None:
    assert in_german(from_stored(to_stored(written))) == written


def test_the_database_keeps_sentences_in_columns_and_in_json(database: Database, personality_id: int) -> None:
    def write(session: Session) -> int:
        notes = {"notes": [TOO_FEW, "typed"]}
        return add_round(session, 1, personality_id=personality_id, reason=TOO_FEW, learned_from=notes, gate={})

    id_ = database.call(write)
    with database.transaction() as session:
        row = session.get_one(RoundRow, id_)
        assert row.reason == TOO_FEW
        assert row.learned_from == {"notes": [TOO_FEW, "typed"]}
        notes = map(in_german, row.learned_from["notes"])
        assert [in_german(row.reason), *notes] == [TOO_FEW_IN_GERMAN] * 2 + ["typed"]


def test_a_row_of_an_earlier_release_is_plain_english(database: Database, personality_id: int) -> None:
    with database.transaction() as session:
        id_ = add_round(session, 1, personality_id=personality_id)
        session.execute(text("UPDATE rounds SET reason = 'only 3 pairs' WHERE id = :id"), {"id": id_})
    with database.transaction() as session:
        reason = session.get_one(RoundRow, id_).reason
        assert (reason, in_german(reason)) == ("only 3 pairs", "only 3 pairs")
