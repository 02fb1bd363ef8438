"""Names and pictures of personalities: what is taken, and what becomes of it."""

from __future__ import annotations

import base64
import io
import random
import struct
import zlib

import pytest
from PIL import Image
from PIL.Image import Resampling
from sqlalchemy.orm import Session

from storage.errors import CardError
from storage.personalities.card_files import parse_any_card, with_clean_picture
from storage.personalities.cards import Card, CardFile, build_card, why_not_displayed
from storage.personalities.personalities import ensure_personality, read_personality
from storage.personalities.pictures import AVATAR_SIDE, LONGER_SIDE, avatar_of, clean_picture, read_picture, set_picture
from storage.personalities.tavern.files import SIGNATURE, read_text_chunks
from storage.personalities.webhooks import OwnWebhook, list_webhook_ids, record_webhook, webhooks_in
from tests.storage.personalities.test_tavern import card_of, chunk, picture_of, with_texts

pytestmark = pytest.mark.both_databases


def portrait(kind: str, seed: int = 0, size: tuple[int, int] = (60, 90), text: bytes = b"") -> bytes:
    """Return a file with a picture of noise, which may hold a character card."""
    file = io.BytesIO()
    pixels = random.Random(seed).randbytes(3 * size[0] * size[1])
    Image.frombytes("RGB", size, pixels).save(file, kind)
    return with_texts(file.getvalue(), {b"ccv3": base64.b64encode(text)}) if text else file.getvalue()


def opened(png: bytes | None) -> Image.Image:
    picture = Image.open(io.BytesIO(png), formats=("PNG",))
    picture.load()
    return picture


class TestName:
    @pytest.mark.parametrize("name", ["Ebba Lind", "夜猫", "O'Hara 👩‍🚀", "x" * 80, "Everyone's friend"])
    def test_a_name_that_people_can_read_is_taken(self, name: str) -> None:
        assert build_card({"display_name": name, "system_prompt": "x"}, "the card").display_name == name

    @pytest.mark.parametrize(
        "name",
        [
            "x" * 81,
            "DISCORD",
            "ｄｉｓｃｏｒｄ",
            "dis\u200bcord",
            "Clyde",
            "a:b",
            "#x",
            "```",
            "HERE",
            "a\nb",
            "\u2066a",
        ],
    )
    def test_one_that_discord_refuses_or_that_deceives_is_refused_with_its_place(self, name: str) -> None:
        with pytest.raises(CardError, match=r"^the card: display_name must (not |have )"):
            build_card({"display_name": name, "system_prompt": "x"}, "the card")

    def test_the_name_of_a_character_card_is_taken_unless_the_plain_one_will_do(self) -> None:
        names = {name: parse_any_card(card_of(name=name), "a.json").card.display_name for name in ("Ebba Lind", "ebba")}
        assert names == {"Ebba Lind": "Ebba Lind", "ebba": ""}
        refused = parse_any_card(card_of(name="Discord Mod"), "a.json")
        assert refused.card.display_name == ""
        assert (
            "Its name is not shown above its messages: a name there must not contain 'discord', which Discord refuses."
        ) in refused.notes

    def test_a_cut_name_of_a_hostile_card_stays_within_the_limit(self) -> None:
        found = parse_any_card(card_of(name="@everyone " * 50), "a.json")
        assert not found.card.display_name or not why_not_displayed(found.card.display_name)


class TestPicture:
    @pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "GIF"])
    def test_every_kind_becomes_a_small_png_without_what_else_the_file_held(self, kind: str) -> None:
        large = (5 * LONGER_SIDE // 8, 5 * LONGER_SIDE // 4)
        exif = Image.Exif()
        exif[0x9286] = "home address"
        file = io.BytesIO()
        noise = Image.frombytes("RGB", (30, 60), random.Random(1).randbytes(5_400)).resize(large, Resampling.NEAREST)
        noise.save(file, kind, **({} if kind == "GIF" else {"exif": exif}))
        clean = clean_picture(file.getvalue())
        assert opened(clean).size == (LONGER_SIDE // 2, LONGER_SIDE)
        assert b"home address" not in (clean or b"")
        assert read_text_chunks(clean or b"") == {}
        assert opened(avatar_of(clean or b"")).size == (AVATAR_SIDE, AVATAR_SIDE)

    @pytest.mark.parametrize("content", [b"", b"no picture", portrait("PNG")[:200], b"GIF89a" + bytes(50), b"<svg/>"])
    def test_what_is_no_picture_is_refused(self, content: bytes) -> None:
        with pytest.raises(CardError, match="the picture cannot be opened"):
            clean_picture(content)

    def test_a_bomb_is_not_unpacked(self) -> None:
        header = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
        parts = (chunk(b"IHDR", header), chunk(b"IDAT", zlib.compress(bytes(1_000))), chunk(b"IEND", b""))
        with pytest.raises(CardError, match="more than 40 million pixels"):
            clean_picture(SIGNATURE + b"".join(parts))

    def test_that_of_a_character_card_is_taken(self) -> None:
        found = with_clean_picture(parse_any_card(portrait("PNG", text=card_of()), "ebba.png"))
        assert found.notes[-1] == "Its picture appears beside its messages in Discord."
        assert opened(found.picture).size == (60, 90)

    def test_one_of_a_single_colour_is_none(self) -> None:
        found = with_clean_picture(parse_any_card(picture_of(card_of()), "keeper.png"))
        assert found.picture is None
        assert not any("picture" in note for note in found.notes)

    def test_a_damaged_one_costs_the_card_nothing(self) -> None:
        found = with_clean_picture(CardFile(Card(system_prompt="x"), picture=b"\x89PNG"))
        assert found.card.system_prompt == "x"
        assert found.picture is None
        assert found.notes[-1].startswith("The picture was left out: the picture cannot be opened")

    def test_one_is_stored_replaced_and_removed(self, session: Session) -> None:
        id_ = ensure_personality(session)
        changes = [set_picture(session, id_, picture) for picture in (b"one", b"one", b"two")]
        assert changes == [True, False, True]
        assert read_picture(session, id_) == b"two"
        assert read_personality(session, id_).has_appearance
        assert set_picture(session, id_, None)
        assert read_picture(session, id_) is None
        session.expire_all()
        assert not read_personality(session, id_).has_appearance


def test_a_webhook_is_stored_once_with_what_it_shows_now(session: Session) -> None:
    id_ = ensure_personality(session)
    for digest in (None, "b"):
        record_webhook(session, OwnWebhook(7, 5, id_, digest))
    record_webhook(session, OwnWebhook(8, 6, id_, None))
    assert list_webhook_ids(session) == {7, 8}
    assert webhooks_in(session, 5) == [OwnWebhook(7, 5, id_, "b")]
