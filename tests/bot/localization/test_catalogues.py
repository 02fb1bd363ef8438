"""German is complete, and no translation can break a sentence."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest
from babel.messages import Message
from hypothesis import given
from hypothesis import strategies as st

from bot.localization.languages import SHIPPED, placeholder_fault, read_catalogue, read_catalogues, texts_of
from bot.localization.sentences import Language, gettext, ngettext, reasoned, speaking
from storage.errors import SettingsError
from storage.sentences import Sentence
from storage.wording import Duration
from tests.translations import LEFT_ENGLISH, collect

GERMAN = read_catalogue(SHIPPED / "de.po")
FRENCH = """msgid ""
msgstr ""
"Content-Type: text/plain; charset=utf-8\\n"
"Plural-Forms: nplurals=2; plural=(n > 1);\\n"

"""
WAIT = 'msgid "One moment, please. You can ask me again in {time}."\n'


def test_german_is_complete_and_has_nothing_stale() -> None:
    translated = {message.id: message for message in GERMAN if message.id}
    assert GERMAN.locale is not None, "the header with the language and the plural forms is missing"
    assert set(collect()) == set(translated), "run `make locales`, then translate what is new"
    assert [message.id for message in translated.values() if message.fuzzy] == []
    assert [message.id for message in translated.values() if not all(texts_of(message.string) or [""])] == []
    assert [fault for message in translated.values() if (fault := placeholder_fault(message))] == []


def test_sentences_begin_and_end_as_in_english() -> None:
    ends = (".", "…", ":", " ")

    def edges(text: str) -> tuple[bool, str]:
        return text.startswith(" "), text[-1] if text.endswith(ends) else ""

    for message in GERMAN:
        for original, translated in zip(texts_of(message.id), texts_of(message.string), strict=True):
            if original:
                assert edges(original) == edges(translated), original


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path


def _french(folder: Path, text: str, name: str = "fr.po") -> Path:
    path = folder / name
    path.write_text(FRENCH + text, encoding="utf-8")
    return path


def test_a_file_adds_a_language(folder: Path) -> None:
    _french(folder, WAIT + 'msgstr "Un instant ! Reviens dans {time}."\n')
    french = Language("fr", read_catalogues(folder)["fr"])
    with speaking(french):
        assert (
            gettext("One moment, please. You can ask me again in {time}.", time="5 s")
            == "Un instant ! Reviens dans 5 s."
        )
        assert gettext("Edit again") == "Edit again"  # what the file lacks stays English


def test_a_file_of_the_operator_goes_before_the_bots_own(folder: Path) -> None:
    _french(folder, 'msgid "Edit again"\nmsgstr "Neues Spiel"\n', "de.po")
    with speaking(Language("de", read_catalogues(folder)["de"])):
        assert gettext("Edit again") == "Neues Spiel"
        assert gettext("You can't do this here.") == "Das kannst du hier nicht tun."


def test_german_begins_a_sentence_after_a_colon_with_a_capital_letter(folder: Path) -> None:
    reason = Sentence("it is older than the newest {number}", number=3)
    cannot = Sentence("{version} cannot answer: {reason}", version="v1", reason=reason)
    with speaking(Language("de", read_catalogues(folder)["de"])):
        assert gettext(cannot) == "v1 kann nicht antworten: Sie ist älter als die neuesten 3"
        assert reasoned(gettext("I don't use it"), "v1 antwortet") == "Danach richte ich mich nicht: v1 antwortet"
    assert cannot == "v1 cannot answer: it is older than the newest 3"


def test_an_empty_sentence_stays_empty(folder: Path) -> None:
    with speaking(Language("de", read_catalogues(folder)["de"])):
        assert gettext("") == ""


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (WAIT + 'msgstr "Un instant"\n', 'line 6: "Un instant" lacks {time} of the English sentence: add it'),
        (WAIT + 'msgstr "{time} {name}"\n', 'line 6: "{time} {name}" has {name}, which the English sentence has not'),
        (WAIT + 'msgstr "{time:>99999999}"\n', "has {time:>99999999}, which the English sentence has not"),
        (WAIT + 'msgstr "{time.__class__}"\n', "has {time.__class__}, which the English sentence has not"),
        (WAIT + 'msgstr "{time"\n', 'line 6: the braces of "{time" do not match'),
        (WAIT + 'msgsrt "Un instant"\n', "line 7: this is not valid in a .po file"),
        ("Bonjour\n", "line 6: this is not valid in a .po file"),
    ],
)
def test_a_broken_file_is_refused_with_its_line(folder: Path, text: str, said: str) -> None:
    path = _french(folder, text)
    with pytest.raises(SettingsError) as refused:
        read_catalogues(folder)
    assert str(refused.value).startswith(str(path))
    assert said in str(refused.value)


def test_other_files_are_refused_as_a_whole(folder: Path) -> None:
    path = folder / "fr.po"
    path.write_bytes(b'msgid "\xff\xfe"\nmsgstr ""\n')
    with pytest.raises(SettingsError, match=r"fr\.po is not a \.po file in UTF-8"):
        read_catalogues(folder)
    path.rename(folder / "klingon.po")
    with pytest.raises(SettingsError, match="Discord has no language 'klingon'"):
        read_catalogues(folder)


def test_numbers_and_plurals_follow_the_language(folder: Path) -> None:
    german = Language("de", read_catalogues(folder)["de"])
    assert ngettext("{count} vote", "{count} votes", 1) == "1 vote"
    assert ngettext("{count} vote", "{count} votes", 7.5) == "7.5 votes"
    assert gettext("{n} too long", n=1234) == "1,234 too long"
    with speaking(german):
        assert gettext("{n} too long", n=1234.5) == "1.234,5 too long"


@pytest.mark.parametrize(
    ("seconds", "english", "german"),
    [
        (1, "1 s", "1 Sekunde"),
        (42, "42 s", "42 Sekunden"),
        (100, "2 min", "2 Minuten"),
        (90_000, "25 h", "25 Stunden"),
    ],
)
def test_durations_are_words_of_the_language(folder: Path, seconds: float, english: str, german: str) -> None:
    wait = "One moment, please. You can ask me again in {time}."
    assert gettext(wait, time=Duration(seconds)).endswith(f" in {english}.")
    with speaking(Language("de", read_catalogues(folder)["de"])):
        assert (
            gettext(wait, time=Duration(seconds)) == f"Einen Moment, bitte. In {german} kannst du mich wieder fragen."
        )


@given(st.text(max_size=60))
def test_any_translation_is_refused_or_can_be_filled(translation: str) -> None:
    message = Message("Wait {time}", translation)
    if not placeholder_fault(message):
        translation.format(time="5 s", Time="5 s")


def test_every_sentence_is_a_template() -> None:
    """An f-string could not be translated."""
    for path in (path for path in sorted(Path("bot").rglob("*.py")) if not str(path).startswith(LEFT_ENGLISH)):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and ast.unparse(node.func) in {"gettext", "ngettext"}:
                assert not isinstance(node.args[0], ast.JoinedStr), f"{path}:{node.lineno}"
