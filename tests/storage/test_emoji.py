"""Which text is one emoji, and what it says however Discord spells it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from storage.emoji import SKIN_TONES, VARIATION_SELECTOR, VoteEmoji, is_emoji, plain
from storage.settings.sections import VoteSettings

SHIPPED = VoteSettings().emoji
OWN = "<:party:123456789012345678>"
OWN_ID = "123456789012345678"


@pytest.mark.parametrize(
    "text", ["❤️", "❤", "😂", "1️⃣", "👍🏽", "🇩🇪", "❤️\u200d🔥", "🙋🏽\u200d♀️", "🏴󠁧󠁢󠁥󠁮󠁧󠁿", OWN, "<a:dance:123456789012345678>"]
)
def test_one_emoji(text: str) -> None:
    assert is_emoji(text)


@pytest.mark.parametrize(
    "text",
    ["", " ", "a", "1", "12", "😂😂", "❤️ ", ":heart:", "😂!", "<:party:12>", f"{OWN}{OWN}", "\u200d".join("🙋" * 40)],
)
def test_not_one_emoji(text: str) -> None:
    assert not is_emoji(text)


@given(st.sampled_from([*SHIPPED, "👍", "👎", "🙋\u200d♀️"]), st.sampled_from(["", *SKIN_TONES]), st.booleans())
def test_skin_tones_and_variation_selectors_change_nothing(emoji: str, tone: str, with_selector: bool) -> None:
    known, base = VoteEmoji({**SHIPPED, "🙋\u200d♀️": 2.0}), plain(emoji)
    spelled = base[0] + (tone if emoji in ("👍", "👎", "🙋\u200d♀️") else "") + base[1:]
    spelled += VARIATION_SELECTOR if with_selector else ""
    assert known.weight(spelled) == known.weight(emoji) != 0
    assert plain(spelled) == base


@pytest.mark.parametrize("spelling", ["🎉", "", "🏽", "👍👍", "thumbsup", "👌🏽", OWN_ID, "❤️\u200d🔥"])
def test_other_emoji_say_nothing(spelling: str) -> None:
    assert VoteEmoji(SHIPPED).weight(spelling) == 0


def test_a_servers_own_emoji_is_known_by_its_id_and_shown_by_its_name() -> None:
    known = VoteEmoji({OWN: -2.0})
    assert plain(OWN) == plain("<a:renamed:123456789012345678>") == OWN_ID
    assert known.weight(OWN_ID) == -2.0
    assert known.written(OWN_ID) == OWN
    assert known.written("gone") == "gone"


@given(st.permutations(["👍🏽", "❤️", "😂", "⭐"]))
def test_the_strongest_of_several_counts_in_any_order(given: list[str]) -> None:
    known = VoteEmoji(SHIPPED)
    assert known.strongest(given) == "❤"  # as strong as ⭐, and before it in the settings
    assert known.strongest([emoji for emoji in given if emoji not in ("❤️", "⭐")]) == "👍"


def test_a_family_does_not_have_thousands_of_spellings() -> None:
    assert len(VoteEmoji({"👨\u200d👩\u200d👧\u200d👦": 1.0}).spelled) < 100
