from __future__ import annotations

import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from bot.chat.message_stream import lay_out
from bot.text.sanitize import NO_INVITE, escape_inline, quote_plainly, sanitize_markdown
from bot.text.splitting import MAX_MESSAGE_CHARS
from storage.settings.sections import OutputSettings

STRICT = OutputSettings()

MASKED_LINK = re.compile(r"\]\(\s*<?\s*[a-z\\]+:[\\/]", re.IGNORECASE)
INVITE = re.compile(r"(discord\.gg|discord(app)?\.com/invite)/\w", re.IGNORECASE)
SMALL_PRINT = re.compile(r"^[ \t]*((>{1,3}|[*+-]|\d+[.)])[ \t]+)*-#", re.MULTILINE)
MENTION = re.compile(r"<@[!&]?\d|<#\d|</\w+:\d|@everyone|@here")
HIDDEN = re.compile("[\u200b\u202a-\u202e\u2060-\u2069\ufeff\U000e0041]")

# What an attack is made of, so that a random text often holds one.
PIECES = st.sampled_from(
    (
        *("[free nitro](https://evil.example)", "[", "]", "(", ")", "](", "https://", "http:/", "evil.example"),
        *("<", ">", "discord.gg/abc", "discord", ".gg", "/abc", "discord.com/invite/abc", "https://discord.gg/"),
        *("%69nvite", "。"),
        *("-#", "-", "#", "# ", "> ", ">>> ", "- ", "1. ", "\n", "\n-# v3", " "),
        *("\\", "`", "```", "```py\n", "\n```\n"),
        *("<@12>", "<@&1", "2>", "<#", "7>", "</ban:5>", "@everyone", "@", "here", "\u200b", "\u202e", "\u200d"),
        *("\u2028", "\U000e0041", "\r", "word", "é", "漢字", "👍🏽", "*", "_", "|"),
    )
)
ATTACKS = st.lists(PIECES, max_size=25).map("".join)
TEXTS = ATTACKS | st.text(max_size=60)


def is_safe(text: str) -> bool:
    return not any(found.search(text) for found in (MASKED_LINK, INVITE, SMALL_PRINT, MENTION, HIDDEN))


@given(TEXTS)
@example("[a][b](https://evil.example)")
@example("` ``` ` [a](https://evil.example) ```")
@example("<@<@12>3>")
@example("@@everyoneeveryone")
@example("<<@1>@2>")
@example("discord.discord.gg/agg/b")
@example("> \u200b-# v3")
@pytest.mark.threat("T54")
def test_no_text_shows_a_masked_link_an_invite_a_mention_or_small_print(text: str) -> None:
    shown = sanitize_markdown(text, STRICT)
    assert is_safe(shown)
    assert sanitize_markdown(shown, STRICT) == shown


@given(TEXTS, st.integers(0, 200))
def test_a_text_that_is_still_growing_is_as_safe(text: str, end: int) -> None:
    assert is_safe(sanitize_markdown(text[:end], STRICT))


@given(TEXTS, st.integers(1_780, 1_860))
@pytest.mark.threat("T55")
def test_no_cut_between_messages_brings_anything_back(text: str, before: int) -> None:
    *parts, last = lay_out("a" * before + " " + text, "-# v3", STRICT)
    body = last.removesuffix("-# v3")
    assert last == body + "-# v3"
    assert all(is_safe(part) for part in [*parts, body])
    assert all(len(part) <= MAX_MESSAGE_CHARS for part in [*parts, last])


@given(TEXTS)
@example("2> <<#2><@12>")
@pytest.mark.threat("T61")
def test_words_are_one_safe_line(text: str) -> None:
    shown = escape_inline(text)
    assert is_safe(shown)
    assert "\n" not in shown


@given(TEXTS)
@example("2> <<#2><@12>")
def test_a_quote_is_one_line_and_safe_once_escaped(text: str) -> None:
    shown = quote_plainly(text)
    assert not any(found.search(shown) for found in (INVITE, MENTION, HIDDEN))
    assert "\n" not in shown
    assert is_safe(escape_inline(shown))


def test_a_quote_names_nobody_and_spells_a_servers_own_emoji() -> None:
    said = "Ask <@12345> or <@&12345>,\nin <#12345> <a:party_blob:12345> <:ok:12345> :ok:"
    assert quote_plainly(said) == "Ask @somebody or @somebody, in #channel :party_blob: :ok: :ok:"


@given(st.text(st.characters(categories=["L", "Nd"], exclude_characters="\u115f\u1160\u3164\uffa0"), max_size=40))
def test_plain_words_stay_as_they_are(words: str) -> None:
    assert sanitize_markdown(words, STRICT) == words


@pytest.mark.parametrize(
    "text",
    [
        "Well: 2 * 3 = 6, and #general is a channel (see https://example.org/a_b).",
        "- one\n- two\n1. three\n> a quote\n**bold** _italics_ ||spoiler|| `code`",
        "```python\n# a comment\nhandlers[i](x)\n## more\n>>> repl()\n```",
        "```sh\n# still being written",
        "family 👨‍👩‍👧, flags 🇩🇪 🏴󠁧󠁢󠁥󠁮󠁧󠁿, skin 👍🏽, نمی‌خواهم, 葛󠄀"[:-1],
        "mail me@example.org or @somebody, price <10 and >5",
        "https://discord.com/channels/1/2/3",
    ],
)
def test_harmless_markdown_is_unchanged(text: str) -> None:
    assert sanitize_markdown(text, STRICT) == text


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("[click](https://evil.example)", "[click] (https://evil.example)"),
        ("```md\n[click](https://evil.example)\n```", "```md\n[click] (https://evil.example)\n```"),
        ("join https://discord.gg/abc now", f"join {NO_INVITE} now"),
        ("ptb.discord.com/invite/x", NO_INVITE),
        ("https://discord.com\\invite\\x", NO_INVITE),
        ("ｄｉｓｃｏｒｄ.gg/x", NO_INVITE),
        ("discord。gg/x", NO_INVITE),
        ("https://discord.com/%69nvite/x", NO_INVITE),
        ("dis\u200bcord.gg/x", NO_INVITE),
        ("-# v3 · sources: rules", r"\-# v3 · sources: rules"),
        ("> - -# v3", r"> - \-# v3"),
        ("a\u2028-# v3", "a\n\\-# v3"),
        ("# Big", r"\# Big"),
        (">>> all that follows", r"\>>> all that follows"),
        ("<@12> <@!12> <@&7> <#9> </ban:5> <id:home>", "@12 @12 @7 #9 /ban home"),
        ("@everyone and @here", "@ everyone and @ here"),
        ("safe\u202egpj.exe", "safegpj.exe"),
        ("hi\U000e0068\U000e0069", "hi"),
    ],
)
def test_misleading_markdown_is_made_plain(text: str, shown: str) -> None:
    assert sanitize_markdown(text, STRICT) == shown


def test_an_operator_may_allow_links_and_invites() -> None:
    text = "[rules](https://example.org) discord.gg/abc"
    assert sanitize_markdown(text, OutputSettings(allow_masked_links=True, allow_invites=True)) == text


def test_words_of_a_title_do_nothing() -> None:
    assert escape_inline("**[x](https://a.example)[y](https://b.example)**\n# z <@1>") == (
        r"\*\*[x] (https://a.example)[y] (https://b.example)\*\* # z @1"
    )


@pytest.mark.threat("T78")
async def test_an_error_that_quotes_what_was_typed_is_shown_safely(place):
    typed = "discord.gg/abc @everyone [a](https://evil.example)"
    refused = await place.grace.slash(place.channel, "version promote", version=typed)
    assert refused.followups[-1].content == (
        f"There is no version {NO_INVITE} @ everyone [a] (https://evil.example): list the versions to see which exist."
    )
