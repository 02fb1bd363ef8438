"""Attachments are read in a separate process, and bad ones are refused with a sentence."""

from __future__ import annotations

import io
import os
import zipfile

import pytest
from docx import Document
from pypdf import PdfWriter

from bot.knowledge.extraction import (
    Block,
    MediaType,
    Unreadable,
    blocks_of,
    extract,
    media_type_of,
    parse_markdown,
    read_file,
)
from storage.settings.sections import KnowledgeSettings

SETTINGS = KnowledgeSettings()


def pdf(*pages: str) -> bytes:
    """Return a PDF with a line of text on each page."""
    writer = PdfWriter()
    for text in pages:
        page = writer.add_blank_page(300, 300)
        if text:
            put_text(writer, page, text)
    return saved(writer)


def put_text(writer: PdfWriter, page, text: str) -> None:
    from pypdf.generic import DecodedStreamObject, DictionaryObject, NameObject

    font = DictionaryObject({NameObject("/Type"): NameObject("/Font"), NameObject("/Subtype"): NameObject("/Type1")})
    font[NameObject("/BaseFont")] = NameObject("/Helvetica")
    fonts = DictionaryObject({NameObject("/F1"): writer._add_object(font)})
    page[NameObject("/Resources")] = DictionaryObject({NameObject("/Font"): fonts})
    stream = DecodedStreamObject()
    stream.set_data(f"BT /F1 12 Tf 20 200 Td ({text}) Tj ET".encode())
    page[NameObject("/Contents")] = writer._add_object(stream)


def saved(document) -> bytes:
    file = io.BytesIO()
    (document.write if isinstance(document, PdfWriter) else document.save)(file)
    return file.getvalue()


def docx() -> bytes:
    document = Document()
    document.add_heading("Club rules", 0)
    document.add_paragraph("Be kind.")
    document.add_heading("Fees", 1)
    table = document.add_table(2, 2)
    for cell, text in zip(
        (c for row in table.rows for c in row.cells), ["Adults", "10", "Children", "free"], strict=True
    ):
        cell.text = text
    return saved(document)


def zipped(**entries: bytes) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in entries.items():
            archive.writestr(name.replace("__", "/") + ".xml", content)
    return file.getvalue()


def read_here(content: bytes, filename: str) -> list[Block]:
    """Read a file as the separate process does, a quarter of a second sooner."""
    return blocks_of(read_file(media_type_of(filename), content), filename)


async def read_apart(content: bytes, filename: str) -> list[Block]:
    return await extract(content, filename, SETTINGS)


def refusal(content: bytes, filename: str) -> str:
    with pytest.raises(Unreadable) as refused:
        read_here(content, filename)
    return sentence_of(refused.value, filename)


async def refusal_apart(content: bytes, filename: str) -> str:
    with pytest.raises(Unreadable) as refused:
        await read_apart(content, filename)
    return sentence_of(refused.value, filename)


def sentence_of(refused: Unreadable, filename: str) -> str:
    sentence = str(refused)
    assert sentence.startswith(filename)
    assert "\n" not in sentence
    return sentence.removeprefix(f"{filename} ")


# What is read


async def test_a_text_file_gives_its_paragraphs() -> None:
    content = "\ufeffOne\r\ntwo\r\n\r\n\r\nthree\0".encode()
    assert await read_apart(content, "a.TXT") == [Block("One\ntwo"), Block("three")]
    assert read_here("Grüße".encode("utf-16"), "a.txt") == [Block("Grüße")]


def test_markdown_gives_headings_and_whole_blocks() -> None:
    text = "Intro\n\n# Fees  now\n\n- one\n- two\n\n---\n\nSetext\n======\n\n"
    text += "```\ncode\n\nmore\n```\n\n| a | b |\n|---|---|\n| 1 | 2 |\n"
    assert parse_markdown(text) == [
        Block("Intro"),
        Block("Fees now", 1),
        Block("- one\n- two"),
        Block("Setext", 1),
        Block("```\ncode\n\nmore\n```"),
        Block("| a | b |\n|---|---|\n| 1 | 2 |"),
    ]


def test_html_gives_what_a_reader_sees() -> None:
    content = (
        "<html><head><title>no</title><script>no()</script></head><body><nav>no</nav><h2>Fees <b>now</b></h2>"
        "<p>Ten\n pounds &amp; up</p>loose<ul><li>one</li><li>two<ul><li>deep</li></ul></li></ul>"
        "<table><tr><td>a</td> <td>b</td></tr></table><pre>x\n  y</pre></body></html>"
    )
    assert read_here(content.encode(), "page.html") == [
        Block("Fees now", 2),
        Block("Ten pounds & up"),
        Block("loose"),
        Block("- one"),
        Block("- two"),
        Block("- deep"),
        Block("a b"),
        Block("x\n  y"),
    ]


def test_html_keeps_lines_apart_that_say_the_same() -> None:
    assert read_here(b"<ul><li>one</li><li>one</li></ul>", "page.html") == [Block("- one"), Block("- one")]


@pytest.mark.threat("T69")
async def test_deeply_nested_html_is_read_in_time() -> None:
    assert read_here(b"<p>x" * 2_000, "deep.html") == [Block("x")] * 2_000
    assert await read_apart(b"<b>x" * 16_000, "deep.html") == [Block("x" * 16_000)]


@pytest.mark.parametrize(
    ("content", "rows"),
    [
        ('item,price,note\nDay pass,6 €,"under 12, half price"\n\nLocker,4 €,\n', 2),
        ("\ufeffitem;price;note\r\nDay pass;6 €;under 12, half price\r\nLocker;4 €;\r\n", 2),
        ("Day pass,6 €\nLocker,4 €", 0),
        ("only one line", 0),
    ],
)
def test_each_row_of_a_price_list_is_a_line_that_names_its_columns(content: str, rows: int) -> None:
    found = read_here(content.encode(), "prices.csv")
    named = [Block("item: Day pass, price: 6 €, note: under 12, half price"), Block("item: Locker, price: 4 €")]
    assert found == (named if rows else [Block(line.replace(",", ", ")) for line in content.splitlines()])


@pytest.mark.parametrize(
    ("content", "first"),
    [
        ("Alice,Mod\nBob,Admin", "Alice, Mod"),
        ("Anna;Berlin\nBen;Hamburg", "Anna, Berlin"),
        ("name,role\nAlice,Mod", "name: Alice, role: Mod"),
        ("Wer;Aufgabe\nAnna;Kasse", "Wer: Anna, Aufgabe: Kasse"),
        ("round,hall\nRound 1,F2\nRound 2,F3", "round: Round 1, hall: F2"),
        ("Thing,Size\nDesk,120 cm\nShelf,80 cm", "Thing: Desk, Size: 120 cm"),
        ("player,team\nAda,Red\nBob,Blue", "player: Ada, team: Red"),
    ],
)
def test_the_first_row_of_a_table_is_kept_unless_it_names_the_columns(content: str, first: str) -> None:
    assert read_here(content.encode(), "people.csv")[0] == Block(first)


async def test_a_word_file_gives_headings_and_tables() -> None:
    assert await read_apart(docx(), "rules.docx") == [
        Block("Club rules", 1),
        Block("Be kind."),
        Block("Fees", 1),
        Block("Adults | 10\nChildren | free"),
    ]


async def test_a_pdf_gives_its_pages() -> None:
    assert await read_apart(pdf("Be kind.", "", "No dogs."), "rules.pdf") == [
        Block("page 1", 1),
        Block("Be kind."),
        Block("page 3", 1),
        Block("No dogs."),
    ]


# What is refused


def test_a_scanned_pdf_asks_for_text_recognition() -> None:
    refused = refusal(pdf("", ""), "scan.pdf")
    assert refused == "has no text, perhaps because its pages are scans: run text recognition (OCR) first"


def test_an_encrypted_pdf_asks_for_one_without_a_password() -> None:
    writer = PdfWriter()
    writer.add_blank_page(300, 300)
    writer.encrypt("secret", algorithm="RC4-128")
    assert refusal(saved(writer), "secret.pdf") == "is encrypted: save it without a password"


def test_an_encrypted_word_file_asks_for_one_without_a_password() -> None:
    assert "is encrypted or an old .doc file" in refusal(b"\xd0\xcf\x11\xe0" + bytes(1_000), "secret.docx")


@pytest.mark.parametrize("filename", ["a.pdf", "a.docx"])
@pytest.mark.parametrize(
    "content", [b"", b"nonsense", os.urandom(4_000), b"%PDF-1.7\n%%EOF", b"PK\x03\x04" + bytes(99)]
)
def test_a_damaged_file_is_a_sentence(filename: str, content: bytes) -> None:
    assert refusal(content, filename) == "is damaged or not what its name says: open it and save it again"


@pytest.mark.parametrize("cut", [0.3, 0.7])
def test_a_file_that_ends_early_is_a_sentence(cut: float) -> None:
    whole = docx()
    assert "damaged" in refusal(whole[: int(len(whole) * cut)], "half.docx")


def test_text_in_no_known_encoding_is_refused() -> None:
    assert refusal(b"\xe4\xf6\xfc", "a.txt") == "is not UTF-8 text (byte 0): save it as UTF-8"


@pytest.mark.parametrize("content", [b"", b" \n\n "])
def test_an_empty_file_is_refused(content: bytes) -> None:
    assert refusal(content, "empty.md") == "has no text"


@pytest.mark.threat("T69")
async def test_a_zip_bomb_is_refused_before_it_unpacks() -> None:
    bomb = zipped(word__document=bytes(300_000_000))
    assert len(bomb) < 400_000
    assert "unpacks to 300 MB, which is too much" in await refusal_apart(bomb, "bomb.docx")


async def test_entities_that_grow_are_not_expanded() -> None:
    entities = "".join(f'<!ENTITY e{i} "{f"&e{i - 1};" * 10 if i else "x" * 100}">' for i in range(12))
    document = f"<?xml version='1.0'?><!DOCTYPE d [{entities}]><d>&e11;</d>".encode()
    types = b"<Types xmlns='http://schemas.openxmlformats.org/package/2006/content-types'/>"
    assert await refusal_apart(zipped(**{"word__document": document, "[Content_Types]": types}), "laughs.docx")


@pytest.mark.threat("T69")
async def test_a_slow_file_is_stopped_by_the_time_limit() -> None:
    nested = b"<div>" * 400_000 + b"x"
    with pytest.raises(Unreadable, match=r"deep.html took longer than 0.5 s to read"):
        await extract(nested, "deep.html", SETTINGS, timeout_s=0.5)


def test_reading_stops_where_enough_was_read() -> None:
    found = read_file(MediaType.PDF, pdf("Be kind.", "Be quiet.", "Be quick."), enough_chars=15)
    assert [text for _, text in found["blocks"]] == ["page 1", "Be kind.", "page 2"]


def test_too_much_text_is_refused() -> None:
    refused = refusal(b"x" * 1_000_001, "a.txt")
    assert refused == "has more than 1000000 characters, the limit: split it"


def test_too_many_pages_are_refused() -> None:
    assert refusal(pdf(*[""] * 1_001), "a.pdf") == "has 1001 pages; the limit is 1000: split it"


async def test_a_hundred_megabytes_are_refused_unread() -> None:
    refused = await refusal_apart(bytes(100_000_000), "a.pdf")
    assert refused.startswith("is 100.0 MB; the limit (knowledge.max_file_bytes) is 8.0 MB: split it")


@pytest.mark.parametrize("filename", ["a.exe", "a", "a.doc", "pdf"])
def test_other_kinds_of_files_are_refused(filename: str) -> None:
    assert "is not a supported file type (.txt, .md" in refusal(b"x", filename)
