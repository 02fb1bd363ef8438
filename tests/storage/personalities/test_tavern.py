"""Character cards of SillyTavern: read into cards of ours, with a sentence about all that is left out."""

from __future__ import annotations

import base64
import json
import struct
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from storage.errors import CardError, ExportRefused
from storage.personalities.card_files import parse_any_card, read_any_card, write_card_file
from storage.personalities.cards import (
    MAX_EXAMPLES,
    MAX_GREETING_CHARS,
    MAX_PROMPT_CHARS,
    Card,
    CardFile,
    LorebookEntry,
)
from storage.personalities.tavern.conversion import MAX_ENTRIES
from storage.personalities.tavern.files import MAX_JSON_BYTES, SIGNATURE

EBBA = {
    "name": "Ebba Lind",
    "description": "{{char}} keeps a lighthouse. {{user}}'s boat is late.",
    "personality": "few words",
    "scenario": "{{user}} knocks.",
    "first_mes": "*{{char}} opens.* Evening, {{user}}. Is that {{user}}'s boat?",
    "mes_example": (
        "<START>\n{{user}}: How is the sea?\n{{char}}: Flat.\nFor now.\n<START>\n{{user}}: Tea?\n{{char}}: Yes."
    ),
}


def card_of(version: int = 3, **data: Any) -> bytes:
    spec = {"spec": f"chara_card_v{version}", "spec_version": f"{version}.0"}
    return json.dumps(spec | {"data": EBBA | data}).encode()


def chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def with_texts(png: bytes, texts: Mapping[bytes, bytes]) -> bytes:
    """Return the PNG file with texts, by their keywords, after its header."""
    header = len(SIGNATURE) + 25
    return png[:header] + b"".join(chunk(b"tEXt", name + b"\0" + text) for name, text in texts.items()) + png[header:]


def plain_picture(texts: Mapping[bytes, bytes]) -> bytes:
    """Return a PNG file of one colour that holds the texts by their keywords."""
    header = struct.pack(">IIBBBBB", 4, 6, 8, 2, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(bytes(6 * (1 + 3 * 4)))), (b"IEND", b""))
    return with_texts(SIGNATURE + b"".join(chunk(kind, content) for kind, content in chunks), texts)


def picture_of(text: bytes, keyword: bytes = b"ccv3") -> bytes:
    return plain_picture({keyword: base64.b64encode(text)})


def read(content: bytes) -> CardFile:
    return parse_any_card(content, "ebba.card")


def refusal(content: bytes) -> str:
    with pytest.raises(CardError) as refused:
        read(content)
    sentence = str(refused.value)
    assert "ebba.card" in sentence
    assert "\n" not in sentence
    assert len(sentence) < 400
    return sentence


class TestRead:
    @pytest.mark.parametrize(
        "content",
        [
            card_of(2),
            card_of(3),
            json.dumps(EBBA).encode(),
            b"\xef\xbb\xbf \n" + card_of(),
            picture_of(card_of(2), b"chara"),
            picture_of(card_of(3)),
        ],
        ids=["v2", "v3", "v1", "marked", "png of v2", "png of v3"],
    )
    def test_a_character_becomes_a_card_in_plain_words(self, content: bytes) -> None:
        file = read(content)
        assert file.name == "ebba-lind"
        assert file.card.system_prompt == (
            "You are Ebba Lind.\n\n"
            "Ebba Lind keeps a lighthouse. The user's boat is late.\n\n"
            "Personality: few words\n\n"
            "Scenario: The user knocks."
        )
        assert file.card.greeting == "*Ebba Lind opens.* Evening, you. Is that your boat?"
        assert [example.dialogue for example in file.card.examples] == [
            ("How is the sea?", "Flat.\nFor now."),
            ("Tea?", "Yes."),
        ]
        assert file.notes[0].startswith("Taken from the character card: a prompt of ")
        assert file.notes[0].endswith(", a greeting of 51 characters, 2 example dialogues.")

    def test_a_picture_holds_the_newer_version_and_is_itself_taken(self) -> None:
        old, new = card_of(2, name="Old"), card_of(3, name="New", nickname="Newt")
        picture = plain_picture({b"chara": base64.b64encode(old), b"ccv3": base64.b64encode(new)})
        file = read(picture)
        assert file.name == "new"
        assert file.card.system_prompt.startswith("You are Newt.")
        assert file.picture == picture

    def test_html_in_a_name_is_left_out(self) -> None:
        file = read(card_of(name="Brunhild <b>Tusk</b>"))
        assert (file.name, file.card.display_name) == ("brunhild-tusk", "Brunhild Tusk")

    def test_a_prompt_of_its_own_comes_first_and_its_last_words_last(self) -> None:
        prompt = read(card_of(system_prompt="{{original}}Play {{char}}.", post_history_instructions="Be brief.")).card
        assert prompt.system_prompt.startswith("Play Ebba Lind.\n\nEbba Lind keeps a lighthouse.")
        assert prompt.system_prompt.endswith("\n\nBe brief.")

    def test_notes_for_people_describe_it_and_are_not_in_the_prompt(self) -> None:
        file = read(card_of(creator_notes="<b>Best</b> with tea. " * 40))
        assert file.card.description.startswith("<b>Best</b> with tea.")
        assert len(file.card.description) == 300
        assert "tea" not in file.card.system_prompt
        assert "The creator's notes were cut to 300 characters, which describe it in lists." in file.notes

    @pytest.mark.parametrize(
        ("name", "plain"),
        [("Élise d'Arc", "elise-d-arc"), ("  ", ""), ("夜猫", ""), ("a" * 60, "a" * 32), ("a--b", "a--b")],
    )
    def test_its_name_becomes_one_that_personalities_may_have(self, name: str, plain: str) -> None:
        assert read(card_of(name=name)).name == plain

    def test_without_a_name_nobody_is_introduced(self) -> None:
        assert read(card_of(name="")).card.system_prompt.startswith("The character keeps a lighthouse.")

    def test_a_greeting_that_is_too_long_is_cut_and_it_says_so(self) -> None:
        file = read(card_of(first_mes="Evening. " * 600))
        assert len(file.card.greeting) == MAX_GREETING_CHARS
        assert "The greeting of 5,400 characters was cut to 4,000." in file.notes

    def test_what_the_prompt_has_no_room_for_is_looked_up(self) -> None:
        long = "".join(f"She has seen storm number {n}. " for n in range(300))
        file = read(card_of(description=long))
        (more,) = file.lorebook
        assert len(file.card.system_prompt) <= MAX_PROMPT_CHARS
        assert file.card.system_prompt.endswith("Scenario: The user knocks.")
        assert more.keys == ("more about Ebba Lind",)
        kept = file.card.system_prompt.partition("\n\n")[2].partition("\n\n")[0]
        assert f"{kept} {more.content}" == long.strip()
        assert any(note.startswith("The prompt has room for 4,000 characters; the other ") for note in file.notes)

    def test_what_has_no_place_is_named(self) -> None:
        extensions = {"regex_scripts": [{"findRegex": "(a+)+$"}], "depth_prompt": {"prompt": "x"}, "fav": False}
        more = {"alternate_greetings": ["Hi.", "Ho."], "tags": ["sea"], "creator": "", "hats": 3, "assets": None}
        file = read(card_of(**more, extensions=extensions, scenario="It is {{time}}, {{weekday}}."))
        assert (
            "Left out, because there is no place for it here: other greetings, tags, hats, extensions (regex_scripts, "
            "depth_prompt)." in file.notes
        )
        assert "Macros that mean nothing here were removed: {{time}}, {{weekday}}." in file.notes
        assert "It is , ." in file.card.system_prompt


class TestDialogues:
    def test_a_dialogue_begins_with_a_person_and_ends_with_the_character(self) -> None:
        file = read(card_of(mes_example="<START>\n{{char}}: Hm.\n{{user}}: Tea?\n{{char}}: Yes.\n{{user}}: Sugar?"))
        assert [example.dialogue for example in file.card.examples] == [("Tea?", "Yes.")]
        assert any(note.startswith("2 turns of the example dialogues were left out: ") for note in file.notes)

    def test_what_it_says_alone_shows_in_the_prompt_how_it_talks(self) -> None:
        file = read(card_of(mes_example="<START>\n{{char}}: Hm.\n<START>\nThe lamp, {{user}}."))
        assert file.card.examples == ()
        assert "How Ebba Lind talks: Hm.\n\nThe lamp, you." in file.card.system_prompt
        assert "Example dialogues in which nobody else speaks became part of the prompt." in file.notes

    def test_plain_names_begin_turns_where_there_are_no_macros(self) -> None:
        file = read(card_of(mes_example="You: Tea?\nEbba Lind: Yes.\nUser: Now?\nEbba Lind: Soon."))
        assert [example.dialogue for example in file.card.examples] == [("Tea?", "Yes.", "Now?", "Soon.")]

    def test_long_dialogues_are_cut_into_several_and_too_many_are_left_out(self) -> None:
        file = read(card_of(mes_example="<START>\n" + "{{user}}: Tea?\n{{char}}: Yes.\n" * 15))
        assert [len(example.dialogue) for example in file.card.examples] == [20, 10]
        file = read(card_of(mes_example="<START>\n{{user}}: Tea?\n{{char}}: Yes.\n" * (MAX_EXAMPLES + 5)))
        assert len(file.card.examples) == MAX_EXAMPLES
        assert any(note.startswith("10 turns of the example dialogues were left out: ") for note in file.notes)


class TestLorebook:
    def test_entries_keep_their_keys_and_lose_their_rules(self) -> None:
        entries = [
            {
                "keys": ["lamp", "Light", "lamp"],
                "content": "@@depth 4\nThe {{char}} lamp\n# burns oil.",
                "comment": "Lamp",
            },
            {"keys": ["/sea|tide/i"], "content": "Salty.", "constant": True, "secondary_keys": ["x"]},
            {"keys": ["^x$"], "use_regex": True, "name": "Gulls", "content": "Loud."},
            {"keys": ["off"], "content": "Never.", "enabled": False},
            {"keys": ["empty"], "content": " "},
        ]
        file = read(card_of(character_book={"entries": entries}))
        assert file.lorebook == (
            LorebookEntry(("Lamp", "Light"), "The Ebba Lind lamp\n# burns oil."),
            LorebookEntry(("entry 2",), "Salty."),
            LorebookEntry(("Gulls",), "Loud."),
        )
        assert "2 entries of the lorebook were left out: switched off, or empty." in file.notes
        assert any(
            note.startswith("The lorebook is looked up by words and meaning, so its own rules") for note in file.notes
        )

    def test_of_thousands_of_entries_the_first_are_taken(self) -> None:
        book = {"entries": [{"keys": [f"k{n}"], "content": f"c{n}"} for n in range(3_000)]}
        file = read(card_of(character_book=book))
        assert [entry.content for entry in file.lorebook] == [f"c{n}" for n in range(MAX_ENTRIES)]
        assert "Of the lorebook's 3,000 entries, the first 1,000 were taken." in file.notes


class TestHostile:
    @pytest.mark.parametrize(
        ("content", "said"),
        [
            (b"{", "its JSON is damaged"),
            (b'{"a":' * 50_000, "nested too deeply"),
            (b'{"spec": "chara_card_v3", "data": ' + b"[" * 50_000, "nested too deeply"),
            (b'{"spec_version": ' + b"9" * 5_000 + b"}", "its JSON is damaged"),
            (b'{"spec": "lorebook_v3", "data": {}}', "is JSON, but not a character card (its spec is 'lorebook_v3')"),
            (b'{"spec": ' + b"[" * 400 + b"]" * 400 + b"}", "not a character card (it has no spec)"),
            (b'{"spec": "chara_card_v3", "data": 3}', "not a character card"),
            (b'{"name": "Ebba"}', "not a character card (it has no spec)"),
            (card_of(description=["a"]), "description is not valid: it must be text"),
            (card_of(character_book={"entries": {"0": {}}}), "character_book.entries is not valid"),
            (card_of(character_book={"entries": [{}, {"keys": [3]}]}), "keys of entry 2 of its lorebook is not valid"),
            (card_of(extensions={"reactune": {"sampling": {"temperature": 9}}}), "sampling.temperature is not valid"),
            (json.dumps({"spec": "chara_card_v2", "data": {"name": "x"}}).encode(), "does not say how to talk"),
            (b'{"name": "' + b"a" * MAX_JSON_BYTES + b'"}', "holds more than 4000 kB of text"),
            (SIGNATURE, "is a damaged PNG file (it ends too early)"),
            (picture_of(card_of())[:-20], "is a damaged PNG file (it ends too early)"),
            (picture_of(card_of()).replace(b"IDAT", b"IDXX"), "is a damaged PNG file (a checksum in it is wrong)"),
            (SIGNATURE + chunk(b"abcd", b"") * 100_001, "is a damaged PNG file (it has too many parts)"),
            (plain_picture({}), "is a picture without a character card"),
            (plain_picture({b"chara": b"!!!"}), "its base64 is not valid"),
            (plain_picture({b"chara": b"abc"}), "its base64 is not valid"),
            (picture_of(b"\xff\xfe{}"), "its JSON is damaged"),
            (picture_of(b"[]"), "it holds no object"),
        ],
    )
    def test_one_sentence_says_what_is_wrong(self, content: bytes, said: str) -> None:
        assert said in refusal(content)

    @pytest.mark.threat("T21")
    def test_compressed_text_is_never_unpacked(self) -> None:
        bomb = zlib.compress(b"A" * 10_000_000, 9)
        for kind, content in ((b"zTXt", b"chara\0\0" + bomb), (b"iTXt", b"ccv3\0\1\0\0\0" + bomb)):
            png = SIGNATURE + chunk(kind, content) + chunk(b"IEND", b"")
            assert "in a kind of text that is not read here: export it as JSON" in refusal(png)

    @pytest.mark.threat("T21")
    def test_a_name_in_thousands_of_places_does_not_fill_the_memory(self) -> None:
        file = read(card_of(name="A" * 1_000_000, description="{{char}}" * 100_000))
        assert len(file.card.system_prompt) <= MAX_PROMPT_CHARS
        assert sum(len(entry.content) for entry in file.lorebook) < 11_000_000

    def test_halves_of_characters_and_nul_are_removed(self) -> None:
        file = read(b'{"name": "E\\ud800b\\u0000ba", "description": "\\udfff\\u0000Dry.", "hat\\ud800": 1}')
        assert file.card.system_prompt == "You are Ebba.\n\nDry."
        assert "hat." in file.notes[-1]
        "\n".join(file.notes).encode()

    def test_a_huge_file_is_not_read(self, tmp_path: Path) -> None:
        path = tmp_path / "huge.png"
        with path.open("wb") as file:
            file.truncate(20_000_001)
        with pytest.raises(CardError, match=r"huge\.png is larger than 20 MB, the limit for a card"):
            read_any_card(path)

    @given(st.binary(max_size=300) | st.binary(max_size=300).map(lambda content: SIGNATURE + content))
    def test_any_bytes_are_a_card_or_a_sentence(self, content: bytes) -> None:
        _read_or_refuse(content)

    @given(
        st.recursive(
            st.none() | st.booleans() | st.floats() | st.text(max_size=20),
            lambda inner: (
                st.lists(inner, max_size=3)
                | st.dictionaries(st.sampled_from([*EBBA, "keys", "content", "entries", "x"]), inner, max_size=4)
            ),
            max_leaves=12,
        ),
        st.sampled_from([*EBBA, "character_book", "extensions", "system_prompt", "nickname", "x"]),
        st.booleans(),
    )
    @pytest.mark.threat("T21")
    def test_any_json_is_a_card_or_a_sentence(self, value: Any, key: str, is_picture: bool) -> None:
        content = card_of(**{key: value})
        _read_or_refuse(picture_of(content) if is_picture else content)

    @given(
        st.lists(
            st.sampled_from(["{{user}}:", "{{char}}:", "<START>", "\n", " ", "{{", "}}", "a", "<user>"]), max_size=30
        ).map("".join)
    )
    def test_any_text_of_dialogues_makes_valid_ones(self, text: str) -> None:
        card = read(card_of(mes_example=text)).card
        assert all(len(example.dialogue) % 2 == 0 for example in card.examples)


def _read_or_refuse(content: bytes) -> None:
    try:
        file = read(content)
    except CardError:
        refusal(content)
    else:
        json.dumps(file.card.as_dict(), ensure_ascii=False).encode()
        assert all(note.endswith(".") for note in file.notes)


def test_a_card_of_ours_is_written_in_a_file_that_reads_back_and_none_is_overwritten(tmp_path: Path) -> None:
    card, path = Card(system_prompt="x", display_name="Ebba Lind"), tmp_path / "keeper.toml"
    write_card_file(card, path)
    assert read_any_card(path).card == card
    with pytest.raises(ExportRefused, match="already exists: choose a new file"):
        write_card_file(card, path)
    with pytest.raises(ExportRefused, match="cannot be written"):
        write_card_file(card, tmp_path / "none" / "keeper.toml")
